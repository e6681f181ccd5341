// Watches a dynamic MPD beside the playlists: what it lists, when that is there, and what it is.
import { parseFragments } from './boxes.mjs';
import { elapsed, now, sleep } from './http.mjs';
import { checkInit } from './media-rules.mjs';
import { address, numbered, parseMpd, presented } from './mpd.mjs';
import { seconds } from './xml.mjs';

/** Between two looks at the description. */
const AGAIN_MS = 1000;
/** Old segments that are fetched when a representation is first seen, the oldest ones and the newest ones. */
const OLD_SEGMENTS = 3;
/** Times are written with milliseconds. */
const ROUNDING_S = 0.0015;
/** A timer may ring so much too early. */
const EARLY_MS = 10;
/** How something arrives is judged by who was awake for so much of that time. */
const AWAKE_MIN = 0.9;
/** How far a clock on the same machine may be off. */
const CLOCK_MS = 100;

export class DashWatch {
  #fixed = new Map();
  #fetched = new Map();
  #inits = new Map();
  #last = null;
  #pending = [];
  #seen = [];

  constructor(session, presentation, url) {
    this.session = session;
    this.presentation = presentation;
    this.url = url;
  }

  get report() {
    return this.session.report;
  }

  /** Watches until the session is over; nothing is checked as long as there is no description. */
  async watch() {
    for (let isThere = false; !this.session.signal.aborted; ) {
      const got = await this.session.http.get(this.url);
      if (!got) break;
      isThere ||= got.status !== 404;
      const mpd = isThere ? this.#read(got) : null;
      if (mpd) await this.#look(mpd, got);
      if (mpd?.attributes.type === 'static') break;
      await sleep(AGAIN_MS, this.session.signal);
    }
    await Promise.all(this.#pending);
  }

  #read(got) {
    const { report } = this;
    report.check('http.type', got.headers['content-type']?.startsWith('application/dash+xml'), 'mpd', got.headers['content-type']);
    report.check('http.cors', got.headers['access-control-allow-origin'] === '*', 'mpd', got.headers['access-control-allow-origin']);
    if (!report.check('dash.syntax', got.status === 200, 'mpd', () => `${got.status}`)) return null;
    try {
      const text = got.body.toString('utf8');
      const mpd = { ...parseMpd(text, this.url), text };
      report.check('dash.syntax', mpd.periods.every((period) => period.representations.length > 0) && mpd.periods.length > 0, 'mpd', 'a period without representations');
      return mpd;
    } catch (error) {
      report.check('dash.syntax', false, 'mpd', error.message);
      return null;
    }
  }

