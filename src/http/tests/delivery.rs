use reqwest::header::{HeaderMap, HeaderName};

use crate::domain::ids::PlaybackId;
use crate::domain::video::{Privacy, Video};
use crate::http::testing::{SEGMENT_BYTES, World};
use crate::system::SystemEntropy;

/// Every kind of thing below a video's base.
const MEDIA: [&str; 6] =
    ["master.m3u8", "manifest.mpd", "v0-1/media.m3u8", "v0-1/init.mp4", "v0-1/0.m4s", "pictures/poster.jpg"];

/// Base of a video's media with a token, as its owner's links have it.
fn signed_base(world: &World, video: &Video) -> String {
    world.state.delivery.base_path(video)
}

#[tokio::test]
async fn no_media_of_closed_videos_without_a_token_of_their_own() {
    let world = World::start().await;
    let anna = world.register("anna").await;
    let other = world.playable(&anna.user_id, Privacy::Private).await;
    let foreign = signed_base(&world, &other);
    let foreign_token = foreign.split('/').nth(2).unwrap().to_owned();
    for privacy in [Privacy::Unlisted, Privacy::Private] {
        let video = world.playable(&anna.user_id, privacy).await;
        let own = signed_base(&world, &video);
        let mut damaged = own.clone();
        damaged.replace_range(4..5, if &own[4..5] == "A" { "B" } else { "A" });
        for tail in MEDIA {
            assert_eq!(world.get(&format!("{own}/{tail}")).await.status(), 200, "{own}/{tail}");
            let anonymous = [
                format!("/v/{}/{tail}", video.playback_id),
                format!("/t/{foreign_token}/v/{}/{tail}", video.playback_id),
                format!("{damaged}/{tail}"),
                format!("/t/x/v/{}/{tail}", video.playback_id),
            ];
            for path in anonymous {
                let refused = world.get(&path).await;
                assert_eq!(refused.status(), 404, "{privacy} {path}");
                assert_eq!(refused.headers()["cache-control"], "max-age=1");
                let head = world.client.head(world.url(&path)).send().await.unwrap();
                assert_eq!(head.status(), 404, "{privacy} {path}");
            }
        }
    }
}

#[tokio::test]
async fn media_of_public_videos_need_no_token_and_others_do_not_exist() {
    let world = World::start().await;
    let anna = world.register("anna").await;
    let video = world.playable(&anna.user_id, Privacy::Public).await;
    for tail in MEDIA {
        assert_eq!(world.get(&format!("/v/{}/{tail}", video.playback_id)).await.status(), 200, "{tail}");
    }
    let nowhere = PlaybackId::random(&SystemEntropy);
    let unfinished = world.uploading(&anna.user_id, Privacy::Public).await.playback_id;
    let missing = [
        format!("/v/{nowhere}/master.m3u8"),
        format!("/v/{unfinished}/master.m3u8"),
        format!("/v/{}/v0-1/1.m4s", video.playback_id),
        format!("/v/{}/v9-9/0.m4s", video.playback_id),
        format!("/v/{}/v0-1/k0.m4s", video.playback_id),
        format!("/v/{}/pictures/other.jpg", video.playback_id),
        format!("/v/{}/pictures/..%2Fv0-1%2F0.m4s", video.playback_id),
        format!("/v/{}/..%2F..%2Fetc%2Fpasswd", video.playback_id),
        "/v/garbage/master.m3u8".to_owned(),
    ];
    for path in missing {
        assert_eq!(world.get(&path).await.status(), 404, "{path}");
    }
}

