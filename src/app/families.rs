//! What has children by key.
use std::sync::Arc;

use anyhow::{Context, Result};

use crate::actors::janitor::JanitorHandle;
use crate::actors::limits::SharedLimits;
use crate::actors::live_pull::{PULLS_MAX, PullsHandle};
use crate::actors::live_relay::RELAYS_MAX;
use crate::actors::lives::{LIVES_MAX, LivesHandle};
use crate::actors::node_root::{Branch, RootHandle};
use crate::actors::nodes::NodesHandle;
use crate::actors::playback::PlaybackHandle;
use crate::actors::remote::Extensions;
use crate::actors::supervisor::{Family, FamilyHandle, SupervisorArguments};
use crate::actors::thumbnails::ThumbnailsHandle;
use crate::actors::transcodes::{JOBS_MAX, TranscodesHandle};
use crate::actors::uploads::UploadsHandle;
use crate::domain::ports::Clock;
use crate::domain::restart::RestartPolicy;
use crate::http::state::HttpActors;
use crate::settings::Settings;
use crate::system::SystemClock;

/// The ways to all families of this node.
#[derive(Clone)]
pub(super) struct Families {
    pub(super) transcodes: TranscodesHandle,
    pub(super) uploads: UploadsHandle,
    pub(super) playback: PlaybackHandle,
    pub(super) lives: LivesHandle,
    pub(super) pulls: PullsHandle,
}

impl Families {
    /// Their supervisors.
    pub(super) fn branches(&self, settings: &Settings) -> [Branch; 6] {
        [
            family(self.transcodes.family(), JOBS_MAX),
            family(self.uploads.family(), settings.uploads.sessions_max),
            family(self.playback.family(), settings.playback.sessions_max),
            family(self.lives.family(), LIVES_MAX),
            family(self.lives.relays().family(), RELAYS_MAX),
            family(self.pulls.family(), PULLS_MAX),
        ]
    }

    /// What requests ask.
    pub(super) fn http_actors(
        &self,
        thumbnails: ThumbnailsHandle,
        (root, janitor, nodes): (RootHandle, JanitorHandle, NodesHandle),
    ) -> HttpActors {
        let Self { transcodes, uploads, playback, lives, pulls } = self.clone();
        HttpActors { thumbnails, uploads, playback, lives, pulls, transcodes, root, janitor, nodes }
    }

    /// What other nodes ask.
    pub(super) fn extensions(&self, limits: Arc<dyn SharedLimits>) -> Extensions {
        let Self { transcodes, playback, lives, pulls, .. } = self.clone();
        Extensions { playback, transcodes, lives, pulls, limits }
    }

    /// Takes up what was going on when the node ended.
    pub(super) async fn resume(&self) -> Result<()> {
        let resumed = self.transcodes.resume().await.context("work on videos cannot be taken up")?;
        if resumed > 0 {
            tracing::info!(videos = resumed, "took up work on videos");
        }
        let restored = self.playback.restore().await.context("open playback sessions cannot be taken up")?;
        if restored > 0 {
            tracing::info!(sessions = restored, "took up open playback sessions");
        }
        let live = self.lives.resume().await.context("broadcasts cannot be taken up")?;
        if live > 0 {
            tracing::info!(streams = live, "broadcasts wait for their publishers");
        }
        let pulled = self.pulls.resume().await.context("streams cannot be fetched from elsewhere")?;
        if pulled > 0 {
            tracing::info!(streams = pulled, "streams are fetched from elsewhere");
        }
        Ok(())
    }

    /// What takes up what nobody does: videos that found no room, and, in a cluster, whatever a node had that is gone.
    pub(super) fn resume_work(&self, is_cluster: bool) -> Arc<dyn Fn() + Send + Sync> {
        let families = self.clone();
        Arc::new(move || {
            let families = families.clone();
            tokio::spawn(async move {
                if let Err(error) = families.transcodes.resume().await {
                    tracing::warn!(%error, "work on videos cannot be taken up");
                }
                if is_cluster {
                    families.take_up().await;
                }
            });
        })
    }

    async fn take_up(&self) {
        if let Err(error) = self.lives.take_up().await {
            tracing::warn!(%error, "broadcasts cannot be taken up");
        }
        if let Err(error) = self.pulls.resume().await {
            tracing::warn!(%error, "streams of others cannot be fetched");
        }
        self.playback.take_up().await;
    }

    /// Ends here what another node has by now, or may have: all of it, when this node may have nothing.
    pub(super) async fn let_go_of_lost(&self) {
        // Before the broadcasts that they feed.
        self.pulls.let_go_of_lost().await;
        tokio::join!(self.transcodes.let_go_of_lost(), self.lives.let_go_of_lost());
    }
}

fn family<F: Family>((handle, family): (FamilyHandle<F>, Arc<F>), children_max: usize) -> Branch {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    Branch::family(handle, SupervisorArguments { family, policy: RestartPolicy::default(), children_max, clock })
}
