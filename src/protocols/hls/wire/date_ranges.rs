//! Cues as date ranges (draft-pantos-hls-rfc8216bis, 4.4.5.1): a tag never changes once it is listed; what becomes known later
//! is told in another one of the same name.
use std::fmt::Write;

use crate::domain::cues::{Cue, CueLength, CueValue, SplicePoint};

/// Attributes with this prefix are a publisher's own.
const OWN: &str = "X-";

/// Renders a cue's tag.
pub fn render_date_range(out: &mut String, cue: &Cue) {
    let _ = write!(out, "#EXT-X-DATERANGE:ID=\"{}\"", cue.id);
    // The way back is one with the way out, which has said its class.
    let is_back = cue.splice.as_ref().is_some_and(|splice| splice.point == SplicePoint::In) && cue.length.is_some();
    if let Some(class) = cue.class.as_ref().filter(|_| !is_back) {
        let _ = write!(out, ",CLASS=\"{class}\"");
    }
    let _ = write!(out, ",START-DATE=\"{}\"", cue.date);
    let _ = match cue.length {
        Some(CueLength::Planned(micros)) => write!(out, ",PLANNED-DURATION={}", seconds(micros)),
        Some(CueLength::Known(micros)) => write!(out, ",DURATION={}", seconds(micros)),
        None => Ok(()),
    };
    if let Some(splice) = &cue.splice {
        let attribute = match splice.point {
            SplicePoint::Out => "SCTE35-OUT",
            SplicePoint::In => "SCTE35-IN",
            SplicePoint::Command => "SCTE35-CMD",
        };
        let _ = write!(out, ",{attribute}=0x");
        for byte in &splice.section {
            let _ = write!(out, "{byte:02X}");
        }
    }
    for (name, value) in &cue.values {
        let _ = match value {
            CueValue::Number(number) => write!(out, ",{OWN}{name}={number}"),
            CueValue::Text(text) => write!(out, ",{OWN}{name}=\"{text}\""),
        };
    }
    out.push('\n');
}

fn seconds(micros: i64) -> String {
    format!("{:.3}", micros.max(0) as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::cues::CueSplice;
    use crate::domain::time::Timestamp;

    fn rendered(cue: &Cue) -> String {
        let mut out = String::new();
        render_date_range(&mut out, cue);
        out
    }

    #[test]
    fn cues_are_date_ranges() {
        let values = vec![("SCORE".to_owned(), CueValue::Number(2.5)), ("TEAM".to_owned(), CueValue::text("A, B"))];
        let goal = Cue {
            id: "1-1".into(),
            class: Some("goal".into()),
            start_micros: 0,
            date: Timestamp::from_millis(1500),
            length: None,
            splice: None,
            values,
        };
        assert_eq!(
            rendered(&goal),
            "#EXT-X-DATERANGE:ID=\"1-1\",CLASS=\"goal\",START-DATE=\"1970-01-01T00:00:01.500Z\",\
             X-SCORE=2.5,X-TEAM=\"A, B\"\n"
        );
        let splice = |point| Some(CueSplice { point, section: vec![0xfc, 0x0a].into() });
        let length = Some(CueLength::Planned(30_500_000));
        let out = Cue { length, splice: splice(SplicePoint::Out), values: Vec::new(), ..goal.clone() };
        let start = "START-DATE=\"1970-01-01T00:00:01.500Z\"";
        assert_eq!(
            rendered(&out),
            format!("#EXT-X-DATERANGE:ID=\"1-1\",CLASS=\"goal\",{start},PLANNED-DURATION=30.500,SCTE35-OUT=0xFC0A\n")
        );
        let back = Cue { length: Some(CueLength::Known(29_000_000)), splice: splice(SplicePoint::In), ..out };
        assert_eq!(rendered(&back), format!("#EXT-X-DATERANGE:ID=\"1-1\",{start},DURATION=29.000,SCTE35-IN=0xFC0A\n"));
    }
}
