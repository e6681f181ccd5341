//! Videos as their viewers' players find them.
use std::time::Duration;

use playhouse::cli::client::Client;
use reqwest::Url;

use crate::support::clips::Recipe;
use crate::support::tools::until;

/// Two minutes at 2 Mb/s in four-second segments: thirty of about 1 MiB.
pub(crate) const MEBIBYTES: Recipe = Recipe {
    name: "delivery.mp4",
    args: "-f lavfi -i testsrc2=size=640x360:rate=25:duration=120,noise=alls=40:allf=t -c:v libx264 -preset ultrafast \
           -pix_fmt yuv420p -g 100 -sc_threshold 0 -bf 0 -b:v 2097k -minrate 2097k -maxrate 2097k -bufsize 2097k",
};

/// Waits until nothing is left to be done for a video.
pub(crate) async fn ready(client: &Client, video_id: &str, limit: Duration) {
    until("all renditions", limit, || async {
        let video = client.video(video_id).await.expect("the video's record");
        assert_ne!(video["status"], "failed", "{video}");
        (video["status"] == "ready").then_some(())
    })
    .await;
}

/// What a playlist lists, in order.
pub(crate) async fn uris_in(playlist: &Url) -> Vec<Url> {
    let response = reqwest::get(playlist.clone()).await.expect("a playlist").error_for_status().expect("a playlist");
    let text = response.text().await.expect("text");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| playlist.join(line).expect("a URL")).collect()
}

/// The segments of the first variant.
pub(crate) async fn segments(manifest: &str) -> Vec<Url> {
    let uris = uris_in(&Url::parse(manifest).expect("a URL")).await;
    match uris.first().filter(|uri| uri.path().ends_with(".m3u8")) {
        Some(variant) => uris_in(variant).await,
        None => uris,
    }
}
