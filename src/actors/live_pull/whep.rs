//! Pulls by WHEP.
use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::{PullError, Puller};
use crate::domain::live::Passphrase;
use crate::media::live::gate::{Feed, Gate, Knock, TurnedAway};
use crate::protocols::webrtc::call::{CallConditions, pull};
use crate::protocols::webrtc::endpoint::{EndpointUrl, Reach};
use crate::protocols::webrtc::publishing::PublishContext;

/// Whatever comes of the call feeds the stream that it is made for.
#[async_trait]
impl Gate for Puller {
    async fn passphrase(&self, _: &str) -> Result<Option<Passphrase>, TurnedAway> {
        Ok(None)
    }

    async fn knock(&self, knock: Knock) -> Result<Feed, TurnedAway> {
        self.feed(knock.protocol).await
    }
}

impl Puller {
    pub(super) async fn by_whep(&self, url: &EndpointUrl, stop: &CancellationToken) -> Result<(), PullError> {
        let conditions = CallConditions {
            reach: Reach::proven(self.context.from_private),
            clock: Arc::clone(&self.context.clock),
            entropy: Arc::clone(&self.context.entropy),
        };
        let context = PublishContext {
            gate: Arc::new(self.clone()),
            clock: Arc::clone(&self.context.clock),
            latency: self.context.webrtc_latency,
            silence_max: self.context.silence_max,
        };
        Ok(pull(url, context, &conditions, stop).await?)
    }
}
