//! Offers (SDP as in RFC 8866 and RFC 9429): what a client wants to send or receive. An offer is read here, checked, and written
//! anew with what is understood and chosen of it; nothing else of it reaches the machine that answers.
use std::fmt::Write;

mod choice;

pub use choice::{Choice, Codec};

/// Longest offer.
pub const OFFER_BYTES_MAX: usize = 64 << 10;
/// Lines of one at most.
const LINES_MAX: usize = 4096;
/// Sections of media in one at most.
const SECTIONS_MAX: usize = 16;
/// Formats of a section at most.
const FORMATS_MAX: usize = 128;
/// Lines of a section that are passed on at most.
const KEPT_MAX: usize = 128;
/// Layers of simulcast in a section at most, and characters of their names.
const LAYERS_MAX: usize = 4;
const LAYER_CHARS: std::ops::RangeInclusive<usize> = 1..=32;
/// Characters of ICE user names and passwords (RFC 8839, section 5.4).
const NAME_CHARS: std::ops::RangeInclusive<usize> = 4..=256;
const PASSWORD_CHARS: std::ops::RangeInclusive<usize> = 22..=256;
/// Attributes of a section that are passed on as they are.
const KEPT: &[&str] = &["mid", "msid", "rtcp-mux", "rtcp-rsize", "extmap", "extmap-allow-mixed", "ssrc"];
/// The digest that certificates are told by.
const DIGEST: &str = "sha-256";
/// Hexadecimal digits and colons of it.
const DIGEST_CHARS: usize = 95;

/// Why an offer is not one, or not one that can be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOffer {
    /// It cannot be read.
    #[error("the offer is no session description: {0}")]
    Malformed(&'static str),
    /// It can be read, but not be answered.
    #[error("{0}")]
    Unacceptable(String),
}

impl InvalidOffer {
    fn unacceptable(reason: &str) -> Self {
        Self::Unacceptable(reason.to_owned())
    }
}

use InvalidOffer::Malformed;

/// The lines of a text, however they end, without empty ones; `None` when it is none.
pub(super) fn text_lines(body: &[u8]) -> Option<impl Iterator<Item = &str>> {
    let text = std::str::from_utf8(body).ok().filter(|text| !text.contains('\0'))?;
    Some(text.lines().map(str::trim_end).filter(|line| !line.is_empty()))
}

/// What a side of ICE calls itself, and what its checks are signed with.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    name: String,
    password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Credentials {
    /// `None` when they have not the form that they must have.
    pub fn new(name: &str, password: &str) -> Option<Self> {
        let is_word = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/-_=".contains(&byte));
        let is_sound = NAME_CHARS.contains(&name.len()) && PASSWORD_CHARS.contains(&password.len());
        (is_sound && is_word(name) && is_word(password))
            .then(|| Self { name: name.to_owned(), password: password.to_owned() })
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// What a section carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    /// Sound.
    Audio,
    /// Pictures.
    Video,
}

/// Which way media of a section go, as its writer sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From it.
    Send,
    /// To it.
    Receive,
    /// Both.
    Both,
    /// Neither.
    None,
}

/// A payload type with what is said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    /// Its number.
    pub payload_type: u8,
    /// Name of the encoding, as it was written.
    pub name: String,
    /// Ticks per second of its timestamps.
    pub clock_rate: u32,
    /// Channels of sound.
    pub channels: u16,
    /// Parameters (`a=fmtp`).
    pub parameters: String,
    /// Kinds of feedback that its sender understands (`a=rtcp-fb`).
    pub feedback: Vec<String>,
}

impl Format {
    /// The value of a parameter.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let pairs = self.parameters.split(';').filter_map(|pair| pair.split_once('='));
        pairs
            .map(|(key, value)| (key.trim(), value.trim()))
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, v)| v)
    }
}

/// A section of media.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// What it carries.
    pub media: Media,
    /// Which way.
    pub direction: Direction,
    /// The formats that its writer knows, in the order of its preference.
    pub formats: Vec<Format>,
    /// Whether it says which sources its packets will have.
    pub names_sources: bool,
    /// Names of the layers that its writer sends its pictures in, several sizes at once (simulcast, RFC 8853).
    pub layers: Vec<String>,
    /// Names of streams that it says it can send (RFC 8851).
    streams: Vec<String>,
    protocol: String,
    kept: Vec<String>,
}

/// An offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Its sections.
    pub sections: Vec<Section>,
    credentials: Credentials,
    fingerprint: String,
    setup: &'static str,
    is_mixed: bool,
}

