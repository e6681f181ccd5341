//! Other servers that a live stream can be pushed to, or fetched from, by their URLs.
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::hls::fetch::{HlsUrl, HlsUrlError};
use super::rtmp::session::{ClientUrl, UrlError};
use super::rtsp::{RtspUrl, RtspUrlError};
use super::srt::call::{CallUrl, CallUrlError};
use super::webrtc::endpoint::{EndpointUrl, EndpointUrlError};

/// Longest URL, bytes.
const URL_BYTES_MAX: usize = 2000;

/// Why text is no such URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOutlet {
    /// A protocol that streams do not go by, or not that way.
    #[error("must begin with {}", .0.told())]
    Scheme(Way),
    /// What no URL has.
    #[error("must be at most {URL_BYTES_MAX} characters of ASCII, without spaces")]
    Characters,
    /// A user, with a password perhaps, that none of the protocols has a place for.
    #[error("must have no user and password")]
    User,
    /// No stream in it.
    #[error("lacks the stream's key behind the application")]
    NoKey,
    /// No URL of RTMP.
    #[error("{0}")]
    Rtmp(#[from] UrlError),
    /// No URL of SRT.
    #[error("{0}")]
    Srt(#[from] CallUrlError),
    /// No URL of HLS.
    #[error("{0}")]
    Hls(#[from] HlsUrlError),
    /// No URL of RTSP.
    #[error("{0}")]
    Rtsp(#[from] RtspUrlError),
    /// No URL of WHIP or WHEP.
    #[error("{0}")]
    Webrtc(#[from] EndpointUrlError),
}

/// Which way a stream goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// To the other server.
    To,
    /// From there.
    From,
}

impl Way {
    /// How URLs of servers begin.
    fn told(self) -> &'static str {
        match self {
            Self::To => "rtmp://, rtmps://, srt://, whip:// or whips://",
            Self::From => "rtmp://, rtmps://, srt://, rtsp://, whep://, wheps://, or https:// (or http://) of HLS",
        }
    }

    /// By WebRTC, without TLS and with it.
    fn schemes(self) -> [&'static str; 2] {
        match self {
            Self::To => ["whip", "whips"],
            Self::From => ["whep", "wheps"],
        }
    }
}

/// A server that takes streams, or gives them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outlet {
    /// By RTMP or RTMPS.
    Rtmp(ClientUrl),
    /// By SRT.
    Srt(CallUrl),
    /// By RTSP, from there only.
    Rtsp(RtspUrl),
    /// By HLS, from there only.
    Hls(HlsUrl),
    /// By WHIP or WHEP.
    Webrtc(EndpointUrl),
}

impl Outlet {
    /// A URL, and the key that services tell beside it, as one: the last part of the path, the stream id, or the bearer token.
    pub fn with_key(url: &str, key: &str) -> String {
        if let Some((scheme, rest)) =
            url.split_once("://").filter(|(scheme, _)| scheme.starts_with("whip") || scheme.starts_with("whep"))
        {
            return format!("{scheme}://{}@{rest}", utf8_percent_encode(key, NON_ALPHANUMERIC));
        }
        let separator = match (url.starts_with("srt://"), url.contains('?')) {
            (true, true) => "&streamid=",
            (true, false) => "?streamid=",
            (false, _) => "/",
        };
        format!("{}{separator}{key}", url.trim_end_matches('/'))
    }

    /// Reads a URL of a server that a stream goes to, or comes from.
    pub fn parse(url: &str, way: Way) -> Result<Self, InvalidOutlet> {
        if url.len() > URL_BYTES_MAX || !url.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(InvalidOutlet::Characters);
        }
        let of_webrtc = way.schemes();
        let unknown = InvalidOutlet::Scheme(way);
        let (scheme, rest) = url.split_once("://").ok_or(unknown.clone())?;
        if of_webrtc.contains(&scheme) {
            return Ok(Self::Webrtc(EndpointUrl::parse(url, &of_webrtc)?));
        }
        if scheme == "rtsp" && way == Way::From {
            return Ok(Self::Rtsp(RtspUrl::parse(url)?));
        }
        if matches!(scheme, "http" | "https") && way == Way::From {
            return Ok(Self::Hls(HlsUrl::parse(url)?));
        }
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err(InvalidOutlet::User);
        }
        match scheme {
            "srt" => Ok(Self::Srt(CallUrl::parse(url)?)),
            "rtmp" | "rtmps" => {
                let url = ClientUrl::parse(url)?;
                if url.stream.is_empty() { Err(InvalidOutlet::NoKey) } else { Ok(Self::Rtmp(url)) }
            }
            _ => Err(unknown),
        }
    }

    /// As it may be shown to anybody.
    pub fn shown(&self) -> String {
        match self {
            Self::Rtmp(url) => format!("{}/…", url.tc_url),
            Self::Srt(url) if url.host.contains(':') => format!("srt://[{}]:{}?…", url.host, url.port),
            Self::Srt(url) => format!("srt://{}:{}?…", url.host, url.port),
            Self::Rtsp(url) => format!("rtsp://{}/…", url.authority()),
            Self::Hls(url) => format!("{}/…", url.origin()),
            Self::Webrtc(url) => format!("{}://{}/…", if url.is_tls { "https" } else { "http" }, url.authority()),
        }
    }

    /// Text without what is secret: servers are known that repeat the key in what they say.
    pub fn without_secrets(&self, text: &str) -> String {
        let secrets = match self {
            Self::Rtmp(url) => [Some(url.stream.as_str()), None],
            Self::Srt(url) => [url.stream_id.as_deref(), None],
            Self::Rtsp(url) => url.secrets(),
            Self::Hls(url) => url.secrets(),
            Self::Webrtc(url) => [url.token.as_deref(), url.path.rsplit('/').next()],
        };
        let secrets = secrets.into_iter().flatten().filter(|secret| !secret.is_empty());
        secrets.fold(text.to_owned(), |text, secret| text.replace(secret, "…"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_where_they_belong_and_are_not_shown() {
        for (url, key, whole, shown) in [
            ("rtmps://host/live2/", "key", "rtmps://host/live2/key", "rtmps://host/live2/…"),
            ("srt://host:9000", "publish:key", "srt://host:9000?streamid=publish:key", "srt://host:9000?…"),
            ("srt://[::1]:9000?pbkeylen=16", "key", "srt://[::1]:9000?pbkeylen=16&streamid=key", "srt://[::1]:9000?…"),
            ("whips://host/whip", "k/y", "whips://k%2Fy@host/whip", "https://host:443/…"),
        ] {
            assert_eq!(Outlet::with_key(url, key), whole);
            let outlet = Outlet::parse(whole, Way::To).unwrap();
            assert_eq!(outlet.shown(), shown);
            assert_eq!(outlet.without_secrets(&format!("no {key} here")), "no … here");
        }
    }

    #[test]
    fn what_is_no_server_is_told() {
        for (url, error) in [
            ("http://host/live/key", InvalidOutlet::Scheme(Way::To)),
            ("host/live/key", InvalidOutlet::Scheme(Way::To)),
            ("wheps://host/live/key", InvalidOutlet::Scheme(Way::To)),
            ("whip://host:x/live", InvalidOutlet::Webrtc(EndpointUrlError::Host)),
            ("rtsp://host/live", InvalidOutlet::Scheme(Way::To)),
            ("rtmp://host/live/", InvalidOutlet::NoKey),
            ("rtmp://user:password@host/live/key", InvalidOutlet::User),
            ("srt://user@host:1", InvalidOutlet::User),
            ("rtmp://host/live/a key", InvalidOutlet::Characters),
            ("rtmp://host", InvalidOutlet::Rtmp(UrlError::App)),
            ("srt://host", InvalidOutlet::Srt(CallUrlError::Host)),
        ] {
            assert_eq!(Outlet::parse(url, Way::To), Err(error), "{url}");
        }
    }
}
