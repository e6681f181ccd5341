//! Pushes by RTMP and RTMPS.
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{PushError, Pusher, count, locked};
use crate::media::live::broadcast::Broadcast;
use crate::media::live::stream::LiveStream;
use crate::media::live::tap::{Cursor, Tapped};
use crate::protocols::dial::{Dialer, TlsChoice};
use crate::protocols::rtmp::client::{Ended, Link};
use crate::protocols::rtmp::publication::Publication;
use crate::protocols::rtmp::session::{ClientUrl, Purpose};

/// Bytes that are queued before they are sent.
const QUEUED_BYTES: usize = 256 << 10;

/// What a broadcast has to send.
struct Source<'a> {
    stream: &'a LiveStream,
    cursor: Cursor,
    moved: watch::Receiver<u64>,
}

impl Source<'_> {
    /// What has come since, and whether more will.
    fn read(&mut self) -> (Vec<Tapped>, bool) {
        self.moved.mark_unchanged();
        self.stream
            .look(|broadcast| (broadcast.tap().read(&mut self.cursor).collect(), !Broadcast::has_ended(broadcast)))
    }
}

impl Pusher {
    pub(super) async fn by_rtmp(&self, url: &ClientUrl, stop: &CancellationToken) -> Result<(), PushError> {
        let tls = url.is_tls.then_some(TlsChoice { insecure: false, protocols: &[] });
        let dialer = Dialer::new(&url.host, url.port, tls).map_err(Ended::from)?;
        let dialer = if self.lives.push.to_private { dialer } else { dialer.to_the_public() };
        let mut link = tokio::select! {
            link = Link::open(&dialer, url, Purpose::Publish) => link?,
            () = stop.cancelled() => return Ok(()),
        };
        let sent = self.send(&mut link, stop).await;
        if sent.is_ok() {
            link.close().await;
        }
        sent
    }

    async fn send(&self, link: &mut Link, stop: &CancellationToken) -> Result<(), PushError> {
        let cursor = self.stream.look(|broadcast| broadcast.tap().join());
        let mut source = Source { stream: &self.stream, cursor, moved: self.stream.tapped() };
        let mut publication = Publication::new(link.server().clone());
        let (mut messages, mut has_begun) = (Vec::new(), false);
        loop {
            let (frames, goes_on) = source.read();
            for frame in &frames {
                publication.take(frame, &mut messages)?;
                for message in messages.drain(..) {
                    link.send(message)?;
                }
                if link.queued_bytes() >= QUEUED_BYTES {
                    self.flush(link).await?;
                }
            }
            self.flush(link).await?;
            if !has_begun && !frames.is_empty() {
                has_begun = true;
                self.begin();
            }
            locked(&self.stats).skips = source.cursor.skips();
            if !goes_on {
                return Ok(());
            }
            tokio::select! {
                // The sender lives as long as the stream.
                _ = source.moved.changed() => {}
                heard = link.hear() => heard?,
                () = stop.cancelled() => return Ok(()),
            }
        }
    }

    async fn flush(&self, link: &mut Link) -> Result<(), PushError> {
        let sent = link.flush().await?;
        count(&mut locked(&self.stats), sent);
        Ok(())
    }
}
