//! Other servers that a live stream can be pushed to, by their URLs.
use super::rtmp::session::{ClientUrl, UrlError};
use super::srt::call::{CallUrl, CallUrlError};

/// Longest URL, bytes.
const URL_BYTES_MAX: usize = 2000;

/// Why text is no such URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOutlet {
    /// A protocol that streams are not pushed by.
    #[error("must begin with rtmp://, rtmps:// or srt://")]
    Scheme,
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
}

/// A server that takes streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outlet {
    /// By RTMP or RTMPS.
    Rtmp(ClientUrl),
    /// By SRT.
    Srt(CallUrl),
}

impl Outlet {
    /// A URL, and the key that services tell beside it, as one: the last part of the path, or the stream id.
    pub fn with_key(url: &str, key: &str) -> String {
        let separator = match (url.starts_with("srt://"), url.contains('?')) {
            (true, true) => "&streamid=",
            (true, false) => "?streamid=",
            (false, _) => "/",
        };
        format!("{}{separator}{key}", url.trim_end_matches('/'))
    }

    /// Reads a URL.
    pub fn parse(url: &str) -> Result<Self, InvalidOutlet> {
        if url.len() > URL_BYTES_MAX || !url.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(InvalidOutlet::Characters);
        }
        let (scheme, rest) = url.split_once("://").ok_or(InvalidOutlet::Scheme)?;
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
            _ => Err(InvalidOutlet::Scheme),
        }
    }

    /// As it may be shown to anybody.
    pub fn shown(&self) -> String {
        match self {
            Self::Rtmp(url) => format!("{}/…", url.tc_url),
            Self::Srt(url) if url.host.contains(':') => format!("srt://[{}]:{}?…", url.host, url.port),
            Self::Srt(url) => format!("srt://{}:{}?…", url.host, url.port),
        }
    }

    /// Text without what is secret: servers are known that repeat the key in what they say.
    pub fn without_secrets(&self, text: &str) -> String {
        let secret = match self {
            Self::Rtmp(url) => url.stream.as_str(),
            Self::Srt(url) => url.stream_id.as_deref().unwrap_or_default(),
        };
        if secret.is_empty() { text.to_owned() } else { text.replace(secret, "…") }
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
        ] {
            assert_eq!(Outlet::with_key(url, key), whole);
            let outlet = Outlet::parse(whole).unwrap();
            assert_eq!(outlet.shown(), shown);
            assert_eq!(outlet.without_secrets(&format!("no {key} here")), "no … here");
        }
    }

    #[test]
    fn what_is_no_server_is_told() {
        for (url, error) in [
            ("http://host/live/key", InvalidOutlet::Scheme),
            ("host/live/key", InvalidOutlet::Scheme),
            ("rtmp://host/live/", InvalidOutlet::NoKey),
            ("rtmp://user:password@host/live/key", InvalidOutlet::User),
            ("srt://user@host:1", InvalidOutlet::User),
            ("rtmp://host/live/a key", InvalidOutlet::Characters),
            ("rtmp://host", InvalidOutlet::Rtmp(UrlError::App)),
            ("srt://host", InvalidOutlet::Srt(CallUrlError::Host)),
        ] {
            assert_eq!(Outlet::parse(url), Err(error), "{url}");
        }
    }
}
