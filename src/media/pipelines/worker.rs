//! The worker process: one task at a time, told and answered over the socket that is its standard input.
//!
//! It dies with its server in three ways: the kernel kills it when the thread that started it ends, its reader sees the
//! socket close, and an answer that cannot be written ends it. A panic ends it too: after one, nothing in the process is
//! trusted, and the server counts one attempt.
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gstreamer as gst;
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;

use super::{digest, encode, fault, inspect, remux, sound, stills, storyboard, survey, thumbnail};
use crate::domain::video::Failure;
use crate::media::source::ExtentReader;
use crate::media::work::{Answer, FromWorker, PROTOCOL_VERSION, ProcessLimits, SourceFile, Task, Tile, ToWorker};

/// Shortest time between two signs of life: the watchdog counts in seconds.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// Why a worker ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// It was not started by a server: standard input is no socket that speaks the protocol.
    #[error("standard input is not a server's socket: {0}")]
    NoServer(String),
    /// A limit could not be taken on.
    #[error("limit could not be set: {0}")]
    Limit(#[from] nix::Error),
    /// GStreamer could not be loaded.
    #[error("gstreamer could not be loaded: {0}")]
    GStreamer(#[from] gst::glib::Error),
    /// A live stream's rungs cannot be encoded.
    #[error("{0}")]
    Live(String),
    /// The socket broke.
    #[error("socket to the server broke: {0}")]
    Socket(#[from] std::io::Error),
}

/// Runs a worker on standard input until the server closes it. What `playhouse worker` does; with `--live` it encodes the
/// rungs of one live stream and takes no other task.
pub fn run(is_live: bool) -> Result<(), WorkerError> {
    let socket = std::io::stdin().as_fd().try_clone_to_owned()?;
    let socket = UnixStream::from(socket);
    let mut reader = BufReader::new(socket.try_clone()?);
    let limits = read_hello((&mut reader).lines().next())?;
    confine(&limits)?;
    gst::init()?;
    let reporter = Arc::new(Reporter::new(socket.try_clone()?));
    reporter.say(&FromWorker::Ready { protocol: PROTOCOL_VERSION });
    if is_live {
        return encode::live::run(reader, socket).map_err(|failure| WorkerError::Live(failure.message));
    }
    for (id, task) in tasks_from(reader.lines()) {
        reporter.begin(id);
        let answer = perform(task, &reporter);
        reporter.say(&FromWorker::Done { id, answer });
    }
    Ok(())
}

fn read_hello(line: Option<std::io::Result<String>>) -> Result<ProcessLimits, WorkerError> {
    let line = line.ok_or_else(|| WorkerError::NoServer("it is closed".into()))?;
    let line = line.map_err(|error| WorkerError::NoServer(error.to_string()))?;
    match serde_json::from_str(&line) {
        Ok(ToWorker::Hello { protocol: PROTOCOL_VERSION, limits }) => Ok(limits),
        Ok(ToWorker::Hello { protocol, .. }) => {
            Err(WorkerError::NoServer(format!("protocol {protocol} instead of {PROTOCOL_VERSION}")))
        }
        Ok(ToWorker::Run { .. }) => Err(WorkerError::NoServer("a task before hello".into())),
        Err(error) => Err(WorkerError::NoServer(error.to_string())),
    }
}

/// Takes on the limits, before any thread is started and any file is read.
fn confine(limits: &ProcessLimits) -> Result<(), WorkerError> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    setrlimit(Resource::RLIMIT_AS, limits.address_space_bytes_max, limits.address_space_bytes_max)?;
    // SAFETY: nice(2) takes and returns plain integers and touches no memory. Raising the level cannot fail in a way
    // that matters: the worker then only competes harder.
    unsafe { nix::libc::nice(limits.nice) };
    // When memory runs out the kernel is to take a worker, not the server. Refused in some containers: no harm.
    let _ = std::fs::write("/proc/self/oom_score_adj", "500");
    Ok(())
}

/// Reads tasks on a thread of its own, so that the end of the server is seen at once, whatever a task is doing.
fn tasks_from(
    lines: impl Iterator<Item = std::io::Result<String>> + Send + 'static,
) -> impl Iterator<Item = (u64, Task)> {
    let (tx, rx) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        for line in lines {
            let Ok(Ok(ToWorker::Run { id, task })) = line.map(|line| serde_json::from_str(&line)) else { break };
            if tx.send((id, *task)).is_err() {
                break;
            }
        }
        std::process::exit(0);
    });
    rx.into_iter()
}

