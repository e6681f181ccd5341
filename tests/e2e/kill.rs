//! The server killed in the middle of uploads: every upload goes on, nothing is lost, nothing is left over.
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use playhouse::cli::client::{Client, CreatedUpload};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::support::clips::standard_of_bytes;
use crate::support::server::{Server, ServerOptions};
use crate::support::tools::{sha256, until};
use crate::uploads::{VERDICT_WITHIN, create};

/// Size of the file: long enough to be hit in the middle.
const FILE_BYTES: u64 = 48 << 20;

/// Kills when `SOAK_KILLS` does not say otherwise.
const KILLS: u32 = 3;

pub(crate) fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}: not a number")))
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_survive_kills_byte_by_byte() {
    let kills = from_environment("SOAK_KILLS", KILLS.into());
    let seed = from_environment("SOAK_SEED", 1);
    eprintln!("{kills} kills, seed {seed} (SOAK_KILLS, SOAK_SEED)");
    let file = standard_of_bytes(FILE_BYTES);
    let expected = sha256(&file);
    let bytes = Bytes::from(std::fs::read(&file).expect("the file"));
    let mut server = ServerOptions::new().with_busy_janitor().start();
    let mut client = server.account("creator").await;
    let mut random = StdRng::seed_from_u64(seed);
    for round in 1..=kills {
        let upload = create(&client, &file).await;
        let interrupted = kill_during(&mut server, &client, &upload, &bytes, &mut random).await;
        client = signed_in(&server).await;
        let path = finish(&client, &upload, &bytes).await;
        let stored = original(&server, &path);
        assert_eq!(sha256(&stored), expected, "round {round}: other bytes than sent");
        let video = client.wait_until_playable(&upload.video_id, VERDICT_WITHIN).await;
        video.unwrap_or_else(|error| panic!("round {round}: {error}"));
        eprintln!("round {round}: killed with {interrupted} of {} bytes sent", bytes.len());
        delete(&client, &upload.video_id).await;
    }
    until("the janitor to leave no file", Duration::from_secs(30), || async {
        server.blobs().is_empty().then_some(())
    })
    .await;
}

pub(crate) async fn signed_in(server: &Server) -> Client {
    let mut client = server.client();
    client.login("creator", "correct horse battery").await.expect("a sign-in after the restart");
    client
}

/// Sends the file in pieces and kills the server at a random moment; returns how many bytes were acknowledged by then.
async fn kill_during(
    server: &mut Server,
    client: &Client,
    upload: &CreatedUpload,
    bytes: &Bytes,
    random: &mut StdRng,
) -> u64 {
    let kill_at = random.random_range(1..bytes.len() as u64 * 9 / 10);
    let piece = *[64 << 10, 1 << 20, 8 << 20].get(random.random_range(0..3)).expect("one of three");
    let sending = tokio::spawn({
        let (client, url, bytes) = (client.clone(), upload.url.clone(), bytes.clone());
        async move {
            let mut offset = 0;
            while let Some(end) = (offset < bytes.len()).then(|| (offset + piece).min(bytes.len())) {
                match client.append(&url, offset as u64, bytes.slice(offset..end)).await {
                    Ok(next) => offset = next as usize,
                    Err(_) => break,
                }
            }
            offset as u64
        }
    });
    let path = original(server, &upload.url);
    let arrived = || std::fs::metadata(&path).map_or(0, |file| file.len());
    while arrived() < kill_at && !sending.is_finished() {
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    server.kill9();
    let acknowledged = sending.await.expect("the sender");
    server.restart();
    acknowledged
}

/// Asks where to go on, and sends the rest; returns the upload's new URL.
async fn finish(client: &Client, upload: &CreatedUpload, bytes: &Bytes) -> String {
    let path = upload.url.split_once("/api/").map(|(_, path)| format!("/api/{path}")).expect("an API path");
    let offset = client.upload_offset(&path).await.expect("an offset after the restart");
    assert!(offset <= bytes.len() as u64);
    if offset < bytes.len() as u64 {
        let rest = bytes.slice(offset as usize..);
        let end = client.append(&path, offset, rest).await.expect("the rest");
        assert_eq!(end, bytes.len() as u64);
    }
    path
}

pub(crate) async fn delete(client: &Client, video_id: &str) {
    let request = client.request(reqwest::Method::DELETE, &format!("/api/v1/videos/{video_id}"));
    client.send(request).await.expect("a deletion");
}

/// Where the bytes of an upload lie: DESIGN calls the place `raw-uploads`.
fn original(server: &Server, upload_url: &str) -> PathBuf {
    let id = Path::new(upload_url).file_name().expect("an upload id");
    server.data().join("blobs/raw-uploads").join(id).join("0")
}
