//! Who is at the other end: the peer, or what trusted proxies say they forwarded for.
use std::net::IpAddr;

use http::HeaderMap;
use http::header::HeaderName;

/// List of addresses a request was forwarded for, nearest last.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Scheme the request was first sent with.
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// How a request was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// In the clear.
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// As in URLs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// A network in CIDR notation, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    prefix: u32,
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address.parse().ok()?, Some(prefix.parse().ok()?)),
            None => (text.parse().ok()?, None),
        };
        let bits = if matches!(address, IpAddr::V4(_)) { 32 } else { 128 };
        let prefix = prefix.unwrap_or(bits);
        (prefix <= bits).then_some(Self { address, prefix })
    }

    fn contains(&self, address: IpAddr) -> bool {
        let same = |a: u128, b: u128, bits: u32| (a ^ b).checked_shr(bits - self.prefix).unwrap_or(0) == 0;
        match (self.address, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => same(a.to_bits().into(), b.to_bits().into(), 32),
            (IpAddr::V6(a), IpAddr::V6(b)) => same(a.to_bits(), b.to_bits(), 128),
            _ => false,
        }
    }
}

/// A setting that is neither an address nor a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("http.trusted_proxies: {0:?} is neither an address nor a network like 10.0.0.0/8")]
pub struct InvalidNetwork(pub String);

/// The proxies whose word counts.
#[derive(Debug, Clone, Default)]
pub(crate) struct TrustedProxies(Vec<Network>);

impl TrustedProxies {
    /// From `http.trusted_proxies`.
    pub(crate) fn parse(texts: &[String]) -> Result<Self, InvalidNetwork> {
        let parse = |text: &String| Network::parse(text.trim()).ok_or_else(|| InvalidNetwork(text.clone()));
        texts.iter().map(parse).collect::<Result<_, _>>().map(Self)
    }

    /// Whether this is one of them.
    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// The client's address and scheme, of a request that came from `peer` in this way. The list is read from its end, through trusted addresses: the first other one is
    /// the client; whatever stands before it anyone could have written.
    pub(crate) fn client_of(&self, (peer, scheme): (IpAddr, Scheme), headers: &HeaderMap) -> (IpAddr, Scheme) {
        let peer = peer.to_canonical();
        if !self.trusts(peer) {
            return (peer, scheme);
        }
        let lists = headers.get_all(FORWARDED_FOR);
        let mut hops: Vec<&str> =
            lists.iter().filter_map(|value| value.to_str().ok()).flat_map(|list| list.split(',')).collect();
        let mut client = peer;
        while let Some(hop) = hops.pop() {
            let Some(address) = parse_hop(hop.trim()) else { break };
            client = address;
            if !self.trusts(address) {
                break;
            }
        }
        let proto = headers.get(FORWARDED_PROTO).and_then(|value| value.to_str().ok()).unwrap_or(scheme.as_str());
        let nearest = proto.rsplit(',').next().unwrap_or_default().trim();
        (client, if nearest.eq_ignore_ascii_case("https") { Scheme::Https } else { Scheme::Http })
    }
}

/// An address as proxies write it: bare, with a port, or in brackets.
fn parse_hop(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or(text, |(inner, _)| inner);
    let address = bare.parse().ok().or_else(|| Some(text.parse::<std::net::SocketAddr>().ok()?.ip()))?;
    Some(IpAddr::to_canonical(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, forwarded: &[&str]) -> String {
        let trusted = TrustedProxies::parse(&["10.0.0.0/8".into(), "::1".into(), "fd00::/8".into()]).unwrap();
        let headers = forwarded.iter().map(|list| (FORWARDED_FOR, list.parse().unwrap())).collect();
        trusted.client_of((peer.parse().unwrap(), Scheme::Http), &headers).0.to_string()
    }

    #[test]
    fn strangers_cannot_choose_their_address() {
        assert_eq!(client("203.0.113.9", &["1.2.3.4"]), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &["6.6.6.6, 198.51.100.7"]), "198.51.100.7");
        assert_eq!(client("10.0.0.1", &["6.6.6.6, 198.51.100.7, 10.2.2.2"]), "198.51.100.7");
        assert_eq!(client("10.0.0.1", &["6.6.6.6", "198.51.100.7:4711", "10.2.2.2"]), "198.51.100.7");
    }

    #[test]
    fn odd_lists_end_at_the_last_address_understood() {
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["garbage, 10.3.3.3"]), "10.3.3.3");
        assert_eq!(client("::1", &["[2001:db8::5]:443"]), "2001:db8::5");
        assert_eq!(client("::ffff:10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
    }

    #[test]
    fn networks_are_checked() {
        for bad in ["10.0.0.0/33", "10.0.0/8", "", "::/129", "host.example"] {
            assert!(TrustedProxies::parse(&[bad.to_owned()]).is_err(), "{bad}");
        }
        let all = Network::parse("0.0.0.0/0").unwrap();
        assert!(all.contains("203.0.113.9".parse().unwrap()) && !all.contains("::1".parse().unwrap()));
        let edge = Network::parse("192.168.4.0/22").unwrap();
        assert!(edge.contains("192.168.7.255".parse().unwrap()) && !edge.contains("192.168.8.0".parse().unwrap()));
    }

    #[test]
    fn the_scheme_is_the_nearest_proxys_word() {
        let trusted = TrustedProxies::parse(&["10.0.0.1".into()]).unwrap();
        let headers = HeaderMap::from_iter([(FORWARDED_PROTO, "http, https".parse().unwrap())]);
        let scheme = |peer: [u8; 4], own, headers| trusted.client_of((peer.into(), own), headers).1;
        assert_eq!(scheme([10, 0, 0, 1], Scheme::Http, &headers), Scheme::Https);
        assert_eq!(scheme([10, 0, 0, 2], Scheme::Http, &headers), Scheme::Http);
        let silent = HeaderMap::new();
        for peer in [[10, 0, 0, 1], [10, 0, 0, 2]] {
            assert_eq!(scheme(peer, Scheme::Https, &silent), Scheme::Https);
        }
    }
}
