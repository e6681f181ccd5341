// What a sample entry says of its codec: the string of RFC 6381, the picture's size, whether a sample can be begun with.

const hex = (byte) => byte.toString(16).padStart(2, '0');

/** RFC 6381 string of a track, from its own configuration record; `undefined` for an entry that is not known. */
export function codecOf({ entry: { format, inside } }) {
  if (inside.avcC) return `${format}.${hex(inside.avcC[1])}${hex(inside.avcC[2])}${hex(inside.avcC[3])}`;
  if (inside.hvcC) return hevc(format, inside.hvcC);
  if (inside.av1C) return av1(inside.av1C);
  if (inside.vpcC) return `${format}.${[inside.vpcC[4], inside.vpcC[5], inside.vpcC[6] >> 4].map((n) => String(n).padStart(2, '0')).join('.')}`;
  if (inside.esds) return `${format}.40.${audioObjectType(inside.esds)}`;
  return { Opus: 'opus', fLaC: 'flac', 'ac-3': 'ac-3', 'ec-3': 'ec-3' }[format];
}

function hevc(format, record) {
  const [space, tier, profile] = [record[1] >> 6, (record[1] >> 5) & 1, record[1] & 31];
  let compatible = 0;
  for (let bit = 0; bit < 32; bit += 1) compatible = compatible * 2 + ((record[2 + 3 - (bit >> 3)] >> (bit & 7)) & 1);
  const constraints = [...record.subarray(6, 12)];
  while (constraints.length > 1 && constraints.at(-1) === 0) constraints.pop();
  const head = `${format}.${['', 'A', 'B', 'C'][space]}${profile}.${compatible.toString(16)}.${tier ? 'H' : 'L'}${record[12]}`;
  return `${head}.${constraints.map((byte) => byte.toString(16)).join('.')}`;
}

function av1(record) {
  const [profile, level, tier] = [record[1] >> 5, record[1] & 31, record[2] >> 7];
  const depth = record[2] & 64 ? (profile === 2 && record[2] & 32 ? 12 : 10) : 8;
  return `av01.${profile}.${String(level).padStart(2, '0')}${tier ? 'H' : 'M'}.${String(depth).padStart(2, '0')}`;
}

/** Channels that an AudioSpecificConfig says; by its channel configuration (ISO/IEC 14496-3 table 1.19). */
export function channelsOf({ entry: { inside, channels } }) {
  const config = inside.esds && specificConfig(inside.esds);
  if (!config) return inside.dOps ? inside.dOps[1] : channels;
  const bits = [...config].map((byte) => byte.toString(2).padStart(8, '0')).join('');
  const escaped = parseInt(bits.slice(5, 9), 2) === 15 ? 24 : 0;
  const configuration = parseInt(bits.slice(9 + escaped, 13 + escaped), 2);
  return configuration === 7 ? 8 : configuration || channels;
}

function audioObjectType(esds) {
  const config = specificConfig(esds);
  const type = config ? config[0] >> 3 : 0;
  return type === 31 ? 32 + (((config[0] & 7) << 3) | (config[1] >> 5)) : type;
}

/** The DecoderSpecificInfo within an ES_Descriptor (ISO/IEC 14496-1). */
function specificConfig(esds) {
  let at = 4;
  const descriptor = () => {
    const tag = esds[at++];
    let size = 0;
    for (let more = true; more && at < esds.length; ) {
      more = Boolean(esds[at] & 0x80);
      size = (size << 7) | (esds[at++] & 0x7f);
    }
    return { tag, size };
  };
  while (at < esds.length) {
    const { tag, size } = descriptor();
    if (tag === 5) return esds.subarray(at, at + size);
    at += tag === 3 ? 3 : tag === 4 ? 13 : size;
  }
  return null;
}

/** Whether a sample contains a picture that decoding can begin with; `undefined` when its codec is not looked into. */
export function isRandomAccess({ entry: { inside } }, sample) {
  const record = inside.avcC ?? inside.hvcC;
  if (!record) return undefined;
  const width = (inside.avcC ? record[4] : record[21]) & 3;
  for (let at = 0; at + width + 1 < sample.length; ) {
    const size = sample.readUIntBE(at, width + 1);
    const head = sample[at + width + 1];
    const type = inside.avcC ? head & 31 : (head >> 1) & 63;
    if (inside.avcC ? type === 5 : type >= 16 && type <= 21) return true;
    at += width + 1 + size;
  }
  return false;
}

/** Bits of an RBSP with Exp-Golomb numbers (H.264 9.1). */
class Bits {
  constructor(bytes) {
    const clean = [];
    bytes.forEach((byte, index) => {
      if (!(byte === 3 && index >= 2 && bytes[index - 1] === 0 && bytes[index - 2] === 0)) clean.push(byte);
    });
    this.bytes = clean;
    this.at = 0;
  }

  take(count) {
    let value = 0;
    for (; count > 0; count -= 1, this.at += 1) value = value * 2 + (((this.bytes[this.at >> 3] ?? 0) >> (7 - (this.at & 7))) & 1);
    return value;
  }

  unsigned() {
    let zeros = 0;
    while (zeros < 32 && this.take(1) === 0) zeros += 1;
    return 2 ** zeros - 1 + this.take(zeros);
  }

  signed() {
    const value = this.unsigned();
    return value & 1 ? (value + 1) / 2 : -value / 2;
  }
}

/** Size of the pictures by the sequence parameter set of an avcC; `undefined` for other codecs. */
export function pictureSize({ entry: { inside } }) {
  const record = inside.avcC;
  if (!record || (record[5] & 31) === 0) return undefined;
  const bits = new Bits(record.subarray(9, 8 + record.readUInt16BE(6)));
  const profile = bits.take(8);
  bits.take(16);
  bits.unsigned();
  const chroma = [100, 110, 122, 244, 44, 83, 86, 118, 128].includes(profile) ? highProfile(bits) : 1;
  bits.unsigned();
  const order = bits.unsigned();
  if (order === 0) bits.unsigned();
  else if (order === 1) {
    [bits.take(1), bits.signed(), bits.signed()];
    for (let count = bits.unsigned(); count > 0; count -= 1) bits.signed();
  }
  bits.unsigned();
  bits.take(1);
  const [across, down] = [bits.unsigned() + 1, bits.unsigned() + 1];
  const frames = bits.take(1);
  if (!frames) bits.take(1);
  bits.take(1);
  const crop = bits.take(1) ? [0, 0, 0, 0].map(() => bits.unsigned()) : [0, 0, 0, 0];
  const unit = { x: chroma === 1 || chroma === 2 ? 2 : 1, y: (chroma === 1 ? 2 : 1) * (2 - frames) };
  return { width: across * 16 - (crop[0] + crop[1]) * unit.x, height: down * 16 * (2 - frames) - (crop[2] + crop[3]) * unit.y };
}

function highProfile(bits) {
  const chroma = bits.unsigned();
  if (chroma === 3) bits.take(1);
  bits.unsigned();
  bits.unsigned();
  bits.take(1);
  if (bits.take(1)) {
    for (let list = 0; list < (chroma === 3 ? 12 : 8); list += 1) if (bits.take(1)) scalingList(bits, list < 6 ? 16 : 64);
  }
  return chroma;
}

function scalingList(bits, size) {
  let [last, next] = [8, 8];
  for (let index = 0; index < size; index += 1) {
    if (next !== 0) next = (last + bits.signed() + 256) % 256;
    last = next === 0 ? last : next;
  }
}
