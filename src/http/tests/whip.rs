//! WHIP by the letter of RFC 9725, up to where media would flow.
use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};

use crate::domain::ids::{LiveId, PlaybackId};
use crate::domain::live::{Live, LiveChoices, LiveState, StreamKey};
use crate::domain::ports::Clock;
use crate::domain::video::{Privacy, VideoDetails};
use crate::http::testing::World;
use crate::protocols::webrtc::wire::offer::tests::BROWSER;
use crate::system::{SystemClock, SystemEntropy};

const SDP: &str = "application/sdp";
const FRAGMENT: &str = "application/trickle-ice-sdpfrag";
const TRICKLE: &str = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n\
    a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host\r\n";
const RESTART: &str = "a=ice-ufrag:ysXw\r\na=ice-pwd:vw5LmwG4y/e6dPP/zAP9Gp5k\r\n";

/// A new stream; its key.
async fn live(world: &World, owner: &str) -> String {
    let signed = world.register(owner).await;
    let (catalog, entropy, now) = (&world.storage.catalog, &SystemEntropy, SystemClock.now());
    let user = catalog.user(&signed.user_id).await.unwrap().unwrap();
    let key = StreamKey::random(entropy);
    let details = VideoDetails {
        title: "Fair".into(),
        description: String::new(),
        category: None,
        tags: Vec::new(),
        privacy: Privacy::Public,
    };
    let live = Live {
        id: LiveId::random(entropy),
        playback_id: PlaybackId::random(entropy),
        user_id: user.id,
        channel_id: user.channel.id,
        details,
        choices: LiveChoices::default(),
        key: world.state.actors.lives.keys().store(&key).ok().unwrap(),
        passphrase: None,
        slate: None,
        pushes: Vec::new(),
        pull: None,
        state: LiveState::Idle,
        generation: 0,
        video_id: None,
        recording: None,
        started_at: None,
        ended_at: None,
        revision: 1,
        created_at: now,
        updated_at: now,
    };
    catalog.create_live(live).await.unwrap();
    key.as_str().to_owned()
}

fn post(world: &World, path: &str, body: impl Into<String>) -> RequestBuilder {
    world.api(Method::POST, path).header("content-type", SDP).body(body.into())
}

async fn refusal(request: RequestBuilder) -> (u16, String, String) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let problem: Value = response.json().await.unwrap();
    (status, problem["code"].as_str().unwrap().to_owned(), problem["detail"].as_str().unwrap().to_owned())
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).unwrap_or_else(|| panic!("no {name}")).to_str().unwrap()
}