  async #look(mpd, got) {
    this.#checkType(mpd);
    this.#checkConstant(mpd);
    this.#checkPublished(mpd);
    this.#checkPeriods(mpd);
    if (mpd.attributes.type === 'dynamic') await this.#checkClock(mpd);
    for (const [index, period] of mpd.periods.entries()) {
      for (const representation of period.representations) this.#checkRepresentation(mpd, { period, representation, isLast: index === mpd.periods.length - 1 }, got);
    }
    this.#last = mpd;
  }

  #checkType({ attributes, periods, availabilityStartMs, publishMs, windowSecs }) {
    const { report } = this;
    if (attributes.type === 'static') {
      return report.check('dash.type', seconds(attributes.mediaPresentationDuration) > 0, 'mpd', 'a static one without a duration');
    }
    report.check('dash.type', attributes.type === 'dynamic', 'mpd', () => `type ${attributes.type}`);
    report.check('dash.type', availabilityStartMs > 0 && publishMs > 0, 'mpd', () => `availabilityStartTime ${attributes.availabilityStartTime}, publishTime ${attributes.publishTime}`);
    const updates = attributes.minimumUpdatePeriod !== undefined || attributes.mediaPresentationDuration !== undefined;
    report.check('dash.type', updates, 'mpd', 'neither minimumUpdatePeriod nor mediaPresentationDuration');
    report.check(
      'dash.type', seconds(attributes.minBufferTime) > 0 && /isoff-live/.test(attributes.profiles ?? ''), 'mpd',
      () => `minBufferTime ${attributes.minBufferTime}, profiles ${attributes.profiles}`,
    );
    report.check('dash.type', attributes.timeShiftBufferDepth === undefined || windowSecs > 0, 'mpd', () => attributes.timeShiftBufferDepth);
    const ids = periods.map((period) => period.id);
    report.check('dash.type', ids.every((id) => id !== undefined) && new Set(ids).size === ids.length, 'mpd', () => `periods ${ids}`);
    for (const { id, representations } of periods) {
      const names = representations.map((one) => one.id);
      report.check('dash.type', new Set(names).size === names.length, `period ${id}`, () => `representations ${names}`);
      report.check('dash.type', representations.every((one) => Number(one.attributes.bandwidth) > 0 && one.attributes.mimeType && one.attributes.codecs), `period ${id}`, 'bandwidth, mimeType or codecs are missing');
    }
  }

  /** What was said once is said again. */
  #same(key, value, where) {
    if (!this.#fixed.has(key)) this.#fixed.set(key, value);
    this.report.check('dash.constant', this.#fixed.get(key) === value, where, () => `${key} is ${value}, was ${this.#fixed.get(key)}`);
  }

  #checkConstant({ attributes, periods }) {
    if (attributes.type === 'dynamic') this.#same('availabilityStartTime', attributes.availabilityStartTime, 'mpd');
    for (const period of periods) {
      const at = `period ${period.id}`;
      this.#same(`start of ${at}`, period.start, at);
      if (period.duration !== undefined) this.#same(`duration of ${at}`, period.duration, at);
      for (const one of period.representations) {
        const of = `${one.id} of ${at}`;
        for (const name of ['codecs', 'width', 'height']) this.#same(`${name} of ${of}`, one.attributes[name], at);
        for (const name of ['timescale', 'presentationTimeOffset', 'media', 'initialization', 'duration']) this.#same(`${name} of ${of}`, one.template[name], at);
        for (const entry of one.entries ?? []) this.#same(`segment ${entry.number} of ${of}`, `${entry.time}+${entry.duration}`, at);
        // Numbers may begin later when old ones are gone; they may not be given anew.
        if (!one.entries) this.#same(`startNumber of ${of}`, one.startNumber, at);
      }
    }
  }

  #checkPublished(mpd) {
    const before = this.#last;
    if (!before || mpd.attributes.type !== 'dynamic') return;
    const without = ({ text }) => text.replace(/publishTime="[^"]*"/, '');
    const isOther = without(mpd) !== without(before);
    const moved = mpd.publishMs - before.publishMs;
    this.report.check('dash.publish-time', isOther ? moved > 0 : moved >= 0, 'mpd', () => `${isOther ? 'another description' : 'the same'}, publishTime moved by ${moved} ms`);
    this.report.check('dash.publish-time', mpd.publishMs <= now() + CLOCK_MS, 'mpd', () => `published in the future: ${mpd.attributes.publishTime}`);
  }

  #hasGaps() {
    return [...this.presentation.renditions.values()].some((one) => [...one.history.segments.values()].some((segment) => segment.gap));
  }

  #checkPeriods({ periods, attributes }) {
    periods.forEach((period, index) => {
      const next = periods[index + 1];
      const at = `period ${period.id}`;
      this.report.check('dash.periods', period.start >= 0, at, () => `starts at ${period.start}`);
      if (!next) return this.report.check('dash.periods', attributes.type === 'static' || period.duration === undefined || attributes.minimumUpdatePeriod !== undefined, at, 'the last one has a duration, and no more will come');
      const hole = next.start - period.start - (period.duration ?? next.start - period.start);
      const fits = Math.abs(hole) <= ROUNDING_S || (hole > 0 && this.#hasGaps());
      this.report.check('dash.periods', fits && next.start > period.start, at, () => `ends ${hole.toFixed(3)} s before the next one starts`);
    });
  }

  async #checkClock({ timings }) {
    const http = timings.find((one) => /^urn:mpeg:dash:utc:http-(iso|xsdate):2014$/.test(one.schemeIdUri));
    const direct = timings.find((one) => one.schemeIdUri === 'urn:mpeg:dash:utc:direct:2014');
    if (!this.report.check('dash.clock', http || direct, 'mpd', 'no UTCTiming that is known')) return;
    if (!http) return;
    const got = await this.session.http.get(new URL(http.value, this.url).href);
    if (!got) return;
    const told = Date.parse(got.body.toString('utf8').trim());
    const isRight = got.status === 200 && told >= got.askedAt - CLOCK_MS && told <= got.headAt + CLOCK_MS;
    this.report.check('dash.clock', isRight, http.value, () => `${got.status}: ${got.body.toString('utf8').slice(0, 60)} at ${new Date(got.headAt).toISOString()}`);
    this.report.check('http.cors', got.headers['access-control-allow-origin'] === '*', http.value, got.headers['access-control-allow-origin']);
  }

  // Representations and their segments

  #checkRepresentation(mpd, place, got) {
    const { period, representation } = place;
    const at = `${representation.id} of period ${period.id}`;
    this.#checkInit(representation, at);
    if (representation.entries) this.#checkTimeline(mpd, place, at, got);
    else this.#checkNumbers(mpd, place, at, got);
  }

  #checkInit(representation, at) {
    const url = address(representation, null);
    if (this.#inits.has(url)) return;
    const { attributes } = representation;
    const read = this.session.http.get(url).then((got) => {
      if (!got || !this.report.check('dash.available', got.status === 200, at, () => `${got.status} for ${url}`)) return null;
      const init = checkInit(this.report, got.body, at);
      if (!init) return null;
      const { codec, track } = init;
      this.report.check('dash.initialisation', codec?.toLowerCase() === attributes.codecs?.toLowerCase(), at, () => `codecs ${attributes.codecs}, the media has ${codec}`);
      const kind = track.kind === 'vide' ? 'video' : 'audio';
      this.report.check('dash.initialisation', attributes.mimeType === `${kind}/mp4`, at, () => `mimeType ${attributes.mimeType} of ${kind}`);
      const fits = kind === 'audio' || (Number(attributes.width) === track.width && Number(attributes.height) === track.height);
      this.report.check('dash.initialisation', fits, at, () => `${attributes.width}x${attributes.height}, the media has ${track.width}x${track.height}`);
      return init;
    });
    this.#inits.set(url, read);
    this.#pending.push(read);
  }

  #checkTimeline(mpd, { period, representation, isLast }, at, got) {
    const { report } = this;
    const { entries, timescale } = representation;
    if (!report.check('dash.timeline', entries.length > 0 || isLast, at, 'an empty timeline')) return;
    entries.forEach((entry, index) => {
      const next = entries[index + 1];
      report.check('dash.timeline', entry.duration > 0 && Number.isInteger(entry.time), at, () => `t=${entry.time} d=${entry.duration}`);
      const hole = next ? (next.time - entry.time - entry.duration) / timescale : 0;
      report.check('dash.timeline', Math.abs(hole) <= ROUNDING_S || (hole > 0 && this.#hasGaps()), at, () => `${hole.toFixed(3)} s between ${entry.number} and ${next.number}`);
      if (mpd.longestSecs > 0) report.check(
        'dash.timeline', entry.duration / timescale <= mpd.longestSecs + ROUNDING_S, at,
        () => `${entry.number} lasts ${entry.duration / timescale}, maxSegmentDuration ${mpd.longestSecs}`,
      );
    });
    if (entries.length === 0) return;
    const span = entries.reduce((sum, entry) => sum + entry.duration, 0) / timescale;
    if (mpd.windowSecs > 0) report.check('dash.window', span <= mpd.windowSecs + 2 * (mpd.longestSecs || 0) + 1, at, () => `${span} s are listed of ${mpd.windowSecs}`);
    if (isLast && mpd.attributes.type === 'dynamic') this.#checkEdge(mpd, { period, representation }, entries.at(-1), got);
    const unseen = entries.filter((entry) => !this.#fetched.has(address(representation, entry)));
    const isFirst = unseen.length === entries.length;
    const chosen = isFirst && unseen.length > 2 * OLD_SEGMENTS ? [...unseen.slice(1, 1 + OLD_SEGMENTS), ...unseen.slice(-OLD_SEGMENTS)] : unseen;
    unseen.forEach((entry) => this.#fetched.set(address(representation, entry), true));
    for (const entry of chosen) this.#pending.push(this.#checkSegment(representation, entry, at));
  }

  /** The newest segment may not end long before now: it takes its own length to become whole. */
  #checkEdge(mpd, { period, representation }, entry, got) {
    const end = mpd.availabilityStartMs + presented(period, representation, entry.time + entry.duration) * 1000;
    const behind = elapsed(end, got.headAt);
    this.report.measure('dash_edge_behind_ms', behind);
    const limit = 1000 * ((mpd.longestSecs || 10) * 1.5) + this.session.lateMs;
    this.report.check('dash.edge', behind < limit || this.#hasGaps(), representation.id, () => `the newest segment ended ${Math.round(behind)} ms ago`);
  }

  #checkNumbers(mpd, { period, representation, isLast }, at, got) {
    if (mpd.attributes.type !== 'dynamic') return;
    const nowSecs = (got.headAt - mpd.availabilityStartMs) / 1000;
    const each = representation.duration / representation.timescale;
    this.report.check('dash.timeline', each > 0 && Number.isFinite(representation.startNumber), at, () => `duration ${each}`);
    const from = Math.max(period.start, nowSecs - (mpd.windowSecs || 0)) + each;
    // Whole ones, by the nominal end of each.
    const whole = numbered(period, representation, from, nowSecs - each);
    const unseen = whole.filter((entry) => !this.#fetched.has(address(representation, entry)));
    const chosen = unseen.length > 2 * OLD_SEGMENTS ? [...unseen.slice(0, OLD_SEGMENTS), ...unseen.slice(-OLD_SEGMENTS)] : unseen;
    unseen.forEach((entry) => this.#fetched.set(address(representation, entry), true));
    for (const entry of chosen) this.#pending.push(this.#checkSegment(representation, entry, at));
    if (isLast && !representation.isWhole) this.#followNewest(mpd, { period, representation, each }, at);
  }

  /** Fetches a listed segment and compares it with what is listed. */
  async #checkSegment(representation, entry, at) {
    const url = address(representation, entry);
    const where = `${at} ${entry.number}`;
    const got = await this.session.http.get(url);
    if (!got || !this.report.check('dash.available', got.status === 200, where, () => `${got.status} for ${url}`)) return;
    await this.#checkBytes(got.body, representation, entry, where);
  }

  /** Seconds of media in it. */
  async #checkBytes(body, representation, entry, where) {
    try {
      return await this.#compareBytes(body, representation, entry, where);
    } catch (error) {
      this.report.check('dash.decode-time', false, where, error.message);
      return 0;
    }
  }

  async #compareBytes(body, representation, entry, where) {
    const { report } = this;
    const init = await this.#inits.get(address(representation, null));
    if (!init) return 0;
    const read = parseFragments(body, init);
    const samples = read.chunks.flatMap(({ tracks: [track] }) => track.samples);
    this.#seen.push({ url: address(representation, entry), where, isEmpty: samples.length === 0, init: address(representation, null) });
    if (samples.length === 0) return 0;
    const scale = init.track.timescale;
    const start = Math.min(...samples.map((sample) => sample.dts + sample.composition)) / scale;
    const listed = entry.time / representation.timescale;
    const length = samples.reduce((sum, sample) => sum + sample.duration, 0) / scale;
    const nominal = entry.duration / representation.timescale;
    const allowed = representation.entries ? ROUNDING_S : nominal / 2;
    const isThere = Math.abs(start - listed) <= allowed;
    report.check('dash.decode-time', isThere, where, () => `listed at ${listed}, begins at ${start}`);
    // The last one of a period that is told in advance may turn out shorter.
    const isRight = representation.entries ? Math.abs(length - nominal) <= ROUNDING_S : length <= nominal + allowed;
    report.check('dash.decode-time', isRight, where, () => `listed as ${nominal} s, lasts ${length}`);
    report.check('dash.reference-time', read.prft.length > 0, where, 'no prft');
    // Another one's length says nothing of this one.
    return isThere ? length : 0;
  }

  /** Asks for a segment as soon as it may be asked for, and sees it arrive while it is made. */
  #followNewest(mpd, { period, representation, each }, at) {
    const nowSecs = (now() - mpd.availabilityStartMs) / 1000;
    const next = numbered(period, representation, nowSecs, nowSecs + each).find((entry) => presented(period, representation, entry.time) >= nowSecs);
    if (!next || this.#fetched.has(address(representation, next))) return;
    this.#fetched.set(address(representation, next), true);
    this.#pending.push(this.#arrives(mpd, { period, representation, each }, next, at));
  }

  async #arrives(mpd, { period, representation, each }, entry, at) {
    const { report } = this;
    const where = `${at} ${entry.number}`;
    const begins = presented(period, representation, entry.time);
    const availableAt = mpd.availabilityStartMs + (begins + each - representation.availabilityOffset) * 1000;
    await sleep(availableAt + EARLY_MS - now(), this.session.signal);
    if (this.session.signal.aborted) return;
    const got = await this.session.http.get(address(representation, entry));
    if (!got) return;
    const isThere = got.status === 200 || this.#hasGaps();
    if (!report.check('dash.available', isThere, where, () => `${got.status} when its first chunk should be there`) || got.status !== 200) return;
    this.#checkLatencies(mpd, where);
    const length = await this.#checkBytes(got.body, representation, entry, where);
    // What turned out a gap, or was broken off, has little to arrive piece by piece.
    if (length < each * 0.75) return;
    report.measure('dash_first_chunk_ms', got.headAt - availableAt);
    // What was there when it was asked for comes at once: a rendition that is encoded late makes all be asked for later.
    const left = mpd.availabilityStartMs + (begins + each) * 1000 - got.askedAt;
    const spread = got.endAt - (got.arrivals[0]?.at ?? got.endAt);
    const moments = got.arrivals.filter((arrival, index) => index === 0 || arrival.at - got.arrivals[index - 1].at > 20).length;
    if (left < each * 500) return;
    // Who stood still meanwhile found it all at once.
    if (elapsed(got.askedAt, got.endAt) < (got.endAt - got.askedAt) * AWAKE_MIN) return;
    const isProgressive = spread >= left * 0.4 && moments >= 3;
    report.check('dash.progressive', isProgressive, where, () => `came within ${Math.round(spread)} ms in ${moments} pieces, ${Math.round(left)} ms of it were not made yet`);
    const isOpen = got.headers['content-length'] === undefined;
    report.check('dash.progressive', isOpen, where, 'its length is told before it is made');
  }

  #checkLatencies(mpd, where) {
    const named = mpd.latencies.map((latency) => latency.referenceId).filter((id) => id !== undefined);
    const there = mpd.periods.flatMap((one) => one.representations.flatMap((other) => other.references.map((element) => element.attributes.id)));
    this.report.check('dash.reference-time', named.every((id) => there.includes(id)), where, () => `Latency names ProducerReferenceTime ${named}, there are ${there}`);
  }

  /** What can only be said at the end: both protocols name the same media. */
  conclude() {
    const segments = [...this.presentation.renditions.values()].flatMap((one) => [...one.history.segments.values()]);
    if (segments.length === 0) return;
    const known = new Map(segments.map((segment) => [segment.url, segment]));
    const numbers = segments.map((segment) => segment.msn);
    const [first, last] = [Math.min(...numbers), Math.max(...numbers)];
    for (const { url, where, isEmpty, init } of this.#seen) {
      const number = Number(/(\d+)\.m4s$/.exec(url)?.[1]);
      // Newer ones than the last playlist, and older ones than the first.
      if (number < first || number >= last) continue;
      // What a description in which the next epoch is not told yet counts on is empty, and HLS never told of it.
      // Of one that was broken off there may have been something.
      const isBroken = known.get(url)?.gap && known.get(url).parts.length > 0;
      const isRight = isBroken || (known.has(url) ? known.get(url).gap === isEmpty : isEmpty);
      this.report.check(
        'dash.same-bytes', isRight, where,
        () => `${url} is ${isEmpty ? 'empty' : 'media'}, in HLS it is ${known.get(url)?.gap ? 'a gap' : known.has(url) ? 'media' : 'not listed'}`,
      );
      const needs = known.get(url)?.map;
      this.report.check(
        'dash.initialisation', isEmpty || !needs || needs === init, where,
        () => `a description that is valid addresses it behind ${init.split('/').at(-1)}, it needs ${needs.split('/').at(-1)}`,
      );
    }
  }
}
