//! Units of ladders that are made by workers of other nodes. The node that has a video's job asks another one to make a unit; that one
//! makes it when a worker of its is idle, stores what comes out in the bucket under names that are used once, and says what it is. Whether
//! that is taken is decided where the job is: what nobody waits for any more is nothing.
//!
//! A request is a stream of its own. It ends with either node, or when the asker has thought better of it; then the work ends, too.
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Semaphore, mpsc, watch};

use super::nodes::{NodesHandle, PeerRequest, PeerStream};
use super::peer_frames::{self, in_time};
use super::transcode_job::{TranscodeDependencies, is_offer};
use super::transcode_worker::WorkError;
use crate::domain::asset::{BlobKey, Extent};
use crate::domain::cluster::NodeName;
use crate::domain::ladder::Rung;
use crate::domain::video::Failure;
use crate::media::work::{Answer, Output, SourceFile, Task};

/// Longest message: the segments of a day of sound are 2 MiB.
const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// How often a node says that it is still at it.
const SIGN_OF_LIFE: Duration = Duration::from_secs(3);
/// One that has said nothing for this long is not waited for.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// What a node says of a unit. Variants are only ever added.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Said {
    /// No worker is idle, or none could do it.
    Busy,
    /// It has come so far, percent.
    Progress(u8),
    /// It is made.
    Made {
        /// The worker's answer; its files are of no use to anybody else.
        answer: Box<Answer>,
        /// What became of them.
        stored: Vec<Extent>,
    },
    /// It cannot be made.
    Refused(Failure),
    /// The worker process ended, or made no progress.
    Crashed,
}

/// What came of asking.
pub(super) enum Asked {
    /// Another one may be asked.
    NotTaken,
    /// The worker's answer, and what is stored of it.
    Ended(Result<(Answer, Vec<Extent>), WorkError>),
}

/// Asks a node to do a task whose sources are in buckets.
pub(super) async fn ask(nodes: &NodesHandle, node: &NodeName, task: &Task, progress: &watch::Sender<u8>) -> Asked {
    match try_ask(nodes, node, task, progress).await {
        Ok(asked) => asked,
        Err(reason) => {
            tracing::info!(%node, reason, "a node does not make a unit to its end");
            Asked::NotTaken
        }
    }
}

async fn try_ask(
    nodes: &NodesHandle,
    node: &NodeName,
    task: &Task,
    progress: &watch::Sender<u8>,
) -> Result<Asked, String> {
    let PeerStream { mut send, mut receive } = in_time(SILENCE_MAX, nodes.open_work(node)).await?;
    say(&mut send, task).await?;
    loop {
        match hear(&mut receive).await? {
            Said::Busy => return Ok(Asked::NotTaken),
            Said::Progress(percent) => drop(progress.send_replace(percent)),
            Said::Made { answer, stored } => return Ok(Asked::Ended(Ok((*answer, stored)))),
            Said::Refused(failure) => return Ok(Asked::Ended(Err(WorkError::Refused(failure)))),
            Said::Crashed => return Ok(Asked::Ended(Err(WorkError::Crashed))),
        }
    }
}

/// Makes units for other nodes, until there are none; as many at once as there are `places`.
pub async fn serve(dependencies: Arc<TranscodeDependencies>, places: usize, mut asked: mpsc::Receiver<PeerRequest>) {
    let places = Arc::new(Semaphore::new(places));
    while let Some(PeerRequest { from, stream }) = asked.recv().await {
        let (dependencies, places) = (Arc::clone(&dependencies), Arc::clone(&places));
        tokio::spawn(async move {
            if let Err(reason) = serve_one(&dependencies, &places, stream).await {
                tracing::info!(node = %from.node, reason, "a unit of another node is not made to its end");
            }
        });
    }
}

