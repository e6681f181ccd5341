// An origin of a synthetic live session that follows all the rules, unless it is told which one to break. One segment a second,
// four parts each; a break without media and two changes of the initialisation segment lie in it.
import { createServer } from 'node:http';
import { gzipSync } from 'node:zlib';

import { TRACKS, head, init, part } from './fixture-media.mjs';
import { now, sleep } from './http.mjs';

/** Seconds that have passed when it is started. */
const PAST = 20;
const PARTS = 4;
/** The segment without media; the one after it begins the third epoch. */
export const GAP = 23;
/** The segment that begins the second epoch. */
const SECOND = 10;
/** When something is marked, and a break begins that ends with the segment without media. */
const MARKED = 15;
const BREAK = 18;
/** Media time of the first segment, seconds. */
const ORIGIN = 100;
/** What is kept longer than listed, segments. */
const KEPT = 40;

/** Numbers that may be changed to break rules. */
const SETTINGS = { window: 12, partsFor: 3, boundary: 6, hintAhead: 0, reportAhead: 0, version: 9, endsAt: Infinity, dash: 'timeline' };

const epochOf = (n) => Number(n >= SECOND) + Number(n > GAP);
const breaks = (n) => n === SECOND || n === GAP + 1;
const frames = (name) => TRACKS[name].timescale / PARTS / TRACKS[name].frame;
const iso = (ms) => new Date(ms).toISOString();

