//! Playlists as a low-latency player reads them (draft-pantos-hls-rfc8216bis): only what it needs, and nothing shared with
//! the server's side.

/// Where a part is: number of its segment, and its own within that.
pub(super) type Position = (u64, u64);

/// A part as it is listed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Part {
    /// Where it is.
    pub(super) position: Position,
    /// Its URI, relative to the playlist.
    pub(super) uri: String,
    /// Seconds.
    pub(super) duration: f64,
    /// Whether a player can begin with it.
    pub(super) independent: bool,
    /// Whether there is nothing to fetch.
    pub(super) is_gap: bool,
}

/// A media playlist, or an update of one.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct MediaPlaylist {
    /// EXT-X-TARGETDURATION, seconds.
    pub(super) target: f64,
    /// PART-HOLD-BACK, seconds.
    pub(super) hold_back: f64,
    /// Whether updates may leave out what is old.
    pub(super) can_skip: bool,
    /// Parts listed, in order.
    pub(super) parts: Vec<Part>,
    /// The newest initialisation segment.
    pub(super) init: Option<String>,
    /// The part that comes next, by URI.
    pub(super) hint: Option<String>,
    /// What to wait for.
    pub(super) next: Position,
    /// Whether nothing comes any more.
    pub(super) has_ended: bool,
}

impl MediaPlaylist {
    /// Reads one; `None` when it is none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut playlist = Self::default();
        let (mut segment, mut part, mut is_gap) = (0, 0, false);
        let mut lines = text.lines();
        if lines.next() != Some("#EXTM3U") {
            return None;
        }
        for line in lines {
            let (tag, value) = line.split_once(':').unwrap_or((line, ""));
            match tag {
                "#EXT-X-TARGETDURATION" => playlist.target = value.parse().ok()?,
                "#EXT-X-MEDIA-SEQUENCE" => segment = value.parse().ok()?,
                "#EXT-X-SERVER-CONTROL" => {
                    playlist.hold_back = attribute(value, "PART-HOLD-BACK")?.parse().ok()?;
                    playlist.can_skip = attribute(value, "CAN-SKIP-UNTIL").is_some();
                }
                "#EXT-X-SKIP" => segment += attribute(value, "SKIPPED-SEGMENTS")?.parse::<u64>().ok()?,
                "#EXT-X-MAP" => playlist.init = Some(attribute(value, "URI")?.to_owned()),
                "#EXT-X-GAP" => is_gap = true,
                "#EXT-X-PART" => {
                    playlist.parts.push(Part::read((segment, part), value)?);
                    part += 1;
                }
                "#EXT-X-PRELOAD-HINT" if attribute(value, "TYPE") == Some("PART") => {
                    playlist.hint = Some(attribute(value, "URI")?.to_owned());
                }
                "#EXT-X-ENDLIST" => playlist.has_ended = true,
                _ if !line.starts_with('#') && !line.is_empty() => {
                    if is_gap {
                        let mine = playlist.parts.iter_mut().rev().take_while(|listed| listed.position.0 == segment);
                        mine.for_each(|listed| listed.is_gap = true);
                    }
                    (segment, part, is_gap) = (segment + 1, 0, false);
                }
                _ => {}
            }
        }
        playlist.next = (segment, part);
        Some(playlist)
    }

    /// Index of the part to begin with: the last one to begin at that lies PART-HOLD-BACK behind the end.
    pub(super) fn start(&self) -> Option<usize> {
        let mut behind = 0.0;
        let mut candidates = (0..self.parts.len()).rev().filter(|at| {
            let part = &self.parts[*at];
            behind += part.duration;
            part.independent && !part.is_gap && behind >= self.hold_back
        });
        candidates.next().or_else(|| self.parts.iter().position(|part| part.independent && !part.is_gap))
    }
}

impl Part {
    fn read(position: Position, attributes: &str) -> Option<Self> {
        Some(Self {
            position,
            uri: attribute(attributes, "URI")?.to_owned(),
            duration: attribute(attributes, "DURATION")?.parse().ok()?,
            independent: attribute(attributes, "INDEPENDENT") == Some("YES"),
            is_gap: attribute(attributes, "GAP") == Some("YES"),
        })
    }
}

