//! Pushes by SRT.
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{PushError, Pusher, count, locked};
use crate::protocols::srt::call::{Call, CallUrl};

impl Pusher {
    pub(super) async fn by_srt(&self, url: &CallUrl, stop: &CancellationToken) -> Result<(), PushError> {
        let conditions = self.lives.push;
        let (stats, mut before) = (Arc::clone(&self.stats), 0);
        let tell = move |sent: u64| {
            count(&mut locked(&stats), sent - before);
            before = sent;
        };
        let mut call = tokio::select! {
            call = Call::open(url, (conditions.srt_latency, !conditions.to_private), &self.stream, tell) => call?,
            () = stop.cancelled() => return Ok(()),
        };
        self.begin();
        let ended = tokio::select! {
            ended = call.run() => ended,
            () = stop.cancelled() => Ok(()),
        };
        call.close().await;
        Ok(ended?)
    }
}
