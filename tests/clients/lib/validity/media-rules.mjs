// What parts, segments and initialisation segments must be by their bytes.
import { parseFragments, parseInit } from './boxes.mjs';
import { codecOf, isRandomAccess, pictureSize } from './codecs.mjs';

/** Playlists round durations to five digits. */
const ROUNDING_S = 0.0001;
/** A prft and a date are both rounded to milliseconds. */
const REFERENCE_MS = 2;

/** Reads an initialisation segment and checks it: `{ tracks, track, codec }`, `null` when it cannot be read. */
export function checkInit(report, data, where) {
  try {
    const init = parseInit(data);
    const [track] = init.tracks;
    report.check('media.initialisation', init.tracks.length === 1, where, () => `${init.tracks.length} tracks`);
    report.check('media.initialisation', init.brands.some((brand) => /^(cmf|iso[5-9])/.test(brand)), where, () => `brands ${init.brands}`);
    report.check('media.initialisation', init.types.every((type) => ['ftyp', 'moov', 'free'].includes(type)), where, () => `${init.types}`);
    const size = pictureSize(track);
    const fits = !size || (size.width === track.entry.width && size.height === track.entry.height);
    report.check('media.initialisation', fits, where, () => `pictures of ${size.width}x${size.height}, sample entry ${track.entry.width}x${track.entry.height}`);
    return { ...init, track, codec: codecOf(track) };
  } catch (error) {
    report.check('media.initialisation', false, where, error.message);
    return null;
  }
}

/** Reads the bytes of one rendition in order and checks them against what is listed. */
export class MediaInspector {
  /** End of what was read last, per track: `{ msn, part, dsn, end }`. */
  #last = null;
  /** Seconds that were read of a segment. */
  #lengths = new Map();
  /** Per segment: when it begins, for comparing renditions. */
  starts = new Map();

  /** Frames and seconds by initialisation segment, for the frame rate. */
  rates = new Map();

  constructor(report, where) {
    this.report = report;
    this.where = where;
  }

  /** A part, in the order of the stream. */
  part(data, init, { segment, index, independentSegments }) {
    const at = `${this.where} ${segment.msn}.${index}`;
    const read = this.#read(data, init, at);
    if (!read) return;
    const part = segment.parts[index];
    this.report.check('media.boxes', read.chunks.length === 1, at, () => `${read.chunks.length} moof in one part`);
    const seconds = this.#seconds(read, init);
    this.report.check('media.part-duration', Math.abs(seconds - part.duration) <= ROUNDING_S, at, () => `lasts ${seconds}, listed as ${part.duration}`);
    const first = read.chunks[0].tracks[0].samples[0];
    this.report.check('media.independent', first?.sync === part.independent, at, () => `begins with ${first?.sync ? 'a' : 'no'} sync sample, listed ${part.independent ? '' : 'not '}as independent`);
    this.#lengths.set(segment.msn, (this.#lengths.get(segment.msn) ?? 0) + seconds);
    this.#checkSync(data, init, read, at);
    const rate = this.rates.get(segment.map) ?? { frames: 0, seconds: 0 };
    this.rates.set(segment.map, { frames: rate.frames + read.chunks[0].tracks[0].samples.length, seconds: rate.seconds + seconds });
    if (index === 0) this.#begins(read, init, segment, independentSegments);
    this.#checkHead(read, index === 0, at);
    this.#checkTime(read, init, { segment, part: index }, at);
  }

  /** A whole segment whose parts were not looked at. */
  segment(data, init, segment, independentSegments) {
    const at = `${this.where} ${segment.msn}`;
    const read = this.#read(data, init, at);
    if (!read) return;
    this.#checkHead(read, true, at);
    this.#begins(read, init, segment, independentSegments);
    this.#checkTime(read, init, { segment, part: -1 }, at);
    this.#lengths.set(segment.msn, this.#seconds(read, init));
    this.duration(segment);
  }

  /** The length of a whole segment, by the samples that were read of it. */
  duration(segment) {
    const seconds = this.#lengths.get(segment.msn);
    if (seconds === undefined) return;
    this.#lengths.delete(segment.msn);
    this.report.check('media.segment-duration', Math.abs(seconds - segment.duration) <= ROUNDING_S, `${this.where} ${segment.msn}`, () => `lasts ${seconds}, EXTINF says ${segment.duration}`);
  }

  #read(data, init, at) {
    try {
      const read = parseFragments(data, init);
      if (!this.report.check('media.boxes', read.chunks.length > 0, at, 'no media')) return null;
      const known = read.types.every((type) => ['styp', 'prft', 'emsg', 'moof', 'mdat'].includes(type));
      const isLast = read.types.at(-1) === 'mdat';
      this.report.check('media.boxes', known && isLast, at, () => read.types.join());
      read.chunks.forEach((chunk) => this.#checkChunk(data, chunk, at));
      return read;
    } catch (error) {
      this.report.check('media.boxes', false, at, error.message);
      return null;
    }
  }

