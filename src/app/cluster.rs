//! Joining the cluster, when this server is a node of one.
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};

use super::families::Families;
use crate::actors::nodes::NodesHandle;
use crate::actors::remote::Switchboard;
use crate::cluster::identity::{Identity, IdentityFiles};
use crate::cluster::members::{Member, Profile, State};
use crate::cluster::{Cluster, ClusterConfig, Inbound, wire};
use crate::domain::cluster::{NodeLife, NodeName};
use crate::domain::ports::{Catalog, Clock};
use crate::settings::{ClusterSettings, Settings};
use crate::system::SystemClock;

/// This node's place among others.
pub(super) struct Joined {
    /// What everything else sees of it.
    pub(super) nodes: NodesHandle,
    /// The node's side of the cluster, and what others open.
    pub(super) cluster: Option<(Cluster, Inbound)>,
}

/// Joins, or finds that this server is alone.
pub(super) async fn join(
    settings: &Settings,
    (catalog, switchboard): (Arc<dyn Catalog>, &Switchboard),
    ephemeral_ports: bool,
) -> Result<Joined> {
    let epoch = SystemClock.now().as_millis();
    let Some(name) = settings.cluster.name() else {
        let me = NodeLife { node: NodeName::alone(), epoch };
        return Ok(Joined { nodes: NodesHandle::alone(me, catalog), cluster: None });
    };
    let config = config(&settings.cluster, &name, (epoch, ephemeral_ports)).await?;
    let (cluster, inbound) = Cluster::start(config, Arc::new(switchboard.clone())).await?;
    let (handle, of_tenure, term) = (cluster.handle(), Arc::clone(&catalog), settings.cluster.lease_term.0);
    let starting = async move { handle.begin_tenure(of_tenure, term).await };
    let tenure = match cluster.runtime() {
        // Where it does not wait behind work.
        Some(runtime) => runtime.spawn(starting).await?,
        None => starting.await,
    };
    let tenure = tenure.with_context(|| format!("node {name} cannot be told to the catalog"))?;
    let nodes = NodesHandle::of_cluster(cluster.handle(), tenure, catalog);
    Ok(Joined { nodes, cluster: Some((cluster, inbound)) })
}

/// Has what a node had taken up by others, once its leases have run out.
pub(super) async fn take_up(nodes: NodesHandle, term: Duration, resume: Arc<dyn Fn() + Send + Sync>) {
    let mut changes = nodes.changes();
    let mut before = nodes.members();
    while changes.changed().await.is_ok() {
        let now = Arc::clone(&changes.borrow_and_update());
        let has = |members: &[Member], life: &NodeLife| {
            members.iter().any(|member| member.life() == *life && member.state != State::Aside)
        };
        if before.iter().any(|member| has(&before, &member.life()) && !has(&now, &member.life())) {
            let resume = Arc::clone(&resume);
            tokio::spawn(async move {
                // One round after the first, for those that it comes too early for.
                for wait in [term / 4, term] {
                    tokio::time::sleep(wait).await;
                    resume();
                }
            });
        }
        before = now;
    }
}

/// Lets go of what others have, or may have: whenever this node was cut off from the catalog, and while it is cut off from others.
pub(super) async fn let_go(nodes: NodesHandle, families: Families, resume: Arc<dyn Fn() + Send + Sync>) {
    let Some(mut standing) = nodes.standing() else { return };
    while standing.changed().await.is_ok() {
        let is_aside = standing.borrow_and_update().is_aside;
        families.let_go_of_lost().await;
        if !is_aside {
            resume();
        }
    }
}

async fn config(
    settings: &ClusterSettings,
    name: &NodeName,
    (epoch, ephemeral_ports): (i64, bool),
) -> Result<ClusterConfig> {
    let files = IdentityFiles {
        authority: settings.authority.clone(),
        certificate: settings.certificate.clone(),
        key: settings.key.clone(),
    };
    let advertised = match settings.advertised.as_str() {
        "" => None,
        text => {
            let mut found =
                tokio::net::lookup_host(text).await.with_context(|| format!("cluster.advertised: {text}"))?;
            Some(found.next().with_context(|| format!("cluster.advertised: {text} has no address"))?)
        }
    };
    // Seeds name ports: one that was chosen stays.
    let is_free = ephemeral_ports && settings.port == ClusterSettings::default().port;
    let listen = super::listen_address((settings.address, settings.port), is_free);
    anyhow::ensure!(
        advertised.is_some() || !listen.ip().is_unspecified(),
        "cluster.advertised must say how other nodes reach this one, when cluster.address is {}",
        listen.ip()
    );
    Ok(ClusterConfig {
        identity: Identity::load(&files, name).context("this node cannot prove who it is")?,
        epoch,
        listen: SocketAddr::new(listen.ip(), listen.port()),
        advertised,
        seeds: settings.seeds.clone(),
        profile: Profile {
            roles: settings.roles.clone(),
            zone: settings.zone.clone(),
            public_url: settings.public_url.clone(),
        },
        gossip_interval: settings.gossip_interval.0,
        message_bytes_max: settings.message_bytes_max.as_u64(),
        versions: wire::versions_up_to(settings.protocol_max),
    })
}