/// What is read before all of it is known.
#[derive(Default)]
struct Draft<'a> {
    sections: Vec<Section>,
    name: Option<&'a str>,
    password: Option<&'a str>,
    fingerprint: Option<String>,
    setup: Option<&'static str>,
    direction: Option<Direction>,
    is_mixed: bool,
}

impl Offer {
    /// Reads an offer.
    pub fn read(body: &[u8]) -> Result<Self, InvalidOffer> {
        if body.len() > OFFER_BYTES_MAX {
            return Err(Malformed("it is too long"));
        }
        let mut lines = text_lines(body).ok_or(Malformed("it is no text"))?.take(LINES_MAX);
        if lines.next() != Some("v=0") {
            return Err(Malformed("it does not begin with its version"));
        }
        let mut draft = Draft::default();
        for line in lines {
            match line.split_once('=').ok_or(Malformed("a line has no equals sign"))? {
                ("m", value) => draft.take_section(value)?,
                ("a", value) => draft.take_attribute(value)?,
                (kind, _) if kind.len() == 1 && kind.bytes().all(|byte| byte.is_ascii_lowercase()) => {}
                _ => return Err(Malformed("a line is of no known type")),
            }
        }
        draft.finish()
    }

    /// The same with other credentials: what a client offers that starts ICE anew.
    pub fn restarted(self, credentials: Credentials) -> Self {
        Self { credentials, ..self }
    }

    /// The same of somebody who would send, too, and is only sent something.
    pub fn to_receive(mut self) -> Self {
        for section in self.sections.iter_mut().filter(|section| section.direction == Direction::Both) {
            section.direction = Direction::Receive;
        }
        self
    }

    /// With which words its writer's checks come.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// The offer with nothing but these choices, one for each section.
    pub fn narrowed(&self, choices: &[Choice]) -> String {
        let mut out = String::from("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n");
        let mids: Vec<&str> = self.sections.iter().filter_map(Section::mid).collect();
        let mut line = |arguments: std::fmt::Arguments<'_>| {
            // Writing to a string does not fail.
            let _ = out.write_fmt(arguments);
            out.push_str("\r\n");
        };
        line(format_args!("a=group:BUNDLE {}", mids.join(" ")));
        if self.is_mixed {
            line(format_args!("a=extmap-allow-mixed"));
        }
        for (section, choice) in self.sections.iter().zip(choices) {
            let media = if section.media == Media::Audio { "audio" } else { "video" };
            let numbers =
                choice.repair.iter().fold(choice.format.payload_type.to_string(), |all, one| format!("{all} {one}"));
            line(format_args!("m={media} 9 {} {numbers}", section.protocol));
            line(format_args!("c=IN IP4 0.0.0.0"));
            line(format_args!("a=ice-ufrag:{}", self.credentials.name));
            line(format_args!("a=ice-pwd:{}", self.credentials.password));
            line(format_args!("a=fingerprint:{DIGEST} {}", self.fingerprint));
            line(format_args!("a=setup:{}", self.setup));
            line(format_args!("a={}", if section.direction == Direction::Receive { "recvonly" } else { "sendonly" }));
            section.kept.iter().for_each(|kept| line(format_args!("a={kept}")));
            if !section.layers.is_empty() {
                section.layers.iter().for_each(|layer| line(format_args!("a=rid:{layer} send")));
                line(format_args!("a=simulcast:send {}", section.layers.join(";")));
            }
            let Format { payload_type, clock_rate, .. } = choice.format;
            let channels =
                if section.media == Media::Audio { format!("/{}", choice.format.channels) } else { String::new() };
            line(format_args!("a=rtpmap:{payload_type} {}/{clock_rate}{channels}", choice.codec.name()));
            line(format_args!("a=fmtp:{payload_type} {}", choice.parameters()));
            for feedback in &choice.format.feedback {
                line(format_args!("a=rtcp-fb:{payload_type} {feedback}"));
            }
            if let Some(repair) = choice.repair {
                line(format_args!("a=rtpmap:{repair} rtx/{clock_rate}"));
                line(format_args!("a=fmtp:{repair} apt={payload_type}"));
            }
        }
        out
    }
}