  #checkChunk(data, { tracks, mdat, moof }, at) {
    const { report } = this;
    report.check('media.boxes', tracks.length === 1, at, () => `${tracks.length} traf in a moof`);
    for (const track of tracks) {
      report.check('media.flags', track.baseIsMoof && !track.hasBase, at, 'offsets are not relative to the moof');
      const inside = track.samples.every((sample) => sample.offset >= mdat.body && sample.offset + sample.size <= mdat.end);
      report.check('media.data-offsets', inside, at, 'samples lie outside of the mdat');
      const bytes = track.samples.reduce((sum, sample) => sum + sample.size, 0);
      report.check('media.data-offsets', bytes === mdat.end - mdat.body, at, () => `${bytes} bytes of samples in an mdat of ${mdat.end - mdat.body}`);
      report.check('media.data-offsets', track.samples[0]?.offset === mdat.body && moof.end === mdat.start, at, 'the first sample is not the first of the mdat');
    }
  }

  #seconds(read, init) {
    return read.chunks.reduce((sum, { tracks: [track] }) => sum + (track.end - track.start) / init.track.timescale, 0);
  }

  #checkHead(read, isStart, at) {
    const heads = read.types.filter((type) => type === 'styp' || type === 'prft');
    const right = isStart ? heads.join() === 'styp,prft' && read.types[0] === 'styp' && read.types[1] === 'prft' : heads.length === 0;
    this.report.check('media.segment-head', right, at, () => read.types.join());
  }

  /** Notes when a segment begins, and compares its prft with its date. */
  #begins(read, init, segment, independentSegments) {
    const { samples } = read.chunks[0].tracks[0];
    const { timescale, kind } = init.track;
    const shown = read.chunks.flatMap(({ tracks: [track] }) => track.samples.map((sample) => sample.dts + sample.composition));
    const start = Math.min(...shown);
    const frame = Math.max(...samples.map((sample) => sample.duration)) / timescale;
    this.starts.set(segment.msn, { start: start / timescale, decode: samples[0].dts / timescale, frame, dsn: segment.dsn, date: segment.date, kind });
    const at = `${this.where} ${segment.msn}`;
    if (independentSegments) this.report.check('media.independent-segments', samples[0].sync, at, 'EXT-X-INDEPENDENT-SEGMENTS is said, it begins with no sync sample');
    // A list that says no date is another rule's to report.
    const compared = Number.isFinite(segment.date) ? read.prft : [];
    for (const { ms, mediaTime, track } of compared) {
      const expected = segment.date + ((mediaTime - start) / timescale) * 1000;
      this.report.check(
        'media.reference-time', Math.abs(ms - expected) <= REFERENCE_MS && track === init.track.id, at,
        () => `prft says ${new Date(ms).toISOString()} for media time ${mediaTime} of ${timescale}, EXT-X-PROGRAM-DATE-TIME ${new Date(expected).toISOString()} for it`,
      );
    }
  }

  #checkSync(data, init, read, at) {
    if (init.track.kind !== 'vide') return;
    for (const sample of read.chunks.flatMap(({ tracks }) => tracks[0].samples)) {
      const is = isRandomAccess(init.track, data.subarray(sample.offset, sample.offset + sample.size));
      if (is === undefined) return;
      this.report.check('media.sync-flag', is === sample.sync, at, () => `the sample at ${sample.dts} is ${sample.sync ? '' : 'not '}marked as sync`);
    }
  }

  /** Decode times go on where they ended, from part to part and segment to segment of an epoch. */
  #checkTime(read, init, { segment, part }, at) {
    let last = this.#last;
    for (const { tracks: [track], sequence } of read.chunks) {
      const follows = last && last.map === segment.map && last.dsn === segment.dsn && (last.msn === segment.msn || last.msn + 1 === segment.msn);
      if (follows) {
        this.report.check('media.decode-time', track.start === last.end, at, () => `begins at ${track.start}, the one before ended at ${last.end}`);
        this.report.check('media.sequence-numbers', sequence > last.sequence, at, () => `${sequence} after ${last.sequence}`);
      }
      last = { msn: segment.msn, part, dsn: segment.dsn, map: segment.map, end: track.end, sequence };
    }
    this.#last = last;
  }

  /** Nothing is known of what comes before the next part. */
  forget() {
    this.#last = null;
  }

  /** Forgets what is long gone. */
  prune(before) {
    for (const msn of this.starts.keys()) if (msn < before) this.starts.delete(msn);
  }
}