#[tokio::test]
async fn segments_may_be_kept_for_ever_and_playlists_not() {
    let world = World::start().await;
    let anna = world.register("anna").await;
    let public = world.playable(&anna.user_id, Privacy::Public).await;
    let private = world.playable(&anna.user_id, Privacy::Private).await;
    let header = |headers: &HeaderMap, name: &str| {
        let name: HeaderName = name.parse().unwrap();
        headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    };
    for (video, scope) in [(public, "public"), (private, "private")] {
        let base = signed_base(&world, &video);
        for (tail, kind, caching) in [
            ("v0-1/0.m4s", "video/mp4", "max-age=31536000, immutable"),
            ("v0-1/init.mp4", "video/mp4", "max-age=31536000, immutable"),
            ("pictures/poster.jpg", "image/jpeg", "max-age=31536000, immutable"),
            ("master.m3u8", "application/vnd.apple.mpegurl", "max-age=60, stale-while-revalidate=600"),
            ("manifest.mpd", "application/dash+xml", "max-age=60, stale-while-revalidate=600"),
            ("v0-1/media.m3u8", "application/vnd.apple.mpegurl", "max-age=60, stale-while-revalidate=600"),
        ] {
            let response = world.get(&format!("{base}/{tail}")).await;
            let headers = response.headers();
            assert_eq!(header(headers, "content-type"), kind, "{tail}");
            assert_eq!(header(headers, "cache-control"), format!("{scope}, {caching}"), "{tail}");
            assert_eq!(header(headers, "access-control-allow-origin"), "*", "{tail}");
            assert_eq!(header(headers, "timing-allow-origin"), "*", "{tail}");
            let tag = header(headers, "etag");
            assert!(tag.starts_with('"'), "strong: {tag}");
            let again = world.client.get(world.url(&format!("{base}/{tail}"))).header("if-none-match", &tag);
            assert_eq!(again.send().await.unwrap().status(), 304, "{tail}");
        }
    }
}

#[tokio::test]
async fn ranges_and_heads_of_segments() {
    let world = World::start().await;
    let anna = world.register("anna").await;
    let video = world.playable(&anna.user_id, Privacy::Public).await;
    let url = world.url(&format!("/v/{}/v0-1/0.m4s", video.playback_id));
    let part = world.client.get(&url).header("range", "bytes=10-19").send().await.unwrap();
    assert_eq!((part.status().as_u16(), &part.headers()["content-range"]), (206, &"bytes 10-19/1000".parse().unwrap()));
    assert_eq!(part.bytes().await.unwrap(), (10..20).collect::<Vec<u8>>());
    let beyond = world.client.get(&url).header("range", "bytes=1000-").send().await.unwrap();
    assert_eq!((beyond.status().as_u16(), &beyond.headers()["content-range"]), (416, &"bytes */1000".parse().unwrap()));
    let head = world.client.head(&url).send().await.unwrap();
    assert_eq!(head.headers()["content-length"], SEGMENT_BYTES.to_string().as_str());
}

#[tokio::test]
async fn playlists_name_what_is_there_and_are_compressed_for_who_takes_it() {
    let world = World::start().await;
    let anna = world.register("anna").await;
    let video = world.playable(&anna.user_id, Privacy::Unlisted).await;
    let base = signed_base(&world, &video);
    let plain = world.get(&format!("{base}/v0-1/media.m3u8")).await;
    assert_eq!(plain.headers()["vary"], "accept-encoding");
    let plain_tag = plain.headers()["etag"].clone();
    let text = plain.text().await.unwrap();
    for uri in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        assert!(!uri.starts_with('/') && !uri.contains("://"), "relative, so that the token goes along: {uri}");
        assert_eq!(world.get(&format!("{base}/v0-1/{uri}")).await.status(), 200, "{uri}");
    }
    let request = world.client.get(world.url(&format!("{base}/v0-1/media.m3u8"))).header("accept-encoding", "gzip");
    let compressed = request.send().await.unwrap();
    assert_eq!(compressed.headers()["content-encoding"], "gzip");
    assert_ne!(compressed.headers()["etag"], plain_tag);
    let bytes = compressed.bytes().await.unwrap();
    let mut unpacked = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&bytes[..]), &mut unpacked).unwrap();
    assert_eq!(unpacked, text);
}
