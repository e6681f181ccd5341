// Watches one media playlist as players do: by blocking reloads, by delta updates, by polling, by preload hints; and fetches every
// part and segment that appears.
import { createHash } from 'node:crypto';

import { parseFragments } from './boxes.mjs';
import { caching, elapsed, now, sleep } from './http.mjs';
import { MediaInspector, checkInit } from './media-rules.mjs';
import { History, checkAlone, checkDelta } from './playlist-rules.mjs';
import { compare, edge, following, parseMedia } from './playlist.mjs';

/** Segments that were listed before the watch began and are looked into. */
const OLD_SEGMENTS = 6;
/** Every so many segments one is fetched again when it is about to become unavailable. */
const KEPT_EVERY = 5;
/** Where a publisher will cut cannot always be foreseen: so large a share of hints may be wrong. */
const WRONG_MAX = 0.2;
/** After as many gaps in a row a rendition need not be in the multivariant playlist. */
const GAPS_MIN = 3;
/** How much later than listed something may be fetched for the last time. */
const KEPT_MARGIN_MS = 400;

export class Rendition {
  /** What the newest complete playlist says, and when. */
  list = null;
  /** `{ at, edge }` of every answer, for judging reports. */
  seen = [];
  inits = new Map();
  /** Bytes and seconds of segments, for the bit rate. */
  sizes = [];
  hintsRight = 0;
  hintsWrong = [];
  ended = false;
  #parts = new Map();
  #hints = new Map();
  #unlisted = [];
  #media = Promise.resolve();
  #later = [];
  #arrived = null;
  #segmentAt = null;

  /** `session`: `{ http, report, signal, lateMs, independentSegments(), heard(rendition, list, answer) }`. */
  constructor(session, url) {
    this.session = session;
    this.url = url;
    this.name = new URL(url).pathname.split('/').slice(-2).join('/');
    this.history = new History(session.report, this.name);
    this.inspector = new MediaInspector(session.report, this.name);
  }

  get report() {
    return this.session.report;
  }

  get running() {
    return !this.session.signal.aborted && !this.ended;
  }

  /** Whether its newest segments are gaps: nobody needs to be sent to it. */
  get isWithoutMedia() {
    const newest = this.list?.segments.filter((segment) => segment.complete).slice(-GAPS_MIN) ?? [];
    return newest.length === GAPS_MIN && newest.every((segment) => segment.gap);
  }

  get(url, options) {
    return this.session.http.get(url, options);
  }

