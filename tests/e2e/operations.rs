//! Running a server: stopping it, watching it, letting it clean up.
use std::time::Duration;

use reqwest::{Method, StatusCode};

use crate::support::clips::standard;
use crate::support::server::{Server, ServerOptions};
use crate::support::tools::until;
use crate::uploads::{create, playable};

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_server_answers_what_it_has_begun() {
    let mut server = Server::start();
    let client = server.account("creator").await;
    let upload = create(&client, &standard()).await;
    let bytes = std::fs::read(standard()).expect("a clip");
    // A body that is half there when the server is told to stop, and whole a moment later.
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<bytes::Bytes, std::io::Error>>(1);
    let body = futures::stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) });
    let sending = tokio::spawn(
        client
            .request(Method::PATCH, &upload.url)
            .header("Tus-Resumable", "1.0.0")
            .header("Upload-Offset", 0)
            .header("Content-Type", "application/offset+octet-stream")
            .body(reqwest::Body::wrap_stream(body))
            .send(),
    );
    let (first, second) = bytes.split_at(bytes.len() / 2);
    sender.send(Ok(bytes::Bytes::copy_from_slice(first))).await.expect("a reader");
    until("the first half to arrive", Duration::from_secs(10), || async { (!server.blobs().is_empty()).then_some(()) })
        .await;
    let stopping = tokio::task::spawn_blocking(move || {
        let status = server.stop();
        (server, status)
    });
    let rest = bytes::Bytes::copy_from_slice(second);
    sender.send(Ok(rest)).await.expect("a reader, since the server is only stopping");
    drop(sender);
    let answer = sending.await.expect("the sender").expect("an answer from the stopping server");
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    let (_server, status) = stopping.await.expect("the stop");
    assert!(status.success(), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_uploads_and_requests() {
    let server = Server::start();
    let client = server.account("creator").await;
    playable(&client, &standard()).await;
    let text = client.send(client.request(Method::GET, "/metrics")).await.expect("metrics").text().await.expect("text");
    for name in ["uploads", "bytes", "restarts", "seconds"] {
        assert!(text.contains(name), "no metric has {name} in its name:\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_uploads_expire_with_their_bytes() {
    let server = ServerOptions::new().with_busy_janitor().set("uploads.expiry", "2s").start();
    let client = server.account("creator").await;
    let upload = create(&client, &standard()).await;
    let bytes = std::fs::read(standard()).expect("a clip");
    client.append(&upload.url, 0, bytes[..1000].to_vec().into()).await.expect("an append");
    assert!(!server.blobs().is_empty(), "an unfinished upload has a file");
    until("the upload's bytes to go", Duration::from_secs(20), || async { server.blobs().is_empty().then_some(()) })
        .await;
    let gone = client.upload_offset(&upload.url).await.expect_err("an expired upload is gone");
    assert!(gone.to_string().contains("410") || gone.to_string().contains("404"), "{gone}");
}