fn perform(task: Task, reporter: &Arc<Reporter>) -> Result<Answer, Failure> {
    fault::inject(task.kind());
    match task {
        Task::Digest { source, expected } => digest::check(reader_of(&source), &expected, reporter),
        Task::Inspect { source, output, limits } => {
            inspect::inspect(&|| reader_of(&source), &output, &limits, reporter)
        }
        Task::Thumbnail { source, output, duration_ms, rotation } => {
            thumbnail::thumbnail(reader_of(&source), duration_ms, rotation, &output, reporter)
        }
        Task::Remux { source, output, limits, media } => {
            let request = remux::Request { output: &output, limits: &limits, media };
            remux::remux(reader_of(&source), request, reporter)
        }
        Task::Survey { source, limits, media } => survey::survey(&|| reader_of(&source), &limits, &media, reporter),
        Task::EncodePictures(task) => encode::encode(reader_of(&task.source), &task, reporter),
        Task::SelfTest => encode::self_test(reporter),
        Task::Stills(task) => stills::stills(&|| reader_of(&task.source), &task, reporter),
        Task::Storyboard { output, tiles, columns, rows } => {
            let reader_of = |tile: &Tile| reader_of(std::slice::from_ref(&tile.picture));
            storyboard::storyboard(&output, &tiles, storyboard::Layout { columns, rows }, reader_of, reporter)
        }
        Task::EncodeSound(task) => sound::encode_sound(reader_of(&task.source), &task, reporter),
    }
}

fn reader_of(source: &[SourceFile]) -> ExtentReader {
    ExtentReader::new(source.to_vec())
}

/// The failure of a source whose bytes cannot be read: not the file's fault.
pub(super) fn unreadable(error: std::io::Error) -> Failure {
    Failure { code: "source_unreadable".into(), message: format!("The stored file could not be read: {error}.") }
}

/// The way back to the server.
pub(super) struct Reporter {
    line: Mutex<Line>,
}

struct Line {
    socket: UnixStream,
    task: u64,
    last: Instant,
    percent: u8,
}

impl Reporter {
    fn new(socket: UnixStream) -> Self {
        Self { line: Mutex::new(Line { socket, task: 0, last: Instant::now(), percent: 0 }) }
    }

    /// One whose words nobody hears, for tests.
    #[cfg(test)]
    pub(super) fn to_nobody() -> Self {
        let (socket, other) = UnixStream::pair().unwrap();
        std::thread::spawn(move || std::io::copy(&mut &other, &mut std::io::sink()));
        Self::new(socket)
    }

    fn begin(&self, task: u64) {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        (line.task, line.last, line.percent) = (task, Instant::now(), 0);
    }

    fn say(&self, message: &FromWorker) {
        self.line.lock().unwrap_or_else(PoisonError::into_inner).write(message);
    }

    /// Tells the server that the task has come from `done` of `total`, at most five times a second. To be called only
    /// where something has really moved: it is what the watchdog waits for.
    pub(super) fn progress(&self, done: u64, total: u64) {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        if line.last.elapsed() < PROGRESS_INTERVAL {
            return;
        }
        let percent = u128::from(done) * 100 / u128::from(total.max(1));
        line.percent = line.percent.max(u8::try_from(percent.min(100)).unwrap_or(100));
        line.last = Instant::now();
        let message = FromWorker::Progress { id: line.task, percent: line.percent };
        line.write(&message);
    }
}

impl Line {
    /// A server that cannot be told anything is gone, and so is the reason to go on.
    fn write(&mut self, message: &FromWorker) {
        let mut line = serde_json::to_vec(message).unwrap_or_default();
        line.push(b'\n');
        if self.socket.write_all(&line).is_err() {
            std::process::exit(0);
        }
    }
}
