//! The IETF draft: interop versions 3, 5, 6 and the newest.
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Method, RequestBuilder, Response};
use sha2::Digest;
use tokio::io::AsyncWriteExt;

use super::world::{SIZE_MAX, Who, World, answer, expect, field, film, problem, until};
use crate::domain::video::VideoStatus;

impl World {
    fn draft(&self, method: Method, path: &str, interop: &str) -> RequestBuilder {
        let request = self.ask(Who::Alice, method, path);
        if interop.is_empty() { request } else { request.header("upload-draft-interop-version", interop) }
    }

    async fn draft_create(&self, interop: &str, fields: &[(&str, &str)], body: Vec<u8>) -> Response {
        let request = self.draft(Method::POST, "/uploads", interop);
        let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.body(body).send().await.unwrap()
    }

    async fn draft_append(&self, interop: &str, url: &str, (offset, last): (u64, bool), body: Vec<u8>) -> Response {
        let (name, value) = match (interop, last) {
            ("3", last) => ("upload-incomplete", if last { "?0" } else { "?1" }),
            (_, last) => ("upload-complete", if last { "?1" } else { "?0" }),
        };
        self.draft(Method::PATCH, url, interop)
            .header("content-type", "application/partial-upload")
            .header("upload-offset", offset.to_string())
            .header(name, value)
            .body(body)
            .send()
            .await
            .unwrap()
    }
}

#[tokio::test]
async fn every_iteration_uploads_in_parts_and_looks_in_between() {
    let world = World::new().await;
    let film = film(30_000);
    for interop in ["3", "5", "6", "8", ""] {
        let incomplete = if interop == "3" { ("upload-incomplete", "?1") } else { ("upload-complete", "?0") };
        let fields = [incomplete, ("content-disposition", "inline; filename=\"a.mp4\"")];
        let created = world.draft_create(interop, &fields, film[..10_000].to_vec()).await;
        expect(201, &created);
        assert_eq!(field(&created, "upload-offset"), "10000", "{interop}");
        let (url, video) = (field(&created, "location").to_owned(), field(&created, "playhouse-video-id").to_owned());
        let head = world.draft(Method::HEAD, &url, interop).send().await.unwrap();
        expect(204, &head);
        assert_eq!((field(&head, "upload-offset"), field(&head, "cache-control")), ("10000", "no-store"));
        let appended = world.draft_append(interop, &url, (10_000, false), film[10_000..20_000].to_vec()).await;
        expect(204, &appended);
        let flag =
            if interop == "3" { field(&appended, "upload-incomplete") } else { field(&appended, "upload-complete") };
        assert_eq!(flag, if interop == "3" { "?1" } else { "?0" });
        let last = world.draft_append(interop, &url, (20_000, true), film[20_000..].to_vec()).await;
        expect(200, &last);
        let head = world.draft(Method::HEAD, &url, interop).send().await.unwrap();
        let flag = if interop == "3" { field(&head, "upload-incomplete") } else { field(&head, "upload-complete") };
        assert_eq!(flag, if interop == "3" { "?0" } else { "?1" }, "{interop}");
        assert!(world.source(&video).await == film, "{interop}");
        assert_eq!(world.video(&video).await.title, "a.mp4");
    }
}

#[tokio::test]
async fn a_whole_file_in_one_request_needs_no_second() {
    let world = World::new().await;
    let film = film(30_000);
    let created = world.draft_create("8", &[("upload-complete", "?1")], film.clone()).await;
    expect(201, &created);
    assert_eq!((field(&created, "upload-complete"), field(&created, "upload-draft-interop-version")), ("?1", "8"));
    assert!(world.source(field(&created, "playhouse-video-id")).await == film);
    let digest = format!("sha-256=:{}:", STANDARD.encode(sha2::Sha256::digest(&film)));
    let created = world.draft_create("6", &[("upload-complete", "?1"), ("repr-digest", &digest)], film).await;
    let video = world.video(field(&created, "playhouse-video-id")).await;
    assert_eq!(video.status, VideoStatus::Verifying);
    assert!(video.expected_digest.unwrap().starts_with("sha256:"));
}

#[tokio::test]
async fn limits_are_told_by_the_iterations_names() {
    let world = World::new().await;
    let limit = async |interop: &str| {
        let created = world.draft_create(interop, &[("upload-complete", "?0")], Vec::new()).await;
        expect(201, &created);
        field(&created, "upload-limit").to_owned()
    };
    assert_eq!(limit("5").await, "");
    assert!(limit("6").await.starts_with(&format!("max-size={SIZE_MAX}, min-size=0, expires=")));
    assert!(limit("8").await.starts_with(&format!("max-size={SIZE_MAX}, min-size=0, max-age=")));
    let length = (SIZE_MAX + 1).to_string();
    let large = world.draft_create("8", &[("upload-complete", "?0"), ("upload-length", &length)], Vec::new()).await;
    assert!(field(&large, "upload-limit").starts_with("max-size="));
    assert_eq!(problem(413, large).await["code"], "file_too_large");
}

