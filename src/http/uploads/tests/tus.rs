//! tus 1.0: core and extensions.
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Method, RequestBuilder, Response};
use sha1::Digest;
use tokio::io::AsyncWriteExt;

use super::world::{SIZE_MAX, Who, World, answer, expect, field, film, problem};
use crate::domain::video::{Privacy, VideoStatus};

fn tus(request: RequestBuilder) -> RequestBuilder {
    request.header("tus-resumable", "1.0.0")
}

impl World {
    fn tus(&self, method: Method, path: &str) -> RequestBuilder {
        tus(self.ask(Who::Alice, method, path))
    }

    async fn tus_create(&self, fields: &[(&'static str, &str)]) -> Response {
        let request = self.tus(Method::POST, "/uploads");
        fields.iter().fold(request, |request, (name, value)| request.header(*name, *value)).send().await.unwrap()
    }

    /// A new upload's URL.
    pub(super) async fn tus_upload(&self, fields: &[(&'static str, &str)]) -> String {
        let response = self.tus_create(fields).await;
        expect(201, &response);
        field(&response, "location").to_owned()
    }

    pub(super) async fn tus_append(&self, url: &str, offset: u64, bytes: Vec<u8>) -> Response {
        self.tus_patch(url, offset).body(bytes).send().await.unwrap()
    }

    fn tus_patch(&self, url: &str, offset: u64) -> RequestBuilder {
        self.tus(Method::PATCH, url)
            .header("content-type", "application/offset+octet-stream")
            .header("upload-offset", offset.to_string())
    }

    pub(super) async fn tus_head(&self, url: &str) -> Response {
        self.tus(Method::HEAD, url).send().await.unwrap()
    }
}

fn encoded(pairs: &[(&str, &str)]) -> String {
    pairs.iter().map(|(key, value)| format!("{key} {}", STANDARD.encode(value))).collect::<Vec<_>>().join(",")
}

#[tokio::test]
async fn a_film_arrives_in_appends_and_becomes_a_video() {
    let world = World::new().await;
    let metadata = encoded(&[("filename", "../für uns.mp4"), ("tags", "a,b"), ("privacy", "unlisted")]);
    let created = world.tus_create(&[("upload-length", "100000"), ("upload-metadata", &metadata)]).await;
    expect(201, &created);
    let (url, video_id) = (field(&created, "location").to_owned(), field(&created, "playhouse-video-id").to_owned());
    assert!(url.starts_with(&format!("{}/api/v1/uploads/upl_", world.base)), "{url}");
    assert!(field(&created, "upload-expires").ends_with(" GMT"));
    let film = film(100_000);
    let appended = world.tus_append(&url, 0, film[..60_000].to_vec()).await;
    expect(204, &appended);
    assert_eq!((field(&appended, "upload-offset"), field(&appended, "tus-resumable")), ("60000", "1.0.0"));
    let head = world.tus_head(&url).await;
    expect(200, &head);
    assert_eq!((field(&head, "upload-offset"), field(&head, "upload-length")), ("60000", "100000"));
    assert_eq!((field(&head, "cache-control"), field(&head, "upload-metadata")), ("no-store", &*metadata));
    assert_eq!(field(&head, "playhouse-video-id"), video_id);
    assert!(world.completed.lock().unwrap().is_empty());
    expect(204, &world.tus_append(&url, 60_000, film[60_000..].to_vec()).await);
    let video = world.video(&video_id).await;
    assert_eq!(
        (video.status, video.privacy, video.title.as_str()),
        (VideoStatus::Processing, Privacy::Unlisted, "für uns.mp4")
    );
    assert_eq!(video.tags, ["a", "b"]);
    assert!(world.source(&video_id).await == film);
    assert_eq!(world.completed.lock().unwrap().len(), 1);
    let head = world.tus_head(&url).await;
    assert_eq!((field(&head, "upload-offset"), field(&head, "upload-expires")), ("100000", ""));
    expect(204, &world.tus_append(&url, 100_000, Vec::new()).await);
    let late = world.tus_append(&url, 100_000, vec![1]).await;
    assert_eq!(problem(409, late).await["code"], "upload_complete");
}

#[tokio::test]
async fn discovery_tells_versions_and_limits_to_anyone() {
    let world = World::new().await;
    let response = world.anonymous(Method::OPTIONS, "/uploads").send().await.unwrap();
    expect(204, &response);
    assert_eq!((field(&response, "tus-version"), field(&response, "tus-max-size")), ("1.0.0", &*SIZE_MAX.to_string()));
    assert_eq!(field(&response, "tus-checksum-algorithm"), "sha1,sha256,md5");
    assert_eq!(field(&response, "upload-limit"), format!("max-size={SIZE_MAX}, min-size=0"));
    for extension in ["creation", "creation-with-upload", "checksum-trailer", "termination", "concatenation"] {
        assert!(field(&response, "tus-extension").split(',').any(|known| known == extension), "{extension}");
    }
}

#[tokio::test]
async fn browsers_on_other_origins_are_let_in() {
    let world = World::new().await;
    let preflight = world
        .anonymous(Method::OPTIONS, "/uploads/upl_abcdefgh")
        .header("origin", "https://elsewhere.example")
        .header("access-control-request-method", "PATCH")
        .header("access-control-request-headers", "authorization,tus-resumable,upload-offset");
    let preflight = preflight.send().await.unwrap();
    assert!(preflight.status().is_success());
    let allowed = field(&preflight, "access-control-allow-headers").to_lowercase();
    for name in
        ["authorization", "tus-resumable", "upload-offset", "upload-metadata", "upload-complete", "content-type"]
    {
        assert!(allowed.split(',').any(|known| known.trim() == name), "{name}");
    }
    assert!(field(&preflight, "access-control-allow-methods").contains("PATCH"));
    let refused = world
        .tus(Method::HEAD, "/uploads/upl_abcdefgh")
        .header("origin", "https://elsewhere.example")
        .send()
        .await
        .unwrap();
    expect(404, &refused);
    assert_eq!(field(&refused, "access-control-allow-origin"), "*");
    assert!(field(&refused, "access-control-expose-headers").contains("Upload-Offset"));
}

#[tokio::test]
async fn versions_and_fields_are_checked() {
    let world = World::new().await;
    for version in [None, Some("0.2.2")] {
        let request = world.ask(Who::Alice, Method::POST, "/uploads").header("upload-length", "5");
        let request = version.into_iter().fold(request, |request, version| request.header("tus-resumable", version));
        let response = request.send().await.unwrap();
        assert_eq!(field(&response, "tus-version"), "1.0.0");
        assert_eq!(problem(412, response).await["code"], "unsupported_version");
    }
    let huge = (SIZE_MAX + 1).to_string();
    for (fields, status, code) in [
        (&[][..], 400, "missing_header"),
        (&[("upload-length", "-5")], 400, "invalid_header"),
        (&[("upload-length", "5"), ("upload-defer-length", "1")], 400, "contradicting_header"),
        (&[("upload-length", &*huge)], 413, "file_too_large"),
        (&[("upload-length", "5"), ("upload-metadata", "title !")], 400, "invalid_header"),
        (&[("upload-length", "5"), ("upload-metadata", "privacy c2VjcmV0")], 422, "invalid_field"),
        (&[("upload-length", "5"), ("upload-checksum", "crc32 AAAA")], 400, "unknown_algorithm"),
        (&[("upload-concat", "final;/api/v1/uploads/upl_missing00")], 400, "bad_part"),
    ] {
        let response = world.tus_create(fields).await;
        assert_eq!(field(&response, "tus-resumable"), "1.0.0");
        assert_eq!(problem(status, response).await["code"], code, "{fields:?}");
    }
    let url = world.tus_upload(&[("upload-length", "5")]).await;
    let untyped = world.tus(Method::PATCH, &url).header("upload-offset", "0").body("hello").send().await.unwrap();
    assert_eq!(problem(415, untyped).await["code"], "unsupported_media_type");
    let request = world.tus(Method::PATCH, &url).header("content-type", "application/offset+octet-stream");
    assert_eq!(problem(400, request.body("hello").send().await.unwrap()).await["code"], "missing_header");
    let gap = world.tus_append(&url, 3, vec![1]).await;
    assert_eq!(field(&gap, "upload-offset"), "0");
    assert_eq!(problem(409, gap).await["bytes_uploaded"], 0);
    let long = world.tus_append(&url, 0, vec![1; 6]).await;
    assert_eq!(problem(413, long).await["code"], "length_exceeded");
    assert_eq!(world.durable(&url).await, 0);
}

#[tokio::test]
async fn uploads_are_their_owners_alone() {
    let world = World::new().await;
    let url = world.tus_upload(&[("upload-length", "5")]).await;
    for method in [Method::HEAD, Method::GET, Method::PATCH, Method::DELETE] {
        let anonymous = tus(world.anonymous(method.clone(), &url)).send().await.unwrap();
        expect(401, &anonymous);
        let request = tus(world.ask(Who::Bob, method.clone(), &url)).header("upload-offset", "0");
        let stranger = request.header("content-type", "application/offset+octet-stream").send().await.unwrap();
        expect(404, &stranger);
    }
    expect(401, &tus(world.anonymous(Method::POST, "/uploads")).send().await.unwrap());
    let viewer = tus(world.ask(Who::Vera, Method::POST, "/uploads")).header("upload-length", "5");
    assert_eq!(problem(403, viewer.send().await.unwrap()).await["code"], "role_required");
    expect(404, &world.tus_head("/uploads/upl_nosuchupload").await);
    expect(404, &world.tus_head("/uploads/nonsense").await);
}

#[tokio::test]
async fn creation_may_bring_bytes_and_lengths_may_come_late() {
    let world = World::new().await;
    let film = film(5000);
    let request = world.tus(Method::POST, "/uploads").header("content-type", "application/offset+octet-stream");
    let created = request.header("upload-length", "5000").body(film[..3000].to_vec()).send().await.unwrap();
    expect(201, &created);
    assert_eq!(field(&created, "upload-offset"), "3000");
    let (url, video) = (field(&created, "location").to_owned(), field(&created, "playhouse-video-id").to_owned());
    expect(204, &world.tus_append(&url, 3000, film[3000..].to_vec()).await);
    assert!(world.source(&video).await == film);
    let request = world.tus(Method::POST, "/uploads").header("content-type", "application/offset+octet-stream");
    let long = request.header("upload-length", "5").body(film.clone()).send().await.unwrap();
    expect(413, &long);

    let url = world.tus_upload(&[("upload-defer-length", "1")]).await;
    let head = world.tus_head(&url).await;
    assert_eq!((field(&head, "upload-defer-length"), field(&head, "upload-length")), ("1", ""));
    expect(204, &world.tus_append(&url, 0, film[..4000].to_vec()).await);
    let last = world.tus_patch(&url, 4000).header("upload-length", "5000").body(film[4000..].to_vec());
    expect(204, &last.send().await.unwrap());
    let head = world.tus_head(&url).await;
    assert_eq!((field(&head, "upload-length"), field(&head, "upload-offset")), ("5000", "5000"));
    assert!(world.source(field(&head, "playhouse-video-id")).await == film);
    let url = world.tus_upload(&[("upload-length", "10")]).await;
    let other = world.tus_patch(&url, 0).header("upload-length", "11").body("hi").send().await.unwrap();
    assert_eq!(problem(400, other).await["code"], "length_conflict");
}

#[tokio::test]
async fn an_empty_file_is_complete_when_it_is_created() {
    let world = World::new().await;
    let url = world.tus_upload(&[("upload-length", "0")]).await;
    let head = world.tus_head(&url).await;
    assert_eq!((field(&head, "upload-offset"), field(&head, "upload-length")), ("0", "0"));
    assert_eq!(world.video(field(&head, "playhouse-video-id")).await.status, VideoStatus::Processing);
}

#[tokio::test]
async fn checksums_decide_over_the_whole_append() {
    let world = World::new().await;
    let film = film(200_000);
    let url = world.tus_upload(&[("upload-length", "200000")]).await;
    let append = |offset: usize, bytes: &[u8], of: &[u8]| {
        let digest = STANDARD.encode(sha1::Sha1::digest(of));
        world.tus_patch(&url, offset as u64).header("upload-checksum", format!("sha1 {digest}")).body(bytes.to_vec())
    };
    let wrong = append(0, &film[..150_000], b"else").send().await.unwrap();
    assert_eq!(problem(460, wrong).await["code"], "checksum_mismatch");
    assert_eq!(field(&world.tus_head(&url).await, "upload-offset"), "0");
    expect(204, &append(0, &film[..150_000], &film[..150_000]).send().await.unwrap());
    let unknown = world.tus_patch(&url, 150_000).header("upload-checksum", "sha512 AAAA").body("x");
    assert_eq!(problem(400, unknown.send().await.unwrap()).await["code"], "unknown_algorithm");
    let mut stream = world.raw(&chunked_patch(&world, &url, 150_000)).await;
    let digest = STANDARD.encode(md5::Md5::digest(&film[150_000..]));
    stream.write_all(&chunked_body(&film[150_000..], &format!("Upload-Checksum: md5 {digest}\r\n"))).await.unwrap();
    let text = answer(&mut stream).await;
    assert!(text.starts_with("HTTP/1.1 204"), "{text}");
    assert!(world.source(field(&world.tus_head(&url).await, "playhouse-video-id")).await == film);
}

#[tokio::test]
async fn a_wrong_or_missing_trailer_keeps_nothing() {
    let world = World::new().await;
    let url = world.tus_upload(&[("upload-length", "100")]).await;
    for (trailer, status) in [("Upload-Checksum: md5 AAAAAAAAAAAAAAAAAAAAAA==\r\n", "460"), ("", "400")] {
        let mut stream = world.raw(&chunked_patch(&world, &url, 0)).await;
        stream.write_all(&chunked_body(&film(50), trailer)).await.unwrap();
        let text = answer(&mut stream).await;
        assert!(text.starts_with(&format!("HTTP/1.1 {status}")), "{text}");
        assert_eq!(field(&world.tus_head(&url).await, "upload-offset"), "0");
    }
}

fn chunked_patch(world: &World, url: &str, offset: u64) -> String {
    format!(
        "PATCH {}\nTus-Resumable: 1.0.0\nContent-Type: application/offset+octet-stream\nUpload-Offset: {offset}\n\
         Transfer-Encoding: chunked\nTrailer: Upload-Checksum",
        world.path(url)
    )
}

fn chunked_body(bytes: &[u8], trailer: &str) -> Vec<u8> {
    let mut body = format!("{:x}\r\n", bytes.len()).into_bytes();
    body.extend_from_slice(bytes);
    body.extend_from_slice(format!("\r\n0\r\n{trailer}\r\n").as_bytes());
    body
}

#[tokio::test]
async fn termination_removes_the_bytes_for_good() {
    let world = World::new().await;
    let url = world.tus_upload(&[("upload-length", "100")]).await;
    let video = field(&world.tus_head(&url).await, "playhouse-video-id").to_owned();
    expect(204, &world.tus_append(&url, 0, film(50)).await);
    expect(204, &world.tus(Method::DELETE, &url).send().await.unwrap());
    expect(410, &world.tus_head(&url).await);
    let late = world.tus_append(&url, 50, film(50)).await;
    assert_eq!(problem(410, late).await["code"], "upload_ended");
    let id = super::world::id_of(&url);
    assert!(world.storage.uploads.offset(&id).await.is_err());
    let video = crate::domain::ids::VideoId::parse(&video).unwrap();
    assert!(world.storage.catalog.video(&video).await.unwrap().is_none());
    let whole = world.tus_upload(&[("upload-length", "50")]).await;
    expect(204, &world.tus_append(&whole, 0, film(50)).await);
    let done = world.tus(Method::DELETE, &whole).send().await.unwrap();
    assert_eq!(problem(409, done).await["code"], "upload_complete");
}

#[tokio::test]
async fn parts_sent_in_parallel_become_one_video() {
    let world = World::new().await;
    let film = film(90_000);
    let lengths = [50_000, 40_000];
    let mut urls = Vec::new();
    for length in lengths {
        urls.push(world.tus_upload(&[("upload-length", &length.to_string()), ("upload-concat", "partial")]).await);
    }
    let (first, second) = tokio::join!(
        world.tus_append(&urls[0], 0, film[..50_000].to_vec()),
        world.tus_append(&urls[1], 0, film[50_000..80_000].to_vec()),
    );
    expect(204, &first);
    expect(204, &second);
    let concat = format!("final;{} {}", urls[0], world.path(&urls[1]));
    let early = world.tus_create(&[("upload-concat", &concat)]).await;
    assert_eq!(problem(400, early).await["code"], "bad_part");
    expect(204, &world.tus_append(&urls[1], 30_000, film[80_000..].to_vec()).await);
    let part = world.tus_head(&urls[0]).await;
    assert_eq!((field(&part, "upload-concat"), field(&part, "playhouse-video-id")), ("partial", ""));
    let metadata = encoded(&[("title", "Whole")]);
    let url = world.tus_upload(&[("upload-concat", &concat), ("upload-metadata", &metadata)]).await;
    let head = world.tus_head(&url).await;
    assert_eq!((field(&head, "upload-offset"), field(&head, "upload-length")), ("90000", "90000"));
    assert!(field(&head, "upload-concat").starts_with("final;/api/v1/uploads/upl_"));
    assert!(world.source(field(&head, "playhouse-video-id")).await == film);
    let modified = world.tus_append(&url, 90_000, vec![1]).await;
    assert_eq!(problem(403, modified).await["code"], "final_upload");
    expect(409, &world.tus(Method::DELETE, &urls[0]).send().await.unwrap());
    assert_eq!(world.completed.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn clients_that_can_only_post_may_name_the_method() {
    let world = World::new().await;
    let url = world.tus_upload(&[("upload-length", "10")]).await;
    let append = world
        .tus(Method::POST, &url)
        .header("x-http-method-override", "PATCH")
        .header("content-type", "application/offset+octet-stream")
        .header("upload-offset", "0");
    expect(204, &append.body(film(4)).send().await.unwrap());
    expect(405, &world.tus(Method::POST, &url).send().await.unwrap());
    let end = world.tus(Method::POST, &url).header("x-http-method-override", "DELETE").send().await.unwrap();
    expect(204, &end);
    expect(410, &world.tus_head(&url).await);
}

#[tokio::test]
async fn what_is_certainly_no_film_is_refused_at_its_first_bytes() {
    let world = World::new().await;
    let pdf = [b"%PDF-1.7\n".to_vec(), film(2000)].concat();
    let metadata = encoded(&[("filename", "film.mp4")]);
    let url = world.tus_upload(&[("upload-length", "100000"), ("upload-metadata", &metadata)]).await;
    let refused = problem(415, world.tus_append(&url, 0, pdf.clone()).await).await;
    assert_eq!((&refused["code"], &refused["detected"]), (&"not_media".into(), &"application/pdf".into()));
    expect(410, &world.tus_head(&url).await);
    // Of a part only the first may start a file: parts are judged as a whole, by the probe.
    let part = world.tus_upload(&[("upload-length", "2009"), ("upload-concat", "partial")]).await;
    expect(204, &world.tus_append(&part, 0, pdf).await);
}

#[tokio::test]
async fn quotas_and_counts_hold() {
    let world = World::new().await;
    let length = SIZE_MAX.to_string();
    for _ in 0..3 {
        world.tus_upload(&[("upload-length", &length)]).await;
    }
    let full = problem(413, world.tus_create(&[("upload-length", "1")]).await).await;
    assert_eq!((&full["code"], &full["limit"]), (&"quota_exceeded".into(), &(3 * SIZE_MAX).into()));
    for _ in 0..5 {
        world.tus_upload(&[("upload-defer-length", "1")]).await;
    }
    let many = problem(413, world.tus_create(&[("upload-defer-length", "1")]).await).await;
    assert_eq!((&many["code"], &many["limit"]), (&"quota_exceeded".into(), &8.into()));
}

#[tokio::test]
async fn a_full_disk_is_told_and_the_upload_goes_on_later() {
    let world = World::with_settings(|settings| settings.uploads.disk_reserve = bytesize::ByteSize::pib(1)).await;
    let response = world.tus_create(&[("upload-length", "10")]).await;
    assert!(!field(&response, "retry-after").is_empty());
    assert_eq!(problem(507, response).await["code"], "storage_full");
}
