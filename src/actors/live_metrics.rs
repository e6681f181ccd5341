//! What live streams do, as metrics. What happens is counted by the actor of each stream, once a second; what is, is looked at
//! when somebody asks. Nothing is labelled by stream: their number has no bound worth the name.
use super::live_ladder::LadderStats;
use super::lives::Watched;
use crate::media::live::broadcast::{Broadcast, Health};
use crate::media::live::vitals::Vitals;

/// Counts what has happened in a broadcast since `before`.
pub(super) fn count_since(before: Health, now: Health) {
    let (old, new) = (before.repairs, now.repairs);
    let repairs = [
        ("wrapped", old.wrapped, new.wrapped),
        ("unordered", old.unordered, new.unordered),
        ("shown_early", old.shown_early, new.shown_early),
        ("jumps", old.jumps, new.jumps),
        ("sound_gaps", old.sound_gaps, new.sound_gaps),
        ("sound_overlaps", old.sound_overlaps, new.sound_overlaps),
    ];
    for (kind, old, new) in repairs {
        metrics::counter!("playhouse_live_repairs_total", "kind" => kind).increment(new.saturating_sub(old));
    }
    let (old, new) = (before.dropped, now.dropped);
    let dropped =
        [("undecodable", old.undecodable, new.undecodable), ("early_sound", old.early_sound, new.early_sound)];
    for (kind, old, new) in dropped {
        metrics::counter!("playhouse_live_frames_dropped_total", "kind" => kind).increment(new.saturating_sub(old));
    }
    let epochs = u64::from(now.epochs.saturating_sub(before.epochs));
    metrics::counter!("playhouse_live_epochs_total").increment(epochs);
    metrics::counter!("playhouse_live_gap_segments_total").increment(now.gaps.saturating_sub(before.gaps));
    metrics::counter!("playhouse_live_cues_total").increment(now.cues.saturating_sub(before.cues));
    metrics::counter!("playhouse_live_cues_dropped_total")
        .increment(now.cues_dropped.saturating_sub(before.cues_dropped));
}

/// Sets the gauges to how these streams are.
pub(super) fn measure(streams: impl Iterator<Item = Watched>) {
    let (mut publishing, mut away, mut ended) = (0u32, 0u32, 0u32);
    let (mut viewers, mut bits_per_sec) = (0u64, 0u64);
    let (mut encoding, mut given_up, mut added_ms) = (0usize, 0usize, 0i64);
    for Watched { stream, viewers: its, ladder, is_relayed, branch, .. } in streams {
        // The node that has it counts it, and who watches it anywhere, unless it cannot be told.
        let is_told = is_relayed && branch.has_frames();
        viewers += if is_told { 0 } else { its.count() };
        if is_relayed {
            continue;
        }
        let (vitals, has_ended, stats) =
            stream.look(|broadcast| (Vitals::of(broadcast), Broadcast::has_ended(broadcast), ladder.stats(broadcast)));
        match (has_ended, vitals.connected) {
            (true, _) => ended += 1,
            (false, true) => publishing += 1,
            (false, false) => away += 1,
        }
        if vitals.connected {
            bits_per_sec += vitals.bits_per_sec;
        }
        if !has_ended {
            let LadderStats { rungs, added_latency_ms, .. } = stats;
            let dropped = rungs.iter().filter(|rung| rung.dropped).count();
            (encoding, given_up) = (encoding + rungs.len() - dropped, given_up + dropped);
            added_ms = added_ms.max(added_latency_ms.unwrap_or(0));
        }
    }
    for (state, count) in [("publishing", publishing), ("away", away), ("ended", ended)] {
        metrics::gauge!("playhouse_live_streams", "state" => state).set(f64::from(count));
    }
    metrics::gauge!("playhouse_live_viewers").set(viewers as f64);
    metrics::gauge!("playhouse_live_ingest_bits_per_second").set(bits_per_sec as f64);
    metrics::gauge!("playhouse_live_rungs", "state" => "encoding").set(encoding as f64);
    metrics::gauge!("playhouse_live_rungs", "state" => "given_up").set(given_up as f64);
    metrics::gauge!("playhouse_live_ladder_added_latency_seconds_max").set(added_ms as f64 / 1000.0);
}
