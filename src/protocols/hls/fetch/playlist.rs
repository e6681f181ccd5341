//! Playlists of other servers: which of them are read, and their segments one after another (RFC 8216, section 6.3).
use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use m3u8_rs::{AlternativeMediaType, ByteRange, KeyMethod, MasterPlaylist, MediaSegment, Playlist, VariantStream};
use tokio::time::{Instant, sleep, sleep_until};
use url::Url;

use super::HlsError;
use super::ingest::Segment;
use super::web::{Web, WebError};

/// Longest playlist, bytes.
const PLAYLIST_BYTES_MAX: usize = 4 << 20;
/// Longest segment, bytes.
const SEGMENT_BYTES_MAX: usize = 64 << 20;
/// Segments from the end that a live playlist is begun with (section 6.3.3).
const FROM_END: u64 = 3;
/// How often what fails is asked for, and the pause in between.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(500);
/// Bounds on what is believed of TARGETDURATION, seconds.
const TARGET_SECS: (u64, u64) = (1, 60);
/// Codecs that can be taken, as playlists name them.
const TAKEN: [&str; 12] =
    ["avc1", "avc3", "hvc1", "hev1", "av01", "vp09", "mp4a", "opus", "Opus", "ac-3", "ec-3", "fLaC"];
/// Those of them that are pictures.
const PICTURES: [&str; 6] = ["avc1", "avc3", "hvc1", "hev1", "av01", "vp09"];

/// Playlists that are read.
#[derive(Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Of pictures, with their sound unless that has one of its own.
    pub pictures: Url,
    /// Of sound.
    pub sound: Option<Url>,
}

fn parse(body: &Bytes) -> Result<Playlist, HlsError> {
    let is_text = std::str::from_utf8(body).is_ok();
    let known = is_text.then(|| m3u8_rs::parse_playlist_res(body).ok()).flatten();
    known.filter(|_| body.starts_with(b"#EXTM3U")).ok_or(HlsError::NoPlaylist)
}

impl Chosen {
    /// What a URL of a server means.
    pub(super) async fn find(web: &mut Web, url: &Url) -> Result<Self, HlsError> {
        let (url, body) = web.get(url, None, PLAYLIST_BYTES_MAX).await?;
        Self::among(&body, &url)
    }

    /// What a server says by this URL.
    pub fn among(body: &Bytes, url: &Url) -> Result<Self, HlsError> {
        match parse(body)? {
            Playlist::MediaPlaylist(_) => Ok(Self { pictures: url.clone(), sound: None }),
            Playlist::MasterPlaylist(playlist) => Self::best(&playlist, url).ok_or(HlsError::NoPlaylist),
        }
    }

    /// The variant of the highest rate that can be taken, one with pictures if there are any.
    fn best(playlist: &MasterPlaylist, url: &Url) -> Option<Self> {
        let codecs = |variant: &VariantStream, known: &[&str]| {
            let is_known = |codec: &str| known.iter().any(|known| codec.trim().starts_with(known));
            let codecs = variant.codecs.as_deref().unwrap_or_default();
            (codecs.split(',').any(is_known), codecs.is_empty() || codecs.split(',').all(is_known))
        };
        let variants = playlist.variants.iter().filter(|variant| !variant.is_i_frame);
        let rank = |variant: &&VariantStream| {
            let has_pictures = variant.resolution.is_some() || codecs(variant, &PICTURES).0;
            (codecs(variant, &TAKEN).1, has_pictures, variant.bandwidth)
        };
        let variant = variants.max_by_key(rank)?;
        let in_group = |group: &String| {
            let mut sounds = playlist
                .alternatives
                .iter()
                .filter(|other| other.media_type == AlternativeMediaType::Audio && other.group_id == *group);
            let first = sounds.clone().next();
            sounds.find(|other| other.default).or(first)
        };
        let sound = variant.audio.as_ref().and_then(in_group).and_then(|sound| sound.uri.as_deref());
        let sound = sound.and_then(|sound| url.join(sound).ok());
        let pictures = url.join(&variant.uri).ok()?;
        // Of a variant of nothing but sound the group is what is in it.
        Some(Self { sound: sound.filter(|sound| *sound != pictures), pictures })
    }
}

