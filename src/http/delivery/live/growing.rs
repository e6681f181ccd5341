//! Segments that are sent while they are made: what is there at once, and each part when it is cut (chunked transfer,
//! ISO/IEC 23009-1 `availabilityTimeComplete="false"`).
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::stream::{self, Stream};

use super::rendition;
use crate::media::live::broadcast::Broadcast;
use crate::media::live::stream::LiveStream;

/// A place in a rendition.
#[derive(Clone)]
struct Place {
    track: String,
    number: u64,
    part: usize,
}

/// What comes next of a segment.
enum Next {
    Part(Bytes),
    /// It is whole.
    Over,
    /// It will never be.
    Never,
}

/// The publisher brought nothing for as long as anybody waits.
#[derive(Debug, thiserror::Error)]
#[error("the segment was not completed in time")]
struct Stalled;

/// Whether some of the segment is there.
pub(super) fn has_begun(broadcast: &Broadcast, track: &str, number: u64) -> bool {
    let place = Place { track: track.to_owned(), number, part: 0 };
    matches!(next(broadcast, &place), Some(Next::Part(_)))
}

/// The bytes of a segment that has begun, from its start to its end.
pub(super) fn body(stream: &Arc<LiveStream>, (track, number): (&str, u64), patience: Duration) -> Body {
    let place = Place { track: track.to_owned(), number, part: 0 };
    Body::from_stream(parts(Arc::clone(stream), place, patience))
}

fn parts(stream: Arc<LiveStream>, place: Place, patience: Duration) -> impl Stream<Item = Result<Bytes, Stalled>> {
    stream::try_unfold((stream, place), move |(stream, place)| async move {
        match stream.wait_for(patience, |broadcast| next(broadcast, &place)).await {
            Some(Next::Part(bytes)) => {
                metrics::counter!("playhouse_delivery_bytes_total", "kind" => "live").increment(bytes.len() as u64);
                Ok(Some((bytes, (stream, Place { part: place.part + 1, ..place }))))
            }
            Some(Next::Over) => Ok(None),
            Some(Next::Never) | None => Err(Stalled),
        }
    })
}

/// `None`: not yet.
fn next(broadcast: &Broadcast, place: &Place) -> Option<Next> {
    let Some(rendition) = rendition(broadcast, &place.track) else { return Some(Next::Never) };
    let ring = &rendition.ring;
    let Some(segment) = ring.fetchable(place.number) else {
        let is_next = place.number == ring.next_number() && !ring.has_ended();
        return if is_next { None } else { Some(Next::Never) };
    };
    match segment.parts.get(place.part) {
        Some(part) => Some(Next::Part(part.bytes.clone())),
        None if !segment.is_complete => None,
        // Parts that left memory were there once: whoever is so slow begins anew.
        None if segment.parts.is_empty() => Some(Next::Never),
        None => Some(Next::Over),
    }
}
