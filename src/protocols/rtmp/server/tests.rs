use std::process::Stdio;
use std::sync::Mutex;

use async_trait::async_trait;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::watch;

use super::*;
use crate::domain::live::Passphrase;
use crate::domain::time::Timestamp;
use crate::media::live::broadcast::{Broadcast, BroadcastSettings};
use crate::media::live::part::Part;
use crate::media::live::ring::LiveSegment;
use crate::media::live::stream::{Forgetful, LiveStream};

/// Lets in who shows the key, the newest one last.
struct OneStream {
    stream: Arc<LiveStream>,
    fence: Mutex<Vec<watch::Sender<Option<Refusal>>>>,
    ended: Arc<Mutex<usize>>,
}

#[async_trait]
impl Gate for OneStream {
    async fn passphrase(&self, _: &str) -> Result<Option<Passphrase>, TurnedAway> {
        Ok(None)
    }

    async fn knock(&self, knock: Knock) -> Result<Feed, TurnedAway> {
        if knock.key != "right" {
            return Err(TurnedAway::UnknownKey);
        }
        let mut fence = self.fence.lock().unwrap();
        if let Some(older) = fence.last() {
            older.send_replace(Some(Refusal::TakenOver));
        }
        let (sender, fenced) = watch::channel(None);
        fence.push(sender);
        let ended = Arc::clone(&self.ended);
        let on_end = Box::new(move || *ended.lock().unwrap() += 1);
        Ok(Feed::new(Arc::clone(&self.stream), fence.len() as u64, fenced, on_end))
    }
}

struct Wall;

impl Clock for Wall {
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        Timestamp::from_millis(since.as_millis() as i64)
    }
}

async fn server() -> (Arc<OneStream>, u16) {
    server_with(Duration::from_secs(60)).await
}

async fn server_with(silence_max: Duration) -> (Arc<OneStream>, u16) {
    let settings = BroadcastSettings::new(Duration::from_secs(60), 0);
    let stream = Arc::new(LiveStream::new(settings, Box::new(Forgetful)));
    let gate = Arc::new(OneStream { stream, fence: Mutex::default(), ended: Arc::default() });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (config, clock) = (ServerConfig::default(), Arc::new(Wall));
    let context = RtmpContext { gate: gate.clone(), clock, config, protocol: "rtmp", silence_max };
    tokio::spawn(async move {
        while let Ok((socket, address)) = listener.accept().await {
            tokio::spawn(serve(socket, address, context.clone()));
        }
    });
    (gate, port)
}

/// Publishes generated pictures and sound, as fast as `paced` allows.
fn publisher(port: u16, key: &str, seconds: u32, paced: bool) -> Command {
    let pace = if paced { "-re" } else { "" };
    let line = format!(
        "-v error {pace} -f lavfi -i testsrc2=s=320x180:r=30 {pace} -f lavfi -i sine=440:r=48000 -t {seconds} \
         -c:v libx264 -preset ultrafast -bf 2 -g 60 -sc_threshold 0 -pix_fmt yuv420p -c:a aac -f flv \
         rtmp://127.0.0.1:{port}/live/{key}"
    );
    let mut command = Command::new("ffmpeg");
    command.args(line.split_whitespace()).stdin(Stdio::null()).kill_on_drop(true);
    command
}