/// A piece of a resource, or all of it.
type Place = (Url, Option<(u64, u64)>);

/// A segment that is listed.
#[derive(Debug, PartialEq, Eq)]
pub struct Listed {
    place: Place,
    map: Option<Place>,
    turn: u64,
}

/// How far a media playlist has been read.
#[derive(Debug, Default)]
pub struct Following {
    /// Number of the segment after those that were listed.
    next: Option<u64>,
    target: Duration,
    has_ended: bool,
    /// How often the server began to count anew.
    restarts: u64,
}

impl Following {
    /// Takes what the server says now, by this URL; the segments that are new.
    pub fn take(&mut self, body: &Bytes, url: &Url) -> Result<Vec<Listed>, HlsError> {
        let Playlist::MediaPlaylist(playlist) = parse(body)? else { return Err(HlsError::NoPlaylist) };
        self.target = Duration::from_secs(playlist.target_duration.clamp(TARGET_SECS.0, TARGET_SECS.1));
        let first = playlist.media_sequence.min(u64::MAX / 2);
        let end = first + playlist.segments.len() as u64;
        if self.next.is_some_and(|next| end < next) {
            // Numbers that go back are those of a server that has been started again.
            self.restarts += 1;
            self.next = None;
        }
        if self.next.is_none() && playlist.end_list {
            return Err(HlsError::Over);
        }
        let next = self.next.replace(end).unwrap_or(end.saturating_sub(FROM_END));
        self.has_ended = playlist.end_list;
        let mut listing = Listing { turn: playlist.discontinuity_sequence, ..Listing::default() };
        let mut new = Vec::new();
        for (number, segment) in (first..).zip(&playlist.segments) {
            let listed = listing.take(segment, url, self.restarts)?;
            if number >= next {
                new.extend(listed);
            }
        }
        Ok(new)
    }
}

/// A media playlist whose segments are fetched.
#[derive(Debug)]
pub(super) struct Reader {
    web: Web,
    url: Url,
    following: Following,
    waiting: VecDeque<Listed>,
    /// The initialisation segment in force.
    map: Option<(Place, Bytes)>,
    reload_at: Instant,
}

impl Reader {
    /// Nothing is read yet.
    pub(super) fn new(web: Web, url: Url) -> Self {
        let (following, reload_at) = (Following::default(), Instant::now());
        Self { web, url, following, waiting: VecDeque::new(), map: None, reload_at }
    }

    /// TARGETDURATION, once it is known.
    pub(super) fn target(&self) -> Duration {
        self.following.target
    }

    /// The next segment, as soon as it is there. One that is gone is left out.
    pub(super) async fn next(&mut self) -> Result<Segment, HlsError> {
        loop {
            while let Some(listed) = self.waiting.pop_front() {
                match self.fetch(&listed).await {
                    Ok(segment) => return Ok(segment),
                    Err(WebError::Refused(StatusCode::NOT_FOUND | StatusCode::GONE)) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            if self.following.has_ended {
                return Err(HlsError::Over);
            }
            sleep_until(self.reload_at).await;
            let (url, body) = self.get(&(self.url.clone(), None)).await?;
            self.waiting.extend(self.following.take(&body, &url)?);
            // A playlist that was not changed is asked for again sooner (section 6.3.4).
            let pause = if self.waiting.is_empty() { self.target() / 2 } else { self.target() };
            self.reload_at = Instant::now() + pause;
        }
    }

    async fn fetch(&mut self, Listed { place, map, turn }: &Listed) -> Result<Segment, WebError> {
        let known = |wanted: &&Place| self.map.as_ref().is_some_and(|(known, _)| known == *wanted);
        if let Some(wanted) = map.as_ref().filter(|wanted| !known(wanted)) {
            self.map = Some((wanted.clone(), self.get(wanted).await?.1));
        }
        let map = map.as_ref().and_then(|_| Some(self.map.as_ref()?.1.clone()));
        Ok(Segment { bytes: self.get(place).await?.1, map, turn: *turn })
    }

    /// Asks for something, again if need be: servers restart, and connections break.
    async fn get(&mut self, (url, range): &Place) -> Result<(Url, Bytes), WebError> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            match self.web.get(url, *range, SEGMENT_BYTES_MAX).await {
                Ok(found) => return Ok(found),
                Err(WebError::Refused(status)) if status.is_client_error() => return Err(WebError::Refused(status)),
                Err(error) if attempts == ATTEMPTS => return Err(error),
                Err(_) => sleep(PAUSE).await,
            }
        }
    }
}