async fn serve_one(
    dependencies: &TranscodeDependencies,
    places: &Semaphore,
    PeerStream { mut send, mut receive }: PeerStream,
) -> Result<(), String> {
    let task: Task = hear(&mut receive).await?;
    let place = places.try_acquire().ok().filter(|_| dependencies.workers.is_idle());
    let is_able = place.is_some() && can_do(dependencies, &task).await;
    let dir = TempDir(dependencies.work_dir.join(format!("peer-{:016x}", rand::random::<u64>())));
    let task = dependencies.door.as_ref().filter(|_| is_able).and_then(|door| moved(task, door, &dir.0));
    let Some(task) = task else { return say(&mut send, &Said::Busy).await };
    tokio::fs::create_dir_all(&dir.0).await.map_err(|error| error.to_string())?;
    let (progress, mut percent) = watch::channel(0);
    let mut making = std::pin::pin!(make(dependencies, task, progress, &dir.0));
    let mut signs = tokio::time::interval(SIGN_OF_LIFE);
    let said = loop {
        tokio::select! {
            said = &mut making => break said,
            // Nobody waits for it any more.
            _ = send.stopped() => return Err("it is not wanted any more".into()),
            _ = signs.tick() => {}
            Ok(()) = percent.changed() => {}
        }
        let now = *percent.borrow_and_update();
        say(&mut send, &Said::Progress(now)).await?;
    };
    say(&mut send, &said).await?;
    in_time(SILENCE_MAX, send.shutdown()).await?;
    // What was written is read, or nobody is there.
    let _ = tokio::time::timeout(SILENCE_MAX, send.stopped()).await;
    Ok(())
}

/// Whether this node has what the task is to be done with.
async fn can_do(dependencies: &TranscodeDependencies, task: &Task) -> bool {
    let rungs: &[Rung] = match task {
        Task::EncodePictures(task) => &task.rungs,
        Task::EncodeSound(_) => &[],
        _ => return false,
    };
    match dependencies.encoders().await {
        Ok(found) => rungs.iter().all(|rung| found.contains(&rung.encoder)),
        Err(_) => false,
    }
}

/// The task as it is done here; `None` for one that no node asks for.
fn moved(mut task: Task, door: &Path, dir: &Path) -> Option<Task> {
    let (source, output): (&mut Vec<SourceFile>, &mut Output) = match &mut task {
        Task::EncodePictures(task) => (&mut task.source, &mut task.output),
        Task::EncodeSound(task) => (&mut task.source, &mut task.output),
        _ => return None,
    };
    for file in source {
        // A path of another machine means nothing here.
        file.key.as_ref()?;
        file.path = door.to_owned();
    }
    output.dir = dir.to_owned();
    Some(task)
}

async fn make(dependencies: &TranscodeDependencies, task: Task, progress: watch::Sender<u8>, dir: &Path) -> Said {
    let video_id = match &task {
        Task::EncodePictures(task) => task.output.video_id.clone(),
        Task::EncodeSound(task) => task.output.video_id.clone(),
        _ => return Said::Busy,
    };
    let answer = match dependencies.workers.run(task, progress).await {
        Ok(answer) => answer,
        Err(WorkError::Refused(failure)) => return Said::Refused(failure),
        Err(WorkError::Crashed | WorkError::Hung) => return Said::Crashed,
        Err(_) => return Said::Busy,
    };
    let mut stored = Vec::new();
    for file in answer.files() {
        if !is_offer(file, dir, &video_id) {
            return Said::Crashed;
        }
        match dependencies.blobs.adopt(&file.key, &file.path).await {
            Ok(bytes) => stored.push(Extent { key: file.key.clone(), bytes }),
            Err(error) => {
                tracing::warn!(blob.key = %file.key, %error, "file of another node's unit not stored");
                return Said::Busy;
            }
        }
    }
    tracing::info!(video.id = %video_id, "made a unit for another node");
    metrics::counter!("playhouse_transcode_units_for_peers_total").increment(1);
    Said::Made { answer: Box::new(answer), stored }
}

/// The blob that a file has become.
pub(super) fn stored_as(stored: &[Extent], key: &BlobKey) -> Option<Extent> {
    stored.iter().find(|blob| blob.key == *key).cloned()
}

/// Goes with whoever made it.
struct TempDir(PathBuf);

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn say<T: Serialize>(stream: &mut (impl AsyncWrite + Unpin), message: &T) -> Result<(), String> {
    let text = serde_json::to_vec(message).map_err(|error| error.to_string())?;
    in_time(SILENCE_MAX, peer_frames::write(stream, &text)).await
}

async fn hear<T: DeserializeOwned>(stream: &mut (impl AsyncRead + Unpin)) -> Result<T, String> {
    let text = in_time(SILENCE_MAX, peer_frames::read(stream, MESSAGE_BYTES_MAX)).await?;
    serde_json::from_slice(&text).map_err(|error| error.to_string())
}
