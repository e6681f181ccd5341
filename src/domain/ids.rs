//! Identifiers: opaque, random, prefixed by kind, so that a leaked id tells nothing and a mixed-up one is refused.
use std::fmt;

use serde::{Deserialize, Serialize};

use super::ports::Entropy;

/// Random bytes behind each id: 96 bits, 16 or 17 base58 characters.
const ID_ENTROPY_BYTES: usize = 12;
/// Longest text accepted as an id; checked before anything is copied.
const ID_CHARS_MAX: usize = 32;

/// A text that is not an id of the kind asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an id of the form {expected_prefix}_…")]
pub struct InvalidId {
    /// The prefix the kind of id starts with.
    pub expected_prefix: &'static str,
}

fn is_id_of(prefix: &str, text: &str) -> bool {
    text.len() <= ID_CHARS_MAX
        && text
            .strip_prefix(prefix)
            .and_then(|rest| rest.strip_prefix('_'))
            .is_some_and(|rest| rest.len() >= 8 && rest.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

fn random_text(prefix: &str, entropy: &dyn Entropy) -> String {
    let mut bytes = [0u8; ID_ENTROPY_BYTES];
    entropy.fill(&mut bytes);
    format!("{prefix}_{}", bs58::encode(bytes).into_string())
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// What every id of this kind starts with.
            pub const PREFIX: &'static str = $prefix;

            /// A new random id.
            pub fn random(entropy: &dyn Entropy) -> Self {
                Self(random_text($prefix, entropy).into())
            }

            /// Reads an id from outside; refuses other kinds and other shapes.
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                if is_id_of($prefix, text) { Ok(Self(text.into())) } else { Err(InvalidId { expected_prefix: $prefix }) }
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.as_ref().to_owned()
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::parse(&text)
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::parse(text)
            }
        }
    };
}

id!(
    /// An account.
    UserId, "usr"
);
id!(
    /// A channel; every video belongs to one.
    ChannelId, "chn"
);
id!(
    /// A video, from the moment its upload is created.
    VideoId, "vid"
);
id!(
    /// What media URLs name. Separate from [`VideoId`], so that playback can be revoked without touching the video.
    PlaybackId, "plb"
);
id!(
    /// A resumable upload.
    UploadId, "upl"
);
id!(
    /// A signed-in device: one family of refresh tokens.
    LoginId, "lgn"
);
id!(
    /// One viewer watching one video.
    PlaybackSessionId, "pbs"
);
id!(
    /// A live stream.
    LiveId, "live"
);
id!(
    /// A server that a live stream is pushed to.
    PushId, "push"
);
id!(
    /// One HTTP request, in logs and error bodies.
    RequestId, "req"
);

#[cfg(test)]
mod tests {
    use super::*;

    struct Counting(std::sync::atomic::AtomicU8);
    impl Entropy for Counting {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        }
    }

    #[test]
    fn ids_round_trip_and_refuse_other_kinds() {
        let entropy = Counting(7.into());
        let id = VideoId::random(&entropy);
        assert_eq!(VideoId::parse(id.as_str()), Ok(id.clone()));
        assert!(UploadId::parse(id.as_str()).is_err());
        for bad in ["", "vid_", "vid_../../etc/passwd", "vid_aaaaaaa%2f", "vid_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]
        {
            assert!(VideoId::parse(bad).is_err(), "{bad}");
        }
        assert_ne!(id, VideoId::random(&entropy));
    }
}
