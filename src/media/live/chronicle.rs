//! The chronicle of a recording, as a file beside its spans: one line for each thing that is known, so that it is found again
//! after a crash.
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::domain::cues::{Anchor, Chronicle, Cue};

/// Cues of one recording at most: what is more is in the broadcast only.
const CUES_MAX: usize = 5000;
/// Clocks begun anew at most.
const ANCHORS_MAX: usize = 5000;
/// Longest file that is read.
const BYTES_MAX: u64 = 32 << 20;
/// Its name.
pub(super) const FILE: &str = "chronicle";

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Entry {
    Anchor(Anchor),
    Cue(Cue),
}

/// Takes an entry; `false` when it is there, or when there are too many.
pub(super) fn note(chronicle: &mut Chronicle, entry: Entry) -> bool {
    match entry {
        Entry::Anchor(anchor) => {
            let is_new = chronicle.anchors.last() != Some(&anchor) && chronicle.anchors.len() < ANCHORS_MAX;
            chronicle.anchors.extend(is_new.then_some(anchor));
            is_new
        }
        Entry::Cue(cue) => {
            let is_room = chronicle.cues.len() < CUES_MAX;
            chronicle.cues.extend(is_room.then_some(cue));
            is_room
        }
    }
}

/// Appends an entry to the file in this directory.
pub(super) fn append(dir: &Path, entry: &Entry) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let mut line = serde_json::to_vec(entry)?;
    line.push(b'\n');
    OpenOptions::new().create(true).append(true).open(path_in(dir))?.write_all(&line)
}

/// What the file in this directory says, as far as it can be read.
pub(super) fn read(dir: &Path) -> io::Result<Chronicle> {
    let path = path_in(dir);
    let is_read = match std::fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        found => found?.len() <= BYTES_MAX,
    };
    Ok(if is_read { parse(&std::fs::read(&path)?) } else { Chronicle::default() })
}

/// What such a file says. A last line may have been cut off.
pub(super) fn parse(text: &[u8]) -> Chronicle {
    let mut chronicle = Chronicle::default();
    for entry in text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()) {
        note(&mut chronicle, entry);
    }
    chronicle
}

/// Where the chronicle of the recording in this directory lies.
pub fn path_in(dir: &Path) -> PathBuf {
    dir.join(FILE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::cues::{CueSplice, CueValue, SplicePoint};
    use crate::domain::time::Timestamp;

    #[test]
    fn what_was_told_is_read_again_but_for_a_line_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap(), Chronicle::default());
        let anchor = Anchor { start_micros: 1_000_000, date: Timestamp::from_millis(77) };
        let splice = Some(CueSplice { point: SplicePoint::Out, section: vec![0xfc, 1].into() });
        let values = vec![("SCORE".to_owned(), CueValue::Number(2.5))];
        let cue =
            Cue { id: "1-1".into(), class: None, start_micros: 5, date: anchor.date, length: None, splice, values };
        let entries = [Entry::Anchor(anchor), Entry::Cue(cue.clone())];
        entries.iter().for_each(|entry| append(dir.path(), entry).unwrap());
        OpenOptions::new().append(true).open(path_in(dir.path())).unwrap().write_all(b"{\"cue\":{\"id\":").unwrap();
        assert_eq!(read(dir.path()).unwrap(), Chronicle { anchors: vec![anchor], cues: vec![cue] });
    }
}
