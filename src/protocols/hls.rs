//! HLS (draft-pantos-hls-rfc8216bis): playlists of an asset and the names of its objects.
pub mod fetch;
pub mod live;
pub mod paths;
pub mod steering;
pub mod wire;

#[cfg(test)]
pub(crate) mod tests;
