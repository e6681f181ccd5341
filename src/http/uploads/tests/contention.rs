//! Writers that break off, fall silent, or meet.
use tokio::io::AsyncWriteExt;

use super::world::{STALL, World, answer, expect, field, film, problem, until};

fn patch(world: &World, url: &str, (offset, length): (usize, usize)) -> String {
    format!(
        "PATCH {}\nTus-Resumable: 1.0.0\nContent-Type: application/offset+octet-stream\nUpload-Offset: {offset}\n\
         Content-Length: {length}",
        world.path(url)
    )
}

async fn writing(world: &World) {
    until("a writer is there", async || {
        let description = world.uploads.family().0.describe().await.unwrap();
        description.children.iter().any(|child| child.state["phase"] == "writing")
    })
    .await;
}

#[tokio::test]
async fn what_came_before_the_connection_broke_is_kept() {
    let world = World::new().await;
    let film = film(100_000);
    let url = world.tus_upload(&[("upload-length", "100000")]).await;
    let mut stream = world.raw(&patch(&world, &url, (0, 100_000))).await;
    stream.write_all(&film[..60_000]).await.unwrap();
    writing(&world).await;
    drop(stream);
    until("all 60000 bytes are durable", async || field(&world.tus_head(&url).await, "upload-offset") == "60000").await;
    expect(204, &world.tus_append(&url, 60_000, film[60_000..].to_vec()).await);
    assert!(world.source(field(&world.tus_head(&url).await, "playhouse-video-id")).await == film);
}

#[tokio::test]
async fn a_silent_writer_makes_room_and_its_bytes_are_kept() {
    let world = World::new().await;
    let film = film(100_000);
    let url = world.tus_upload(&[("upload-length", "100000")]).await;
    let mut stream = world.raw(&patch(&world, &url, (0, 100_000))).await;
    stream.write_all(&film[..60_000]).await.unwrap();
    writing(&world).await;
    // Half open: nothing more comes, and nothing says so.
    until("the offset is told", async || field(&world.tus_head(&url).await, "upload-offset") == "60000").await;
    expect(204, &world.tus_append(&url, 60_000, film[60_000..].to_vec()).await);
    let text = answer(&mut stream).await;
    assert!(text.starts_with("HTTP/1.1 409") && text.contains("tus-resumable"), "{text}");
    assert!(world.source(field(&world.tus_head(&url).await, "playhouse-video-id")).await == film);
}

#[tokio::test]
async fn a_second_writer_is_refused_while_the_first_one_lives() {
    let world = World::new().await;
    let film = film(100_000);
    let url = world.tus_upload(&[("upload-length", "100000")]).await;
    let mut stream = world.raw(&patch(&world, &url, (0, 100_000))).await;
    stream.write_all(&film[..1000]).await.unwrap();
    writing(&world).await;
    let mut sent = 1000;
    let second = world.tus_append(&url, 0, film.clone());
    let mut second = std::pin::pin!(second);
    let refused = loop {
        tokio::select! {
            response = &mut second => break response,
            () = tokio::time::sleep(STALL / 40) => {
                stream.write_all(&film[sent..sent + 500]).await.unwrap();
                sent += 500;
            }
        }
    };
    assert!(!field(&refused, "retry-after").is_empty());
    assert_eq!(problem(423, refused).await["code"], "upload_locked");
    stream.write_all(&film[sent..]).await.unwrap();
    let text = answer(&mut stream).await;
    assert!(text.starts_with("HTTP/1.1 204"), "{text}");
    assert!(world.source(field(&world.tus_head(&url).await, "playhouse-video-id")).await == film);
}

#[tokio::test]
async fn many_writers_at_once_leave_one_good_file() {
    let world = World::new().await;
    let film = film(200_000);
    let url = world.tus_upload(&[("upload-length", "200000")]).await;
    let mut offset = 0;
    while offset < film.len() {
        let appends = (0..6).map(|_| world.tus_append(&url, offset as u64, film[offset..].to_vec()));
        for response in futures::future::join_all(appends).await {
            assert!(matches!(response.status().as_u16(), 204 | 409 | 423), "{response:?}");
        }
        offset = field(&world.tus_head(&url).await, "upload-offset").parse().unwrap();
    }
    assert!(world.source(field(&world.tus_head(&url).await, "playhouse-video-id")).await == film);
    assert_eq!(world.completed.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn ending_an_upload_ends_its_writer() {
    let world = World::new().await;
    let url = world.tus_upload(&[("upload-length", "100000")]).await;
    let mut stream = world.raw(&patch(&world, &url, (0, 100_000))).await;
    stream.write_all(&film(1000)).await.unwrap();
    writing(&world).await;
    let id = super::world::id_of(&url);
    let upload = world.storage.catalog.upload(&id).await.unwrap().unwrap();
    let handle = world.uploads.find(&id, &upload.user_id, crate::domain::account::Role::Creator).await.unwrap();
    handle.terminate("terminated").await.unwrap();
    let text = answer(&mut stream).await;
    assert!(text.starts_with("HTTP/1.1 409"), "{text}");
    expect(410, &world.tus_head(&url).await);
}
