//! Behind balancers, with the samples of `deploy/`.
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::live::text;
use crate::support::balancer::{Balancer, Kind};
use crate::support::clips::standard;
use crate::support::cluster::{Cluster, free_port};
use crate::support::server::ServerOptions;
use crate::support::tools::until;
use crate::uploads::playable;

const PATIENCE: Duration = Duration::from_secs(30);
/// Viewers who ask for one thing after the other.
const VIEWERS: usize = 6;
/// Requests that may fail, of each thousand.
const FAILED_PER_MILLE_MAX: usize = 1;

/// How viewers fared.
#[derive(Default)]
struct Tally {
    asked: AtomicUsize,
    failed: AtomicUsize,
    is_over: AtomicBool,
}

/// Asks for everything of a video again and again, as players would.
async fn watch(paths: Arc<Vec<String>>, tally: Arc<Tally>) {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).build().expect("a client");
    for url in paths.iter().cycle() {
        if tally.is_over.load(Ordering::Relaxed) {
            return;
        }
        let whole = async { client.get(url).send().await?.error_for_status()?.bytes().await };
        tally.asked.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = whole.await {
            tally.failed.fetch_add(1, Ordering::Relaxed);
            println!("{url}: {error:?}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn behind(kind: Kind) {
    let ports = [free_port(), free_port(), free_port()];
    let next = AtomicUsize::new(0);
    let options = |options: ServerOptions| {
        let port = ports[next.fetch_add(1, Ordering::Relaxed)];
        options
            .set("http.port", &port.to_string())
            .set("http.trusted_proxies", "[\"127.0.0.1\"]")
            .set("server.drain_delay", "3s")
            .set("transcode.rungs", "[90]")
    };
    let mut cluster = Cluster::start(3, options).await;
    let balancer = Balancer::start(kind, &ports, |config| config).await;
    let creator = cluster.nodes[0].account("creator").await;
    let video = playable(&creator, &standard()).await;
    let base = text(&video, "/video_urls/hls").rsplit_once("/v/").expect("public media").1;
    let base = base.rsplit_once('/').expect("a base").0.to_owned();
    let of = |path: String| format!("{}{path}", balancer.url());
    let paths = vec![
        of(format!("/api/v1/videos/{}", text(&video, "/id"))),
        of(format!("/v/{base}/master.m3u8")),
        of(format!("/v/{base}/v0-1/media.m3u8")),
        of(format!("/v/{base}/v0-1/init.mp4")),
        of(format!("/v/{base}/v0-1/0.m4s")),
        of("/api/v1/videos".into()),
    ];
    let (paths, tally) = (Arc::new(paths), Arc::new(Tally::default()));
    let viewers: Vec<_> = (0..VIEWERS).map(|_| tokio::spawn(watch(Arc::clone(&paths), Arc::clone(&tally)))).collect();
    for index in 0..3 {
        let stopped = cluster.nodes[index].stop();
        assert!(stopped.success(), "{stopped}");
        cluster.nodes[index].restart();
        cluster.until_all_know(3).await;
    }
    cluster.nodes[1].kill9();
    cluster.until_all_know(2).await;
    cluster.nodes[1].restart();
    cluster.until_all_know(3).await;
    tally.is_over.store(true, Ordering::Relaxed);
    for viewer in viewers {
        viewer.await.expect("a viewer");
    }
    let (asked, failed) = (tally.asked.load(Ordering::Relaxed), tally.failed.load(Ordering::Relaxed));
    println!("{failed} of {asked} requests failed behind {kind:?}");
    assert!(asked > 1000, "{asked}");
    assert!(failed * 1000 <= asked * FAILED_PER_MILLE_MAX, "{failed} of {asked} failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_goes_around_nodes_that_restart_or_die() {
    behind(Kind::Haproxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_goes_around_nodes_that_restart_or_die() {
    behind(Kind::Nginx).await;
}

/// A balancer that passes connections on as they are says whose they are.
#[tokio::test(flavor = "multi_thread")]
async fn balancers_tell_whose_connections_they_pass_on() {
    let options =
        ServerOptions::new().set("http.proxy_protocol", "true").set("http.trusted_proxies", "[\"127.0.0.1\"]");
    let server = options.start();
    let to_one = |config: String| config.replace("check\n", "send-proxy-v2 check check-send-proxy\n");
    let balancer = Balancer::start(Kind::Haproxy, &[server.port(); 3], |config| {
        to_one(config.replace("    http-request set-header X-Forwarded-For %[src]\n", ""))
    })
    .await;
    let client = IpAddr::from([127, 0, 0, 77]);
    let viewer = reqwest::Client::builder().local_address(client).build().expect("a client");
    let answer = viewer.get(format!("{}/api/v1/videos", balancer.url())).send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    until("the access log to name the client", PATIENCE, || async {
        let log = server.log_text();
        log.lines().any(|line| line.contains("/api/v1/videos") && line.contains("127.0.0.77")).then_some(())
    })
    .await;
    // Nobody else is believed, and who should say does not go unasked.
    assert!(
        reqwest::get(format!("{}/readyz", server.url())).await.is_err(),
        "a balancer's connection without a header"
    );
    let stranger = viewer.get(format!("{}/readyz", server.url())).send().await.expect("an answer");
    assert_eq!(stranger.status(), 200);
}