/// What holds for the segments of a playlist from one on.
#[derive(Default)]
struct Listing {
    turn: u64,
    map: Option<Place>,
    /// Where the last byte range ended, of which resource.
    range_end: Option<(Url, u64)>,
    is_encrypted: bool,
}

impl Listing {
    /// The next segment; `None`: a gap.
    fn take(&mut self, segment: &MediaSegment, base: &Url, restarts: u64) -> Result<Option<Listed>, HlsError> {
        self.turn = self.turn.saturating_add(segment.discontinuity.into());
        if let Some(key) = &segment.key {
            self.is_encrypted = key.method != KeyMethod::None;
        }
        if self.is_encrypted {
            return Err(HlsError::Encrypted);
        }
        let join = |uri: &str| base.join(uri).map_err(|_| HlsError::NoPlaylist);
        if let Some(map) = &segment.map {
            let range = map.byte_range.as_ref().map(|range| (range.offset.unwrap_or(0), range.length));
            self.map = Some((join(&map.uri)?, range));
        }
        let url = join(&segment.uri)?;
        let range = segment.byte_range.as_ref().map(|range| self.place(&url, range));
        if segment.unknown_tags.iter().any(|tag| tag.tag == "X-GAP") {
            return Ok(None);
        }
        // Servers that begin anew begin with other times.
        let turn = self.turn.saturating_add(restarts.saturating_mul(1 << 32));
        Ok(Some(Listed { place: (url, range), map: self.map.clone(), turn }))
    }

