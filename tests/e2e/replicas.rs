//! Lists that are read from replicas of the catalog, which follow it by streaming.
use std::process::Command;
use std::time::{Duration, Instant};

use playhouse::cli::client::Client;
use reqwest::header::{COOKIE, SET_COOKIE};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::support::clips::standard;
use crate::support::postgres::Postgres;
use crate::support::server::{Server, ServerOptions};
use crate::support::tools::{output, until};
use crate::uploads::playable;

const PATIENCE: Duration = Duration::from_secs(60);
/// How old lists may be.
const LAG_MAX: Duration = Duration::from_secs(4);
/// So long after a replica stands still, it is certainly fresh enough: the primary was looked at shortly before.
const FRESH_FOR: Duration = Duration::from_secs(2);
/// Rounds until what is asked in that time was asked in that time, on a loaded machine.
const ROUNDS_MAX: usize = 5;
/// Longest that a list takes whose replica does not answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// The primary, a replica, a server, its creator and their video.
struct World {
    primary: Postgres,
    replica: Postgres,
    server: Server,
    creator: Client,
    video: String,
}

impl World {
    async fn start() -> Self {
        let primary = Postgres::start();
        let replica = primary.standby();
        let server = ServerOptions::new()
            .set("catalog.postgres", &primary.address("postgres"))
            .set("catalog.postgres_replicas", &format!("[\"{}\"]", replica.address("postgres")))
            .set("transcode.rungs", "[90]")
            .set("catalog.replica_lag_max", &format!("{LAG_MAX:?}"))
            .start();
        let creator = server.account("creator").await;
        let video = playable(&creator, &standard()).await["id"].as_str().expect("an id").to_owned();
        let world = Self { primary, replica, server, creator, video };
        world.until_used(true).await;
        world
    }

    /// The value of a metric, with its labels; 0 when it was never set.
    async fn metric(&self, name: &str) -> f64 {
        let all = reqwest::get(format!("{}/metrics", self.server.url())).await.expect("an answer");
        let all = all.text().await.expect("metrics");
        let value = |line: &str| line.strip_prefix(name)?.trim().parse().ok();
        all.lines().find_map(value).unwrap_or(0.0)
    }

    async fn until_used(&self, is_used: bool) {
        let name = format!("playhouse_catalog_replica_used{{replica=\"{}\"}}", self.replica.name());
        let wanted = if is_used { 1.0 } else { 0.0 };
        let what = if is_used { "the replica to be used" } else { "the replica not to be used" };
        until(what, PATIENCE, || async { (self.metric(&name).await == wanted).then_some(()) }).await;
    }

    /// Lists read so far at the primary and at the replica.
    async fn read(&self) -> (f64, f64) {
        let of =
            async |target: &str| self.metric(&format!("playhouse_catalog_lists_total{{target=\"{target}\"}}")).await;
        (of("primary").await, of("replica").await)
    }

