//! Whom a balancer says it has connected (PROXY protocol, versions 1 and 2, as HAProxy describes it).
use std::io;
use std::net::IpAddr;

use proxy_header::{ParseConfig, ProxyHeader};
use tokio::io::{AsyncRead, AsyncReadExt};

/// What version 2 begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Shortest header: `PROXY UNKNOWN` and the end of its line.
const BYTES_MIN: usize = 15;
/// Longest line of version 1.
const LINE_BYTES_MAX: usize = 107;
/// Longest header of version 2: what is beyond addresses is of no use here.
const BYTES_MAX: usize = 4096;

/// Reads the header, and not a byte behind it. `None` when the balancer speaks for itself, e.g. to see whether anybody is there.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<IpAddr>> {
    let mut bytes = vec![0; BYTES_MIN];
    stream.read_exact(&mut bytes).await?;
    if bytes.starts_with(SIGNATURE) {
        bytes.push(stream.read_u8().await?);
        let length: usize = bytes.last_chunk().map_or(0, |length| u16::from_be_bytes(*length)).into();
        if length > BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a PROXY header that is too long"));
        }
        let read = bytes.len();
        bytes.resize(read + length, 0);
        stream.read_exact(bytes.get_mut(read..).unwrap_or_default()).await?;
    } else {
        while bytes.starts_with(b"PROXY ") && !bytes.ends_with(b"\r\n") && bytes.len() < LINE_BYTES_MAX {
            bytes.push(stream.read_u8().await?);
        }
    }
    let bad = |_| io::Error::new(io::ErrorKind::InvalidData, "a connection of a balancer without a PROXY header");
    let (header, _) = ProxyHeader::parse(&bytes, ParseConfig::default()).map_err(bad)?;
    Ok(header.proxied_address().map(|address| address.source.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_all(bytes: &[u8]) -> (io::Result<Option<IpAddr>>, Vec<u8>) {
        let mut stream = bytes;
        let read = read(&mut stream).await;
        (read, stream.to_vec())
    }

    #[tokio::test]
    async fn clients_are_told_by_both_versions() {
        let mut second = SIGNATURE.to_vec();
        // PROXY, TCP over IPv4, twelve bytes of addresses and three beyond.
        second.extend_from_slice(&[0x21, 0x11, 0, 15, 192, 0, 2, 7, 192, 0, 2, 1, 0x30, 0x39, 0x1f, 0x90, 4, 0, 0]);
        let mut local = SIGNATURE.to_vec();
        local.extend_from_slice(&[0x20, 0, 0, 0]);
        let client = Some(IpAddr::from([192, 0, 2, 7]));
        for (header, expected) in [
            (&b"PROXY TCP4 192.0.2.7 192.0.2.1 12345 8080\r\n"[..], client),
            (b"PROXY TCP6 2001:db8::7 2001:db8::1 1 2\r\n", Some("2001:db8::7".parse().unwrap())),
            (b"PROXY UNKNOWN\r\n", None),
            (&second, client),
            (&local, None),
        ] {
            let (read, rest) = read_all(&[header, b"GET / HTTP/1.1"].concat()).await;
            assert_eq!(read.unwrap(), expected, "{header:?}");
            assert_eq!(rest, b"GET / HTTP/1.1");
        }
    }

    #[tokio::test]
    async fn anything_else_is_refused() {
        let long = [SIGNATURE.as_slice(), &[0x21, 0x11, 0xff, 0xff]].concat();
        let endless = [b"PROXY ".as_slice(), &[b'x'; 200]].concat();
        for bad in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"PROXY TCP4 nobody 192.0.2.1 1 2\r\n", b"PROXY", &long, &endless] {
            assert!(read_all(bad).await.0.is_err(), "{bad:?}");
        }
    }
}
