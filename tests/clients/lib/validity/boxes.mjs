// Reads fragmented MP4 (ISO/IEC 14496-12): initialisation segments, and moof/mdat with every sample's time, size and flags.

class BoxError extends Error {}

/** Boxes of `[from, to)` as `{ type, start, end, body }`, `body` being where the header ends. */
export function boxes(data, from = 0, to = data.length) {
  const found = [];
  for (let at = from; at < to; ) {
    if (at + 8 > to) throw new BoxError(`${to - at} bytes after the last box`);
    let size = data.readUInt32BE(at);
    let body = at + 8;
    if (size === 1) {
      if (at + 16 > to) throw new BoxError('a long box without its size');
      size = Number(data.readBigUInt64BE(at + 8));
      body = at + 16;
    }
    const type = data.toString('latin1', at + 4, at + 8);
    if (size < body - at || at + size > to) throw new BoxError(`box ${JSON.stringify(type)} of ${size} bytes at ${at} of ${to}`);
    found.push({ type, start: at, end: at + size, body });
    at += size;
  }
  return found;
}

function child(data, parent, ...path) {
  return path.reduce((box, type) => {
    const found = box && boxes(data, box.body, box.end).find((one) => one.type === type);
    if (!found) throw new BoxError(`no ${type} in ${path.join('/')}`);
    return found;
  }, parent);
}

/** Version and flags of a full box, and where its fields begin. */
function full(data, box) {
  return { version: data[box.body], flags: data.readUIntBE(box.body + 1, 3), at: box.body + 4 };
}

/** `{ brands, tracks }` of an initialisation segment. */
export function parseInit(data) {
  const top = boxes(data);
  const ftyp = top.find((box) => box.type === 'ftyp');
  const moov = top.find((box) => box.type === 'moov');
  if (!ftyp || !moov) throw new BoxError('ftyp or moov is missing');
  const brands = data.toString('latin1', ftyp.body, ftyp.end).match(/.{4}/gs).filter((_, index) => index !== 1);
  const inMoov = boxes(data, moov.body, moov.end);
  const defaults = trackDefaults(data, inMoov.find((box) => box.type === 'mvex'));
  const tracks = inMoov.filter((box) => box.type === 'trak').map((trak) => track(data, trak, defaults));
  return { brands, tracks, types: top.map((box) => box.type) };
}

function trackDefaults(data, mvex) {
  if (!mvex) throw new BoxError('no mvex');
  const found = {};
  for (const trex of boxes(data, mvex.body, mvex.end).filter((box) => box.type === 'trex')) {
    const { at } = full(data, trex);
    const [id, , duration, size, flags] = [0, 4, 8, 12, 16].map((offset) => data.readUInt32BE(at + offset));
    found[id] = { duration, size, flags };
  }
  return found;
}

function track(data, trak, defaults) {
  const tkhd = child(data, trak, 'tkhd');
  const head = full(data, tkhd);
  const id = data.readUInt32BE(head.at + (head.version === 1 ? 16 : 8));
  const mdhd = full(data, child(data, trak, 'mdia', 'mdhd'));
  const kind = data.toString('latin1', ...((at) => [at + 4, at + 8])(full(data, child(data, trak, 'mdia', 'hdlr')).at));
  const stsd = child(data, trak, 'mdia', 'minf', 'stbl', 'stsd');
  const entries = boxes(data, stsd.body + 8, stsd.end);
  if (entries.length !== 1) throw new BoxError(`${entries.length} sample entries`);
  if (!defaults[id]) throw new BoxError(`no trex of track ${id}`);
  return {
    id,
    kind,
    timescale: data.readUInt32BE(mdhd.at + (mdhd.version === 1 ? 16 : 8)),
    width: data.readUInt32BE(tkhd.end - 8) / 65536,
    height: data.readUInt32BE(tkhd.end - 4) / 65536,
    entry: sampleEntry(data, entries[0], kind),
    defaults: defaults[id],
  };
}

function sampleEntry(data, box, kind) {
  const fixed = kind === 'vide' ? 78 : 28;
  const inside = Object.fromEntries(boxes(data, box.body + fixed, box.end).map((one) => [one.type, data.subarray(one.body, one.end)]));
  const common = { format: box.type, inside };
  if (kind === 'vide') return { ...common, width: data.readUInt16BE(box.body + 24), height: data.readUInt16BE(box.body + 26) };
  return { ...common, channels: data.readUInt16BE(box.body + 16), rate: data.readUInt32BE(box.body + 24) >>> 16 };
}