    /// The only title in a list.
    async fn listed(&self, request: RequestBuilder) -> String {
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), 200);
        let list: Value = answer.json().await.expect("JSON");
        assert_eq!(list["data"].as_array().map(Vec::len), Some(1), "{list}");
        list["data"][0]["title"].as_str().expect("a title").to_owned()
    }

    fn anonymous(&self) -> RequestBuilder {
        self.server.client().request(Method::GET, "/api/v1/videos")
    }

    /// The list by a page of the site's own that is signed in.
    fn browser(&self) -> RequestBuilder {
        self.creator.request(Method::GET, "/api/v1/videos?owner=me").header("X-Playhouse-Client", "browser")
    }

    /// Gives the video another title; returns the cookie that the client is given.
    async fn rename(&self, title: &str) -> String {
        let path = format!("/api/v1/videos/{}", self.video);
        let change = self.creator.request(Method::PATCH, &path).json(&json!({ "title": title }));
        let answer = change.send().await.expect("an answer");
        assert_eq!(answer.status(), 200);
        let cookie = answer.headers()[SET_COOKIE].to_str().expect("text");
        assert_eq!(
            cookie,
            format!("playhouse_wrote=1; Max-Age={}; Path=/; HttpOnly; SameSite=Lax", LAG_MAX.as_secs() + 1)
        );
        cookie.split(';').next().expect("a pair").to_owned()
    }

    /// Until strangers are told this title.
    async fn until_listed(&self, title: &str) {
        let is_told = async || (self.listed(self.anonymous()).await == title).then_some(());
        until("a change to be told to strangers", PATIENCE, is_told).await;
    }

    /// Has the replica stand still where it is, with its connections.
    async fn pause(&self) {
        self.replica.ask("SELECT pg_wal_replay_pause()");
        let is_paused = async || (self.replica.ask("SELECT pg_get_wal_replay_pause_state()") == "paused").then_some(());
        until("the replica to stand still", PATIENCE, is_paused).await;
    }

    async fn resume(&self) {
        self.replica.ask("SELECT pg_wal_replay_resume()");
        self.until_used(true).await;
    }

    /// What `playhouse doctor` says of the replica.
    fn doctor(&self) -> Value {
        let mut doctor = Command::new(env!("CARGO_BIN_EXE_playhouse"));
        doctor.args(["doctor", "--json", "--data"]).arg(self.server.data());
        doctor.env("PLAYHOUSE_CATALOG__POSTGRES", self.primary.address("postgres"));
        let replicas = format!("[\"{}\"]", self.replica.address("postgres"));
        let printed = output(doctor.env("PLAYHOUSE_CATALOG__POSTGRES_REPLICAS", replicas)).stdout;
        let report: Value = serde_json::from_slice(&printed).expect("JSON");
        let checks = report["checks"].as_array().expect("checks");
        checks.iter().find(|check| check["name"] == "catalog replica").expect("the replica").clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_read_from_a_replica_that_is_fresh() {
    let mut world = World::start().await;
    assert_eq!(world.doctor()["outcome"], "ok");
    who_reads_where(&world).await;
    a_replica_that_stands_still_is_late(&world).await;
    losses_are_not_noticed(&mut world).await;
    one_that_was_promoted_is_not_used(&world).await;
}

async fn who_reads_where(world: &World) {
    let cookie = world.rename("first").await;
    world.until_listed("first").await;
    let (primary, replica) = world.read().await;
    for _ in 0..3 {
        world.listed(world.anonymous()).await;
        world.listed(world.browser()).await;
    }
    assert_eq!(world.read().await, (primary, replica + 6.0));
    // Who has just written, and who could not carry that along.
    world.listed(world.browser().header(COOKIE, &cookie)).await;
    world.listed(world.creator.request(Method::GET, "/api/v1/videos?owner=me")).await;
    world.listed(world.anonymous().header(COOKIE, &cookie)).await;
    assert_eq!(world.read().await, (primary + 3.0, replica + 6.0));
    let refused = world.creator.request(Method::PATCH, "/api/v1/videos/vid_none").json(&json!({}));
    let refused = refused.send().await.expect("an answer");
    assert!(refused.status().is_client_error() && !refused.headers().contains_key(SET_COOKIE));
}

async fn a_replica_that_stands_still_is_late(world: &World) {
    let mut before = "first".to_owned();
    for round in 0.. {
        assert!(round < ROUNDS_MAX, "this machine is too slow");
        let title = format!("round {round}");
        world.until_listed(&before).await;
        let paused = Instant::now();
        world.pause().await;
        let cookie = world.rename(&title).await;
        assert_eq!(world.listed(world.browser().header(COOKIE, cookie)).await, title, "its own change");
        let strangers = world.listed(world.anonymous()).await;
        let was_in_time = paused.elapsed() < FRESH_FOR;
        if was_in_time {
            assert_eq!(strangers, before, "it is not the replica that was read");
            world.until_listed(&title).await;
            let late = paused.elapsed();
            assert!(late < LAG_MAX + ANSWER_MAX, "{late:?}");
            assert_eq!(world.replica.ask("SELECT pg_get_wal_replay_pause_state()"), "paused");
            world.until_used(false).await;
        }
        world.resume().await;
        before = title;
        if was_in_time {
            break;
        }
    }
    let log = world.server.log_text();
    let told = log.matches("a replica of the catalog is not read from").count();
    assert!((1..=ROUNDS_MAX).contains(&told), "{told} times\n{log}");
}

/// Strangers ask for lists until the replica is out of use.
async fn lists_go_on(world: &World) {
    until("the replica to be out of use", PATIENCE, || async {
        let asked = Instant::now();
        world.listed(world.anonymous()).await;
        assert!(asked.elapsed() < ANSWER_MAX, "{:?}", asked.elapsed());
        let used = format!("playhouse_catalog_replica_used{{replica=\"{}\"}}", world.replica.name());
        (world.metric(&used).await == 0.0).then_some(())
    })
    .await;
    let (primary, replica) = world.read().await;
    world.listed(world.anonymous()).await;
    assert_eq!(world.read().await, (primary + 1.0, replica));
}

async fn losses_are_not_noticed(world: &mut World) {
    world.replica.freeze();
    lists_go_on(world).await;
    world.replica.thaw();
    world.until_used(true).await;
    world.replica.stop();
    lists_go_on(world).await;
    let said = world.doctor();
    let found = said["found"].as_str().expect("text");
    assert!(said["outcome"] == "warning" && found.contains(&world.replica.name()), "{said}");
    world.replica.resume();
    world.until_used(true).await;
    let (_, replica) = world.read().await;
    world.listed(world.anonymous()).await;
    assert_eq!(world.read().await.1, replica + 1.0);
}

async fn one_that_was_promoted_is_not_used(world: &World) {
    world.replica.ask("SELECT pg_promote()");
    world.rename("after").await;
    world.until_used(false).await;
    let (primary, replica) = world.read().await;
    assert_eq!(world.listed(world.anonymous()).await, "after");
    assert_eq!(world.read().await, (primary + 1.0, replica));
    assert!(world.server.log_text().contains("it does not follow another server"));
    assert_eq!(world.doctor()["outcome"], "warning");
}
