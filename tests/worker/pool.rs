//! Worker pools for tests.
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

pub use playhouse::actors::transcode_worker::ProcessSettings;
use playhouse::actors::transcode_worker::{PoolSettings, WorkError, WorkerPoolHandle};
use playhouse::domain::asset::BlobKey;
use playhouse::domain::ids::{PlaybackId, VideoId};
use playhouse::media::work::{Answer, MediaLimits, Output, ProcessLimits, SourceFile, Task};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// How the workers of tests are started.
pub fn process_settings() -> ProcessSettings {
    ProcessSettings {
        program: env!("CARGO_BIN_EXE_playhouse").into(),
        environment: Vec::new(),
        limits: ProcessLimits { nice: 5, address_space_bytes_max: 4 << 30 },
        watchdog: Duration::from_secs(20),
    }
}

/// Starts a pool of one worker (and the one for quick tasks).
pub async fn start(process: ProcessSettings) -> WorkerPoolHandle {
    let handle = WorkerPoolHandle::default();
    handle.start(PoolSettings { processes: 1, process }, None).await.unwrap();
    handle
}

/// Runs a task on the one pool that all tests share: starting processes is what takes time.
pub fn run(task: Task) -> Result<Answer, WorkError> {
    static SHARED: OnceLock<(Runtime, WorkerPoolHandle)> = OnceLock::new();
    let (runtime, pool) = SHARED.get_or_init(|| {
        let runtime = Runtime::new().unwrap();
        let pool = runtime.block_on(start(process_settings()));
        (runtime, pool)
    });
    runtime.block_on(pool.run(task, watch::Sender::new(0)))
}

/// Runs a task on a pool whose workers cannot be started.
pub fn run_without_binary(task: Task) -> Result<Answer, WorkError> {
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let pool = start(ProcessSettings { program: "/nonexistent".into(), ..process_settings() }).await;
        pool.run(task, watch::Sender::new(0)).await
    })
}

/// A pool whose workers break on one kind of task, so many times.
pub struct Fault {
    runtime: Runtime,
    pool: WorkerPoolHandle,
    _dir: TempDir,
}

impl Fault {
    pub fn new(action: &str, task: &str, times: u32, watchdog: Duration) -> Self {
        let (dir, environment) = fault(action, task, times);
        let runtime = Runtime::new().unwrap();
        let pool = runtime.block_on(start(ProcessSettings { environment, watchdog, ..process_settings() }));
        Self { runtime, pool, _dir: dir }
    }

    pub fn run(&self, task: Task) -> Result<Answer, WorkError> {
        self.runtime.block_on(self.pool.run(task, watch::Sender::new(0)))
    }
}

/// The environment that makes workers break, and what it needs.
pub fn fault(action: &str, task: &str, times: u32) -> (TempDir, Vec<(String, String)>) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("left");
    std::fs::write(&file, times.to_string()).unwrap();
    let value = format!("{action}:{task}:{}", file.display());
    (dir, vec![("PLAYHOUSE_WORKER_FAULT".to_owned(), value)])
}

/// Conditions of standard input as the settings have them.
pub fn limits() -> MediaLimits {
    MediaLimits {
        segment_duration: Duration::from_secs(4),
        gop_duration_max: Duration::from_secs(10),
        bit_rate_max: 50_000_000,
        moov_bytes_max: 64 << 20,
    }
}

/// A file as a source.
pub fn source(path: &Path) -> Vec<SourceFile> {
    vec![SourceFile::local(path, 0, std::fs::metadata(path).unwrap().len())]
}

/// Output into a directory.
pub fn output(dir: &Path) -> Output {
    Output {
        dir: dir.to_owned(),
        key_prefix: BlobKey::new("vod-abr/vid_testtesttest/1"),
        video_id: VideoId::parse("vid_testtesttest").unwrap(),
        playback_id: PlaybackId::parse("plb_testtesttest").unwrap(),
        generation: 1,
    }
}