/// The media playlists that a player of this multivariant playlist follows: the first variant's, and its sound's.
pub(super) fn tracks(multivariant: &str) -> Vec<String> {
    let mut lines = multivariant.lines();
    let variant = lines.by_ref().find_map(|line| line.strip_prefix("#EXT-X-STREAM-INF:"));
    let Some(uri) = variant.and_then(|_| lines.find(|line| !line.starts_with('#') && !line.is_empty())) else {
        return Vec::new();
    };
    let group = variant.and_then(|variant| attribute(variant, "AUDIO"));
    let media = multivariant.lines().filter_map(|line| line.strip_prefix("#EXT-X-MEDIA:"));
    let of_group = media.filter(|media| group.is_some() && attribute(media, "GROUP-ID") == group);
    let sound: Vec<&str> = of_group.filter(|media| attribute(media, "TYPE") == Some("AUDIO")).collect();
    let default = sound.iter().find(|media| attribute(media, "DEFAULT") == Some("YES")).or(sound.first());
    let sound = default.and_then(|media| attribute(media, "URI"));
    [Some(uri), sound].into_iter().flatten().map(str::to_owned).collect()
}

/// A value of an attribute list, without its quotes (RFC 8216 section 4.2).
fn attribute<'a>(list: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = list;
    while let Some((key, value)) = rest.split_once('=') {
        let (found, after) = match value.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => value.split_at(value.find(',').unwrap_or(value.len())),
        };
        if key.trim() == name {
            return Some(found);
        }
        rest = after.strip_prefix(',').unwrap_or(after);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIVE: &str = "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:2\n\
        #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=12.0,HOLD-BACK=6.0,PART-HOLD-BACK=0.75\n\
        #EXT-X-PART-INF:PART-TARGET=0.250\n#EXT-X-MEDIA-SEQUENCE:7\n#EXT-X-SKIP:SKIPPED-SEGMENTS=3\n\
        #EXT-X-MAP:URI=\"init-1.mp4\"\n\
        #EXT-X-PART:DURATION=0.25,URI=\"10.0.m4s\",INDEPENDENT=YES\n#EXT-X-PART:DURATION=0.25,URI=\"10.1.m4s\"\n\
        #EXTINF:0.5,\n10.m4s\n\
        #EXT-X-PART:DURATION=0.25,URI=\"11.0.m4s\",INDEPENDENT=YES\n#EXT-X-PART:DURATION=0.25,URI=\"11.1.m4s\"\n\
        #EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"11.2.m4s\"\n#EXT-X-RENDITION-REPORT:URI=\"../a0/media.m3u8\",LAST-MSN=11,LAST-PART=1\n";

    #[test]
    fn parts_are_numbered_by_their_segments() {
        let playlist = MediaPlaylist::parse(LIVE).unwrap();
        let positions: Vec<Position> = playlist.parts.iter().map(|part| part.position).collect();
        assert_eq!(positions, [(10, 0), (10, 1), (11, 0), (11, 1)]);
        assert_eq!((playlist.next, playlist.hint.as_deref()), ((11, 2), Some("11.2.m4s")));
        assert_eq!((playlist.hold_back, playlist.init.as_deref()), (0.75, Some("init-1.mp4")));
        assert_eq!(playlist.start(), Some(0), "11.0 is too close to the end");
        assert!(playlist.can_skip && !playlist.has_ended);
    }

    #[test]
    fn what_has_ended_and_what_is_missing_is_told() {
        let gap = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:4\n\
            #EXT-X-PART:DURATION=2,URI=\"4.0.m4s\"\n#EXT-X-GAP\n#EXTINF:2,\n4.m4s\n#EXT-X-ENDLIST\n";
        let playlist = MediaPlaylist::parse(gap).unwrap();
        assert!(playlist.parts[0].is_gap && playlist.has_ended && playlist.start().is_none());
        assert_eq!(playlist.next, (5, 0));
        assert_eq!(MediaPlaylist::parse("<html>"), None);
    }

    #[test]
    fn the_first_variant_is_followed_with_its_sound() {
        let text = "#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"other\",NAME=\"x\",URI=\"x/media.m3u8\"\n\
            #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"aac\",NAME=\"a, b\",DEFAULT=YES,URI=\"a0/media.m3u8\"\n\
            #EXT-X-STREAM-INF:BANDWIDTH=900,CODECS=\"avc1,mp4a\",AUDIO=\"aac\"\nv0/media.m3u8\n\
            #EXT-X-STREAM-INF:BANDWIDTH=300,AUDIO=\"aac\"\nv1/media.m3u8\n";
        assert_eq!(tracks(text), ["v0/media.m3u8", "a0/media.m3u8"]);
        assert_eq!(tracks("#EXTM3U\n"), [""; 0]);
    }
}
