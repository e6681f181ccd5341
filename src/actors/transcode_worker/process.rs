//! One worker process as its driver sees it: started, told a task, listened to, killed.
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::Instant;

use super::spawner;
use crate::domain::video::Failure;
use crate::media::work::{Answer, FromWorker, LINE_BYTES_MAX, PROTOCOL_VERSION, ProcessLimits, Task, ToWorker};

/// How long a worker may take to get ready: on a machine's first start GStreamer looks at every plugin there is.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// How often a running task is looked at besides its own words.
const TICK: Duration = Duration::from_millis(250);
/// What is kept of a worker's last words for the log.
const LAST_WORDS_BYTES: usize = 2048;

/// How worker processes are started and watched.
#[derive(Debug, Clone)]
pub struct ProcessSettings {
    /// The binary; it is started with the one argument `worker`. Usually this very program.
    pub program: PathBuf,
    /// Added to its environment.
    pub environment: Vec<(String, String)>,
    /// What it takes on.
    pub limits: ProcessLimits,
    /// Longest silence of a running task.
    pub watchdog: Duration,
}

/// Why a task has no answer from its worker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum RunError {
    #[error("the worker ended: {0}")]
    Crashed(String),
    #[error("the worker gave no sign of progress")]
    Hung,
    #[error("nobody waits for the answer any more")]
    Abandoned,
}

/// A worker process that is ready for tasks. Dropping it kills it.
pub(in crate::actors) struct WorkerProcess {
    child: Child,
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    line: Vec<u8>,
    last_words: Arc<Mutex<Vec<u8>>>,
    next_id: u64,
}

impl WorkerProcess {
    /// Starts one and waits until it is ready.
    pub(super) async fn start(settings: &ProcessSettings) -> std::io::Result<Self> {
        Self::start_with(settings, &["worker"]).await
    }

    /// Starts one that encodes the rungs of a live stream.
    pub(in crate::actors) async fn start_live(settings: &ProcessSettings) -> std::io::Result<Self> {
        Self::start_with(settings, &["worker", "--live"]).await
    }

    /// What it says and hears, for whoever speaks another way with it.
    pub(in crate::actors) fn streams(&mut self) -> (&mut (impl AsyncRead + Unpin), &mut (impl AsyncWrite + Unpin)) {
        (&mut self.reader, &mut self.writer)
    }

    async fn start_with(settings: &ProcessSettings, arguments: &[&str]) -> std::io::Result<Self> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut command = Command::new(&settings.program);
        command.args(arguments).stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null()).stderr(Stdio::piped());
        command.envs(settings.environment.iter().map(|(name, value)| (name, value))).kill_on_drop(true);
        let mut child = spawner::spawn(command).await?;
        let (reader, writer) = UnixStream::from_std(ours)?.into_split();
        let last_words = Arc::default();
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(keep_last_words(stderr, Arc::clone(&last_words)));
        }
        let reader = BufReader::new(reader);
        let mut process = Self { child, reader, writer, line: Vec::new(), last_words, next_id: 0 };
        process.tell(&ToWorker::Hello { protocol: PROTOCOL_VERSION, limits: settings.limits.clone() }).await?;
        match tokio::time::timeout(START_TIMEOUT, process.hear()).await {
            Ok(Ok(FromWorker::Ready { protocol: PROTOCOL_VERSION })) => Ok(process),
            Ok(Ok(_)) => Err(std::io::Error::other("the worker speaks another protocol")),
            Ok(Err(error)) => Err(std::io::Error::other(format!("{error}: {}", process.epitaph().await))),
            Err(_) => Err(std::io::Error::other("the worker did not get ready")),
        }
    }

    /// Its process id, while it runs.
    pub(super) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until it ends by itself. Loses nothing when dropped halfway.
    pub(super) async fn ended(&mut self) {
        let _ = self.child.wait().await;
    }

    /// Runs one task. After an error the process must be dropped.
    pub(super) async fn run(
        &mut self,
        task: Task,
        settings: &ProcessSettings,
        orders: &Orders<'_>,
    ) -> Result<Result<Answer, Failure>, RunError> {
        self.next_id += 1;
        let id = self.next_id;
        let mut last_sign = Instant::now();
        if let Err(error) = self.tell(&ToWorker::Run { id, task: Box::new(task) }).await {
            return Err(self.crashed(error).await);
        }
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                biased;
                heard = self.hear() => match heard {
                    Ok(FromWorker::Done { id: about, answer }) if about == id => return Ok(answer),
                    Ok(FromWorker::Progress { id: about, percent }) if about == id => {
                        last_sign = Instant::now();
                        orders.progress.send_replace(percent.min(100));
                    }
                    Ok(_) => return Err(RunError::Crashed("it spoke of another task".into())),
                    Err(error) => return Err(self.crashed(error).await),
                },
                _ = tick.tick() => {
                    if (orders.is_abandoned)() {
                        return Err(RunError::Abandoned);
                    }
                    if last_sign.elapsed() > settings.watchdog {
                        return Err(RunError::Hung);
                    }
                }
            }
        }
    }

    async fn tell(&mut self, message: &ToWorker) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        self.writer.write_all(&line).await
    }

    /// The next message. What was read of it so far is kept when dropped halfway.
    async fn hear(&mut self) -> std::io::Result<FromWorker> {
        loop {
            let room = (LINE_BYTES_MAX + 1).saturating_sub(self.line.len()) as u64;
            let read = (&mut self.reader).take(room).read_until(b'\n', &mut self.line).await?;
            if self.line.last() == Some(&b'\n') {
                let line = std::mem::take(&mut self.line);
                return Ok(serde_json::from_slice(&line)?);
            }
            if read == 0 {
                let why = if self.line.len() > LINE_BYTES_MAX { "it says too much at once" } else { "it hung up" };
                return Err(std::io::Error::other(why));
            }
        }
    }

    async fn crashed(&mut self, error: std::io::Error) -> RunError {
        RunError::Crashed(format!("{error}: {}", self.epitaph().await))
    }

    /// How it ended and what it said last.
    async fn epitaph(&mut self) -> String {
        let status = match tokio::time::timeout(TICK, self.child.wait()).await {
            Ok(Ok(status)) => status.to_string(),
            _ => "still running".to_owned(),
        };
        let words = self.last_words.lock().unwrap_or_else(PoisonError::into_inner);
        format!("{status}: {}", String::from_utf8_lossy(&words).trim())
    }
}

/// What the one who wants a task done has to do with it while it runs.
pub(super) struct Orders<'a> {
    /// Where progress goes, percent.
    pub(super) progress: &'a watch::Sender<u8>,
    /// Whether the answer is no longer wanted.
    pub(super) is_abandoned: &'a (dyn Fn() -> bool + Send + Sync),
}

/// Drains standard error, so that a talkative library cannot block, and keeps its end.
async fn keep_last_words(mut stderr: tokio::process::ChildStderr, last_words: Arc<Mutex<Vec<u8>>>) {
    let mut chunk = [0u8; 1024];
    while let Ok(read @ 1..) = stderr.read(&mut chunk).await {
        let mut words = last_words.lock().unwrap_or_else(PoisonError::into_inner);
        words.extend_from_slice(chunk.get(..read).unwrap_or_default());
        let surplus = words.len().saturating_sub(LAST_WORDS_BYTES);
        words.drain(..surplus);
    }
}
