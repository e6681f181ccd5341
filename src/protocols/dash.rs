//! MPEG-DASH (ISO/IEC 23009-1, DASH-IF IOP): a static presentation of an asset over the same segment resources as HLS.
pub mod paths;
pub mod wire;

#[cfg(test)]
mod tests;
