//! The catalog in PostgreSQL.
use std::time::Duration;

use crate::kill::signed_in;
use crate::support::clips::standard;
use crate::support::postgres::Postgres;
use crate::support::server::{Server, ServerOptions};
use crate::support::tools::until;
use crate::uploads::playable;

/// Longest wait for what takes moments.
const PATIENCE: Duration = Duration::from_secs(60);

async fn is_ready(server: &Server) -> bool {
    let url = format!("{}/readyz", server.url());
    reqwest::get(url).await.is_ok_and(|answer| answer.status().is_success())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_keeps_its_catalog_there() {
    let mut database = Postgres::start();
    let mut server = ServerOptions::new().set("catalog.postgres", &database.address("postgres")).start();
    let client = server.account("creator").await;
    let video = playable(&client, &standard()).await;
    assert!(!server.data().join("catalog.sqlite").exists(), "there are two");
    server.kill9();
    server.restart();
    let client = signed_in(&server).await;
    let id = video["id"].as_str().expect("an id");
    assert_eq!(client.video(id).await.expect("the video")["id"], video["id"]);
    database.stop();
    until("the server to notice", PATIENCE, || async { (!is_ready(&server).await).then_some(()) }).await;
    let stranger = server.client().register("stranger", "stranger@example.org", "correct horse battery").await;
    let refused = stranger.expect_err("there is no catalog");
    assert!(refused.to_string().contains("503"), "{refused}");
    database.resume();
    until("the server to go on", PATIENCE, || async { is_ready(&server).await.then_some(()) }).await;
    assert_eq!(client.video(id).await.expect("the video")["id"], video["id"]);
    playable(&client, &standard()).await;
}
