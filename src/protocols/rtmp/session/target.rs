//! Names of streams: what encoders make of the URL and key that people type into them.
use std::fmt;

use percent_encoding::percent_decode_str;

/// Pairs kept of a query.
const QUERY_PAIRS_MAX: usize = 32;
/// Names under which a query has the stream key.
const KEY_NAMES: &[&str] = &["key", "streamkey", "stream_key", "token"];
const USER_NAMES: &[&str] = &["user", "username", "u"];
const PASSWORD_NAMES: &[&str] = &["pass", "password", "p"];

/// What is to be published or played. The key may be anywhere in it, so it is not shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct StreamTarget {
    /// The application, without a query and slashes around it.
    pub app: String,
    /// The stream, without a query and slashes around it; may be empty.
    pub name: String,
    /// Queries of the stream, the application and the URL, in this order, decoded.
    pub query: Vec<(String, String)>,
}

impl StreamTarget {
    /// From the members of `connect` and the argument of `publish` or `play`.
    pub fn new(app: &str, tc_url: &str, stream: &str) -> Self {
        let mut query = Vec::new();
        let (name, of_name) = stream.split_once('?').unwrap_or((stream, ""));
        let (app, of_app) = app.split_once('?').unwrap_or((app, ""));
        let of_url = tc_url.split_once('?').map_or("", |(_, query)| query);
        for text in [of_name, of_app, of_url] {
            for (name, value) in pairs(text) {
                if query.len() < QUERY_PAIRS_MAX && !query.iter().any(|(known, _)| *known == name) {
                    query.push((name, value));
                }
            }
        }
        let trimmed = |text: &str| text.trim_matches('/').to_owned();
        Self { app: trimmed(app), name: trimmed(name), query }
    }

    /// The stream key: from the query, else the stream's name, else the last part of the application, where encoders put it
    /// that know one field only.
    pub fn key(&self) -> Option<&str> {
        let of_path = || Some(&self.name[..]).filter(|name| !name.is_empty()).or_else(|| self.app.rsplit('/').next());
        self.of_query(KEY_NAMES).or_else(of_path).filter(|key| !key.is_empty())
    }

    /// User and password of the query.
    pub fn credentials(&self) -> Option<(&str, &str)> {
        Some((self.of_query(USER_NAMES)?, self.of_query(PASSWORD_NAMES)?))
    }

    fn of_query(&self, names: &[&str]) -> Option<&str> {
        let is_named = |known: &str| names.iter().any(|name| known.eq_ignore_ascii_case(name));
        self.query.iter().find(|(known, _)| is_named(known)).map(|(_, value)| value.as_str())
    }
}

impl fmt::Debug for StreamTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamTarget").finish_non_exhaustive()
    }
}

fn pairs(query: &str) -> impl Iterator<Item = (String, String)> {
    let of_pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name), decoded(value))
    };
    query.split(['&', ';', '?']).filter(|pair| !pair.is_empty()).map(of_pair)
}

/// Percent-decoded; what is no escape stays as it is.
fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Why text is no URL of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Neither `rtmp://` nor `rtmps://`.
    #[error("not an rtmp:// or rtmps:// URL")]
    Scheme,
    /// No host, or a port that is no number.
    #[error("no host and port")]
    Host,
    /// No application.
    #[error("no application in the path")]
    App,
}

/// A URL as a client reads it: `rtmp[s]://host[:port]/app[/…]/stream[?query]`.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientUrl {
    /// Whether TLS comes first.
    pub is_tls: bool,
    /// Host name or address, without brackets.
    pub host: String,
    /// Port; 1935, with TLS 443, when the URL has none.
    pub port: u16,
    /// The application: all of the path but its last part.
    pub app: String,
    /// The URL up to and with the application.
    pub tc_url: String,
    /// The last part of the path, with its query.
    pub stream: String,
}

impl ClientUrl {
    /// Reads a URL.
    pub fn parse(url: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = url.split_once("://").ok_or(UrlError::Scheme)?;
        let is_tls = match scheme {
            "rtmp" => false,
            "rtmps" => true,
            _ => return Err(UrlError::Scheme),
        };
        let (authority, path) = rest.split_once('/').ok_or(UrlError::App)?;
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| UrlError::Host)?),
            _ => (authority, if is_tls { 443 } else { 1935 }),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(UrlError::Host);
        }
        let (names, query) = path.split_once('?').map_or((path, None), |(names, query)| (names, Some(query)));
        let (app, stream) = names.rsplit_once('/').unwrap_or((names, ""));
        if app.is_empty() {
            return Err(UrlError::App);
        }
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        let tc_url = format!("{scheme}://{authority}/{app}");
        let (app, stream) = (app.to_owned(), format!("{stream}{query}"));
        Ok(Self { is_tls, host: host.to_owned(), port, app, tc_url, stream })
    }
}

impl fmt::Debug for ClientUrl {
    /// Without the parts that may be a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientUrl").field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_found_wherever_encoders_put_it() {
        for (app, tc_url, stream, key) in [
            ("live", "rtmp://host/live", "secret", "secret"),
            ("live/", "rtmp://host/live/", "/secret", "secret"),
            ("live", "", "camera?key=secret", "secret"),
            ("live", "", "camera?a=1&streamKey=secret", "secret"),
            ("live", "", "?key=secret", "secret"),
            ("live?key=secret", "", "", "secret"),
            ("live", "rtmp://host/live?token=s%65cret", "camera", "secret"),
            ("live/secret", "", "", "secret"),
            ("secret", "rtmp://host/secret", "", "secret"),
            ("live", "", "secret?x", "secret"),
            ("live", "", "?key=", "live"),
        ] {
            assert_eq!(StreamTarget::new(app, tc_url, stream).key().unwrap_or("live"), key, "{app} {tc_url} {stream}");
        }
        assert_eq!(StreamTarget::new("", "", "").key(), None);
        let target = StreamTarget::new("live", "", "camera?user=ann&pass=a%20b%zz&n");
        assert_eq!(target.credentials(), Some(("ann", "a b%zz")));
        assert!(!format!("{target:?}").contains("camera"));
        let many: String = (0..100).map(|n| format!("a{n}=1&")).collect();
        assert_eq!(StreamTarget::new("live", "", &format!("x?{many}")).query.len(), QUERY_PAIRS_MAX);
    }

    #[test]
    fn urls_are_taken_apart() {
        let url = ClientUrl::parse("rtmp://127.0.0.1:19350/live/a/key?x=1").unwrap();
        assert_eq!((url.host.as_str(), url.port, url.is_tls), ("127.0.0.1", 19350, false));
        assert_eq!((url.app.as_str(), url.stream.as_str()), ("live/a", "key?x=1"));
        assert_eq!(url.tc_url, "rtmp://127.0.0.1:19350/live/a");
        let url = ClientUrl::parse("rtmps://[::1]/live").unwrap();
        assert_eq!((url.host.as_str(), url.port, url.app.as_str(), url.stream.as_str()), ("::1", 443, "live", ""));
        for (text, error) in [
            ("http://host/live", UrlError::Scheme),
            ("host", UrlError::Scheme),
            ("rtmp://host", UrlError::App),
            ("rtmp://host/", UrlError::App),
            ("rtmp:///live", UrlError::Host),
            ("rtmp://host:x/live", UrlError::Host),
        ] {
            assert_eq!(ClientUrl::parse(text), Err(error), "{text}");
        }
    }
}
