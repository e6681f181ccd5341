//! Messages on streams between nodes: a length, then so many bytes. No wait without an end.
use std::fmt::Display;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Room that is made for a message before it comes.
const ROOM: usize = 64 << 10;

/// A step that must not take longer than this; why it came to nothing, in words.
pub async fn in_time<T, E: Display>(limit: Duration, step: impl Future<Output = Result<T, E>>) -> Result<T, String> {
    let done = tokio::time::timeout(limit, step).await.map_err(|_| "the other node stands still".to_owned())?;
    done.map_err(|error| error.to_string())
}

/// Sends a message.
pub async fn write(stream: &mut (impl AsyncWrite + Unpin), message: &[u8]) -> Result<(), String> {
    let length = u32::try_from(message.len()).map_err(|error| error.to_string())?;
    stream.write_u32(length).await.map_err(|error| error.to_string())?;
    stream.write_all(message).await.map_err(|error| error.to_string())
}

/// Takes one of at most so many bytes. Room for it is made as it comes, not as it is announced.
pub async fn read(stream: &mut (impl AsyncRead + Unpin), bytes_max: usize) -> Result<Bytes, String> {
    let length = stream.read_u32().await.map_err(|error| error.to_string())?;
    if length as usize > bytes_max {
        return Err("the other node sends too much at once".into());
    }
    let mut message = BytesMut::with_capacity((length as usize).min(ROOM));
    let mut rest = stream.take(length.into());
    while message.len() < length as usize {
        if rest.read_buf(&mut message).await.map_err(|error| error.to_string())? == 0 {
            return Err("the other node has broken off".into());
        }
    }
    Ok(message.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_arrive_whole_and_none_is_too_long() {
        let (mut near, mut far) = tokio::io::duplex(64);
        write(&mut near, b"hello").await.unwrap();
        write(&mut near, b"").await.unwrap();
        assert_eq!(read(&mut far, 5).await.unwrap(), "hello");
        assert_eq!(read(&mut far, 5).await.unwrap(), "");
        write(&mut near, b"too long").await.unwrap();
        assert!(read(&mut far, 5).await.is_err());
        let silent = in_time(Duration::from_millis(10), std::future::pending::<Result<(), String>>());
        assert!(silent.await.is_err());
    }
}