    /// A range that does not say where it begins follows the one before it.
    fn place(&mut self, url: &Url, range: &ByteRange) -> (u64, u64) {
        let follows = self.range_end.as_ref().filter(|(before, _)| before == url).map_or(0, |(_, end)| *end);
        let first = range.offset.unwrap_or(follows);
        self.range_end = Some((url.clone(), first.saturating_add(range.length)));
        (first, range.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> Url {
        Url::parse("https://host/live/index.m3u8?session=1").unwrap()
    }

    fn chosen(text: &str) -> Option<(String, Option<String>)> {
        let Chosen { pictures, sound } = Chosen::among(&Bytes::copy_from_slice(text.as_bytes()), &base()).ok()?;
        Some((pictures.into(), sound.map(Into::into)))
    }

    #[test]
    fn the_best_variant_that_can_be_taken_is_read() {
        let group = "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"de\",URI=\"de.m3u8\"\n\
            #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"en\",DEFAULT=YES,URI=\"en.m3u8\"\n";
        let variant = |rate: u32, codecs: &str, audio: &str, uri: &str| {
            format!("#EXT-X-STREAM-INF:BANDWIDTH={rate},CODECS=\"{codecs}\"{audio}\n{uri}\n")
        };
        let text = format!(
            "#EXTM3U\n{group}{}{}{}{}#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=99,URI=\"i.m3u8\"\n",
            variant(10, "avc1.640028,mp4a.40.2", "", "low.m3u8"),
            variant(40, "dvh1.05.06,mp4a.40.2", "", "dolby.m3u8"),
            variant(20, "avc1.640028,mp4a.40.2", ",AUDIO=\"a\"", "v/high.m3u8"),
            variant(30, "mp4a.40.2", "", "sound.m3u8"),
        );
        let expected = ("https://host/live/v/high.m3u8".into(), Some("https://host/live/en.m3u8".into()));
        assert_eq!(chosen(&text), Some(expected));
        let muxed = "#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"x\",DEFAULT=YES\n\
            #EXT-X-STREAM-INF:BANDWIDTH=1,AUDIO=\"a\"\nhttps://other/x.m3u8?a=b\n";
        assert_eq!(chosen(muxed), Some(("https://other/x.m3u8?a=b".into(), None)));
        assert_eq!(chosen("#EXTM3U\n#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=99,URI=\"i.m3u8\"\n"), None);
        for text in ["", "<html>#EXTM3U</html>", "\u{feff}", "{}"] {
            assert_eq!(chosen(text), None, "{text}");
        }
        assert!(parse(&Bytes::from_static(b"#EXTM3U\n#EXT-X-\xff\xfe\n")).is_err());
    }

    fn list(following: &mut Following, text: &str) -> Result<Vec<Listed>, HlsError> {
        following.take(&Bytes::copy_from_slice(text.as_bytes()), &base())
    }

    fn names(listed: &[Listed]) -> Vec<(&str, u64)> {
        listed.iter().map(|listed| (listed.place.0.path().rsplit('/').next().unwrap(), listed.turn)).collect()
    }

    /// A low-latency playlist, as other servers and we ourselves write them.
    #[test]
    fn segments_come_one_after_another() {
        let head = "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:2\n#EXT-X-PART-INF:PART-TARGET=0.25\n\
            #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=0.75\n#EXT-X-DISCONTINUITY-SEQUENCE:3\n";
        let first = format!(
            "{head}#EXT-X-MEDIA-SEQUENCE:10\n#EXT-X-MAP:URI=\"init.mp4\"\n#EXTINF:2,\n10.m4s\n#EXTINF:2.0,\n11.m4s\n\
            #EXT-X-PROGRAM-DATE-TIME:2026-11-23T01:02:03.456Z\n#EXTINF:2.0,title\n12.m4s\n#EXT-X-DISCONTINUITY\n\
            #EXT-X-MAP:URI=\"init2.mp4\",BYTERANGE=\"700@0\"\n#EXTINF:2.0,\n13.m4s\n\
            #EXT-X-PART:DURATION=0.25,URI=\"14.0.m4s\",INDEPENDENT=YES\n\
            #EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"14.1.m4s\"\n#EXT-X-RENDITION-REPORT:URI=\"a.m3u8\",LAST-MSN=13\n"
        );
        let mut reader = Following::default();
        let listed = list(&mut reader, &first).unwrap();
        assert_eq!(names(&listed), [("11.m4s", 3), ("12.m4s", 3), ("13.m4s", 4)]);
        let map = |listed: &Listed| listed.map.clone().map(|(url, range)| (url.path().to_owned(), range)).unwrap();
        assert_eq!(map(&listed[0]), ("/live/init.mp4".into(), None));
        assert_eq!(map(&listed[2]), ("/live/init2.mp4".into(), Some((0, 700))));
        assert_eq!(list(&mut reader, &first).unwrap(), []);
        let later = format!(
            "{head}#EXT-X-MEDIA-SEQUENCE:13\n#EXTINF:2,\n13.ts\n#EXT-X-GAP\n#EXTINF:2,\n14.ts\n\
            #EXT-X-BYTERANGE:100@50\n#EXTINF:2,\n15.ts\n#EXT-X-BYTERANGE:100\n#EXTINF:2,\n15.ts\n"
        );
        let listed = list(&mut reader, &later).unwrap();
        assert_eq!(listed.iter().map(|listed| listed.place.1).collect::<Vec<_>>(), [Some((50, 100)), Some((150, 100))]);
        // The server was started again.
        let listed = list(&mut reader, &format!("{head}#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:2,\n0.ts\n")).unwrap();
        assert_eq!(names(&listed), [("0.ts", 3 + (1 << 32))]);
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        let head = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n";
        let key = "#EXT-X-KEY:METHOD=AES-128,URI=\"key\"\n";
        let refused = |text: &str| list(&mut Following::default(), &format!("{head}{text}")).unwrap_err();
        assert!(matches!(refused(&format!("{key}#EXTINF:4,\na.ts\n#EXTINF:4,\nb.ts\n")), HlsError::Encrypted));
        assert!(matches!(refused("#EXTINF:4,\na.ts\n#EXT-X-ENDLIST\n"), HlsError::Over));
        let clear = format!("{head}#EXT-X-KEY:METHOD=NONE\n#EXTINF:4,\na.ts\n");
        assert_eq!(list(&mut Following::default(), &clear).unwrap().len(), 1);
    }
}
