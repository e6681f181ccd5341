//! Pushes by WHIP.
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{PushError, Pusher, count, locked};
use crate::protocols::webrtc::call::{CallConditions, push};
use crate::protocols::webrtc::endpoint::{EndpointUrl, Reach};

impl Pusher {
    pub(super) async fn by_whip(&self, url: &EndpointUrl, stop: &CancellationToken) -> Result<(), PushError> {
        let conditions = CallConditions {
            reach: Reach::proven(self.lives.push.to_private),
            clock: Arc::clone(&self.lives.clock),
            entropy: Arc::clone(&self.lives.entropy),
        };
        let (pusher, mut has_begun) = (self.clone(), false);
        let tell = move |bytes: u64| {
            if !std::mem::replace(&mut has_begun, true) {
                pusher.begin();
            }
            count(&mut locked(&pusher.stats), bytes);
        };
        Ok(push(url, &self.stream, tell, &conditions, stop).await?)
    }
}