#[tokio::test]
async fn refusals_have_the_drafts_types() {
    let world = World::new().await;
    let created = world.draft_create("8", &[("upload-complete", "?0"), ("upload-length", "100")], film(10)).await;
    let url = field(&created, "location").to_owned();
    let gap = world.draft_append("8", &url, (50, false), film(10)).await;
    assert_eq!((field(&gap, "upload-offset"), field(&gap, "upload-complete")), ("10", "?0"));
    let gap = problem(409, gap).await;
    assert_eq!(gap["type"], "https://iana.org/assignments/http-problem-types#mismatching-upload-offset");
    assert_eq!((&gap["expected-offset"], &gap["provided-offset"]), (&10.into(), &50.into()));
    let lengths = world.draft_append("8", &url, (10, true), film(80)).await;
    let lengths = problem(400, lengths).await;
    assert_eq!(lengths["type"], "https://iana.org/assignments/http-problem-types#inconsistent-upload-length");
    let untyped = world.draft(Method::PATCH, &url, "6").header("upload-offset", "10").send().await.unwrap();
    expect(415, &untyped);
    let no_flag = world.draft_create("8", &[], Vec::new()).await;
    assert_eq!(problem(400, no_flag).await["code"], "missing_header");
    let whole = world.draft_append("8", &url, (10, true), film(90)).await;
    expect(200, &whole);
    let again = world.draft_append("8", &url, (100, true), Vec::new()).await;
    expect(200, &again);
    let more = problem(400, world.draft_append("6", &url, (100, true), film(5)).await).await;
    assert_eq!(more["type"], "https://iana.org/assignments/http-problem-types#completed-upload");
}

#[tokio::test]
async fn a_body_that_goes_on_beyond_its_length_ends_the_upload() {
    let world = World::new().await;
    let created = world.draft_create("8", &[("upload-complete", "?0"), ("upload-length", "100")], film(10)).await;
    let url = field(&created, "location").to_owned();
    let head = format!(
        "PATCH {}\nUpload-Complete: ?0\nUpload-Offset: 10\nContent-Type: application/partial-upload\n\
         Transfer-Encoding: chunked",
        world.path(&url)
    );
    let mut stream = world.raw(&head).await;
    let mut body = b"c8\r\n".to_vec();
    body.extend_from_slice(&film(200));
    body.extend_from_slice(b"\r\n0\r\n\r\n");
    stream.write_all(&body).await.unwrap();
    let text = answer(&mut stream).await;
    assert!(text.starts_with("HTTP/1.1 413"), "{text}");
    until("ended", async || world.draft(Method::HEAD, &url, "8").send().await.unwrap().status() == 410).await;
}

#[tokio::test]
async fn a_look_ends_the_writer_so_that_the_offset_stays_good() {
    let world = World::new().await;
    let created = world.draft_create("8", &[("upload-complete", "?0"), ("upload-length", "100")], film(10)).await;
    let url = field(&created, "location").to_owned();
    let head = format!(
        "PATCH {}\nUpload-Complete: ?1\nUpload-Offset: 10\nContent-Type: application/partial-upload\nContent-Length: 90",
        world.path(&url)
    );
    let mut stream = world.raw(&head).await;
    stream.write_all(&film(40)).await.unwrap();
    until("bytes", async || {
        let description = world.uploads.family().0.describe().await.unwrap();
        description.children.iter().any(|child| child.state["phase"] == "writing")
    })
    .await;
    let head = world.draft(Method::HEAD, &url, "8").send().await.unwrap();
    expect(204, &head);
    let offset: u64 = field(&head, "upload-offset").parse().unwrap();
    let text = answer(&mut stream).await;
    assert!(text.starts_with("HTTP/1.1 409"), "{text}");
    let rest = usize::try_from(100 - offset).unwrap();
    expect(200, &world.draft_append("8", &url, (offset, true), film(rest)).await);
}

#[tokio::test]
async fn an_upload_can_be_cancelled() {
    let world = World::new().await;
    let created = world.draft_create("", &[("upload-complete", "?0")], film(10)).await;
    let url = field(&created, "location").to_owned();
    expect(204, &world.draft(Method::DELETE, &url, "").send().await.unwrap());
    expect(410, &world.draft(Method::HEAD, &url, "").send().await.unwrap());
}
