//! Gossip, placement and leases together, in time that passes when nothing else is left to do: links are cut, messages are late and
//! overtake one another, nodes lose one another, the database, or their lives. What holds of all of it: views that are told the same
//! agree, nobody dies in them who lives and is heard, what is placed has one holder, and its history has neither gap nor fork.
//!
//! Schedules are drawn by a seed that is printed (`SIM_SEED`, `SIM_ROUNDS`); whom gossip talks to is drawn by itself.
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex as Lock};

use async_trait::async_trait;
use chitchat::ChitchatMessage;
use chitchat::transport::{Socket, Transport as GossipTransport};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::watch;
use tokio::time::Instant;

use super::super::members::{Gossip, GossipConfig, Links, Profile};
use super::super::*;
use crate::domain::cluster::{Lease, LeaseAnswer, Role};
use crate::domain::events::NewEvent;
use crate::domain::time::Timestamp;
use crate::storage::catalog::CatalogStore;
use crate::storage::catalog::executor::{CommitError, Executor, Row};
use crate::storage::catalog::sqlite::SqliteExecutor;
use crate::storage::catalog::statement::{Statement, Transaction};

const NODES: usize = 4;
const KEYS: [&str; 6] = ["job/a", "job/b", "live/c", "live/d", "session/e", "session/f"];
const GOSSIP_EVERY: Duration = Duration::from_millis(200);
/// What happens in one round.
const STRIKES: usize = 60;
const STEP: Duration = Duration::from_millis(100);
const TERM: Duration = Duration::from_secs(5);
/// A connection over a link that is cut ends after this.
const SILENCE_MAX: Duration = Duration::from_secs(3);

/// Links between all nodes.
#[derive(Clone)]
struct Net(Arc<Lock<Wires>>);

struct Wires {
    draw: StdRng,
    /// Who is there.
    nodes: HashMap<SocketAddr, (NodeLife, Inbox)>,
    cut: HashSet<(SocketAddr, SocketAddr)>,
    /// Connections that have ended.
    ended: HashSet<(SocketAddr, SocketAddr)>,
    changed: watch::Sender<u64>,
    delay_max: Duration,
    lost_percent: u32,
}

type Inbox = mpsc::UnboundedSender<(SocketAddr, ChitchatMessage)>;

impl Net {
    fn new(seed: u64) -> Self {
        Self(Arc::new(Lock::new(Wires {
            draw: StdRng::seed_from_u64(seed),
            nodes: HashMap::new(),
            cut: HashSet::new(),
            ended: HashSet::new(),
            changed: watch::Sender::new(0),
            delay_max: Duration::from_millis(20),
            lost_percent: 0,
        })))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Wires) -> T) -> T {
        act(&mut self.0.lock().unwrap())
    }

    fn cut(&self, one: SocketAddr, other: SocketAddr) {
        self.with(|wires| wires.cut.extend([(one, other), (other, one)]));
        let net = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(SILENCE_MAX).await;
            net.with(|wires| {
                if wires.cut.contains(&(one, other)) {
                    wires.ended.extend([(one, other), (other, one)]);
                    wires.changed.send_modify(|changes| *changes += 1);
                }
            });
        });
    }

    fn cut_off(&self, one: SocketAddr) {
        let others = (0..NODES).map(address).filter(|other| *other != one);
        others.for_each(|other| self.cut(one, other));
    }

    fn heal(&self) {
        self.with(|wires| {
            wires.cut.clear();
            wires.ended.clear();
            (wires.delay_max, wires.lost_percent) = (Duration::from_millis(20), 0);
            wires.changed.send_modify(|changes| *changes += 1);
        });
    }

    fn join(&self, at: SocketAddr, life: &NodeLife) -> mpsc::UnboundedReceiver<(SocketAddr, ChitchatMessage)> {
        let (inbox, heard) = mpsc::unbounded_channel();
        self.with(|wires| {
            wires.nodes.insert(at, (life.clone(), inbox));
            wires.changed.send_modify(|changes| *changes += 1);
        });
        heard
    }

    fn die(&self, at: SocketAddr) {
        self.with(|wires| {
            wires.nodes.remove(&at);
            wires.changed.send_modify(|changes| *changes += 1);
        });
    }
}

/// One node's end of all links.
struct End {
    net: Net,
    at: SocketAddr,
    heard: Lock<Option<mpsc::UnboundedReceiver<(SocketAddr, ChitchatMessage)>>>,
}

impl Links for End {
    fn connected(&self) -> Vec<(NodeLife, u16)> {
        let is_there = |wires: &Wires, other: SocketAddr| other != self.at && !wires.ended.contains(&(self.at, other));
        self.net.with(|wires| {
            wires.nodes.iter().filter(|(at, _)| is_there(wires, **at)).map(|(_, (life, _))| (life.clone(), 1)).collect()
        })
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.net.with(|wires| wires.changed.subscribe())
    }
}

