//! VP8: what key frames say of themselves (RFC 6386, section 9.1).

/// `start_code` of key frames.
const START_CODE: [u8; 3] = [0x9d, 0x01, 0x2a];

/// Width and height of a key frame; `None` for any other frame.
pub fn key_frame_size(frame: &[u8]) -> Option<(u32, u32)> {
    let [tag, _, _, code @ .., width_low, width_high, height_low, height_high] = frame.first_chunk::<10>()?;
    // Behind 14 bits is how a player is to scale, which none does.
    let side = |low: u8, high: u8| u32::from(u16::from_le_bytes([low, high]) & 0x3fff);
    let size = (side(*width_low, *width_high), side(*height_low, *height_high));
    (tag & 1 == 0 && *code == START_CODE && size.0 > 0 && size.1 > 0).then_some(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_frames_tell_their_size() {
        let key = [0x50, 0x42, 0x00, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xb4, 0x40, 0x00];
        assert_eq!(key_frame_size(&key), Some((320, 180)));
        let mut other = key;
        other[0] |= 1;
        assert_eq!(key_frame_size(&other), None);
        let mut none = key;
        none[6..8].fill(0);
        assert_eq!((key_frame_size(&none), key_frame_size(&key[..9])), (None, None));
    }
}
