//! STUN and TURN servers as operators write them, and as clients are told of them (RFC 9725, section 4.6).

/// Characters that addresses of servers have.
const HOST_CHARS: &[u8] = b".-_:[]";

/// A server that helps clients to reach this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IceServer {
    url: String,
    /// User name and password, of TURN.
    account: Option<(String, String)>,
}

impl IceServer {
    /// Reads `stun:host:port` or `turn:user:password@host:port?transport=udp`; `None` when it is neither.
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once(':')?;
        let (account, server) = match (scheme, rest.rsplit_once('@')) {
            ("stun" | "stuns", None) => (None, rest),
            ("turn" | "turns", Some((account, server))) => {
                let (user, password) = account.split_once(':').filter(|(user, _)| !user.is_empty())?;
                let is_quotable =
                    |text: &str| text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\');
                if !is_quotable(user) || !is_quotable(password) {
                    return None;
                }
                (Some((user.to_owned(), password.to_owned())), server)
            }
            _ => return None,
        };
        let (host, query) = server.split_once('?').unwrap_or((server, "transport=udp"));
        let is_host =
            !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || HOST_CHARS.contains(&byte));
        let is_known = matches!(query, "transport=udp" | "transport=tcp");
        (is_host && is_known).then(|| Self { url: format!("{scheme}:{server}"), account })
    }

    /// The value of a `Link` field that tells of it.
    pub fn link(&self) -> String {
        let account = self.account.as_ref().map(|(user, password)| {
            format!("; username=\"{user}\"; credential=\"{password}\"; credential-type=\"password\"")
        });
        format!("<{}>; rel=\"ice-server\"{}", self.url, account.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_as_operators_write_them() {
        let link = |text: &str| IceServer::parse(text).map(|server| server.link());
        assert_eq!(
            link("stun:stun.example.org:3478").as_deref(),
            Some("<stun:stun.example.org:3478>; rel=\"ice-server\"")
        );
        assert_eq!(
            link("turn:ann:s3:cr@et@turn.example.org?transport=tcp").as_deref(),
            Some(
                "<turn:turn.example.org?transport=tcp>; rel=\"ice-server\"; username=\"ann\"; credential=\"s3:cr@et\"; credential-type=\"password\""
            )
        );
        for bad in [
            "",
            "stun:",
            "http://example.org",
            "turn:turn.example.org",
            "stun:a b",
            "turn:a\":b@c",
            "stun:a?x",
            "stun:<a>",
        ] {
            assert_eq!(link(bad), None, "{bad}");
        }
    }
}