/**
 * A part or segment: `{ types, prft, chunks }`; each chunk is `{ sequence, tracks, mdat }` with the samples of every track:
 * `{ dts, duration, size, sync, offset, composition }`, times in ticks as BigInt-free numbers, offsets into `data`.
 */
export function parseFragments(data, init) {
  const top = boxes(data);
  const chunks = [];
  top.forEach((box, index) => {
    if (box.type !== 'moof') return;
    const mdat = top[index + 1];
    if (mdat?.type !== 'mdat') throw new BoxError('a moof is not followed by its mdat');
    chunks.push({ ...fragment(data, box, init), mdat, moof: box });
  });
  const prft = top.filter((box) => box.type === 'prft').map((box) => referenceTime(data, box));
  return { types: top.map((box) => box.type), prft, chunks };
}

function fragment(data, moof, init) {
  const inside = boxes(data, moof.body, moof.end);
  const mfhd = inside.find((box) => box.type === 'mfhd');
  if (!mfhd) throw new BoxError('no mfhd');
  const tracks = inside.filter((box) => box.type === 'traf').map((traf) => trackFragment(data, { moof, traf }, init));
  return { sequence: data.readUInt32BE(full(data, mfhd).at), tracks };
}

function trackFragment(data, { moof, traf }, init) {
  const head = fragmentHead(data, child(data, traf, 'tfhd'), init);
  const inside = boxes(data, traf.body, traf.end);
  const tfdt = inside.find((box) => box.type === 'tfdt');
  if (!tfdt) throw new BoxError('no tfdt');
  const time = full(data, tfdt);
  const start = time.version === 1 ? Number(data.readBigUInt64BE(time.at)) : data.readUInt32BE(time.at);
  const samples = [];
  const state = { dts: start, offset: moof.start };
  for (const trun of inside.filter((box) => box.type === 'trun')) run(data, { trun, head, moof, state, samples });
  return { id: head.id, start, end: state.dts, samples, ...head };
}

function fragmentHead(data, tfhd, init) {
  const { flags, at } = full(data, tfhd);
  const id = data.readUInt32BE(at);
  const track = init.tracks.find((one) => one.id === id);
  if (!track) throw new BoxError(`track ${id} is not of the initialisation segment`);
  let next = at + 4 + (flags & 1 ? 8 : 0) + (flags & 2 ? 4 : 0);
  const field = (bit, otherwise) => {
    if (!(flags & bit)) return otherwise;
    next += 4;
    return data.readUInt32BE(next - 4);
  };
  const duration = field(8, track.defaults.duration);
  const size = field(16, track.defaults.size);
  return { id, track, duration, size, flags: field(32, track.defaults.flags), hasBase: Boolean(flags & 1), baseIsMoof: Boolean(flags & 0x20000) };
}

function run(data, { trun, head, moof, state, samples }) {
  const { version, flags, at } = full(data, trun);
  const count = data.readUInt32BE(at);
  let next = at + 4;
  if (flags & 1) {
    state.offset = moof.start + data.readInt32BE(next);
    next += 4;
  }
  const first = flags & 4 ? data.readUInt32BE((next += 4) - 4) : undefined;
  const width = 4 * [0x100, 0x200, 0x400, 0x800].filter((bit) => flags & bit).length;
  if (next + count * width !== trun.end) throw new BoxError(`a trun of ${count} samples in ${trun.end - trun.start} bytes`);
  const field = (bit, otherwise) => (flags & bit ? data.readUInt32BE((next += 4) - 4) : otherwise);
  for (let index = 0; index < count; index += 1) {
    const duration = field(0x100, head.duration);
    const size = field(0x200, head.size);
    const its = field(0x400, index === 0 && first !== undefined ? first : head.flags);
    const composition = flags & 0x800 ? data[version === 0 ? 'readUInt32BE' : 'readInt32BE']((next += 4) - 4) : 0;
    samples.push({ dts: state.dts, duration, size, sync: (its & 0x10000) === 0, offset: state.offset, composition });
    state.dts += duration;
    state.offset += size;
  }
}

/** Wall-clock milliseconds and media time of a prft. */
function referenceTime(data, box) {
  const { version, flags, at } = full(data, box);
  const ntp = data.readBigUInt64BE(at + 4);
  const ms = (Number(ntp >> 32n) - 2_208_988_800) * 1000 + (Number(ntp & 0xffff_ffffn) * 1000) / 2 ** 32;
  const mediaTime = version === 1 ? Number(data.readBigUInt64BE(at + 12)) : data.readUInt32BE(at + 12);
  return { track: data.readUInt32BE(at), ms, mediaTime, flags };
}
