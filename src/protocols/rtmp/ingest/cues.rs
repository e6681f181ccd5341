//! What encoders send of their timeline as data messages: cue points and splices, as cues.
use crate::domain::cues::{CueSplice, CueValue, class_of, event_of, values_of};
use crate::media::codecs::scte35::SpliceInfo;
use crate::media::live::broadcast::ToldCue;
use crate::protocols::rtmp::wire::amf::Amf;
use crate::protocols::rtmp::wire::flv::script::{CuePoint, Splice};

/// Times further than this from the message's own are by another clock, milliseconds.
const FAR_MS: f64 = 60_000.0;
/// Longest time that is told, seconds.
const SECS_MAX: f64 = 86_400.0;

/// A cue point that came with a message of this time, milliseconds.
pub(super) fn of_cue_point(cue: CuePoint, message_ms: i64) -> ToldCue {
    let kind = cue.kind.map(|kind| ("type".to_owned(), CueValue::text(&kind)));
    let is_said = |name: &str| matches!(name, "name" | "time" | "type");
    let parameters = cue.parameters.into_iter().filter(|(name, _)| !is_said(name));
    ToldCue {
        time: time_of(cue.time_secs, message_ms),
        class: cue.name.as_deref().and_then(class_of),
        event: None,
        length_micros: None,
        splice: None,
        values: values_of(kind.into_iter().chain(plain(parameters))),
    }
}

/// The same of a splice. Without the section itself it is a cue like any other.
pub(super) fn of_splice(splice: Splice, message_ms: i64) -> ToldCue {
    let info = splice.section.as_deref().map(SpliceInfo::read);
    let numbered = info.and_then(|info| info.event).map(|event| event.to_string());
    let said = splice.duration_secs.filter(|secs| (0.0..=SECS_MAX).contains(secs)).map(|secs| (secs * 1e6) as i64);
    let has_section = splice.section.is_some();
    ToldCue {
        time: time_of(splice.time_secs, message_ms),
        class: splice.kind.as_deref().and_then(class_of),
        event: numbered.or_else(|| splice.id.as_deref().and_then(event_of)),
        length_micros: info.and_then(|info| info.length_micros).or(said),
        splice: splice.section.zip(info).map(|(section, info)| CueSplice { point: info.point, section }),
        values: if has_section { Vec::new() } else { values_of(plain(splice.members.into_iter())) },
    }
}

/// A time in seconds by the publisher's clock, or else the message's own.
fn time_of(secs: Option<f64>, message_ms: i64) -> i64 {
    let said = secs.map(|secs| secs * 1000.0).filter(|ms| (ms - message_ms as f64).abs() <= FAR_MS);
    said.map_or(message_ms, |ms| ms as i64)
}

fn plain(members: impl Iterator<Item = (String, Amf)>) -> impl Iterator<Item = (String, CueValue)> {
    members.filter_map(|(name, value)| {
        let value = match value {
            Amf::Number(number) if number.is_finite() => CueValue::number(number),
            Amf::String(text) => CueValue::text(&text),
            Amf::Boolean(value) => CueValue::text(if value { "true" } else { "false" }),
            _ => return None,
        };
        Some((name, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocols::rtmp::wire::amf::Members;

    fn member(name: &str, value: Amf) -> (String, Amf) {
        (name.to_owned(), value)
    }

    #[test]
    fn cue_points_keep_their_parameters() {
        let parameters: Members = vec![
            member("home team", Amf::text("Ajax")),
            member("score", Amf::Number(2.0)),
            member("more", Amf::object([("deep", Amf::Null)])),
        ];
        let point = CuePoint {
            name: Some("goal".into()),
            kind: Some("event".into()),
            time_secs: Some(12.5),
            parameters: parameters.clone(),
        };
        let cue = of_cue_point(point.clone(), 12_000);
        assert_eq!((cue.time, cue.class.as_deref()), (12_500, Some("goal")));
        let names: Vec<&str> = cue.values.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["TYPE", "HOME-TEAM", "SCORE"]);
        let elsewhere = CuePoint { time_secs: Some(1.7e9), ..point };
        assert_eq!(of_cue_point(elsewhere, 12_000).time, 12_000, "seconds since 1970 are no time of the stream");
    }
}