  /** Watches until the session is over or the stream has ended. */
  async watch() {
    const first = await this.ask('');
    if (!first) return;
    this.#readOld(first.list);
    await Promise.all([this.#follow(), this.#followSegments(), this.#poll()]);
    await this.#media;
    await Promise.all(this.#later);
  }

  /** Asks for the playlist; checks the answer and takes it up. `null` when there is none. */
  async ask(query, { kind = query.includes('_HLS_msn') ? 'blocking' : 'plain', isDelta = false } = {}) {
    const answer = await this.get(query ? `${this.url}?${query}` : this.url, { headers: { 'accept-encoding': 'identity' } });
    if (!answer) return null;
    const where = query ? `${this.name}?${query}` : this.name;
    if (!this.report.check('reload.status', answer.status === 200, where, () => `${answer.status} after ${Math.round(answer.headAt - answer.askedAt)} ms`)) return null;
    this.checkHeaders(answer, kind, where);
    const list = parseMedia(answer.body.toString('utf8'), this.url);
    if (isDelta) return { list, answer };
    if (!this.report.check('delta.asked-only', list.skipped === 0, where, 'EXT-X-SKIP without _HLS_skip=YES')) return null;
    checkAlone(this.report, list, where);
    this.#take(list, answer);
    return { list, answer };
  }

  checkHeaders({ headers }, kind, where) {
    const { report } = this;
    const target = this.list?.targetDuration;
    report.check('http.type', headers['content-type']?.startsWith('application/vnd.apple.mpegurl'), where, headers['content-type']);
    report.check('http.cors', headers['access-control-allow-origin'] === '*', where, headers['access-control-allow-origin']);
    const kept = caching(headers);
    if (kind === 'blocking' && target && !this.ended) {
      report.check('http.blocking-cache', kept['max-age'] === 6 * target, where, headers['cache-control']);
    } else if (kind === 'plain' && target) {
      const isShort = kept['no-cache'] || kept['no-store'] || kept['max-age'] <= target / 2;
      report.check('http.plain-cache', isShort || this.list.ended, where, headers['cache-control']);
    }
  }

  #take(list, answer) {
    const news = this.history.absorb(list, answer);
    this.list = this.history.newest.list;
    if (list.ended) this.ended = true;
    this.seen.push({ askedAt: answer.askedAt, at: answer.headAt, edge: edge(list) });
    if (this.seen.length > 400) this.seen.splice(0, 200);
    this.#cadence(list, answer, news);
    for (const { segment, index } of news.parts) this.#partListed(segment, index, answer);
    for (const { segment } of news.completed) this.#segmentComplete(segment);
    for (const { segment } of news.removed) this.#segmentRemoved(segment, answer);
    for (const { segment } of news.unlisted) this.#partsUnlisted(segment, answer);
    this.#judgeHints(list);
    if (!list.ended) this.#holdHints(list);
    this.session.heard(this, list, answer);
  }

  /** New parts within a part target, new segments within 1.5 target durations; publishers that are away excuse parts. */
  #cadence(list, answer, news) {
    const { report } = this;
    const slack = this.session.lateMs;
    if (this.seen.length <= 1) return this.#remember(list, answer);
    if (news.completed.length > 0) {
      const gap = elapsed(this.#segmentAt, answer.headAt);
      report.check('time.segment-cadence', gap <= 1500 * list.targetDuration + slack, `${this.name} ${news.completed[0].segment.msn}`, () => `${Math.round(gap)} ms after the one before`);
      report.measure('segment_interval_ms', gap);
      this.#segmentAt = answer.headAt;
      const oldest = list.segments.find((segment) => segment.complete && segment.msn === news.completed[0].segment.msn);
      if (oldest && !oldest.gap) this.history.checkClock(oldest, answer);
    }
    if (news.parts.length === 0) return;
    const { segment, index } = news.parts[0];
    const before = this.#arrived;
    const last = news.parts.at(-1);
    this.#arrived = { at: answer.headAt, dsn: last.segment.dsn, gapAfter: false };
    if (!before) return;
    // What a publisher that was away did not send cannot be listed: a gap or a discontinuity says so.
    const isExcused = segment.parts[index].gap || before.dsn !== segment.dsn || (index === 0 && this.history.segments.get(segment.msn - 1)?.gap);
    const interval = elapsed(before.at, answer.headAt);
    if (isExcused) return report.measure('absence_ms', interval);
    report.measure('part_interval_ms', interval);
    report.check('time.part-cadence', interval <= list.partTarget * 1000 + slack, `${this.name} ${segment.msn}.${index}`, () => `${Math.round(interval)} ms after the one before`);
    const ends = segment.date + segment.parts.slice(0, index + 1).reduce((sum, part) => sum + part.duration, 0) * 1000;
    report.measure('part_listed_after_its_end_ms', answer.headAt - ends);
  }

  #remember(list, answer) {
    this.#segmentAt = answer.headAt;
    const last = list.segments.at(-1);
    if (last) this.#arrived = { at: answer.headAt, dsn: last.dsn };
  }

  // Playlists

  async #follow() {
    while (this.running) {
      const older = this.list;
      const next = following(older);
      const query = `_HLS_msn=${next.msn}&_HLS_part=${next.part}`;
      const [full, delta] = await Promise.all([this.ask(query), this.ask(`${query}&_HLS_skip=YES`, { isDelta: true })]);
      if (!full) {
        await sleep(500, this.session.signal);
        continue;
      }
      this.checkReached(full, next, 'reload.early');
      this.#checkPrompt(full, next);
      if (delta) this.#compareDelta(full, delta, older);
    }
  }

  /** Whether what was waited for is in the answer. */
  checkReached({ list, answer }, { msn, part }, rule) {
    const found = list.segments.find((segment) => segment.msn === msn);
    const isLater = list.segments.some((segment) => segment.msn > msn);
    const isThere = isLater || (found && (found.gap || (part === undefined ? found.complete : found.parts.length > part)));
    this.report.check(rule, isThere || list.ended, `${this.name} ${msn}.${part ?? ''}`, () => `answered after ${Math.round(answer.headAt - answer.askedAt)} ms with ${JSON.stringify(edge(list))}`);
  }

