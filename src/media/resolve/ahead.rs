//! What viewers ask for next, fetched before they do. Each viewer is a few segments of one track ahead; one that plays another
//! track gives up what was fetched for it and nobody else has asked for.
use std::sync::{Arc, Weak};
use std::time::Duration;

use moka::sync::Cache;
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;

use super::Resolver;
use crate::domain::asset::{Asset, SegmentBytes, TrackKind};
use crate::domain::ports::MediaObject;
use crate::media::flights::Need;

/// Fetches ahead at once: what somebody has asked for comes first.
const AT_ONCE_MAX: usize = 32;
/// Viewers that are remembered.
const VIEWERS_MAX: u64 = 20_000;
/// A viewer who has asked for nothing for this long is gone.
const VIEWER_IDLE: Duration = Duration::from_secs(30);

/// A viewer, and its kind of track.
type Viewer = (u64, TrackKind);

/// What is fetched for a viewer.
struct Ahead {
    track: String,
    /// The last segment that it is about.
    last: u32,
    fetch: AbortOnDropHandle<()>,
    /// What was begun before for the same track, if it still goes on.
    before: Weak<Ahead>,
}

impl Ahead {
    /// The viewer plays something else: at once, while a cache may hold for a while what was replaced in it.
    fn give_up(&self) {
        self.fetch.abort();
        let mut before = self.before.upgrade();
        while let Some(older) = before {
            older.fetch.abort();
            before = older.before.upgrade();
        }
    }
}

pub(super) struct LookAhead {
    segments: u32,
    viewers: Cache<Viewer, Arc<Ahead>>,
    places: Arc<Semaphore>,
}

impl LookAhead {
    pub(super) fn new(segments: u32) -> Self {
        let viewers = Cache::builder().max_capacity(VIEWERS_MAX).time_to_idle(VIEWER_IDLE).build();
        Self { segments, viewers, places: Arc::new(Semaphore::new(AT_ONCE_MAX)) }
    }

    /// A viewer has come to a segment of a track.
    pub(super) fn note(&self, (viewer, segment): (u64, u32), (resolver, asset): (&Resolver, &Arc<Asset>), track: &str) {
        let Some(of) = asset.track(track) else { return };
        let viewer = (viewer, of.kind);
        let before = self.viewers.get(&viewer);
        let reaches = segment.saturating_add(self.segments).min(of.segments.len().saturating_sub(1) as u32);
        // Where it has been fetched for already, only what is new.
        let goes_on = |ahead: &Ahead| ahead.track == track && (segment..=reaches).contains(&ahead.last);
        before.iter().filter(|ahead| !goes_on(ahead)).for_each(|ahead| ahead.give_up());
        let had = before.filter(|ahead| goes_on(ahead));
        let first = had.as_ref().map_or(segment, |ahead| ahead.last) + 1;
        if first > reaches {
            return;
        }
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            // One who plays something else by now waits for nothing.
            self.viewers.invalidate(&viewer);
            return;
        };
        let before = had.as_ref().map(Arc::downgrade).unwrap_or_default();
        let (resolver, asset, name) = (resolver.clone(), Arc::clone(asset), track.to_owned());
        let fetch = tokio::spawn(async move {
            let (_place, _had) = (place, had);
            let is_made = |number: &u32| {
                let segment = asset.track(&name).and_then(|track| track.segments.get(*number as usize));
                segment.is_some_and(|segment| !matches!(segment.source, SegmentBytes::Make { .. }))
            };
            for number in (first..=reaches).take_while(is_made) {
                let of = (name.as_str(), MediaObject::Segment(number));
                // Whoever asks for it is told why it cannot be had.
                if resolver.whole(&asset, of, Need::WhileWaitedFor).await.is_err() {
                    return;
                }
                metrics::counter!("playhouse_edge_ahead_total").increment(1);
            }
        });
        let ahead = Ahead { track: track.to_owned(), last: reaches, fetch: AbortOnDropHandle::new(fetch), before };
        self.viewers.insert(viewer, Arc::new(ahead));
    }
}

#[cfg(test)]
mod tests;
