use super::*;
use crate::domain::ladder::{Chunk, Encoder, Rung, SoundRung};

const FIRST: Unit = Unit::new(Pass::First, 0);
const SOUND: Unit = Unit::new(Pass::Sound, 0);

const fn rest(chunk: u32) -> Unit {
    Unit::new(Pass::Rest, chunk)
}

fn rung(side: u32, codec: RungCodec) -> Rung {
    Rung {
        name: format!("v{side}{codec}-1"),
        codec,
        width: side * 16 / 9,
        height: side,
        bits_per_sec_max: 1_000_000,
        buffer_ms: 1000,
        quality: 23,
        preset: "veryfast".into(),
        encoder: Encoder { name: "x264enc".into(), version: "1".into() },
    }
}

/// A plan of so many chunks of 8 s.
fn plan(chunks: u32, sides: &[u32], has_sound: bool, has_av1: bool) -> LadderPlan {
    let sound = SoundRung {
        name: "a0-1".into(),
        track: 0,
        channels: 2,
        bits_per_sec: 128_000,
        language: "und".into(),
        default: true,
    };
    let h264 = sides.iter().map(|side| rung(*side, RungCodec::H264));
    LadderPlan {
        generation: 1,
        timescale: 1000,
        start_ns: 0,
        cuts: (0..=i64::from(chunks)).map(|cut| 1000 + cut * 8000).collect(),
        chunks: (0..chunks).map(|chunk| Chunk { first_segment: chunk, segments: 1 }).collect(),
        treatment: None,
        rungs: h264.chain(has_av1.then(|| rung(480, RungCodec::Av1))).collect(),
        first_rung: sides.len().saturating_sub(2),
        sound: has_sound.then_some(sound).into_iter().collect(),
    }
}

fn at(secs: i64) -> Timestamp {
    Timestamp::from_millis(secs * 1000)
}

/// A world in which what the machine asks for happens, in whatever order a test likes; it keeps the record.
struct World {
    plan: Arc<LadderPlan>,
    keeps_pictures: bool,
    machine: LadderMachine,
    rows: HashMap<Unit, UnitRow>,
    first_made: BTreeSet<u32>,
    running: Vec<(Unit, Vec<usize>)>,
    publishing: Option<Publication>,
    published: Option<Publication>,
    made: Vec<(Unit, Vec<usize>)>,
    log: Vec<LadderEffect>,
}

impl World {
    fn start(plan: LadderPlan, keeps_pictures: bool) -> Self {
        let plan = Arc::new(plan);
        let row = |unit| (unit, UnitRow { unit, state: UnitState::Queued, attempted: Attempted::default() });
        let rows = planned_units(&plan).into_iter().map(row).collect();
        let machine = machine(&plan, Vec::new(), BTreeSet::new(), keeps_pictures, None);
        let mut world = Self {
            plan,
            keeps_pictures,
            machine,
            rows,
            first_made: BTreeSet::new(),
            running: Vec::new(),
            publishing: None,
            published: None,
            made: Vec::new(),
            log: Vec::new(),
        };
        world.restart();
        world
    }

    /// The server dies and starts again: all that is left is the record.
    fn restart(&mut self) {
        self.running.clear();
        self.publishing = None;
        for row in self.rows.values_mut().filter(|row| row.state == UnitState::Leased) {
            row.state = UnitState::Queued;
            row.attempted.interrupted += 1;
        }
        let rows: Vec<UnitRow> = self.rows.values().copied().collect();
        self.machine = machine(&self.plan, rows, self.first_made.clone(), self.keeps_pictures, self.published);
        self.step(LadderInput::Started);
    }

    fn step(&mut self, input: LadderInput) -> Vec<LadderEffect> {
        let effects = self.machine.step(input, at(0));
        for effect in &effects {
            match effect {
                LadderEffect::Attempt(unit, rungs, _) => {
                    let blank = UnitRow { unit: *unit, state: UnitState::Queued, attempted: Attempted::default() };
                    let row = self.rows.entry(*unit).or_insert(blank);
                    assert_eq!(row.state, UnitState::Queued, "{unit} is leased twice or was done");
                    row.state = UnitState::Leased;
                    self.running.push((*unit, rungs.clone()));
                }
                LadderEffect::GiveUp(unit, _) => self.rows.get_mut(unit).unwrap().state = UnitState::Failed,
                LadderEffect::Publish(publication) => {
                    assert_eq!(self.publishing.replace(*publication), None, "one publication at a time");
                }
                _ => {}
            }
        }
        self.log.extend(effects.iter().cloned());
        effects
    }

