//! Where the primary's log was when: a replica that has replayed what the primary had written at some time shows all that was
//! committed before.
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tokio_postgres::types::PgLsn;

/// Notes kept: of the longest lag that may be allowed, and more, to tell how far behind it others are.
const NOTES_MAX: usize = 600;

/// What the primary said of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Position {
    /// Which installation it is.
    pub(super) system: i64,
    /// Which of its databases.
    pub(super) database: String,
    /// How far its log was written.
    pub(super) written: PgLsn,
}

/// Positions of the primary, the newest last.
#[derive(Debug, Default)]
pub(super) struct History {
    notes: VecDeque<(Instant, PgLsn)>,
    of: Option<(i64, String)>,
}

impl History {
    /// Notes what the primary answered to a question that was asked at this time.
    pub(super) fn note(&mut self, asked: Instant, position: Position) {
        let Position { system, database, written } = position;
        let of = Some((system, database));
        let has_gone_back = self.notes.back().is_some_and(|(_, last)| *last > written);
        if self.of != of || has_gone_back {
            // Another one has taken its place.
            self.notes.clear();
        }
        self.of = of;
        if self.notes.len() >= NOTES_MAX {
            self.notes.pop_front();
        }
        self.notes.push_back((asked, written));
    }

    /// Whether this is a copy of that database; `None` before the primary was heard of.
    pub(super) fn is_copy(&self, system: i64, database: &str) -> Option<bool> {
        self.of.as_ref().map(|(known, name)| *known == system && name == database)
    }

    /// When the primary had written no more than what is replayed here, as late as is known.
    pub(super) fn reached(&self, replayed: PgLsn) -> Option<Instant> {
        self.notes.iter().rev().find(|(_, written)| *written <= replayed).map(|(asked, _)| *asked)
    }

    /// What has to be replayed to show all that was committed before this time; `None` when the primary was not heard of
    /// since.
    pub(super) fn required(&self, since: Instant) -> Option<PgLsn> {
        self.notes.iter().find(|(asked, _)| *asked >= since).map(|(_, written)| *written)
    }

    /// How long ago the first note was made that is kept.
    pub(super) fn length(&self, now: Instant) -> Option<Duration> {
        self.notes.front().map(|(asked, _)| now.saturating_duration_since(*asked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(written: u64) -> Position {
        Position { system: 7, database: "playhouse".into(), written: PgLsn::from(written) }
    }

    #[test]
    fn a_replica_lags_by_the_time_since_the_primary_was_where_it_is() {
        let begun = Instant::now();
        let at = |secs| begun + Duration::from_secs(secs);
        let mut history = History::default();
        assert_eq!((history.reached(PgLsn::from(9)), history.required(begun)), (None, None));
        for (secs, written) in [(0, 100), (1, 150), (2, 150), (3, 200)] {
            history.note(at(secs), position(written));
        }
        let reached = |replayed: u64| history.reached(PgLsn::from(replayed));
        assert_eq!((reached(99), reached(100), reached(149)), (None, Some(at(0)), Some(at(0))));
        assert_eq!((reached(150), reached(199)), (Some(at(2)), Some(at(2))), "an idle primary is no lag");
        assert_eq!((reached(200), reached(900)), (Some(at(3)), Some(at(3))));
        assert_eq!(history.required(at(1)), Some(PgLsn::from(150)));
        assert_eq!((history.required(at(3)), history.required(at(4))), (Some(PgLsn::from(200)), None));
        assert_eq!(history.length(at(5)), Some(Duration::from_secs(5)));
    }

    #[test]
    fn another_primary_begins_anew() {
        let begun = Instant::now();
        let mut history = History::default();
        history.note(begun, position(100));
        assert_eq!((history.is_copy(7, "playhouse"), history.is_copy(8, "playhouse")), (Some(true), Some(false)));
        assert_eq!(history.is_copy(7, "postgres"), Some(false));
        history.note(begun, position(90));
        assert_eq!(history.reached(PgLsn::from(100)), Some(begun));
        assert_eq!(history.reached(PgLsn::from(89)), None);
        history.note(begun, Position { system: 8, ..position(200) });
        assert_eq!(history.reached(PgLsn::from(199)), None, "what the one before had is of no meaning");
    }

    #[test]
    fn it_is_bounded() {
        let begun = Instant::now();
        let mut history = History::default();
        (0..2 * NOTES_MAX as u64).for_each(|number| history.note(begun, position(number)));
        assert_eq!((history.notes.len(), history.reached(PgLsn::from(1))), (NOTES_MAX, None));
    }
}