fn segments(broadcast: &Broadcast, rendition: usize) -> Vec<LiveSegment> {
    broadcast.renditions().get(rendition).map(|one| one.ring.segments().cloned().collect()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn ffmpeg_publishes_and_every_part_keeps_to_the_target() {
    let (gate, port) = server().await;
    let published = publisher(port, "right", 10, false).output().await.unwrap();
    assert!(published.status.success(), "{}", String::from_utf8_lossy(&published.stderr));
    let ended = gate.stream.wait_for(Duration::from_secs(10), |broadcast| (!broadcast.is_fed()).then_some(()));
    ended.await.expect("the visit ends with its publisher");
    gate.stream.look(|broadcast| {
        assert_eq!((broadcast.target_secs(), broadcast.part_target().unwrap().as_millis()), (Some(2), 250));
        let (video, audio) = (segments(broadcast, 0), segments(broadcast, 1));
        assert_eq!((video.len(), audio.len()), (5, 5));
        for segment in &video {
            assert!(segment.parts[0].independent && segment.duration == 180_000, "{segment:?}");
            let (_, whole) = segment.parts.split_last().unwrap();
            let filled = |part: &Part| (19_125..=22_500).contains(&part.duration);
            assert!(whole.iter().all(filled), "85 to 100 % of the target");
            let is_first = segment.beginning.number == 0;
            assert!(
                is_first || whole.iter().all(|part| part.duration == 21_000),
                "the rhythm is known: seven pictures"
            );
        }
        for segment in &audio {
            assert!(segment.parts.iter().all(|part| part.duration <= 12_000));
        }
        assert_eq!(broadcast.health().repairs, Default::default(), "nothing was to be repaired");
    });
    assert_eq!(*gate.ended.lock().unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_cut_decodes_as_it_was_sent() {
    let (gate, port) = server().await;
    publisher(port, "right", 6, false).output().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    gate.stream.wait_for(Duration::from_secs(10), |broadcast| (!broadcast.is_fed()).then_some(())).await.unwrap();
    for (rendition, (selected, frames)) in [("v:0", 180), ("a:0", 282)].into_iter().enumerate() {
        let file = dir.path().join(format!("{rendition}.mp4"));
        gate.stream.look(|broadcast| {
            let init = broadcast.epochs().next().unwrap().tracks[rendition].clone().unwrap().1;
            let media = segments(broadcast, rendition).into_iter().flat_map(|one| one.bytes().to_vec());
            std::fs::write(&file, init.iter().copied().chain(media).collect::<Vec<u8>>()).unwrap();
        });
        let line = format!("-v warning -i {} -map 0:{selected} -f framemd5 -", file.display());
        let decoded = Command::new("ffmpeg").args(line.split_whitespace()).output().await.unwrap();
        assert_eq!(String::from_utf8_lossy(&decoded.stderr), "");
        let lines = String::from_utf8_lossy(&decoded.stdout).lines().filter(|line| !line.starts_with('#')).count();
        assert!(lines.abs_diff(frames) <= 2, "{selected}: {lines} frames of {frames}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_told_and_a_newer_publisher_takes_over() {
    let (gate, port) = server().await;
    let refused = publisher(port, "wrong", 2, false).output().await.unwrap();
    assert!(!refused.status.success());
    let mut first = publisher(port, "right", 60, true).spawn().unwrap();
    let fed = |generation: u32| move |broadcast: &Broadcast| (broadcast.health().epochs == generation).then_some(());
    gate.stream.wait_for(Duration::from_secs(20), fed(1)).await.expect("the first publisher feeds");
    let mut second = publisher(port, "right", 60, true).spawn().unwrap();
    gate.stream.wait_for(Duration::from_secs(20), fed(2)).await.expect("the second publisher feeds");
    let left = tokio::time::timeout(Duration::from_secs(10), first.wait()).await;
    assert!(left.is_ok(), "the first publisher was sent away");
    second.kill().await.unwrap();
    gate.stream.wait_for(Duration::from_secs(10), |broadcast| (!broadcast.is_fed()).then_some(())).await.unwrap();
}

#[tokio::test]
async fn a_peer_that_sends_nothing_is_hung_up_on() {
    let (_, port) = server_with(Duration::from_millis(300)).await;
    let mut socket = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    // The beginning of a handshake, and then the line is dead: what the server has to say and its end are awaited.
    tokio::io::AsyncWriteExt::write_all(&mut socket, &[3; 100]).await.unwrap();
    let mut answer = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut socket, &mut answer).await.unwrap();
}
