//! Pulls by RTMP and RTMPS.
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::{PullError, Puller};
use crate::media::live::gate::{Counted, Feed};
use crate::protocols::dial::{Dialer, TlsChoice};
use crate::protocols::rtmp::client::{Ended, Link};
use crate::protocols::rtmp::ingest::RtmpIngest;
use crate::protocols::rtmp::session::{ClientUrl, Purpose};

impl Puller {
    pub(super) async fn by_rtmp(&self, url: &ClientUrl, stop: &CancellationToken) -> Result<(), PullError> {
        let (protocol, tls) = match url.is_tls {
            true => ("rtmps", Some(TlsChoice { insecure: false, protocols: &[] })),
            false => ("rtmp", None),
        };
        let dialer = Dialer::new(&url.host, url.port, tls).map_err(Ended::from)?;
        let dialer = if self.context.from_private { dialer } else { dialer.to_the_public() };
        let mut link = tokio::select! {
            link = Link::open(&dialer, url, Purpose::Play) => link?,
            () = stop.cancelled() => return Ok(()),
        };
        let feed = self.feed(protocol).await?;
        let _counted = Counted::new(protocol);
        let fetched = self.take_in(&mut link, feed, stop).await;
        if fetched.is_ok() {
            link.close().await;
        }
        fetched
    }

    async fn take_in(&self, link: &mut Link, mut feed: Feed, stop: &CancellationToken) -> Result<(), PullError> {
        let (started, silence_max) = (Instant::now(), self.context.silence_max);
        let (mut ingest, mut fed) = (RtmpIngest::default(), Vec::new());
        loop {
            for message in link.media() {
                ingest.take(message, started.elapsed(), &mut fed);
            }
            let now = self.context.clock.now();
            fed.drain(..).try_for_each(|fed| feed.give(fed, now))?;
            if let Some(reason) = ingest.refusal() {
                return Err(PullError::Unfit(reason.to_owned()));
            }
            tokio::select! {
                heard = tokio::time::timeout(silence_max, link.hear()) => match heard {
                    Ok(heard) => heard?,
                    Err(_) => return Err(PullError::Silent(silence_max)),
                },
                refusal = feed.fenced() => return Err(PullError::Fenced(refusal)),
                () = stop.cancelled() => return Ok(()),
            }
        }
    }
}