#[async_trait]
impl GossipTransport for End {
    async fn open(&self, address: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        let heard = self.heard.lock().unwrap().take().expect("opened once");
        Ok(Box::new(Wire { net: self.net.clone(), address, heard }))
    }
}

struct Wire {
    net: Net,
    address: SocketAddr,
    heard: mpsc::UnboundedReceiver<(SocketAddr, ChitchatMessage)>,
}

#[async_trait]
impl Socket for Wire {
    async fn send(&mut self, to: SocketAddr, message: ChitchatMessage) -> anyhow::Result<()> {
        let (net, from) = (self.net.clone(), self.address);
        let delay = net.with(|wires| {
            let is_lost = wires.draw.random_range(0..100) < wires.lost_percent;
            let most = wires.delay_max.as_micros() as u64;
            (!is_lost).then(|| Duration::from_micros(wires.draw.random_range(0..=most)))
        });
        let Some(delay) = delay else { return Ok(()) };
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            net.with(|wires| {
                if !wires.cut.contains(&(from, to))
                    && let Some((_, inbox)) = wires.nodes.get(&to)
                {
                    let _ = inbox.send((from, message));
                }
            });
        });
        Ok(())
    }

    async fn recv(&mut self) -> anyhow::Result<(SocketAddr, ChitchatMessage)> {
        match self.heard.recv().await {
            Some(heard) => Ok(heard),
            None => std::future::pending().await,
        }
    }
}

/// One node's way to the database, which can be cut: nothing is answered then.
struct Way {
    database: Arc<SqliteExecutor>,
    clock: (Arc<AtomicI64>, Instant),
    is_cut: Arc<AtomicBool>,
}

impl Way {
    async fn go<T>(&self, work: impl Future<Output = T>) -> T {
        if self.is_cut.load(Ordering::Relaxed) {
            return std::future::pending().await;
        }
        let (clock, began) = &self.clock;
        clock.store(began.elapsed().as_millis() as i64 + 1_000_000, Ordering::Relaxed);
        still(work).await
    }
}

#[async_trait]
impl Executor for Way {
    async fn read(&self, queries: Vec<Statement>) -> Result<Vec<Vec<Row>>, CatalogError> {
        self.go(self.database.read(queries)).await
    }

    async fn commit(&self, transaction: Transaction) -> Result<Vec<u64>, CommitError> {
        self.go(self.database.commit(transaction)).await
    }
}

/// Time stands still while something else than time is waited for.
async fn still<T>(work: impl Future<Output = T>) -> T {
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let guard = tokio::task::spawn_blocking(move || {
        let _ = wait.recv();
    });
    let made = work.await;
    drop(done);
    guard.await.unwrap();
    made
}

/// A node, alive.
struct Sim {
    life: NodeLife,
    gossip: Arc<Gossip>,
    tenure: Tenure,
    catalog: Arc<dyn Catalog>,
    is_cut_off_the_database: Arc<AtomicBool>,
    /// What it has, and the number that each history has come to, as far as it knows.
    held: BTreeMap<&'static str, (Lease, u64)>,
    doubts: u64,
    /// How far it has read the feed, and what it has come to for each key.
    read: (u64, BTreeMap<String, u64>),
}

struct World {
    net: Net,
    draw: StdRng,
    database: Arc<SqliteExecutor>,
    clock: (Arc<AtomicI64>, Instant),
    _dir: tempfile::TempDir,
    nodes: Vec<Option<Sim>>,
    lives: i64,
}

fn address(index: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, index as u8 + 1], 4700))
}

