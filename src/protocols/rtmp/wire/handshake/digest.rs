//! Handshake packets and the digests in them. The keys are constants of the Flash Player and its server; they prove nothing
//! about a peer, but some players refuse a server that does not know them.
use aws_lc_rs::hmac;

/// Length of each packet.
pub(super) const PACKET_BYTES: usize = 1536;
const DIGEST_BYTES: usize = 32;
/// Where a digest may begin, relative to the end of the four bytes that place it.
const PLACES: usize = 728;

/// A side's key: the text that signs its first packet, and the rest that is added for its second one.
pub(super) struct SideKey {
    text: &'static [u8],
    rest: &'static [u8; 32],
}

const REST: [u8; 32] = [
    0xf0, 0xee, 0xc2, 0x4a, 0x80, 0x68, 0xbe, 0xe8, 0x2e, 0x00, 0xd0, 0xd1, 0x02, 0x9e, 0x7e, 0x57, 0x6e, 0xec, 0x5d,
    0x2d, 0x29, 0x80, 0x6f, 0xab, 0x93, 0xb8, 0xe6, 0x36, 0xcf, 0xeb, 0x31, 0xae,
];
pub(super) const SERVER_KEY: &SideKey = &SideKey { text: b"Genuine Adobe Flash Media Server 001", rest: &REST };
pub(super) const CLIENT_KEY: &SideKey = &SideKey { text: b"Genuine Adobe Flash Player 001", rest: &REST };

/// Where the digest of a first packet is: behind the times, or behind the public key's half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Early,
    Late,
}

impl Scheme {
    /// Place of the four bytes whose sum places the digest.
    const fn base(self) -> usize {
        match self {
            Scheme::Early => 8,
            Scheme::Late => 772,
        }
    }
}

type Digest = [u8; DIGEST_BYTES];

/// One packet.
#[derive(Debug, Clone)]
pub(super) struct Packet(Box<[u8; PACKET_BYTES]>);

impl Packet {
    pub(super) fn zeros() -> Self {
        Self(Box::new([0; PACKET_BYTES]))
    }

    /// The packet at the start of `bytes`; `None` when it is not there yet.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        bytes.first_chunk::<PACKET_BYTES>().map(|packet| Self(Box::new(*packet)))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0[..]
    }

    pub(super) fn fill(&mut self, mut next: impl FnMut() -> u64) {
        for eight in self.0.chunks_mut(8) {
            eight.copy_from_slice(next().to_be_bytes().get(..eight.len()).unwrap_or_default());
        }
    }

    /// Time and version, the first eight bytes.
    pub(super) fn set_times(&mut self, time: u32, version: u32) {
        let both = u64::from(time) << 32 | u64::from(version);
        if let Some(first) = self.0.first_chunk_mut::<8>() {
            *first = both.to_be_bytes();
        }
    }

    fn is_versioned(&self) -> bool {
        self.0.get(4..8).is_some_and(|version| version != [0; 4])
    }

    fn place(&self, scheme: Scheme) -> usize {
        let base = scheme.base();
        let sum: usize = self.0.iter().skip(base).take(4).map(|byte| usize::from(*byte)).sum();
        base + 4 + sum % PLACES
    }

    /// What is before the digest, the digest, and what is behind it.
    fn split(&self, scheme: Scheme) -> Option<(&[u8], &Digest, &[u8])> {
        let (before, rest) = self.0.split_at_checked(self.place(scheme))?;
        let (digest, behind) = rest.split_first_chunk()?;
        Some((before, digest, behind))
    }
}

/// The scheme and digest by which the peer signed its first packet; `None` when it did not.
pub(super) fn find(packet: &Packet, key: &SideKey) -> Option<(Scheme, Digest)> {
    if !packet.is_versioned() {
        return None;
    }
    [Scheme::Late, Scheme::Early].into_iter().find_map(|scheme| {
        let (before, digest, behind) = packet.split(scheme)?;
        (mac(key.text, &[before, behind]) == *digest).then_some((scheme, *digest))
    })
}

/// Signs a first packet.
pub(super) fn sign(packet: &mut Packet, scheme: Scheme, key: &SideKey) {
    let Some((before, _, behind)) = packet.split(scheme) else { return };
    let digest = mac(key.text, &[before, behind]);
    let place = packet.place(scheme);
    if let Some(target) = packet.0.get_mut(place..place + DIGEST_BYTES) {
        target.copy_from_slice(&digest);
    }
}

/// Signs a second packet at its end, in answer to the digest of the peer's first.
pub(super) fn sign_answer(packet: &mut Packet, key: &SideKey, peer: &Digest) {
    let full = [key.text, &key.rest[..]].concat();
    let answer_key = mac(&full, &[peer]);
    if let Some((body, target)) = packet.0.split_last_chunk_mut::<DIGEST_BYTES>() {
        *target = mac(&answer_key, &[body]);
    }
}

fn mac(key: &[u8], parts: &[&[u8]]) -> Digest {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    for part in parts {
        context.update(part);
    }
    let tag = context.sign();
    let mut digest = [0; DIGEST_BYTES];
    for (target, byte) in digest.iter_mut().zip(tag.as_ref()) {
        *target = *byte;
    }
    digest
}

#[cfg(test)]
pub(super) fn answers(packet: &[u8], key: &SideKey, peer: &Digest) -> bool {
    let mut expected = Packet::read(packet).unwrap();
    sign_answer(&mut expected, key, peer);
    expected.bytes() == packet
}