    fn end(&mut self, unit: Unit, outcome: AttemptOutcome) -> Vec<LadderEffect> {
        let place = self.running.iter().position(|(running, _)| *running == unit).unwrap();
        let (_, rungs) = self.running.remove(place);
        let row = self.rows.get_mut(&unit).unwrap();
        row.state = UnitState::Queued;
        match &outcome {
            AttemptOutcome::Made => {
                row.state = UnitState::Done;
                if rungs.contains(&self.plan.first_rung) && unit.pass != Pass::Av1 {
                    self.first_made.insert(unit.number);
                }
                self.made.push((unit, rungs));
            }
            AttemptOutcome::Crashed => row.attempted.crashed += 1,
            AttemptOutcome::Misfit => row.attempted.refused += 1,
            _ => {}
        }
        self.step(LadderInput::Ended(unit, outcome))
    }

    fn publish(&mut self) -> Vec<LadderEffect> {
        self.published = self.publishing.take();
        self.step(LadderInput::Published)
    }

    fn running(&self) -> Vec<Unit> {
        self.running.iter().map(|(unit, _)| *unit).collect()
    }

    /// Lets everything go well to the end.
    fn finish(&mut self) -> LadderEnd {
        for _ in 0..10_000 {
            if let Some(LadderEffect::End(end)) = self.log.iter().find(|effect| matches!(effect, LadderEffect::End(_)))
            {
                return end.clone();
            }
            if self.publishing.is_some() {
                self.publish();
            } else if let Some((unit, _)) = self.running.first().cloned() {
                self.end(unit, AttemptOutcome::Made);
            } else {
                self.step(LadderInput::RetryDue);
            }
        }
        panic!("no end: {:?}", self.machine);
    }

    /// How often each (chunk, rung) was made.
    fn assert_made_once(&self) {
        let mut made = BTreeSet::new();
        for (unit, rungs) in self.made.iter().filter(|(unit, _)| unit.pass != Pass::Sound) {
            for rung in rungs {
                assert!(made.insert((unit.number, *rung)), "{unit}: rung {rung} is made twice");
            }
        }
        assert_eq!(made.len(), self.plan.chunks.len() * self.plan.rungs.len());
    }
}

fn machine(
    plan: &Arc<LadderPlan>,
    units: Vec<UnitRow>,
    first_made: BTreeSet<u32>,
    keeps_pictures: bool,
    published: Option<Publication>,
) -> LadderMachine {
    let start = LadderStart { plan: Arc::clone(plan), units, first_made, keeps_pictures, published };
    LadderMachine::new(start, LadderLimits { attempts_max: 2, in_flight_max: 3 })
}

const SIDES: &[u32] = &[720, 360, 144];

#[test]
fn the_first_chunk_comes_first_then_sound_then_all_chunks_in_order() {
    let mut world = World::start(plan(4, SIDES, true, false), false);
    assert_eq!(world.running, [(FIRST, vec![1]), (SOUND, vec![]), (rest(0), vec![0, 2])]);
    world.end(SOUND, AttemptOutcome::Made);
    assert_eq!(world.publishing, None);
    world.end(FIRST, AttemptOutcome::Made);
    assert_eq!(world.publishing, Some(Publication::Early));
    assert_eq!(world.running[1..], [(rest(1), vec![0, 1, 2]), (rest(2), vec![0, 1, 2])]);
    world.publish();
    assert_eq!(world.finish(), LadderEnd::Made(None));
    assert_eq!(world.published, Some(Publication::Complete));
    world.assert_made_once();
    let told: Vec<u8> = world
        .log
        .iter()
        .filter_map(|effect| match effect {
            LadderEffect::Tell(percent, _) => Some(*percent),
            _ => None,
        })
        .collect();
    assert!(told.is_sorted() && told.last() == Some(&99) && told.len() <= 21, "{told:?}");
}

#[test]
fn av1_comes_after_everything_else() {
    let mut world = World::start(plan(2, SIDES, true, true), true);
    while world.running().iter().all(|unit| unit.pass != Pass::Av1) {
        match world.running.first().cloned() {
            Some((unit, _)) => drop(world.end(unit, AttemptOutcome::Made)),
            None => drop(world.publish()),
        }
    }
    assert!([FIRST, SOUND, rest(0), rest(1)].iter().all(|unit| world.rows[unit].state == UnitState::Done));
    assert_eq!(world.finish(), LadderEnd::Made(None));
    assert_eq!(world.published, Some(Publication::WithAv1));
    world.assert_made_once();
}

