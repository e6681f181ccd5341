use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::http::pipeline::{NoteRoute, Pipeline};
use crate::http::server::Server;
use crate::http::testing::World;
use crate::settings::HumanDuration;

/// Another server of the same state with routes of the test's own.
fn serve(world: &World, routes: Router) -> Server {
    let pipeline = Pipeline::new(world.state.clone(), routes.route_layer(NoteRoute));
    Server::bind(world.state.clone(), pipeline, ([127, 0, 0, 1], 0).into()).unwrap()
}

async fn read_all(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut bytes)).await.unwrap().unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn a_panic_is_a_500_and_the_connection_lives_on() {
    let world = World::start().await;
    let server = serve(&world, Router::new().route("/bug", get(async || -> &'static str { panic!("a bug") })));
    let url = format!("http://{}/bug", server.address());
    for _ in 0..2 {
        let response = world.client.get(&url).send().await.unwrap();
        assert_eq!(response.status(), 500);
        let body = response.text().await.unwrap();
        assert!(body.contains("internal_error") && !body.contains("a bug"), "{body}");
    }
}

#[tokio::test]
async fn draining_answers_what_was_asked_and_refuses_the_rest() {
    let world = World::start_with(|settings| {
        settings.server.drain_delay = HumanDuration(Duration::from_millis(100));
        settings.server.drain_timeout = HumanDuration(Duration::from_secs(10));
    })
    .await;
    let (entered, release) = (std::sync::Arc::new(Notify::new()), std::sync::Arc::new(Notify::new()));
    let held = {
        let (entered, release) = (entered.clone(), release.clone());
        get(move || async move {
            entered.notify_one();
            release.notified().await;
            "held"
        })
    };
    let server = serve(&world, Router::new().route("/held", held));
    let address = server.address();
    let asked = tokio::spawn(world.client.get(format!("http://{address}/held")).send());
    entered.notified().await;
    let stopping = tokio::spawn(server.stop());
    world.state.draining().cancelled().await;
    assert_eq!(world.get("/readyz").await.status(), 503, "while others may still be asking");
    while TcpStream::connect(address).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!asked.is_finished());
    release.notify_one();
    assert_eq!(asked.await.unwrap().unwrap().text().await.unwrap(), "held");
    assert!(stopping.await.unwrap(), "nothing had to be cut");
}

#[tokio::test]
async fn what_does_not_end_in_time_is_cut() {
    let world = World::start_with(|settings| {
        settings.server.drain_timeout = HumanDuration(Duration::from_millis(50));
    })
    .await;
    let entered = std::sync::Arc::new(Notify::new());
    let signal = entered.clone();
    let held = get(move || async move {
        signal.notify_one();
        std::future::pending::<&'static str>().await
    });
    let server = serve(&world, Router::new().route("/held", held));
    let asked = tokio::spawn(world.client.get(format!("http://{}/held", server.address())).send());
    entered.notified().await;
    assert!(!server.stop().await);
    assert!(asked.await.unwrap().is_err());
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_the_end() {
    let world = World::start().await;
    let server = serve(&world, Router::new().route("/there", get(async || "here")));
    let mut silent = TcpStream::connect(server.address()).await.unwrap();
    let mut kept_alive = TcpStream::connect(server.address()).await.unwrap();
    kept_alive.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    kept_alive.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 404");
    let stopped = tokio::time::timeout(Duration::from_secs(5), server.stop()).await;
    assert_eq!(stopped, Ok(true));
    assert_eq!(read_all(&mut silent).await, "");
}

#[tokio::test]
async fn slow_heads_are_cut_off() {
    let timeout = Duration::from_millis(200);
    let world = World::start_with(|settings| settings.http.header_timeout = HumanDuration(timeout)).await;
    for beginning in ["", "G", "PRI * HT", "GET / HTTP/1.1\r\nhost: x\r\n"] {
        let mut stream = TcpStream::connect(world.server.address()).await.unwrap();
        stream.write_all(beginning.as_bytes()).await.unwrap();
        let answer = read_all(&mut stream).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{beginning:?}: {answer}");
    }
}

#[tokio::test]
async fn large_heads_are_refused() {
    let world = World::start_with(|settings| settings.http.header_bytes_max = bytesize::ByteSize::kib(8)).await;
    let mut stream = TcpStream::connect(world.server.address()).await.unwrap();
    let head = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(64 * 1024));
    let _ = stream.write_all(head.as_bytes()).await;
    let mut first = [0; 12];
    stream.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 431");
}

#[tokio::test]
async fn a_body_that_stands_still_is_given_up_and_a_slow_one_is_not() {
    let world = World::start_with(|settings| {
        settings.http.body_stall_timeout = HumanDuration(Duration::from_millis(300));
    })
    .await;
    let echo = post(async |request: axum::extract::Request| {
        crate::http::extract::read_limited(request, 1 << 20).await.map(|body| body.len().to_string())
    });
    let server = serve(&world, Router::new().route("/", echo));
    let mut slow = TcpStream::connect(server.address()).await.unwrap();
    slow.write_all(b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 6\r\n\r\n").await.unwrap();
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        slow.write_all(b"x").await.unwrap();
    }
    let answer = read_all(&mut slow).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\n6"), "{answer}");
    let mut stalled = TcpStream::connect(server.address()).await.unwrap();
    stalled.write_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 6\r\n\r\nxx").await.unwrap();
    let answer = read_all(&mut stalled).await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("body_stalled"), "{answer}");
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_their_turn() {
    let world = World::start_with(|settings| settings.http.connections_max = 1).await;
    let first = TcpStream::connect(world.server.address()).await.unwrap();
    let waiting = tokio::spawn(world.client.get(world.url("/healthz")).send());
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!waiting.is_finished());
    drop(first);
    assert_eq!(waiting.await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn http2_with_prior_knowledge_is_spoken_on_the_same_port() {
    let world = World::start().await;
    let stream = TcpStream::connect(world.server.address()).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get(world.url("/healthz")).body(axum::body::Body::empty()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!((response.status().as_u16(), response.version()), (200, http::Version::HTTP_2));
}

/// Asks for the root over HTTP/2 with windows of this size; returns the answer and what becomes of the connection.
async fn ask_over_http2(
    server: &Server,
    window_bytes: u32,
) -> (http::Response<hyper::body::Incoming>, tokio::task::JoinHandle<hyper::Result<()>>) {
    let io = hyper_util::rt::TokioIo::new(TcpStream::connect(server.address()).await.unwrap());
    let mut client = hyper::client::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new());
    let (mut sender, connection) = client.initial_stream_window_size(window_bytes).handshake(io).await.unwrap();
    let connection = tokio::spawn(connection);
    let url = format!("http://{}/", server.address());
    let request = http::Request::get(url).body(axum::body::Body::empty()).unwrap();
    (sender.send_request(request).await.unwrap(), connection)
}

#[tokio::test]
async fn an_http2_client_that_takes_nothing_of_its_answers_is_cut_off() {
    let stall = Duration::from_millis(300);
    let world = World::start_with(|settings| settings.http.body_stall_timeout = HumanDuration(stall)).await;
    let large = Router::new().route("/", get(async || vec![7_u8; 1 << 20]));
    let server = serve(&world, large);
    let (answer, connection) = ask_over_http2(&server, 0).await;
    assert_eq!((answer.status().as_u16(), &answer.headers()["content-length"]), (200, &"1048576".parse().unwrap()));
    tokio::time::timeout(Duration::from_secs(10), connection).await.expect("cut off").unwrap().ok();
}

#[tokio::test]
async fn an_http2_answer_that_is_long_in_coming_or_slowly_taken_is_not_cut_off() {
    use http_body_util::BodyExt;
    let stall = Duration::from_millis(300);
    let world = World::start_with(|settings| settings.http.body_stall_timeout = HumanDuration(stall)).await;
    let late = async || {
        tokio::time::sleep(Duration::from_millis(700)).await;
        vec![7_u8; 100_000]
    };
    let server = serve(&world, Router::new().route("/", get(late)));
    let (mut answer, _connection) = ask_over_http2(&server, 16_384).await;
    let mut taken = 0;
    while let Some(frame) = answer.frame().await {
        taken += frame.unwrap().into_data().unwrap().len();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(taken, 100_000);
}

#[tokio::test]
async fn only_a_site_whose_address_is_https_has_browsers_insist_on_it() {
    for (public_url, said) in [("https://video.example.org", Some("max-age=15552000")), ("", None)] {
        let world = World::start_with(|settings| {
            settings.server.public_url = public_url.into();
            settings.http.trusted_proxies = vec!["127.0.0.1".into()];
        })
        .await;
        let forwarded = world.client.get(world.url("/healthz")).header("x-forwarded-proto", "https");
        let answer = forwarded.send().await.unwrap();
        let header = answer.headers().get("strict-transport-security").map(|value| value.to_str().unwrap());
        assert_eq!(header, said, "{public_url}");
        assert!(!world.get("/healthz").await.headers().contains_key("strict-transport-security"));
    }
}

#[tokio::test]
async fn operators_are_answered() {
    let world = World::start().await;
    assert_eq!(world.get("/healthz").await.text().await.unwrap(), "ok\n");
    assert_eq!(world.get("/readyz").await.text().await.unwrap(), "ready\n");
    let metrics = world.get("/metrics").await;
    assert_eq!(metrics.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
}

#[tokio::test]
async fn pages_are_kept_to_themselves() {
    let world = World::start().await;
    for path in ["/", "/watch/vid_whatever"] {
        let page = world.client.get(world.url(path)).header("accept", "text/html").send().await.unwrap();
        assert_eq!(page.status(), 200, "{path}");
        let policy = page.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("default-src 'self'") && policy.contains("frame-ancestors"), "{policy}");
        assert_eq!(page.headers()["x-content-type-options"], "nosniff");
        assert!(page.headers()["content-type"].to_str().unwrap().starts_with("text/html"), "{path}");
    }
    let missing = world.client.get(world.url("/api/nothing")).header("accept", "text/html").send().await.unwrap();
    assert_eq!(missing.status(), 404);
}

#[tokio::test]
async fn other_sites_pages_may_use_the_api_only_when_named() {
    let origin = "https://partner.example";
    let world = World::start_with(|settings| settings.http.cors_origins = vec![origin.into()]).await;
    for (asking, allowed) in [(origin, true), ("https://evil.example", false)] {
        let response = world.client.get(world.url("/api/v1")).header("origin", asking).send().await.unwrap();
        assert_eq!(response.headers().contains_key("access-control-allow-origin"), allowed, "{asking}");
        assert!(!response.headers().contains_key("access-control-allow-credentials"));
    }
}