/** Starts it: `{ url, close }`. `wrong` has settings and hooks (see their uses below), each of which breaks something. */
export async function serveFixture(wrong = {}) {
  const origin = new Origin(wrong);
  const server = createServer((request, response) => origin.answer(request, response).catch((error) => response.destroy(error)));
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}/master.m3u8`,
    close: () => (server.close(), server.closeAllConnections()),
  };
}

class Origin {
  constructor(wrong) {
    this.wrong = wrong;
    this.settings = { ...SETTINGS, ...wrong.settings };
    this.start = Math.floor(now()) - PAST * 1000;
  }

  /** What there is of a rendition now: `whole` segments, and `parts` of the open one. */
  state(name) {
    const passed = (now() - this.start) / 1000;
    const secs = Math.min(this.wrong.clock?.(passed, name) ?? passed, this.settings.endsAt) + 1e-6;
    const whole = Math.floor(secs);
    const ended = whole >= this.settings.endsAt;
    return { whole, parts: whole === GAP || ended ? 0 : Math.floor((secs - whole) * PARTS), ended, first: Math.max(0, whole - this.settings.window) };
  }

  /** Seconds at which something is there. */
  static due(n, k) {
    if (k === undefined || n === GAP) return n + 1;
    return k >= PARTS ? Origin.due(n + 1, 0) : n + (k + 1) / PARTS;
  }

  /** Waits for that moment; by a rendition's own clock when that is wrong. */
  async until(secs, name) {
    // Timers may ring too early.
    const at = this.start + secs * 1000;
    while (now() < at) await sleep(at - now());
    const goneBy = () => this.wrong.clock?.((now() - this.start) / 1000, name) ?? secs;
    while (name && goneBy() < secs) await sleep(20);
  }

  // Media

  date(n, name) {
    const exact = this.start + n * 1000;
    return this.wrong.date?.(exact, { n, name }) ?? exact;
  }

  part(name, n, k) {
    const { timescale } = TRACKS[name];
    const exact = { start: ((ORIGIN + n) * PARTS + k) * (timescale / PARTS), frames: frames(name), isKey: name === 'v0' && k === 0, sequence: n * PARTS + k + 1 };
    const bytes = part(name, { ...exact, ...this.wrong.media?.({ name, n, k, exact }) });
    if (k > 0) return bytes;
    const dateMs = this.start + n * 1000;
    return Buffer.concat([head(name, { dateMs, mediaTime: (ORIGIN + n) * timescale, ...this.wrong.head?.({ dateMs }) }), bytes]);
  }

  object(name, n, k) {
    const exact = k === undefined ? Buffer.concat([0, 1, 2, 3].map((index) => this.part(name, n, index))) : this.part(name, n, k);
    return this.wrong.object ? this.wrong.object(exact, { name, n, k }) : exact;
  }

  // Playlists

  playlist(name, isDelta) {
    const state = this.state(name);
    const { whole, parts, ended, first } = state;
    const listed = Array.from({ length: whole - first }, (_, index) => first + index);
    const skipped = isDelta && !ended ? listed.filter((n) => whole - (n + 1) > this.settings.boundary - 1e-9) : [];
    const gone = [SECOND, GAP + 1].filter((n) => n < first).length;
    const lines = ['#EXTM3U', `#EXT-X-VERSION:${this.settings.version}`, '#EXT-X-TARGETDURATION:1'];
    if (!ended) lines.push('#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=6.0,HOLD-BACK=3.0,PART-HOLD-BACK=0.75', '#EXT-X-PART-INF:PART-TARGET=0.25');
    lines.push(`#EXT-X-MEDIA-SEQUENCE:${first}`);
    if (gone > 0) lines.push(`#EXT-X-DISCONTINUITY-SEQUENCE:${gone}`);
    this.ranges(lines, { name, whole, first });
    if (skipped.length > 0) lines.push(`#EXT-X-SKIP:SKIPPED-SEGMENTS=${skipped.length}`);
    let epoch = skipped.length > 0 ? epochOf(skipped.at(-1)) : undefined;
    for (const n of listed.slice(skipped.length)) {
      this.segment(lines, { n, name, isWhole: true, count: !ended && whole - (n + 1) <= this.settings.partsFor ? PARTS : 0, isNew: epochOf(n) !== epoch });
      epoch = epochOf(n);
    }
    if (parts > 0) this.segment(lines, { n: whole, name, isWhole: false, count: parts, isNew: epochOf(whole) !== epoch });
    if (ended) lines.push('#EXT-X-ENDLIST');
    else this.tail(lines, { name, whole, parts });
    const text = `${lines.join('\n')}\n`;
    return this.wrong.playlist ? this.wrong.playlist(text, { name, isDelta, state }) : text;
  }

  /** A break that begins with its segment and ends with the gap, and something that happened before. */
  ranges(lines, { name, whole, first }) {
    const id = (text, n) => `#EXT-X-DATERANGE:ID="${text}",START-DATE="${iso(this.date(n, name))}"`;
    if (first <= MARKED) lines.push(`${id('mark', MARKED)},CLASS="mark",X-SCORE=2.5,X-TEAM="A, B"`);
    if (first > GAP) return;
    lines.push(`${id('break', BREAK)},PLANNED-DURATION=4.000,SCTE35-OUT=0xFC00`);
    if (whole >= GAP) lines.push(`${id('break', BREAK)},DURATION=${GAP - BREAK}.000,SCTE35-IN=0xFC01`);
  }

  segment(lines, { n, name, isWhole, count, isNew }) {
    if (breaks(n)) lines.push('#EXT-X-DISCONTINUITY');
    if (isNew) lines.push(`#EXT-X-MAP:URI="init-${epochOf(n)}.mp4"`);
    lines.push(`#EXT-X-PROGRAM-DATE-TIME:${iso(this.date(n, name))}`);
    for (let k = 0; k < count && n !== GAP; k += 1) {
      lines.push(`#EXT-X-PART:DURATION=0.25000,URI="${n}.${k}.m4s"${name === 'a0' || k === 0 ? ',INDEPENDENT=YES' : ''}`);
    }
    if (n === GAP) lines.push('#EXT-X-GAP');
    if (isWhole) lines.push('#EXTINF:1.00000,', `${n}.m4s`);
  }

  tail(lines, { name, whole, parts }) {
    const ahead = whole * PARTS + parts + this.settings.hintAhead;
    lines.push(`#EXT-X-PRELOAD-HINT:TYPE=PART,URI="${Math.floor(ahead / PARTS)}.${ahead % PARTS}.m4s"`);
    const other = name === 'v0' ? 'a0' : 'v0';
    const its = this.state(other);
    let last = its.whole * PARTS + its.parts - 1;
    // A gap has no parts.
    if (Math.floor(last / PARTS) === GAP) last = GAP * PARTS - 1;
    last += this.settings.reportAhead;
    lines.push(`#EXT-X-RENDITION-REPORT:URI="../${other}/media.m3u8",LAST-MSN=${Math.floor(last / PARTS)},LAST-PART=${last % PARTS}`);
  }

  static multivariant() {
    return [
      '#EXTM3U', '#EXT-X-VERSION:9', '#EXT-X-INDEPENDENT-SEGMENTS',
      '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="sound",NAME="Sound",DEFAULT=YES,AUTOSELECT=YES,CHANNELS="2",URI="a0/media.m3u8"',
      '#EXT-X-STREAM-INF:BANDWIDTH=200000,CODECS="avc1.42c00c,mp4a.40.2",RESOLUTION=320x180,FRAME-RATE=20.000,AUDIO="sound"',
      'v0/media.m3u8', '',
    ].join('\n');
  }

  // DASH

  mpd() {
    const { whole, first } = this.state('v0');
    const spans = [[0, SECOND], [SECOND, GAP], [GAP + 1, Infinity]].filter(([from, to]) => to > first && from < whole);
    const periods = spans.map(([from, to], index) => {
      const sets = Object.keys(TRACKS).map((name) => this.set(name, { from, to: Math.min(to, whole), first }));
      const duration = to === Infinity ? '' : ` duration="PT${to - from}S"`;
      return `<Period id="p${from}" start="PT${from}S"${duration}>${sets.join('')}</Period>`;
    });
    const isNumbered = this.settings.dash === 'numbers';
    const latency = isNumbered ? '<ServiceDescription id="0"><Latency referenceId="0" target="1500"/></ServiceDescription>' : '';
    const text =
      `<?xml version="1.0" encoding="utf-8"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn:mpeg:dash:profile:isoff-live:2011" type="dynamic" ` +
      `availabilityStartTime="${iso(this.start)}" publishTime="${iso(this.start + whole * 1000)}" timeShiftBufferDepth="PT${this.settings.window}S" ` +
      `maxSegmentDuration="PT1S" minBufferTime="PT1S" minimumUpdatePeriod="PT1S">${latency}${periods.join('')}` +
      '<UTCTiming schemeIdUri="urn:mpeg:dash:utc:http-iso:2014" value="time"/></MPD>\n';
    return this.wrong.mpd ? this.wrong.mpd(text, whole) : text;
  }

  set(name, { from, to, first }) {
    const { timescale, kind } = TRACKS[name];
    const start = Math.max(from, first);
    const offset = (ORIGIN + from) * timescale;
    const names = 'initialization="$RepresentationID$/init-' + epochOf(from) + '.mp4" media="$RepresentationID$/$Number$.m4s"';
    const entry = to > start ? `<S t="${(ORIGIN + start) * timescale}" d="${timescale}" r="${to - start - 1}"/>` : '';
    const template =
      this.settings.dash === 'numbers'
        ? `<SegmentTemplate timescale="${timescale}" presentationTimeOffset="${offset}" startNumber="${from}" duration="${timescale}" availabilityTimeOffset="0.75" availabilityTimeComplete="false" ${names}/>`
        : `<SegmentTemplate timescale="${timescale}" presentationTimeOffset="${offset}" startNumber="${start}" ${names}><SegmentTimeline>${entry}</SegmentTimeline></SegmentTemplate>`;
    const reference = this.settings.dash === 'numbers' ? `<ProducerReferenceTime id="0" type="encoder" wallClockTime="${iso(this.start)}" presentationTime="0"/>` : '';
    const what = kind === 'vide' ? 'mimeType="video/mp4" codecs="avc1.42c00c" width="320" height="180"' : 'mimeType="audio/mp4" codecs="mp4a.40.2"';
    return `<AdaptationSet>${reference}${template}<Representation id="${name}" bandwidth="100000" ${what}/></AdaptationSet>`;
  }

  // Requests

  async answer(request, response) {
    const url = new URL(request.url, 'http://fixture');
    const [, name, file] = /^\/(?:(v0|a0)\/)?([\w.-]+)$/.exec(url.pathname) ?? [];
    const context = { name, file, query: url.search, request };
    const delay = this.wrong.delay?.(context) ?? 0;
    if (delay) await sleep(delay);
    const media = /^(\d+)(?:\.(\d+))?\.m4s$/.exec(file ?? '');
    let found = null;
    if (file === 'media.m3u8' && name) found = await this.media(url, context);
    else if (file === 'master.m3u8') found = this.plain((this.wrong.multivariant ?? ((text) => text))(Origin.multivariant()), 'application/vnd.apple.mpegurl');
    else if (file === 'manifest.mpd') found = this.settings.dash && this.plain(this.mpd(), 'application/dash+xml');
    else if (file === 'time') found = this.plain(iso(now() + (this.wrong.clockOff ?? 0)), 'text/plain');
    else if (/^init-[012]\.mp4$/.test(file ?? '') && name) found = this.fixed(init(name, this.wrong.initWidth), name);
    else if (media && name) found = await this.bytes(name, ...media.slice(1).map((digits) => (digits === undefined ? undefined : Number(digits))), context, response);
    if (found !== 'sent') this.send(found ?? { status: 404, body: Buffer.from('nothing'), headers: { 'cache-control': 'max-age=1', 'content-type': 'text/plain' } }, context, response);
  }

  plain(text, type, caching = 'no-cache') {
    return { status: 200, body: Buffer.from(text), headers: { 'content-type': type, 'cache-control': caching, vary: 'accept-encoding' }, isText: true };
  }

  fixed(body, name) {
    return { status: 200, body, headers: { 'content-type': name === 'a0' ? 'audio/mp4' : 'video/mp4', 'cache-control': 'max-age=31536000, immutable', etag: '"it"' } };
  }

  async media(url, { name }) {
    const bad = { status: 400, body: Buffer.from('bad'), headers: { 'cache-control': 'max-age=1' } };
    const [msn, k] = ['_HLS_msn', '_HLS_part'].map((key) => url.searchParams.get(key) ?? undefined);
    const forgives = this.wrong.forgives;
    if ([msn, k].some((value) => value !== undefined && !/^\d+$/.test(value)) && !forgives) return bad;
    if (k !== undefined && msn === undefined && !forgives) return bad;
    const { whole, parts, ended } = this.state(name);
    const isWaiting = msn !== undefined && !ended && !this.wrong.hurries?.({ msn: Number(msn), k });
    if (msn !== undefined && (!ended || this.wrong.forgetsEnd)) {
      const isFar = Number(msn) > whole + 1 || (k !== undefined && Number(msn) * PARTS + Number(k) > whole * PARTS + parts + 11);
      if (isFar && !forgives) return bad;
      if (isWaiting && !isFar) await this.until(Origin.due(Number(msn), k === undefined ? undefined : Number(k)), name);
    }
    const text = this.playlist(name, url.searchParams.get('_HLS_skip') === 'YES');
    return this.plain(text, 'application/vnd.apple.mpegurl', msn === undefined ? 'no-cache' : 'max-age=6');
  }

  async bytes(name, n, k, context, response) {
    const { whole, parts } = this.state(name);
    const hint = whole * PARTS + parts + this.settings.hintAhead;
    const isHinted = k !== undefined && n * PARTS + k === hint;
    if (n < whole - KEPT || k >= PARTS) return null;
    if (k === undefined && n === whole && this.settings.dash === 'numbers' && n !== GAP && parts > 0) return this.progressive(name, n, response);
    const isThere = n < whole || (n === whole && k < parts);
    if (!isThere && !isHinted) return null;
    await this.until(Origin.due(n, k));
    if (n === GAP) return this.wrong.fillsGaps ? this.fixed(Buffer.from('none'), name) : null;
    const context2 = { ...context, n, k, whole, isHinted };
    if (this.wrong.missing?.(context2)) return null;
    const body = this.object(name, n, k);
    return this.fixed(isHinted && this.wrong.hinted ? this.wrong.hinted(body) : body, name);
  }

  /** A segment that is being made, part by part. */
  async progressive(name, n, response) {
    if (this.wrong.isLump) {
      await this.until(n + 1);
      return this.fixed(this.object(name, n), name);
    }
    response.writeHead(200, { ...this.fixed('', name).headers, 'access-control-allow-origin': '*' });
    for (let k = 0; k < PARTS; k += 1) {
      await this.until(Origin.due(n, k));
      response.write(this.part(name, n, k));
    }
    response.end();
    return 'sent';
  }

  send({ status, body, headers, isText }, context, response) {
    const { request } = context;
    let all = { 'access-control-allow-origin': '*', ...headers };
    let bytes = body;
    if (isText && /gzip/.test(request.headers['accept-encoding'] ?? '')) {
      bytes = gzipSync(body);
      all['content-encoding'] = 'gzip';
    }
    if (isText) all.etag = `"${all['content-encoding'] ?? ''}${bytes.length}"`;
    const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
    if (range) {
      all['content-range'] = `bytes ${range[1]}-${range[2]}/${bytes.length}`;
      [status, bytes] = [206, bytes.subarray(Number(range[1]), Number(range[2]) + 1)];
    }
    if (status === 200 && request.headers['if-none-match'] === all.etag) [status, bytes] = [304, Buffer.alloc(0)];
    else all['content-length'] = bytes.length;
    const changed = this.wrong.reply?.({ status, headers: all, bytes, ...context }) ?? {};
    all = changed.headers ?? all;
    response.writeHead(changed.status ?? status, all);
    response.end(request.method === 'HEAD' ? undefined : (changed.bytes ?? bytes));
  }
}
