//! Getting a file onto a server, in the ways the tests need.
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use playhouse::cli::client::{Client, CreatedUpload, UploadRequest};
use serde_json::Value;

use crate::support::tools::until;

/// Longest time from the last byte to a verdict, on a loaded machine.
pub(crate) const VERDICT_WITHIN: Duration = Duration::from_secs(180);

/// Creates a tus upload for a file.
pub(crate) async fn create(client: &Client, path: &Path) -> CreatedUpload {
    let name = path.file_name().and_then(|name| name.to_str()).expect("a file name");
    let bytes = std::fs::metadata(path).expect("a file").len();
    let request = UploadRequest { title: name, file_name: name, privacy: "public", bytes };
    client.create_upload(&request).await.unwrap_or_else(|error| panic!("creating the upload of {name}: {error}"))
}

/// Uploads a whole file by tus; returns the video's id.
pub(crate) async fn upload(client: &Client, path: &Path) -> String {
    let created = create(client, path).await;
    let bytes = Bytes::from(std::fs::read(path).expect("a file"));
    if !bytes.is_empty() {
        let length = bytes.len() as u64;
        assert_eq!(client.append(&created.url, 0, bytes).await.expect("an append"), length);
    }
    created.video_id
}

/// The video's record once it is playable or failed.
pub(crate) async fn verdict(client: &Client, video_id: &str) -> Value {
    until(&format!("a verdict on {video_id}"), VERDICT_WITHIN, || async {
        let video = client.video(video_id).await.expect("the video's record");
        ["playable", "ready", "failed"].contains(&video["status"].as_str()?).then_some(video)
    })
    .await
}

/// Uploads a file that must become playable; returns its record.
pub(crate) async fn playable(client: &Client, path: &Path) -> Value {
    let id = upload(client, path).await;
    let playable = client.wait_until_playable(&id, VERDICT_WITHIN).await;
    playable.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The HLS manifest's absolute URL.
pub(crate) fn manifest_url(client: &Client, video: &Value) -> String {
    let url = video["video_urls"]["hls"].as_str().unwrap_or_else(|| panic!("no HLS URL in {video}"));
    if url.starts_with('/') { format!("{}{url}", client.base()) } else { url.to_owned() }
}