#[test]
fn one_rung_is_made_in_one_pass() {
    let mut world = World::start(plan(3, &[360], false, false), false);
    assert_eq!(world.running(), [rest(0), rest(1), rest(2)]);
    world.end(rest(0), AttemptOutcome::Made);
    assert_eq!(world.publishing, Some(Publication::Early));
    assert_eq!(world.finish(), LadderEnd::Made(None));
    world.assert_made_once();
}

#[test]
fn sound_alone_is_published_when_it_is_there() {
    let mut world = World::start(plan(0, &[], true, false), false);
    world.end(SOUND, AttemptOutcome::Made);
    assert_eq!(world.publishing, Some(Publication::Complete));
    assert_eq!(world.finish(), LadderEnd::Made(None));
    let mut world = World::start(plan(0, &[], true, false), false);
    let failure = Failure { code: "damaged".into(), message: "No sound.".into() };
    let effects = world.end(SOUND, AttemptOutcome::Refused(failure));
    assert!(matches!(effects.last(), Some(LadderEffect::End(LadderEnd::Failed(_)))), "{effects:?}");
}

#[test]
fn missing_sound_does_not_fail_a_video() {
    let mut world = World::start(plan(2, SIDES, true, false), false);
    let failure = Failure { code: "damaged".into(), message: "No sound.".into() };
    world.end(SOUND, AttemptOutcome::Refused(failure));
    let LadderEnd::Made(Some(failure)) = world.finish() else { panic!() };
    assert!(failure.message.contains("track 1"), "{}", failure.message);
    assert!(world.machine.states().contains(&("a0-1".into(), RenditionState::Failed)));
}

#[test]
fn a_chunk_that_kills_workers_fails_the_video_with_its_time() {
    let mut world = World::start(plan(4, SIDES, false, false), false);
    world.end(rest(1), AttemptOutcome::Crashed);
    assert!(world.running().contains(&rest(1)), "once is chance");
    let effects = world.end(rest(1), AttemptOutcome::Crashed);
    let Some(LadderEffect::End(LadderEnd::Failed(failure))) = effects.last() else { panic!("{effects:?}") };
    assert_eq!(failure.code, "decoder_crashed");
    assert!(failure.message.contains("from 0:08 to 0:16"), "{}", failure.message);
    assert!(world.step(LadderInput::Demanded(3)).contains(&LadderEffect::Answer(3, false)));
}

#[test]
fn what_plays_as_it_came_is_not_failed_by_a_chunk() {
    let mut world = World::start(plan(4, SIDES, false, false), true);
    world.end(FIRST, AttemptOutcome::Made);
    world.publish();
    world.end(rest(1), AttemptOutcome::Misfit);
    let effects = world.end(rest(1), AttemptOutcome::Misfit);
    let withdrawn = effects.iter().filter(|effect| matches!(effect, LadderEffect::Withdraw(_))).count();
    assert_eq!((withdrawn, world.publishing), (2, Some(Publication::Complete)), "{effects:?}");
    let effects = world.publish();
    let Some(LadderEffect::End(LadderEnd::Made(Some(failure)))) = effects.last() else { panic!("{effects:?}") };
    assert_eq!(failure.code, "encoder_inconsistent");
    assert!(world.machine.states().iter().all(|(_, state)| *state == RenditionState::Failed));
    world.log.clear();
    world.restart();
    assert!(matches!(world.log.last(), Some(LadderEffect::End(LadderEnd::Made(Some(_))))), "{:?}", world.log);
}

#[test]
fn a_failed_av1_chunk_costs_only_av1() {
    let mut world = World::start(plan(2, SIDES, false, true), false);
    while world.running().iter().all(|unit| unit.pass != Pass::Av1) {
        match world.running.first().cloned() {
            Some((unit, _)) => drop(world.end(unit, AttemptOutcome::Made)),
            None => drop(world.publish()),
        }
    }
    let (unit, _) = world.running[0].clone();
    world.end(unit, AttemptOutcome::Crashed);
    world.end(unit, AttemptOutcome::Crashed);
    assert!(matches!(world.finish(), LadderEnd::Made(Some(_))));
    assert_eq!(world.published, Some(Publication::Complete));
}

