//! `playhouse demo`: makes a clip, uploads it by tus as any client would, and prints where to watch it; or broadcasts live.
use std::io::SeekFrom;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use rand::RngExt;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::DemoArgs;
use super::client::{Client, ClientError, UploadRequest};
use crate::media::pipelines::synthetic::{ClipSpec, make_clip};

mod live;

const CLIP: ClipSpec = ClipSpec {
    duration: Duration::from_secs(10),
    width: 1280,
    height: 720,
    frames_per_sec: 30,
    kilobits_per_sec: 1500,
    frames_per_key: 30,
};

/// Bytes sent in one request: small enough for the bar to move on a slow line.
const CHUNK_BYTES: usize = 1 << 20;

/// Passing errors in a row after which the upload is given up.
const ATTEMPTS_MAX: u32 = 8;

/// Longest wait for the server to make the video playable.
const PLAYABLE_WITHIN: Duration = Duration::from_secs(120);

/// Runs the whole demonstration against a server that is already there.
pub async fn run(args: &DemoArgs) -> anyhow::Result<()> {
    if !args.url.starts_with("http://") {
        bail!("the demo speaks plain HTTP: give it an address that starts with http://, not {}", args.url);
    }
    let mut client = Client::new(&args.url)?;
    client.check_ready().await.context("start a server first: `make run`, or `playhouse serve --data data`")?;
    sign_in(&mut client, args).await?;
    if args.live {
        return live::broadcast(&client, args.duration).await;
    }
    let scratch = tempfile::tempdir()?;
    let file = match &args.file {
        Some(file) => file.clone(),
        None => generate(scratch.path()).await?,
    };
    let video_id = upload(&client, &file).await?;
    let waiting = spinner("the server looks at the file");
    let video = client.wait_until_playable(&video_id, PLAYABLE_WITHIN).await?;
    waiting.finish_and_clear();
    let manifest = video["video_urls"]["hls"].as_str().unwrap_or_default();
    println!("Watch it:     {}/watch/{video_id}", client.base());
    println!("HLS manifest: {}", absolute(client.base(), manifest));
    Ok(())
}

async fn sign_in(client: &mut Client, args: &DemoArgs) -> anyhow::Result<()> {
    if let (Some(username), Some(password)) = (&args.username, &args.password) {
        client.login(username, password).await?;
        println!("Signed in as {username}.");
        return Ok(());
    }
    let (name, password) = (format!("demo-{}", random_text(8)), random_text(20));
    let registered = client.register(&name, &format!("{name}@example.org"), &password).await;
    registered.context("registering an account failed; give --username and --password to use an existing one")?;
    println!("Registered {name} with password {password}");
    Ok(())
}

fn random_text(chars: usize) -> String {
    rand::rng().sample_iter(rand::distr::Alphanumeric).take(chars).map(char::from).collect::<String>().to_lowercase()
}

async fn generate(scratch: &Path) -> anyhow::Result<PathBuf> {
    let making = spinner("making a clip of ten seconds");
    let file = scratch.join("demo.mp4");
    let target = file.clone();
    let made = tokio::task::spawn_blocking(move || make_clip(&CLIP, &target)).await?;
    making.finish_and_clear();
    made.context("`playhouse doctor` says what this machine lacks; --file FILE uploads a file of yours")?;
    Ok(file)
}

/// Uploads by tus; returns the video's id.
async fn upload(client: &Client, path: &Path) -> anyhow::Result<String> {
    let mut file = tokio::fs::File::open(path).await.with_context(|| path.display().to_string())?;
    let bytes = file.metadata().await?.len();
    let file_name = path.file_name().unwrap_or_default().to_string_lossy();
    let title = path.file_stem().unwrap_or_default().to_string_lossy();
    let request = UploadRequest { title: &title, file_name: &file_name, privacy: "public", bytes };
    let created = client.create_upload(&request).await?;
    let bar = ProgressBar::new(bytes)
        .with_style(ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}")?);
    bar.set_message("uploading");
    send_all(client, &created.url, &mut file, &bar).await?;
    bar.finish_and_clear();
    println!("Uploaded {file_name}, {}.", bytesize::ByteSize::b(bytes));
    Ok(created.video_id)
}

/// Sends the file from wherever the server is, asking it again after each passing error.
async fn send_all(
    client: &Client,
    url: &str,
    file: &mut tokio::fs::File,
    bar: &ProgressBar,
) -> Result<(), anyhow::Error> {
    let total = bar.length().unwrap_or(0);
    let mut offset = 0;
    let mut failures = 0;
    while offset < total {
        match send_chunk(client, url, file, offset).await {
            Ok(next) => (offset, failures) = (next, 0),
            Err(SendError::Client(error)) if error.is_passing() && failures < ATTEMPTS_MAX => {
                tokio::time::sleep(Duration::from_millis(250 << failures)).await;
                failures += 1;
                offset = client.upload_offset(url).await.unwrap_or(offset);
            }
            Err(error) => return Err(error.into()),
        }
        bar.set_position(offset);
    }
    Ok(())
}

#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("reading the file: {0}")]
    File(#[from] std::io::Error),
}

async fn send_chunk(client: &Client, url: &str, file: &mut tokio::fs::File, offset: u64) -> Result<u64, SendError> {
    file.seek(SeekFrom::Start(offset)).await?;
    let mut chunk = Vec::with_capacity(CHUNK_BYTES);
    file.take(CHUNK_BYTES as u64).read_to_end(&mut chunk).await?;
    Ok(client.append(url, offset, chunk.into()).await?)
}

fn spinner(message: &'static str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message(message);
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}

/// A URL of the API may be relative to the server.
fn absolute(base: &str, url: &str) -> String {
    if url.starts_with('/') { format!("{base}{url}") } else { url.to_owned() }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn urls_are_completed_only_when_relative() {
        assert_eq!(absolute("http://h:1", "/media/x"), "http://h:1/media/x");
        assert_eq!(absolute("http://h:1", "https://cdn/x"), "https://cdn/x");
    }

    #[tokio::test]
    async fn without_a_server_it_says_how_to_start_one() {
        let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
        let cli = ["playhouse", "demo", "--url", &format!("http://{free}")];
        let super::super::Command::Demo(args) = Cli::try_parse_from(cli).unwrap().command else { panic!("no demo") };
        let error = format!("{:#}", run(&args).await.unwrap_err());
        assert!(error.contains("make run") && error.contains("no server answers"), "{error}");
    }
}