async fn nothing_is_left(world: &World) {
    for _ in 0..1000 {
        let mux = world.state.webrtc.mux();
        if (mux.sessions(), mux.entries(), world.state.webrtc.publishers().count()) == (0, 0, 0) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("something is left");
}

#[tokio::test]
async fn offers_are_answered_or_refused_by_the_letter() {
    let world = World::start_with(|settings| {
        settings.live.webrtc_ice_servers =
            vec!["stun:stun.example.org:3478".into(), "turn:ann:pw@turn.example.org".into()];
    })
    .await;
    let live = live(&world, "anna").await;
    let own = format!("/whip/{live}");

    let anonymous = post(&world, "/whip", BROWSER).send().await.unwrap();
    assert_eq!(
        (anonymous.status().as_u16(), header(&anonymous, "www-authenticate")),
        (401, "Bearer realm=\"playhouse\"")
    );
    let code = |(status, code, _): (u16, String, String)| (status, code);
    let unknown = refusal(post(&world, "/whip", "nonsense").bearer_auth("nobody")).await;
    assert_eq!(code(unknown), (401, "invalid_token".into()));
    assert_eq!(code(refusal(post(&world, "/whip/nobody", BROWSER)).await), (404, "not_found".into()));
    let json = world.api(Method::POST, &own).json(&json!({}));
    assert_eq!(code(refusal(json).await), (415, "unsupported_media_type".into()));
    let untyped = world.api(Method::POST, &own).body(BROWSER);
    assert_eq!(refusal(untyped).await.0, 415);
    assert_eq!(
        code(refusal(post(&world, &own, BROWSER).header("accept", "text/html, */*;q=0")).await),
        (406, "not_acceptable".into())
    );
    assert_eq!(code(refusal(post(&world, &own, "v=0\r\nhello")).await), (400, "invalid_sdp".into()));
    assert_eq!(code(refusal(post(&world, &own, "x".repeat(70_000))).await), (413, "body_too_large".into()));
    let h263: String = BROWSER
        .lines()
        .filter(|line| !["H264", "VP9", "AV1"].iter().any(|codec| line.contains(codec)))
        .map(|line| format!("{}\r\n", line.replace("VP8", "H263")))
        .collect();
    let (status, told, detail) = refusal(post(&world, &own, h263)).await;
    assert_eq!((status, told.as_str()), (422, "unacceptable_sdp"));
    assert!(detail.contains("H263") && detail.contains("H.264"), "{detail}");
    let twice = BROWSER.replace("m=audio 9", "m=video 9");
    assert_eq!(refusal(post(&world, &own, twice)).await.0, 422);
    assert_eq!(refusal(post(&world, &own, BROWSER.replace("a=sendonly", "a=recvonly"))).await.0, 422);
    for method in [Method::GET, Method::PUT] {
        let refused = world.api(method, "/whip").send().await.unwrap();
        assert_eq!((refused.status().as_u16(), header(&refused, "allow")), (405, "POST"));
    }
    nothing_is_left(&world).await;

    let begun = post(&world, "/whip", BROWSER).bearer_auth(&live).send().await.unwrap();
    assert_eq!((begun.status().as_u16(), header(&begun, "content-type")), (201, SDP));
    assert!(header(&begun, "etag").starts_with('"') && header(&begun, "accept-patch") == FRAGMENT);
    assert!(header(&begun, "location").starts_with(&world.url("/api/v1/whip/sessions/")));
    let links: Vec<&str> = begun.headers().get_all("link").iter().map(|link| link.to_str().unwrap()).collect();
    assert_eq!(
        links,
        [
            "<stun:stun.example.org:3478>; rel=\"ice-server\"",
            "<turn:turn.example.org>; rel=\"ice-server\"; username=\"ann\"; credential=\"pw\"; credential-type=\"password\"",
        ]
    );
    let answer = begun.text().await.unwrap();
    assert!(answer.contains("a=ice-lite") && answer.contains("H264/90000") && !answer.contains("VP8"), "{answer}");
}

#[tokio::test]
async fn pages_of_every_origin_may_publish() {
    let world = World::start().await;
    let bare = world.api(Method::OPTIONS, "/whip").send().await.unwrap();
    assert_eq!((bare.status().as_u16(), header(&bare, "accept-post")), (200, SDP));
    let preflight = world.api(Method::OPTIONS, "/whip/sessions/x").header("origin", "https://elsewhere.example");
    let preflight = preflight.header("access-control-request-method", "PATCH").send().await.unwrap();
    assert_eq!((preflight.status().as_u16(), header(&preflight, "access-control-allow-origin")), (200, "*"));
    let allowed = header(&preflight, "access-control-allow-headers").to_lowercase();
    assert!(allowed.contains("authorization") && allowed.contains("if-match"), "{allowed}");
    let refused = post(&world, "/whip", BROWSER).header("origin", "https://elsewhere.example").send().await.unwrap();
    assert_eq!(header(&refused, "access-control-allow-origin"), "*");
    let exposed = header(&refused, "access-control-expose-headers").to_lowercase();
    assert!(["location", "etag", "link"].iter().all(|name| exposed.contains(name)), "{exposed}");
}

#[tokio::test]
async fn sessions_are_patched_and_ended_by_the_letter() {
    let world = World::start().await;
    let live = live(&world, "anna").await;
    let begun = post(&world, "/whip", BROWSER).bearer_auth(&live).send().await.unwrap();
    let (location, tag) = (header(&begun, "location").to_owned(), header(&begun, "etag").to_owned());
    let patch = |body: &str| {
        let request = world.client.request(Method::PATCH, &location).header("content-type", FRAGMENT);
        request.bearer_auth(&live).body(body.to_owned())
    };
    let status = |request: RequestBuilder| async { request.send().await.unwrap().status().as_u16() };
    let anonymous = world.client.request(Method::PATCH, &location).header("content-type", FRAGMENT).body(TRICKLE);
    assert_eq!(status(anonymous.header("if-match", &tag)).await, 401);
    let other = world.client.request(Method::PATCH, &location).header("content-type", FRAGMENT).body(TRICKLE);
    assert_eq!(status(other.header("if-match", &tag).bearer_auth("other")).await, 403);
    assert_eq!(status(patch(TRICKLE)).await, 428);
    assert_eq!(status(patch(TRICKLE).header("if-match", "\"other\"")).await, 412);
    assert_eq!(status(patch("hello").header("if-match", &tag)).await, 400);
    let untyped = world.client.request(Method::PATCH, &location).bearer_auth(&live).body(TRICKLE);
    assert_eq!(status(untyped.header("if-match", &tag)).await, 415);
    assert_eq!(status(patch(RESTART).header("if-match", &tag)).await, 422);
    let noted = patch(TRICKLE).header("if-match", &tag).send().await.unwrap();
    assert_eq!((noted.status().as_u16(), noted.text().await.unwrap().as_str()), (204, ""));
    let restarted = patch(RESTART).header("if-match", "*").send().await.unwrap();
    assert_eq!((restarted.status().as_u16(), header(&restarted, "content-type")), (200, FRAGMENT));
    let new_tag = header(&restarted, "etag").to_owned();
    let fragment = restarted.text().await.unwrap();
    assert!(new_tag != tag && fragment.contains("a=ice-pwd:") && fragment.contains("a=candidate:"), "{fragment}");
    assert_eq!(status(patch(TRICKLE).header("if-match", &tag)).await, 412);
    for method in [Method::GET, Method::POST, Method::PUT] {
        assert_eq!(status(world.client.request(method, &location)).await, 405);
    }
    let delete = || world.client.delete(&location);
    assert_eq!((status(delete()).await, status(delete().bearer_auth("other")).await), (401, 403));
    assert_eq!(status(delete().bearer_auth(&live)).await, 200);
    assert_eq!(status(delete().bearer_auth(&live)).await, 404);
    assert_eq!(status(patch(TRICKLE).header("if-match", &new_tag)).await, 404);
    nothing_is_left(&world).await;
}

#[tokio::test]
async fn there_is_a_bound_and_it_says_so() {
    let world = World::start().await;
    let mut streams = Vec::new();
    for number in 0..9 {
        streams.push(live(&world, &format!("anna{number}")).await);
    }
    for stream in &streams[..8] {
        assert_eq!(post(&world, &format!("/whip/{}", stream), BROWSER).send().await.unwrap().status(), 201);
    }
    let full = post(&world, &format!("/whip/{}", &streams[8]), BROWSER).send().await.unwrap();
    assert_eq!((full.status().as_u16(), header(&full, "retry-after")), (503, "30"));
}