impl World {
    async fn start(seed: u64) -> Self {
        let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(AtomicI64::new(0)));
        let read = Arc::clone(&clock);
        let path = dir.path().join("catalog.sqlite");
        let database = SqliteExecutor::open_by(&path, 1, move || read.load(Ordering::Relaxed)).unwrap();
        let mut world = Self {
            net: Net::new(seed),
            draw: StdRng::seed_from_u64(seed ^ 0x5eed),
            database: Arc::new(database),
            clock: (clock, Instant::now()),
            _dir: dir,
            nodes: Vec::new(),
            lives: 0,
        };
        for index in 0..NODES {
            let node = world.live(index).await;
            world.nodes.push(Some(node));
        }
        world
    }

    fn way(&self, is_cut: &Arc<AtomicBool>) -> Arc<dyn Catalog> {
        let (database, clock, is_cut) = (Arc::clone(&self.database), self.clock.clone(), Arc::clone(is_cut));
        Arc::new(CatalogStore::new(Arc::new(Way { database, clock, is_cut })))
    }

    async fn live(&mut self, index: usize) -> Sim {
        self.lives += 1;
        let life = NodeLife { node: format!("node-{index}").parse().unwrap(), epoch: self.lives };
        let config = GossipConfig {
            profile: Profile { roles: Role::ALL.to_vec(), zone: String::new(), public_url: String::new() },
            interval: GOSSIP_EVERY,
            cluster: "sim".into(),
            seeds: vec![address(0).to_string(), address(1).to_string()],
        };
        let (at, heard) = (address(index), self.net.join(address(index), &life));
        let end = Arc::new(End { net: self.net.clone(), at, heard: Lock::new(Some(heard)) });
        let links = Arc::clone(&end) as Arc<dyn Links>;
        let gossip = Arc::new(Gossip::start_on(config, &life, (at, &*end), links).await.unwrap());
        let is_cut_off_the_database = Arc::new(AtomicBool::new(false));
        let catalog = self.way(&is_cut_off_the_database);
        let tenure = Tenure::start(Arc::clone(&catalog), Arc::clone(&gossip), (life.clone(), TERM)).await.unwrap();
        Sim {
            life,
            gossip,
            tenure,
            catalog,
            is_cut_off_the_database,
            held: BTreeMap::new(),
            doubts: 0,
            read: Default::default(),
        }
    }

    /// Time passes, and every node does what it does in it.
    async fn pass(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            tokio::time::sleep(STEP).await;
            for node in self.nodes.iter_mut().flatten() {
                // What the database does not answer is given up.
                let _ = tokio::time::timeout(STEP / 10, node.work()).await;
            }
        }
    }

    fn die(&mut self, index: usize) {
        self.nodes[index] = None;
        self.net.die(address(index));
    }

    fn alive(&self) -> Vec<usize> {
        (0..NODES).filter(|index| self.nodes[*index].is_some()).collect()
    }

    /// Something happens.
    async fn strike(&mut self) {
        let index = self.draw.random_range(0..NODES);
        match self.draw.random_range(0..10) {
            0 => {
                let other = (index + self.draw.random_range(1..NODES)) % NODES;
                self.net.cut(address(index), address(other));
            }
            1 => self.net.cut_off(address(index)),
            2 => self.net.with(|wires| wires.delay_max = Duration::from_millis(400)),
            3 => self.net.with(|wires| wires.lost_percent = 30),
            4 => self.die(index),
            5 => {
                if let Some(node) = &self.nodes[index] {
                    node.is_cut_off_the_database.fetch_xor(true, Ordering::Relaxed);
                }
            }
            6 | 7 if self.nodes[index].is_none() => {
                let node = self.live(index).await;
                self.nodes[index] = Some(node);
            }
            8 => self
                .nodes
                .iter()
                .flatten()
                .for_each(|node| node.is_cut_off_the_database.store(false, Ordering::Relaxed)),
            _ => self.net.heal(),
        }
    }

    /// Everything is well again.
    async fn mend(&mut self) {
        self.net.heal();
        for index in 0..NODES {
            match &mut self.nodes[index] {
                Some(node) => node.is_cut_off_the_database.store(false, Ordering::Relaxed),
                None => {
                    let node = self.live(index).await;
                    self.nodes[index] = Some(node);
                }
            }
        }
    }

    /// What each node sees, by name.
    fn views(&self) -> Vec<Vec<NodeName>> {
        let view = |node: &Sim| node.gossip.members.all().iter().map(|member| member.node.clone()).collect();
        self.nodes.iter().flatten().map(view).collect()
    }

    /// Numbers of each key in the order in which they were stored.
    async fn histories(&self) -> BTreeMap<String, Vec<(u64, u64)>> {
        let mut histories = BTreeMap::<String, Vec<(u64, u64)>>::new();
        let (catalog, mut after) = (self.way(&Arc::default()), 0);
        loop {
            let read = catalog.events_after(after, 500).await.unwrap();
            let Some(last) = read.last() else { return histories };
            after = last.sequence;
            for event in read {
                let number = |name: &str| event.payload[name].as_u64().unwrap();
                histories.entry(event.key.clone()).or_default().push((number("generation"), number("number")));
            }
        }
    }

    async fn check(&self, seed: u64) {
        for (key, history) in self.histories().await {
            let mut last = (0, 0);
            for (generation, number) in history {
                assert!(generation >= last.0, "seed {seed}: {key}: generation {generation} after {}", last.0);
                assert_eq!(number, last.1 + 1, "seed {seed}: {key}: a gap or a fork");
                last = (generation, number);
            }
        }
    }
}

