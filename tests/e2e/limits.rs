//! What large, endless or too many bytes may cost.
use bytes::Bytes;
use futures::StreamExt;
use playhouse::cli::client::{ClientError, UploadRequest};
use reqwest::{Method, StatusCode};

use crate::support::server::{Server, ServerOptions};

/// Most that one upload may add to a server's memory, whatever its size.
const GROWTH_BYTES_MAX: u64 = 64 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_large_upload_needs_little_memory() {
    const PIECE: usize = 1 << 20;
    const PIECES: usize = 768;
    let server = Server::start();
    let client = server.account("creator").await;
    let (before, _) = server.memory();
    let bytes = (PIECE * PIECES) as u64;
    let request = UploadRequest { title: "large", file_name: "large.mp4", privacy: "private", bytes };
    let upload = client.create_upload(&request).await.expect("an upload");
    let piece = Bytes::from(vec![7; PIECE]);
    let pieces = futures::stream::repeat(piece).take(PIECES).map(Ok::<_, std::convert::Infallible>);
    let sent = client
        .request(Method::PATCH, &upload.url)
        .header("Tus-Resumable", "1.0.0")
        .header("Upload-Offset", 0)
        .header("Content-Type", "application/offset+octet-stream")
        .body(reqwest::Body::wrap_stream(pieces));
    client.send(sent).await.expect("all of it taken");
    let (_, highest) = server.memory();
    let growth = highest.saturating_sub(before);
    assert!(growth <= GROWTH_BYTES_MAX, "{} MiB uploaded, memory grew by {} MiB", bytes >> 20, growth >> 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_above_the_limit_is_refused_before_its_first_byte() {
    let server = ServerOptions::new().set("uploads.size_max", "1 MiB").start();
    let client = server.account("creator").await;
    let request = UploadRequest { title: "big", file_name: "big.mp4", privacy: "public", bytes: (1 << 20) + 1 };
    match client.create_upload(&request).await {
        Err(ClientError::Refused { status, .. }) => assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE),
        other => panic!("not refused: {other:?}"),
    }
}
