//! Rendering of storyboards as players know them: a WebVTT file whose cues name a sheet and a rectangle of it as a media
//! fragment (`sheet.jpg#xywh=x,y,w,h`). Pure text, no sockets.
use std::fmt::Write;

use crate::domain::trim::Trim;
use crate::domain::video::Storyboard;

/// Renders the cues of a part of a storyboard. `sheet` gives the URI of a sheet by its name; the last cue ends with that part.
pub fn render_storyboard(storyboard: &Storyboard, shown: Trim, sheet: impl Fn(&str) -> String) -> String {
    let mut out = String::from("WEBVTT\n");
    let interval = u64::from(storyboard.interval_ms.max(1));
    // Of a part without a length all is shown: its length is not known.
    let cut = if shown.duration_ms() > 0 { shown.end_ms } else { u64::MAX };
    for tile in 0..storyboard.num_tiles {
        let Some((index, x, y)) = storyboard.place(tile) else { break };
        let Some(picture) = storyboard.sheets.get(index) else { break };
        let start = u64::from(tile) * interval;
        let is_last = tile + 1 == storyboard.num_tiles;
        let end = if is_last { shown.end_ms.max(start + 1) } else { (start + interval).min(cut) };
        if end <= shown.start_ms || start >= cut {
            continue;
        }
        let (start, end) = (start.saturating_sub(shown.start_ms), end - shown.start_ms);
        let (width, height) = (storyboard.width, storyboard.height);
        let uri = sheet(&picture.name);
        let _ = write!(out, "\n{} --> {}\n{uri}#xywh={x},{y},{width},{height}\n", clock(start), clock(end));
    }
    out
}

/// A WebVTT timestamp.
fn clock(ms: u64) -> String {
    let (seconds, ms) = (ms / 1000, ms % 1000);
    format!("{:02}:{:02}:{:02}.{ms:03}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::asset::BlobKey;
    use crate::domain::video::StoryboardSheet;

    #[test]
    fn cues_follow_one_another_to_the_end() {
        let sheet = |n: u32| StoryboardSheet { name: format!("2-s{n}.jpg"), key: BlobKey::new(format!("s{n}")) };
        let board = Storyboard {
            sheets: vec![sheet(0), sheet(1)],
            width: 160,
            height: 90,
            columns: 2,
            rows: 1,
            interval_ms: 1_800_500,
            num_tiles: 3,
        };
        let expected = "WEBVTT\n\n\
            00:00:00.000 --> 00:30:00.500\npictures/2-s0.jpg#xywh=0,0,160,90\n\n\
            00:30:00.500 --> 01:00:01.000\npictures/2-s0.jpg#xywh=160,0,160,90\n\n\
            01:00:01.000 --> 01:00:03.021\npictures/2-s1.jpg#xywh=0,0,160,90\n";
        let whole = |end_ms| Trim { start_ms: 0, end_ms };
        let uri = |name: &str| format!("pictures/{name}");
        assert_eq!(render_storyboard(&board, whole(3_603_021), uri), expected);
        let short = render_storyboard(&board, whole(0), uri);
        assert!(short.contains("01:00:01.000 --> 01:00:01.001"), "a cue never ends before it starts: {short}");
        assert_eq!(
            render_storyboard(&Storyboard { num_tiles: u32::MAX, ..board.clone() }, whole(u64::MAX), uri)
                .matches("-->")
                .count(),
            4
        );
        let part = render_storyboard(&board, Trim { start_ms: 2_000_000, end_ms: 3_000_000 }, uri);
        assert_eq!(part, "WEBVTT\n\n00:00:00.000 --> 00:16:40.000\npictures/2-s0.jpg#xywh=160,0,160,90\n");
    }
}