impl Sim {
    /// What a node does with what is placed on it: takes the lease, goes on with the history, lets go of what is another's by now.
    async fn work(&mut self) {
        let standing = *self.tenure.standing().borrow();
        if standing.is_aside {
            return self.held.clear();
        }
        if std::mem::replace(&mut self.doubts, standing.doubts) != standing.doubts {
            for key in KEYS {
                let lease = self.catalog.lease(key).await.unwrap();
                if lease.is_none_or(|lease| lease.holder != self.life) {
                    self.held.remove(key);
                }
            }
        }
        let members = self.gossip.members.all();
        for key in KEYS {
            let is_own = placement::owner(key, Role::Api, &members).as_ref() == Some(&self.life.node);
            if is_own && !self.held.contains_key(key) {
                match self.catalog.take_lease(key, &self.life, self.tenure.lapse()).await.unwrap() {
                    LeaseAnswer::Given(lease) => {
                        let newest = self.newest(key).await;
                        self.held.insert(key, (lease, newest));
                    }
                    LeaseAnswer::Held(_) => {}
                }
            }
            let Some((lease, number)) = self.held.get_mut(key) else { continue };
            let payload = serde_json::json!({ "generation": lease.generation, "number": *number + 1 });
            let event = NewEvent::new("sim.worked", key, payload);
            match self.catalog.fenced(lease).record_event(event, Timestamp::from_millis(1)).await {
                Ok(_) => *number += 1,
                Err(CatalogError::NotHeld) => drop(self.held.remove(key)),
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// The number that a key's history has come to.
    async fn newest(&mut self, key: &str) -> u64 {
        loop {
            let (after, found) = &mut self.read;
            let read = self.catalog.events_after(*after, 1000).await.unwrap();
            let Some(last) = read.last() else { return found.get(key).copied().unwrap_or(0) };
            *after = last.sequence;
            for event in read {
                found.insert(event.key, event.payload["number"].as_u64().unwrap());
            }
        }
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[tokio::test(start_paused = true)]
async fn nobody_dies_of_late_messages_and_who_is_cut_off_comes_back() {
    let mut world = World::start(7).await;
    world.pass(Duration::from_secs(5)).await;
    let all: Vec<NodeName> = (0..NODES).map(|index| format!("node-{index}").parse().unwrap()).collect();
    assert!(world.views().iter().all(|view| *view == all), "{:?}", world.views());
    // Ten minutes of messages that are late, overtake one another, and get lost.
    world.net.with(|wires| (wires.delay_max, wires.lost_percent) = (Duration::from_millis(300), 10));
    for _ in 0..600 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(world.views().iter().all(|view| *view == all), "{:?}", world.views());
    }
    // One that is alone sees itself alone, and the others see it gone, soon; then all are back.
    world.net.cut_off(address(0));
    world.pass(Duration::from_secs(20)).await;
    assert_eq!(world.views()[0], all[..1]);
    let nodes: Vec<&Sim> = world.nodes.iter().flatten().collect();
    assert!(nodes[0].held.is_empty() && nodes[0].tenure.standing().borrow().is_aside);
    assert_eq!(nodes[1..].iter().map(|node| node.held.len()).sum::<usize>(), KEYS.len(), "others have what it had");
    assert!(world.views()[1..].iter().all(|view| *view == all[1..]), "{:?}", world.views());
    world.net.heal();
    world.pass(Duration::from_secs(12)).await;
    assert!(world.views().iter().all(|view| *view == all), "{:?}", world.views());
    world.check(7).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_placed_has_one_history_whatever_happens() {
    let (first, rounds) = (setting("SIM_SEED", 1), setting("SIM_ROUNDS", 2));
    for seed in first..first + rounds {
        println!("seed {seed} (SIM_SEED, SIM_ROUNDS)");
        let mut world = World::start(seed).await;
        for _ in 0..STRIKES {
            let pause = world.draw.random_range(200..4000);
            world.pass(Duration::from_millis(pause)).await;
            world.strike().await;
        }
        world.mend().await;
        world.pass(TERM * 4).await;
        let views = world.views();
        assert!(views.iter().all(|view| view.len() == NODES), "seed {seed}: {views:?}");
        world.check(seed).await;
        for key in KEYS {
            let lease = world.way(&Arc::default()).lease(key).await.unwrap();
            let lease = lease.unwrap_or_else(|| panic!("seed {seed}: nobody has {key}"));
            let is_alive = world.alive().iter().any(|index| world.nodes[*index].as_ref().unwrap().life == lease.holder);
            assert!(is_alive, "seed {seed}: {key} is {:?}'s, who is gone", lease.holder);
        }
    }
}
