//! Pictures that are encoded anew on their way in: such as no player of HLS takes (VP8) are H.264 when they reach the stream. These
//! are the two ends of that, of a publisher and of whoever encodes.
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::media::frames::{Frame, TrackConfig};

/// Pictures that wait for the encoder, or for the publisher, at most.
const WAITING_MAX: usize = 256;

/// For who encodes: the next picture.
#[derive(Debug, Clone, PartialEq)]
pub struct ToTranscode {
    /// What it is of; told with key frames.
    pub config: Option<TrackConfig>,
    /// The picture.
    pub frame: Frame,
}

/// From who encodes.
#[derive(Debug, Clone, PartialEq)]
pub enum Transcoded {
    /// What comes is of this from now on.
    Begin(TrackConfig),
    /// The next picture, at the times of what it was made of.
    Picture {
        /// When it is shown, ticks.
        pts: i64,
        /// Whether decoding can start with it.
        keyframe: bool,
        /// Its bytes.
        payload: Bytes,
    },
    /// The encoder has failed: another one goes on with the next key frame.
    Interrupted,
}

/// The publisher's end.
#[derive(Debug)]
pub struct Transcoder {
    to: mpsc::Sender<ToTranscode>,
    from: mpsc::Receiver<Transcoded>,
    /// Whether a picture was left out, so that those behind it cannot be decoded.
    waits_for_key: bool,
}

/// The other end.
#[derive(Debug)]
pub struct Encoding {
    /// What is to be encoded.
    pub from: mpsc::Receiver<ToTranscode>,
    /// What has come of it.
    pub to: mpsc::Sender<Transcoded>,
}

impl Transcoder {
    /// With the other end for who encodes.
    pub fn new() -> (Self, Encoding) {
        let ((to, for_encoder), (of_encoder, from)) = (mpsc::channel(WAITING_MAX), mpsc::channel(WAITING_MAX));
        (Self { to, from, waits_for_key: false }, Encoding { from: for_encoder, to: of_encoder })
    }

    /// Passes on what is to be encoded. `false` when it is left out, as the encoder does not keep up: nothing is passed on then before
    /// the next key frame.
    pub fn pass(&mut self, picture: ToTranscode) -> bool {
        if self.waits_for_key && !picture.frame.keyframe {
            return true;
        }
        self.waits_for_key = self.to.try_send(picture).is_err();
        !self.waits_for_key
    }

    /// What has come of it next.
    pub async fn next(&mut self) -> Option<Transcoded> {
        self.from.recv().await
    }

    /// The same, if there is something.
    pub fn next_now(&mut self) -> Option<Transcoded> {
        self.from.try_recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::live::testing::video;

    #[test]
    fn an_encoder_that_does_not_keep_up_goes_on_with_a_key_frame() {
        let (mut transcoder, mut encoding) = Transcoder::new();
        let picture = |pts, keyframe: bool| ToTranscode {
            config: keyframe.then(video),
            frame: Frame { dts: pts, pts, duration: 0, keyframe, payload: Bytes::from_static(&[1]) },
        };
        let fits = (1..).take_while(|pts| transcoder.pass(picture(*pts, *pts == 1))).count();
        assert_eq!(fits, WAITING_MAX);
        assert!(transcoder.pass(picture(1000, false)), "that is told once");
        while encoding.from.try_recv().is_ok() {}
        assert!(transcoder.pass(picture(1001, false)) && encoding.from.try_recv().is_err());
        assert!(transcoder.pass(picture(1002, true)) && transcoder.pass(picture(1003, false)));
        assert_eq!(encoding.from.try_recv(), Ok(picture(1002, true)));
    }
}
