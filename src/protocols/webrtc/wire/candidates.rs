//! Where the writer of a description is reached, as it tells by candidates (RFC 8839, section 5.1).
use std::net::{IpAddr, SocketAddr};

/// Addresses read of one description at most.
const ADDRESSES_MAX: usize = 16;

/// Priority of a host candidate that connections are taken at (RFC 6544, section 4.2).
const TCP_PRIORITY: u32 = (126 << 24) + (((4 << 13) + 8191) << 8) + 255;

/// What a description tells of how its writer is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reached {
    /// Whether it answers checks and makes none (RFC 8445, section 2.5).
    pub is_lite: bool,
    /// Addresses that are reached by UDP, in its order.
    pub addresses: Vec<SocketAddr>,
}

impl Reached {
    /// Reads a description. Candidates that are named by something else than an address are left out.
    pub fn read(description: &str) -> Self {
        let mut addresses = Vec::new();
        for line in description.lines().filter_map(|line| line.trim_end().strip_prefix("a=candidate:")) {
            let Some(address) = address(line) else { continue };
            if !addresses.contains(&address) && addresses.len() < ADDRESSES_MAX {
                addresses.push(address);
            }
        }
        Self { is_lite: description.lines().any(|line| line.trim_end() == "a=ice-lite"), addresses }
    }

    /// A description that tells this besides; its lines end as the specification has it.
    pub fn told_in(&self, description: String) -> String {
        let mut out = match self.is_lite {
            true => description.replacen("\r\na=group:", "\r\na=ice-lite\r\na=group:", 1),
            false => description,
        };
        for (address, priority) in self.addresses.iter().zip((1..=2_130_706_431u32).rev()) {
            let (ip, port) = (address.ip(), address.port());
            out.push_str(&format!("a=candidate:{priority} 1 udp {priority} {ip} {port} typ host\r\n"));
        }
        out
    }
}

/// A description that tells besides that these addresses take connections by TCP (RFC 6544, section 4.5). They come behind those by
/// UDP, which are liked better.
pub fn reached_by_tcp(description: &str, addresses: &[SocketAddr]) -> String {
    const END: &str = "a=end-of-candidates\r\n";
    let candidate = |(number, address): (u32, &SocketAddr)| {
        let (ip, port) = (address.ip(), address.port());
        let (foundation, priority) = (6544 + number, TCP_PRIORITY - number);
        format!("a=candidate:{foundation} 1 tcp {priority} {ip} {port} typ host tcptype passive\r\n")
    };
    let candidates: String = (0..).zip(addresses).map(candidate).collect();
    description.replacen(END, &format!("{candidates}{END}"), 1)
}

fn address(candidate: &str) -> Option<SocketAddr> {
    let mut words = candidate.split(' ').filter(|word| !word.is_empty()).skip(1);
    let (component, transport, _) = (words.next()?, words.next()?, words.next()?);
    let (ip, port) = (words.next()?.parse::<IpAddr>().ok()?, words.next()?.parse::<u16>().ok()?);
    let is_useful = component == "1" && transport.eq_ignore_ascii_case("udp") && port > 0 && !ip.is_unspecified();
    is_useful.then(|| SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_told() {
        let told = "v=0\r\na=ice-lite\r\nm=audio 9 x\r\n\
            a=candidate:1 1 udp 2130706431 192.0.2.1 8189 typ host\r\n\
            a=candidate:2 1 UDP 1 2001:db8::1 8189 typ srflx raddr 0.0.0.0 rport 0\r\n\
            a=candidate:1 1 udp 2130706431 192.0.2.1 8189 typ host\r\n\
            a=candidate:3 2 udp 1 192.0.2.1 8190 typ host\r\n\
            a=candidate:4 1 tcp 1 192.0.2.1 9 typ host tcptype active\r\n\
            a=candidate:5 1 udp 1 0.0.0.0 9 typ host\r\n\
            a=candidate:6 1 udp 1 3b1d.local 9 typ host\r\na=candidate:7 1 udp\r\n";
        let reached = Reached::read(told);
        let addresses = ["192.0.2.1:8189", "[2001:db8::1]:8189"].map(|text| text.parse().unwrap());
        assert_eq!(reached, Reached { is_lite: true, addresses: addresses.into() });
        let again = reached.told_in("v=0\r\ns=-\r\na=group:BUNDLE 0\r\nm=audio 9 x\r\n".into());
        assert_eq!(Reached::read(&again), reached);
        assert!(again.starts_with("v=0\r\ns=-\r\na=ice-lite\r\na=group:BUNDLE 0\r\n"), "{again}");
    }

    #[test]
    fn connections_are_offered_behind_datagrams() {
        let told = "m=audio 9 x\r\na=candidate:1 1 udp 2130706431 192.0.2.1 8189 typ host\r\na=end-of-candidates\r\nm=video 9 x\r\n";
        let addresses = ["192.0.2.1:8189", "[2001:db8::1]:8189"].map(|text| text.parse().unwrap());
        let told = reached_by_tcp(told, &addresses);
        let lines: Vec<&str> = told.lines().skip(2).collect();
        let expected = [
            "a=candidate:6544 1 tcp 2124414975 192.0.2.1 8189 typ host tcptype passive",
            "a=candidate:6545 1 tcp 2124414974 2001:db8::1 8189 typ host tcptype passive",
            "a=end-of-candidates",
            "m=video 9 x",
        ];
        assert_eq!(lines, expected);
        assert_eq!(Reached::read(&told).addresses.len(), 1, "who calls does so by UDP");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let many: String = (1..1000).map(|port| format!("a=candidate:1 1 udp 1 192.0.2.1 {port} typ host\n")).collect();
        assert_eq!(Reached::read(&many).addresses.len(), ADDRESSES_MAX);
        assert_eq!(Reached::read("a=candidate:"), Reached::default());
    }
}
