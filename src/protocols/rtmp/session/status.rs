//! Status objects: what encoders and players show to people.
use super::super::wire::amf::Amf;

/// Codes of status objects.
pub mod code {
    /// Connected.
    pub const CONNECT_SUCCESS: &str = "NetConnection.Connect.Success";
    /// Not allowed to connect.
    pub const CONNECT_REJECTED: &str = "NetConnection.Connect.Rejected";
    /// Please come again elsewhere (E-RTMP).
    pub const RECONNECT_REQUEST: &str = "NetConnection.Connect.ReconnectRequest";
    /// Publishing may begin.
    pub const PUBLISH_START: &str = "NetStream.Publish.Start";
    /// The key is wrong, or its stream is taken.
    pub const PUBLISH_BAD_NAME: &str = "NetStream.Publish.BadName";
    /// The key is right, and publishing is not allowed.
    pub const PUBLISH_DENIED: &str = "NetStream.Publish.Denied";
    /// Publishing has ended.
    pub const UNPUBLISH_SUCCESS: &str = "NetStream.Unpublish.Success";
    /// Playing starts anew.
    pub const PLAY_RESET: &str = "NetStream.Play.Reset";
    /// Playing may begin.
    pub const PLAY_START: &str = "NetStream.Play.Start";
    /// Playing has ended.
    pub const PLAY_STOP: &str = "NetStream.Play.Stop";
    /// The stream that is played has ended.
    pub const PLAY_UNPUBLISH_NOTIFY: &str = "NetStream.Play.UnpublishNotify";
    /// There is no such stream.
    pub const PLAY_STREAM_NOT_FOUND: &str = "NetStream.Play.StreamNotFound";
    /// Something failed on the server.
    pub const FAILED: &str = "NetStream.Failed";
}

/// A refusal that the peer shows to people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// One of [`code`].
    pub code: String,
    /// A sentence for the person at the encoder.
    pub description: String,
}

impl Rejection {
    /// A refusal.
    pub fn new(code: &str, description: impl Into<String>) -> Self {
        Self { code: code.to_owned(), description: description.into() }
    }

    pub(super) fn status(&self) -> Amf {
        status("error", &self.code, &self.description)
    }

    /// What a status object refuses.
    pub(super) fn read(status: &Amf) -> Self {
        let text = |name| status.get(name).and_then(Amf::as_str).unwrap_or_default().to_owned();
        Self { code: text("code"), description: text("description") }
    }
}

pub(super) fn status(level: &str, code: &str, description: &str) -> Amf {
    Amf::object([("level", Amf::text(level)), ("code", Amf::text(code)), ("description", Amf::text(description))])
}