impl<'a> Draft<'a> {
    fn take_section(&mut self, value: &str) -> Result<(), InvalidOffer> {
        if self.sections.len() >= SECTIONS_MAX {
            return Err(Malformed("it has too many sections"));
        }
        let mut words = value.split(' ').filter(|word| !word.is_empty());
        let (media, port, protocol) = (words.next(), words.next(), words.next());
        let (Some(media), Some(port), Some(protocol)) = (media, port, protocol) else {
            return Err(Malformed("a section has no media, port and protocol"));
        };
        let port = port.split('/').next().unwrap_or_default();
        port.parse::<u16>().map_err(|_| Malformed("a section's port is no number"))?;
        let media = match media {
            "audio" => Media::Audio,
            "video" => Media::Video,
            other => {
                let other: String = other.chars().take(32).collect();
                return Err(InvalidOffer::Unacceptable(format!("{other} cannot be offered: only sound and pictures")));
            }
        };
        if !matches!(protocol, "UDP/TLS/RTP/SAVPF" | "UDP/TLS/RTP/SAVP" | "RTP/SAVPF" | "TCP/DTLS/RTP/SAVPF") {
            return Err(InvalidOffer::unacceptable("media have to go over DTLS and SRTP"));
        }
        let mut formats = Vec::new();
        for word in words.take(FORMATS_MAX) {
            let payload_type = word.parse::<u8>().ok().filter(|number| *number < 128);
            let payload_type = payload_type.ok_or(Malformed("a payload type is no number below 128"))?;
            formats.push(Format {
                payload_type,
                name: String::new(),
                clock_rate: 0,
                channels: 1,
                parameters: String::new(),
                feedback: Vec::new(),
            });
        }
        let direction = self.direction.unwrap_or(Direction::Both);
        let protocol = "UDP/TLS/RTP/SAVPF".to_owned();
        let (names_sources, layers, streams, kept) = (false, Vec::new(), Vec::new(), Vec::new());
        self.sections.push(Section { media, direction, formats, names_sources, layers, streams, protocol, kept });
        Ok(())
    }

    fn take_attribute(&mut self, attribute: &'a str) -> Result<(), InvalidOffer> {
        let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
        match name {
            "ice-ufrag" => same(&mut self.name, value),
            "ice-pwd" => same(&mut self.password, value),
            "fingerprint" => self.take_fingerprint(value),
            "setup" => {
                let known = ["actpass", "active", "passive"].into_iter().find(|known| *known == value);
                same(&mut self.setup, known.ok_or(Malformed("a=setup is none of its values"))?)
            }
            "extmap-allow-mixed" if self.sections.is_empty() => {
                self.is_mixed = true;
                Ok(())
            }
            _ => self.take_of_section(attribute, (name, value)),
        }
    }