  /** An answer may not come later than what else tells that the part is there. */
  #checkPrompt({ answer }, { msn, part }) {
    const other = this.seen.find((seen) => compare({ ...seen.edge, complete: 0 }, { msn, part }) >= 0);
    const delay = other ? elapsed(Math.max(other.at, answer.askedAt), answer.headAt) : 0;
    this.report.measure('reload_after_other_ms', delay);
    this.report.check('reload.late', delay <= this.session.lateMs, `${this.name} ${msn}.${part}`, () => `answered ${Math.round(delay)} ms after another answer listed it`);
  }

  #compareDelta(full, delta, older) {
    if (full.list.ended) return;
    if (newest(full.list) !== newest(delta.list) || delta.list.ended || full.list.mediaSequence !== delta.list.mediaSequence || isOfAnotherMoment(full.list, delta.list)) return;
    this.report.check('playlist.syntax', delta.list.errors.length === 0, `${this.name} delta`, () => delta.list.errors.join('; '));
    this.report.check('playlist.version', delta.list.skipped === 0 || delta.list.version >= 9, `${this.name} delta`, () => `version ${delta.list.version}`);
    checkDelta(this.report, { full: full.list, delta: delta.list, older, where: this.name });
  }

  async #followSegments() {
    while (this.running) {
      const last = this.list.segments.filter((segment) => segment.complete).at(-1);
      const msn = (last?.msn ?? this.list.mediaSequence - 1) + 1;
      const got = await this.ask(`_HLS_msn=${msn}`);
      if (got) this.checkReached(got, { msn }, 'reload.segment');
      else await sleep(500, this.session.signal);
    }
  }

  async #poll() {
    while (this.running) {
      await sleep(this.list.targetDuration * 300, this.session.signal);
      if (this.running) await this.ask('');
    }
  }

  // Media

  /** The initialisation segment of a segment; fetched once. */
  init(url) {
    if (!url) return Promise.resolve(null);
    if (!this.inits.has(url)) this.inits.set(url, this.#fetchInit(url));
    return this.inits.get(url);
  }

  async #fetchInit(url) {
    const got = await this.fetch(url, this.name);
    return got && checkInit(this.report, got.body, `${this.name} ${url.split('/').at(-1)}`);
  }

  /** Fetches something that is listed, and so has to be there. */
  async fetch(url, where, rule = 'media.available') {
    const got = await this.get(url);
    if (!got) return null;
    const isThere = this.report.check(rule, got.status === 200, where, () => `${got.status} for ${url}`);
    if (!isThere) return null;
    this.checkMediaHeaders(got, where);
    return got;
  }

  checkMediaHeaders({ headers, body }, where) {
    const { report } = this;
    report.check('http.type', /^(video|audio)\/mp4/.test(headers['content-type'] ?? ''), where, headers['content-type']);
    report.check('http.cors', headers['access-control-allow-origin'] === '*', where, headers['access-control-allow-origin']);
    const kept = caching(headers);
    const isFixed = kept['max-age'] >= 31_536_000 && kept.immutable && /^"[^"]+"$/.test(headers.etag ?? '');
    report.check('http.immutable', isFixed, where, () => `${headers['cache-control']}, ETag ${headers.etag}`);
    const length = headers['content-length'];
    report.check('media.available', length === undefined || Number(length) === body.length, where, () => `${body.length} of ${length} bytes`);
  }

  /** What is read happens in the order in which it was listed, however it arrives. */
  #inOrder(read) {
    this.#media = this.#media.then(read).catch((error) => this.report.check('media.boxes', false, this.name, `${error.stack}`));
  }

  #readOld(list) {
    const known = list.segments.filter((segment) => segment.complete && !segment.gap && segment.parts.length === 0);
    for (const segment of known.slice(-OLD_SEGMENTS)) {
      const [init, got] = [this.init(segment.map), this.fetch(segment.url, `${this.name} ${segment.msn}`)];
      // Before the parts, which were listed already.
      this.#inOrder(async () => {
        const [read, body] = await Promise.all([init, got]);
        if (read && body) this.#old(body.body, read, segment);
      });
    }
  }

  #old(body, init, segment) {
    // What was read of later parts stays the last.
    const inspector = (this.oldInspector ??= new MediaInspector(this.report, this.name));
    inspector.segment(body, init, segment, this.session.independentSegments());
  }

  #partListed(segment, index, answer) {
    const part = segment.parts[index];
    // What comes after it does not begin where anything ended.
    if (part.gap) return this.#inOrder(async () => this.inspector.forget());
    const at = `${this.name} ${segment.msn}.${index}`;
    const [init, got] = [this.init(segment.map), this.fetch(part.url, at)];
    this.#parts.set(part.url, { listedAt: answer.headAt, got });
    this.#inOrder(async () => {
      const [read, answer] = await Promise.all([init, got]);
      if (!read || !answer) return this.inspector.forget();
      this.inspector.part(answer.body, read, { segment, index, independentSegments: this.session.independentSegments() });
    });
  }

  #segmentComplete(segment) {
    const at = `${this.name} ${segment.msn}`;
    if (segment.gap) return this.#later.push(this.#checkGap(segment, at));
    if (segment.parts.length === 0) return;
    const parts = segment.parts.map((part) => this.#parts.get(part.url)?.got);
    const got = this.fetch(segment.url, at);
    this.#inOrder(async () => {
      const [whole, ...pieces] = await Promise.all([got, ...parts]);
      if (!whole) return;
      this.sizes.push({ msn: segment.msn, bytes: whole.body.length, seconds: segment.duration });
      this.inspector.prune(segment.msn - 100);
      if (!segment.allParts || pieces.some((piece) => !piece)) return;
      const joined = Buffer.concat(pieces.map((piece) => piece.body));
      this.report.check('media.concatenation', joined.equals(whole.body), at, () => `${whole.body.length} bytes, its ${pieces.length} parts have ${joined.length}`);
      this.inspector.duration(segment);
      // Only what hints have still to be compared with is kept.
      const old = this.history.segments.get(segment.msn - 1)?.parts ?? [];
      [...old, ...segment.parts.slice(0, -2)].forEach((part) => this.#parts.delete(part.url));
    });
  }

  /** A gap is not found, or has no samples: players of DASH, who know of no gaps, ask for it by its number. */
  async #checkGap(segment, at) {
    const [got, init] = [await this.get(segment.url), await this.init(segment.map)];
    if (!got) return;
    const isNone = [404, 410].includes(got.status) || (got.status === 200 && init && isEmpty(got.body, init));
    this.report.check('media.gap', isNone, at, () => `${got.status} with ${got.body.length} bytes for a gap`);
  }

  /** Media stays available after it is unlisted (6.2.2). */
  #segmentRemoved(segment, answer) {
    if (segment.gap || segment.msn % KEPT_EVERY !== 0) return;
    const until = Math.max(segment.seenAt + (segment.duration + this.history.longest) * 1000 - KEPT_MARGIN_MS, answer.headAt);
    this.#again(segment.url, [answer.headAt, until], 'media.kept-segment', `${this.name} ${segment.msn}`);
  }

  #partsUnlisted(segment, answer) {
    if (segment.parts.length === 0) return;
    const until = answer.headAt + this.list.targetDuration * 3000 - KEPT_MARGIN_MS;
    this.#again(segment.parts[0].url, [answer.headAt, until], 'media.kept-part', `${this.name} ${segment.msn}.0`);
  }

  #again(url, times, rule, at) {
    // Of a segment that was never seen whole only parts are known.
    if (!url) return;
    for (const time of times) {
      this.#later.push(
        sleep(time - now(), this.session.signal).then(async () => {
          const got = this.session.signal.aborted ? null : await this.get(url);
          if (got) this.report.check(rule, got.status === 200, at, () => `${got.status} ${Math.round(now() - times[0])} ms after it was unlisted`);
        }),
      );
    }
    if (this.#later.length > 200) this.#later = this.#later.slice(-100);
  }

  // Preload hints

  /** Asks at once for what is hinted; compared with the part when it is listed. */
  #holdHints(list) {
    for (const hint of list.hints.filter((one) => one.type === 'PART')) {
      if (this.#hints.has(hint.url) || this.#parts.has(hint.url)) continue;
      const after = edge(list);
      this.#hints.set(hint.url, { after, dsn: list.segments.at(-1)?.dsn, got: this.#hold(hint.url) });
    }
  }

  async #hold(url) {
    const got = await this.get(url);
    if (!got) return null;
    const where = `${this.name} ${url.split('/').at(-1)}`;
    this.report.check('hint.answered', [200, 404].includes(got.status), where, () => `${got.status}`);
    if (got.status !== 200) return got;
    this.checkMediaHeaders(got, where);
    const took = elapsed(got.headAt, got.endAt);
    this.report.check('hint.answered', took <= this.session.lateMs, where, () => `its bytes took ${Math.round(took)} ms`);
    return got;
  }

  /** Once something is listed behind it, a hint was right or wrong. */
  #judgeHints(list) {
    for (const [url, hint] of this.#hints) {
      const last = edge(list);
      if (compare({ ...last, complete: 0 }, { ...hint.after, complete: 0 }) <= 0) continue;
      const next = [...this.history.segments.values()].find((segment) => segment.msn >= hint.after.msn && segment.parts.some((part, index) => compare({ msn: segment.msn, part: index }, { msn: hint.after.msn, part: hint.after.part }) > 0));
      if (!next) continue;
      this.#hints.delete(url);
      const index = next.msn === hint.after.msn ? hint.after.part + 1 : 0;
      const isRight = next.parts[index]?.url === url;
      const isBreak = next.dsn !== hint.dsn || this.history.segments.get(next.msn - 1)?.gap;
      if (isRight) this.hintsRight += 1;
      else if (!isBreak) this.hintsWrong.push(`${url.split('/').at(-1)}, then came ${next.parts[index]?.url.split('/').at(-1)}`);
      const listed = this.#parts.get(url);
      if (isRight && listed) this.#later.push(this.#compareHint(url, hint, listed));
      else this.#later.push(this.#unlistedHint(url, hint));
    }
  }

  async #compareHint(url, hint, listed) {
    const where = `${this.name} ${url.split('/').at(-1)}`;
    const [held, part] = await Promise.all([hint.got, listed.got]);
    if (!held || !part) return;
    const same = held.status === 200 && digest(held.body) === digest(part.body);
    this.report.check('hint.bytes', same, where, () => `${held.status}, ${held.body.length} bytes; the part has ${part.body.length}`);
    const delay = elapsed(Math.max(listed.listedAt, held.askedAt), held.headAt);
    this.report.measure('hint_after_listed_ms', delay);
    this.report.check('hint.late', delay <= this.session.lateMs, where, () => `answered ${Math.round(delay)} ms after it was listed`);
  }

  /** A hint that came to nothing is answered with «not found» (6.2.6), or is the next part but one. */
  async #unlistedHint(url, hint) {
    const held = await hint.got;
    if (held) this.#unlisted.push({ url, status: held.status });
  }

  /** What can only be said at the end. */
  conclude() {
    const listed = new Set([...this.history.segments.values()].flatMap((segment) => segment.parts.map((part) => part.url)));
    for (const { url, status } of this.#unlisted.slice(0, -2)) {
      this.report.check('hint.answered', status === 404 || listed.has(url), `${this.name} ${url.split('/').at(-1)}`, () => `${status} for a part that is not listed`);
    }
    // One that stays wrong while parts go by is one mistake.
    const wrong = new Set(this.hintsWrong.map((one) => one.split(',')[0])).size;
    const judged = this.hintsRight + wrong;
    if (judged === 0) return;
    this.report.check('hint.next', wrong <= judged * WRONG_MAX, this.name, () => `${wrong} of ${judged} hints: ${this.hintsWrong.slice(0, 3).join('; ')}`);
  }
}

/** What a playlist lists last, whatever its number. */
function newest(list) {
  const last = list.segments.at(-1);
  return last && (last.complete ? last.uri : last.parts.at(-1).url);
}

/** Whether there is no sample in it. */
function isEmpty(data, init) {
  try {
    return parseFragments(data, init).chunks.every((chunk) => chunk.tracks.every((track) => track.samples.length === 0));
  } catch {
    return false;
  }
}

function digest(bytes) {
  return createHash('sha256').update(bytes).digest('hex');
}

/** Two answers may lie on both sides of another rendition's part, or of another publisher's first frame. */
function isOfAnotherMoment(a, b) {
  return ['reports', 'hints'].some((of) => JSON.stringify(a[of]) !== JSON.stringify(b[of]));
}