#[test]
fn a_chunk_that_somebody_waits_for_goes_first() {
    let mut world = World::start(plan(9, SIDES, false, false), false);
    assert_eq!(world.running(), [FIRST, rest(0), rest(1)]);
    let early = Unit::new(Pass::First, 7);
    let effects = world.step(LadderInput::Demanded(7));
    assert_eq!(effects[0], LadderEffect::Attempt(early, vec![1], Precedence::Demanded));
    assert_eq!(world.step(LadderInput::Demanded(7)), [], "one attempt for all who wait");
    assert!(world.end(early, AttemptOutcome::Made).contains(&LadderEffect::Answer(7, true)));
    assert_eq!(world.step(LadderInput::Demanded(7)), [LadderEffect::Answer(7, true)]);
    assert_eq!(world.step(LadderInput::Demanded(99)), [LadderEffect::Answer(99, false)]);
    assert_eq!(world.finish(), LadderEnd::Made(None));
    assert_eq!(world.made.iter().find(|(unit, _)| *unit == rest(7)).unwrap().1, [0, 2]);
    world.assert_made_once();
}

#[test]
fn what_is_under_way_is_awaited_and_what_stands_in_line_is_taken_back() {
    let mut world = World::start(plan(9, SIDES, false, false), false);
    world.step(LadderInput::Progressed(rest(1), 3));
    assert_eq!(world.step(LadderInput::Demanded(1)), []);
    assert!(world.end(rest(1), AttemptOutcome::Made).contains(&LadderEffect::Answer(1, true)));
    assert_eq!(world.running(), [FIRST, rest(0), rest(2)]);
    assert_eq!(world.step(LadderInput::Demanded(2)), [LadderEffect::Withdraw(rest(2))]);
    let effects = world.end(rest(2), AttemptOutcome::Withdrawn);
    assert_eq!(effects[0], LadderEffect::Attempt(Unit::new(Pass::First, 2), vec![1], Precedence::Demanded));
    assert_eq!(world.finish(), LadderEnd::Made(None));
    world.assert_made_once();
}

#[test]
fn what_was_not_available_is_tried_again_with_growing_pauses() {
    let mut world = World::start(plan(3, SIDES, false, false), false);
    let mut pauses = Vec::new();
    for _ in 0..9 {
        let (unit, _) = world.running[0].clone();
        let effects = world.end(unit, AttemptOutcome::Unavailable);
        pauses.extend(effects.iter().filter_map(|effect| match effect {
            LadderEffect::Wait(pause) => Some(*pause),
            _ => None,
        }));
        world.step(LadderInput::RetryDue);
        assert!(world.running().contains(&unit));
    }
    assert!(pauses.is_sorted() && pauses.first() == Some(&RETRY_FIRST) && pauses.last() == Some(&RETRY_MAX));
    world.finish();
}

#[test]
fn a_publication_that_failed_is_repeated() {
    let mut world = World::start(plan(1, &[360], false, false), false);
    world.end(rest(0), AttemptOutcome::Made);
    world.publishing = None;
    world.step(LadderInput::NotPublished);
    assert_eq!(world.publishing, None);
    world.step(LadderInput::RetryDue);
    assert_eq!(world.publishing, Some(Publication::Complete));
}

/// Kills, crashes, demands and pauses in random orders: every ladder ends whole, and nothing is made twice.
#[test]
fn whatever_happens_everything_is_made_once() {
    for seed in 0..300u64 {
        let mut draw = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut next = |below: u64| {
            draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (draw >> 33) % below
        };
        let sides = if seed % 3 == 0 { &SIDES[1..2] } else { SIDES };
        let mut world = World::start(plan(1 + (seed % 7) as u32, sides, seed % 2 == 0, seed % 5 == 0), seed % 4 == 0);
        let (mut kills, mut crashed) = (0, BTreeSet::new());
        for _ in 0..60 {
            let picked = world.running.get(next(4) as usize).map(|(unit, _)| *unit);
            match (next(9), picked) {
                (0, _) if kills < 9 => {
                    kills += 1;
                    world.restart();
                }
                (1, _) => drop(world.step(LadderInput::Demanded(next(9) as u32))),
                (2, Some(unit)) if crashed.insert(unit.to_string()) => drop(world.end(unit, AttemptOutcome::Crashed)),
                (3, Some(unit)) => drop(world.end(unit, AttemptOutcome::Unavailable)),
                (4, Some(unit)) => drop(world.step(LadderInput::Progressed(unit, 50))),
                (5, Some(unit)) => drop(world.end(unit, AttemptOutcome::Withdrawn)),
                (6, _) => drop(world.step(LadderInput::RetryDue)),
                (_, Some(unit)) => drop(world.end(unit, AttemptOutcome::Made)),
                (_, None) if world.publishing.is_some() => drop(world.publish()),
                _ => {}
            }
        }
        assert_eq!(world.finish(), LadderEnd::Made(None), "seed {seed}");
        world.assert_made_once();
    }
}
