// Synthetic media for the fixture: initialisation segments, and parts of frames that decoders would refuse but parsers take.

/** Baseline H.264 of 320x180. */
const AVCC = '0142c00cffe100196742c00cd901419f9f011000000300100000030280f142a48001000568cb83cb20';
/** AudioSpecificConfig: AAC-LC, 48 kHz, two channels. */
const AAC = '1190';

export const TRACKS = {
  v0: { id: 1, kind: 'vide', timescale: 90_000, frame: 4500 },
  a0: { id: 1, kind: 'soun', timescale: 48_000, frame: 2400 },
};

const u8 = (...values) => Buffer.from(values);
const u16 = (value) => u8(value >> 8, value & 255);
const u32 = (value) => u8((value >>> 24) & 255, (value >>> 16) & 255, (value >>> 8) & 255, value & 255);
const u64 = (value) => Buffer.concat([u32(Math.floor(value / 2 ** 32)), u32(value % 2 ** 32)]);
const zeros = (count) => Buffer.alloc(count);
const text = (value) => Buffer.from(value, 'latin1');

function box(type, ...content) {
  const body = Buffer.concat(content);
  return Buffer.concat([u32(body.length + 8), text(type), body]);
}

const full = (type, version, flags, ...content) => box(type, u8(version), u32(flags).subarray(1), ...content);

/** The initialisation segment; `width` is what its sample entry says. */
export function init(name, width = 320) {
  const { id, kind, timescale } = TRACKS[name];
  const isVideo = kind === 'vide';
  const size = isVideo ? [u32(320 << 16), u32(180 << 16)] : [zeros(8)];
  const entry = isVideo
    ? box('avc1', zeros(6), u16(1), zeros(16), u16(width), u16(180), zeros(50), box('avcC', Buffer.from(AVCC, 'hex')))
    : box('mp4a', zeros(6), u16(1), zeros(8), u16(2), u16(16), zeros(4), u32(0), esds());
  const tables = ['stts', 'stsc', 'stco'].map((type) => full(type, 0, 0, u32(0)));
  const stbl = box('stbl', full('stsd', 0, 0, u32(1), entry), ...tables, full('stsz', 0, 0, zeros(8)));
  const mdia = box('mdia', full('mdhd', 0, 0, zeros(8), u32(timescale), zeros(8)), full('hdlr', 0, 0, zeros(4), text(kind), zeros(13)), box('minf', stbl));
  const trak = box('trak', full('tkhd', 0, 7, zeros(8), u32(id), zeros(56), ...size), mdia);
  const mvex = box('mvex', full('trex', 0, 0, u32(id), u32(1), zeros(12)));
  return Buffer.concat([box('ftyp', text('iso6'), u32(0), text('iso6cmfc')), box('moov', full('mvhd', 0, 0, zeros(96)), trak, mvex)]);
}

function esds() {
  const specific = Buffer.concat([u8(5, AAC.length / 2), Buffer.from(AAC, 'hex')]);
  const decoder = Buffer.concat([u8(4, 13 + specific.length, 0x40, 0x15), zeros(11), specific]);
  return full('esds', 0, 0, u8(3, 3 + decoder.length, 0, 0, 0), decoder);
}

/**
 * A part of `frames` frames that begins at `start` ticks. What is wrong with it may be said: `isKey`, `looksKey` (what the
 * picture is), `sequence`, `offset` (added to the data offset), `hasBase`, `tail` (a box behind it).
 */
export function part(name, { start, frames, isKey, looksKey = isKey, sequence, offset = 0, baseIsMoof = true, tail = false }) {
  const { id, kind, frame } = TRACKS[name];
  const samples = Array.from({ length: frames }, (_, index) => sample(kind, looksKey && index === 0, start + index));
  const flags = (index) => (kind === 'soun' || (isKey && index === 0) ? 0x2000000 : 0x1010000);
  const rows = samples.map((bytes, index) => Buffer.concat([u32(frame), u32(bytes.length), u32(flags(index))]));
  const moof = (at) =>
    box('moof', full('mfhd', 0, 0, u32(sequence)), box('traf', full('tfhd', 0, baseIsMoof ? 0x20000 : 0, u32(id)), full('tfdt', 1, 0, u64(start)), full('trun', 0, 0x701, u32(frames), u32(at), ...rows)));
  const size = moof(0).length;
  return Buffer.concat([moof(size + 8 + offset), box('mdat', ...samples), ...(tail ? [box('free', zeros(4))] : [])]);
}

function sample(kind, isKey, seed) {
  const body = Buffer.alloc(120, seed & 127);
  if (kind === 'soun') return body;
  body[0] = isKey ? 0x65 : 0x41;
  return Buffer.concat([u32(body.length), body]);
}

/** What a segment begins with. */
export function head(name, { dateMs, mediaTime }) {
  const ntp = dateMs / 1000 + 2_208_988_800;
  const fraction = Math.floor((ntp % 1) * 2 ** 32);
  return Buffer.concat([box('styp', text('cmfs'), u32(0), text('cmfs')), full('prft', 1, 8, u32(TRACKS[name].id), u32(Math.floor(ntp)), u32(fraction), u64(mediaTime))]);
}
