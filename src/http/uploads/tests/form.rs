//! One multipart form.
use reqwest::multipart::{Form, Part};
use reqwest::{Method, Response};
use serde_json::Value;
use tokio::io::AsyncWriteExt;

use super::world::{SIZE_MAX, Who, World, expect, film, problem, until};
use crate::domain::video::Privacy;

impl World {
    async fn post_form(&self, form: Form) -> Response {
        self.ask(Who::Alice, Method::POST, "/videos/upload").multipart(form).send().await.unwrap()
    }
}

fn file(bytes: Vec<u8>) -> Part {
    Part::bytes(bytes).file_name("clip.mp4").mime_str("video/mp4").unwrap()
}

#[tokio::test]
async fn fields_and_a_file_become_a_video() {
    let world = World::new().await;
    let film = film(700_000);
    let form = Form::new().text("title", "Größer").text("tags", "a, b").text("tags", "c").text("privacy", "private");
    let response = world.post_form(form.part("file", file(film.clone()))).await;
    expect(201, &response);
    let body: Value = response.json().await.unwrap();
    let id = body["video_id"].as_str().unwrap();
    let video = world.video(id).await;
    assert_eq!((video.title.as_str(), video.privacy, video.tags.len()), ("Größer", Privacy::Private, 3));
    assert_eq!(video.file_size, 700_000);
    assert!(world.source(id).await == film);
    assert_eq!(world.completed.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_form_is_refused_for_what_it_lacks_or_holds() {
    let world = World::new().await;
    let no_file = problem(422, world.post_form(Form::new().text("title", "x")).await).await;
    assert_eq!(no_file["errors"][0]["pointer"], "/file");
    let form = Form::new().text("privacy", "secret").part("file", file(film(10)));
    assert_eq!(problem(422, world.post_form(form).await).await["errors"][0]["pointer"], "/privacy");
    let form = Form::new().text("title", "x".repeat(40_000)).part("file", file(film(10)));
    assert_eq!(problem(422, world.post_form(form).await).await["errors"][0]["code"], "too_long");
    let image = Form::new().part("file", file([b"\x89PNG\r\n\x1a\n".to_vec(), film(1000)].concat()));
    assert_eq!(problem(415, world.post_form(image).await).await["code"], "not_media");
    let json = world.ask(Who::Alice, Method::POST, "/videos/upload").body("{}").send().await.unwrap();
    expect(415, &json);
    expect(401, &world.anonymous(Method::POST, "/videos/upload").body("x").send().await.unwrap());
    assert!(world.storage.catalog.deleted_videos(10).await.unwrap().is_empty());
    assert!(world.completed.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_file_above_the_limit_is_refused_midway_and_nothing_stays() {
    let world = World::new().await;
    let form = Form::new().part("file", file(film(usize::try_from(SIZE_MAX).unwrap() + 70_000)));
    let refused = problem(413, world.post_form(form).await).await;
    assert_eq!((&refused["code"], &refused["limit"]), (&"file_too_large".into(), &SIZE_MAX.into()));
    assert_nothing_stays(&world).await;
}

#[tokio::test]
async fn a_form_whose_connection_breaks_leaves_nothing() {
    let world = World::new().await;
    let head = "POST /api/v1/videos/upload\nContent-Type: multipart/form-data; boundary=b\nContent-Length: 100000";
    let mut stream = world.raw(head).await;
    let start = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.mp4\"\r\n\r\n";
    stream.write_all(start.as_bytes()).await.unwrap();
    stream.write_all(&film(50_000)).await.unwrap();
    until("the upload began", async || !world.uploads.family().0.list().await.unwrap().is_empty()).await;
    drop(stream);
    assert_nothing_stays(&world).await;
}

async fn assert_nothing_stays(world: &World) {
    use futures::StreamExt;
    until("the bytes are gone", async || {
        let blobs: Vec<_> = world.storage.blobs.list("raw-uploads").collect().await;
        blobs.is_empty()
    })
    .await;
    assert!(world.completed.lock().unwrap().is_empty());
}
