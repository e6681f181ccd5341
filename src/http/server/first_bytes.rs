//! The first bytes of a connection say which HTTP it speaks.
use std::io;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// What an HTTP/2 client with prior knowledge begins with (RFC 9113 section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection whose first bytes were read.
pub(super) struct FirstBytes {
    /// The connection, behind them.
    pub(super) stream: TcpStream,
    /// What was read.
    pub(super) bytes: Vec<u8>,
    /// Whether they are HTTP/2's.
    pub(super) is_http2: bool,
}

/// Reads until it is clear. `None` when the client left before.
pub(super) async fn read(mut stream: TcpStream) -> io::Result<Option<FirstBytes>> {
    let mut buffer = [0; PREFACE.len()];
    let mut filled = 0;
    while filled < PREFACE.len() && buffer[..filled] == PREFACE[..filled] {
        match stream.read(&mut buffer[filled..]).await? {
            0 => return Ok(None),
            read => filled += read,
        }
    }
    let bytes = buffer[..filled].to_vec();
    Ok(Some(FirstBytes { stream, is_http2: bytes == PREFACE, bytes }))
}