    fn take_fingerprint(&mut self, value: &str) -> Result<(), InvalidOffer> {
        let (digest, print) = value.split_once(' ').ok_or(Malformed("a fingerprint has no digest"))?;
        if !digest.eq_ignore_ascii_case(DIGEST) {
            // There may be others besides.
            return Ok(());
        }
        let print = print.trim();
        let is_hex = print.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':');
        if print.len() != DIGEST_CHARS || !is_hex {
            return Err(Malformed("a fingerprint is none"));
        }
        same(&mut self.fingerprint, print.to_uppercase())
    }

    fn take_of_section(&mut self, attribute: &str, (name, value): (&str, &str)) -> Result<(), InvalidOffer> {
        let direction = match name {
            "sendonly" => Some(Direction::Send),
            "recvonly" => Some(Direction::Receive),
            "sendrecv" => Some(Direction::Both),
            "inactive" => Some(Direction::None),
            _ => None,
        };
        let Some(section) = self.sections.last_mut() else {
            self.direction = direction.or(self.direction);
            return Ok(());
        };
        section.direction = direction.unwrap_or(section.direction);
        section.names_sources |= name == "ssrc";
        match name {
            "rtpmap" => section.take_map(value)?,
            "rid" => section.take_stream(value),
            "simulcast" => section.take_layers(value),
            "fmtp" => section.with_format(value, |format, text| format.parameters = text.to_owned()),
            "rtcp-fb" => section.with_format(value, |format, text| {
                if format.feedback.len() < 16 {
                    format.feedback.push(text.to_owned());
                }
            }),
            _ => {
                let is_repair = name == "ssrc-group" && value.starts_with("FID ");
                if (KEPT.contains(&name) || is_repair) && section.kept.len() < KEPT_MAX {
                    section.kept.push(attribute.to_owned());
                }
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<Offer, InvalidOffer> {
        let Self { mut sections, name, password, fingerprint, setup, is_mixed, .. } = self;
        if sections.is_empty() {
            return Err(Malformed("it has no media"));
        }
        let credentials = name.zip(password).and_then(|(name, password)| Credentials::new(name, password));
        let credentials = credentials.ok_or(Malformed("its ICE user name or password is missing or none"))?;
        let fingerprint = fingerprint.ok_or(Malformed("it has no fingerprint by SHA-256"))?;
        let setup = setup.ok_or(Malformed("it has no a=setup"))?;
        sections.iter_mut().try_for_each(Section::settle_layers)?;
        let mut mids = Vec::new();
        for section in &sections {
            let mid = section.mid().ok_or(Malformed("a section has no a=mid"))?;
            if mid.is_empty() || mid.contains(' ') || mids.contains(&mid) {
                return Err(Malformed("an a=mid is none, or there are two of it"));
            }
            mids.push(mid);
            if !section.kept.iter().any(|kept| kept == "rtcp-mux") {
                return Err(InvalidOffer::unacceptable("media and their control have to share one port: a=rtcp-mux"));
            }
        }
        Ok(Offer { sections, credentials, fingerprint, setup, is_mixed })
    }
}

/// All sections share one transport, and say the same of it.
fn same<T: PartialEq>(known: &mut Option<T>, told: T) -> Result<(), InvalidOffer> {
    if known.as_ref().is_some_and(|known| *known != told) {
        return Err(InvalidOffer::unacceptable("all media have to go over one transport: a=group:BUNDLE"));
    }
    *known = Some(told);
    Ok(())
}

impl Section {
    /// Its name.
    pub fn mid(&self) -> Option<&str> {
        self.kept.iter().find_map(|kept| kept.strip_prefix("mid:"))
    }

    fn take_map(&mut self, value: &str) -> Result<(), InvalidOffer> {
        let damaged = Malformed("an a=rtpmap cannot be read");
        let (_, told) = value.split_once(' ').ok_or(damaged.clone())?;
        let mut fields = told.trim().split('/');
        let (name, clock) = (fields.next().unwrap_or_default().to_owned(), fields.next());
        let clock_rate =
            clock.and_then(|clock| clock.parse::<u32>().ok()).filter(|rate| *rate > 0).ok_or(damaged.clone())?;
        let channels = fields.next().map_or(Ok(1), str::parse::<u16>).map_err(|_| damaged)?;
        self.with_format(value, |format, _| {
            (format.name, format.clock_rate, format.channels) = (name, clock_rate, channels);
        });
        Ok(())
    }

    fn take_stream(&mut self, value: &str) {
        let is_name = |name: &str| {
            let is_word = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
            LAYER_CHARS.contains(&name.len()) && is_word
        };
        let mut words = value.split(' ');
        if let (Some(name), Some("send")) = (words.next(), words.next())
            && is_name(name)
            && self.streams.len() <= LAYERS_MAX
        {
            self.streams.push(name.to_owned());
        }
    }

    /// Of streams that stand for one another the first is taken, and those that are not sent at first may be later.
    fn take_layers(&mut self, value: &str) {
        let words: Vec<&str> = value.split(' ').collect();
        let sent = words.chunks_exact(2).find_map(|pair| if let ["send", list] = pair { Some(list) } else { None });
        let first = |alike: &str| alike.split(',').next().unwrap_or_default().trim_start_matches('~').to_owned();
        self.layers = sent.map_or_else(Vec::new, |list| list.split(';').take(LAYERS_MAX + 1).map(first).collect());
    }

    /// Layers are what both lines name.
    fn settle_layers(&mut self) -> Result<(), InvalidOffer> {
        let streams = &mut self.streams;
        self.layers.retain(|layer| {
            let known = streams.iter().position(|stream| stream == layer);
            known.is_some_and(|index| !streams.swap_remove(index).is_empty())
        });
        if self.layers.len() > LAYERS_MAX {
            return Err(InvalidOffer::Unacceptable(format!("pictures can come in {LAYERS_MAX} layers at most")));
        }
        if !self.layers.is_empty() && !self.kept.iter().any(|kept| kept.starts_with("msid:")) {
            self.kept.push(format!("msid:- {}", self.mid().unwrap_or_default()));
        }
        Ok(())
    }

    /// Of formats that are not in the list nothing is kept.
    fn with_format(&mut self, value: &str, change: impl FnOnce(&mut Format, &str)) {
        let Some((number, text)) = value.split_once(' ') else { return };
        let number = number.parse::<u8>().ok();
        if let Some(format) = self.formats.iter_mut().find(|format| Some(format.payload_type) == number) {
            change(format, text.trim());
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
