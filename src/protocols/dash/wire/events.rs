//! Cues as events of the period that they lie in (ISO/IEC 23009-1, 5.10.2): splices as SCTE 214-1 has them, others as JSON.
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::Element;
use crate::domain::cues::{Cue, CueLength, CueValue};

/// SCTE 214-1, 6.7.3.
const SPLICES: &str = "urn:scte:scte35:2014:xml+bin";
const SIGNAL_NAMESPACE: &str = "http://www.scte.org/schemas/35/2016";
/// Of everything else: class and values as a JSON object.
const OTHERS: &str = "urn:playhouse:cue:1";
const MICROS: u32 = 1_000_000;

/// The streams of those cues that lie in this range of stream time, microseconds; none when there are none.
pub(super) fn event_streams(cues: &[Cue], range: std::ops::Range<i64>) -> Vec<Element> {
    let within = |cue: &&Cue| range.contains(&cue.at_micros());
    let (splices, others): (Vec<&Cue>, Vec<&Cue>) = cues.iter().filter(within).partition(|cue| cue.splice.is_some());
    let stream = |scheme: &str, cues: Vec<&Cue>, message: fn(Element, &Cue) -> Element| {
        let start = Element::new("EventStream").attribute("schemeIdUri", scheme).attribute("timescale", MICROS);
        let events = cues.iter().map(|cue| message(event(cue, range.start), cue));
        (!cues.is_empty()).then(|| events.fold(start, Element::child))
    };
    stream(SPLICES, splices, with_signal).into_iter().chain(stream(OTHERS, others, with_values)).collect()
}

/// At its instant in the period. The way back from a break is an instant without length.
fn event(cue: &Cue, period_start: i64) -> Element {
    let element = Element::new("Event").attribute("presentationTime", cue.at_micros() - period_start);
    match cue.length {
        Some(CueLength::Planned(micros)) => element.attribute("duration", micros.max(0)),
        Some(CueLength::Known(_)) | None => element,
    }
}

fn with_signal(event: Element, cue: &Cue) -> Element {
    let section = cue.splice.as_ref().map(|splice| STANDARD.encode(&splice.section)).unwrap_or_default();
    let signal = Element::new("Signal").attribute("xmlns", SIGNAL_NAMESPACE);
    event.child(signal.child(Element::new("Binary").text(section)))
}

fn with_values(event: Element, cue: &Cue) -> Element {
    let mut all = Map::new();
    all.insert("id".to_owned(), cue.id.as_str().into());
    all.extend(cue.class.as_ref().map(|class| ("class".to_owned(), class.as_str().into())));
    let values = cue.values.iter().map(|(name, value)| {
        let value = match value {
            CueValue::Number(number) => Value::from(*number),
            CueValue::Text(text) => Value::from(text.as_str()),
        };
        (name.clone(), value)
    });
    all.insert("values".to_owned(), Value::Object(values.collect()));
    event.text(Value::Object(all))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::cues::{CueSplice, SplicePoint};
    use crate::domain::time::Timestamp;

    #[test]
    fn cues_are_events_of_their_period() {
        let cue = |id: &str, start_micros, splice| Cue {
            id: id.into(),
            class: Some("<b>".into()),
            start_micros,
            date: Timestamp::from_millis(0),
            length: None,
            splice,
            values: vec![("SCORE".into(), CueValue::Number(2.0))],
        };
        let splice = |point| Some(CueSplice { point, section: vec![0xfc, 0].into() });
        let out = Cue { length: Some(CueLength::Planned(4_000_000)), ..cue("1", 3_000_000, splice(SplicePoint::Out)) };
        let back = Cue { length: Some(CueLength::Known(9_000_000)), ..cue("1", 3_000_000, splice(SplicePoint::In)) };
        let cues = [cue("0", 500_000, None), out, back, cue("2", 2_000_000, None)];
        let told = |range| {
            let period = Element::new("Period");
            event_streams(&cues, range).into_iter().fold(period, Element::child).document()
        };
        let first = told(1_000_000..10_000_000);
        let expected = "  <EventStream schemeIdUri=\"urn:scte:scte35:2014:xml+bin\" timescale=\"1000000\">\n\
            \u{20}   <Event presentationTime=\"2000000\" duration=\"4000000\">\n\
            \u{20}     <Signal xmlns=\"http://www.scte.org/schemas/35/2016\">\n\
            \u{20}       <Binary>/AA=</Binary>\n      </Signal>\n    </Event>\n  </EventStream>\n";
        assert!(first.contains(expected), "{first}");
        let values = "<Event presentationTime=\"1000000\">\
            {\"class\":\"&lt;b&gt;\",\"id\":\"2\",\"values\":{\"SCORE\":2.0}}</Event>";
        assert!(first.replace("&quot;", "\"").contains(values) && first.matches("<Event ").count() == 2, "{first}");
        let second = told(10_000_000..20_000_000);
        assert!(second.contains("<Event presentationTime=\"2000000\">"), "the way back: {second}");
        assert!(!told(20_000_000..30_000_000).contains("EventStream"));
    }
}
