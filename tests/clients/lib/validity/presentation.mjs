// The multivariant playlist, and renditions compared with each other.
import { channelsOf } from './codecs.mjs';
import { now, sleep } from './http.mjs';
import { compare, edge, length, parseMultivariant } from './playlist.mjs';
import { Rendition } from './rendition.mjs';
import { checkSameRanges } from './range-rules.mjs';

/** How often the multivariant playlist is fetched again. */
const AGAIN_MS = 3000;
/** Longest wait for a stream to begin. */
const BEGINS_MS = 30_000;
/** Durations, which rates are measured by, are rounded. */
const ROUNDING = 0.001;
/** A frame rate is told from as much media. */
const RATE_SECS = 3;
/** An answer may have been under way this long while another rendition went on. */
const CROSSING_MS = 150;

export class Presentation {
  renditions = new Map();
  #compared = new Set();
  #watching = [];
  #said = [];
  #unknown = [];
  #heads = {};

  constructor(session, url) {
    this.session = { ...session, independentSegments: () => Boolean(this.list?.independentSegments), heard: (...heard) => this.#heard(...heard) };
    this.url = url;
    this.name = url.split('/').at(-1);
  }

  get report() {
    return this.session.report;
  }

  async watch() {
    await this.#begin();
    while (!this.session.signal.aborted && ![...this.renditions.values()].every((one) => one.ended)) {
      await sleep(AGAIN_MS, this.session.signal);
      if (!this.session.signal.aborted) await this.#load();
    }
    await Promise.all(this.#watching);
    this.#conclude();
  }

  async #begin() {
    const end = now() + BEGINS_MS;
    while (!(await this.#load(now() < end)) && now() < end && !this.session.signal.aborted) await sleep(500, this.session.signal);
  }

  async #load(isPatient = false) {
    const before = new Map([...this.renditions].map(([url, rendition]) => [url, mapOf(rendition)]));
    const got = await this.session.http.get(this.url, { headers: { 'accept-encoding': 'identity' } });
    if (!got || (got.status !== 200 && isPatient)) return false;
    if (!this.report.check('multivariant.syntax', got.status === 200, this.name, () => `${got.status}`)) return false;
    const list = parseMultivariant(got.body.toString('utf8'), this.url);
    this.report.check('http.type', got.headers['content-type']?.startsWith('application/vnd.apple.mpegurl'), this.name, got.headers['content-type']);
    this.report.check('http.cors', got.headers['access-control-allow-origin'] === '*', this.name, got.headers['access-control-allow-origin']);
    this.#checkList(list);
    this.list = list;
    for (const url of addresses(list)) {
      if (this.renditions.has(url)) continue;
      const rendition = new Rendition(this.session, url);
      this.renditions.set(url, rendition);
      this.#watching.push(rendition.watch());
    }
    this.#settleUnknown(got.askedAt);
    this.#checkRates(list);
    await this.#checkMedia(list, before);
    return true;
  }

  #checkList(list) {
    const { report, name } = this;
    report.check('multivariant.syntax', list.errors.length === 0 && list.variants.length > 0, name, () => list.errors.join('; ') || 'no variant');
    for (const variant of list.variants) {
      report.check('multivariant.syntax', variant.bandwidth > 0, name, () => `BANDWIDTH of ${variant.url}`);
      for (const [type, group] of Object.entries(variant.groups)) {
        report.check('multivariant.groups', list.media.some((one) => one.type === type && one.group === group), name, () => `${type} group ${group} is not there`);
      }
    }
    for (const one of list.media) {
      const group = list.media.filter((other) => other.type === one.type && other.group === one.group);
      report.check(
        'multivariant.groups', one.name !== undefined && one.group !== undefined && group.filter((other) => other.name === one.name).length === 1, name,
        () => `NAME ${one.name} of ${one.group}`,
      );
      report.check('multivariant.groups', group.filter((other) => other.isDefault).length <= 1, name, () => `two defaults in ${one.group}`);
      report.check('multivariant.groups', !(one.isDefault && one.autoselect === 'NO'), name, () => `${one.name} is default and not selected by itself`);
    }
    const old = this.list ? addresses(this.list) : [];
    const stays = (url) => addresses(list).includes(url) || this.renditions.get(url)?.isWithoutMedia;
    report.check('multivariant.same-address', old.every(stays), name, () => `${old} became ${addresses(list)}`);
  }

  /** CODECS, RESOLUTION and CHANNELS against the initialisation segments that play right now, and played `before`. */
  async #checkMedia(list, before) {
    for (const variant of list.variants) {
      const urls = [variant.url, ...list.media.filter((one) => one.url && variant.groups[one.type] === one.group).map((one) => one.url)];
      const tracks = await Promise.all(urls.map((url) => this.#current(url, before)));
      if (tracks.some((track) => !track)) continue;
      const found = new Set(tracks.map((track) => track.codec?.toLowerCase()));
      const said = new Set(variant.codecs?.map((codec) => codec.trim().toLowerCase()));
      const same = found.size === said.size && [...found].every((codec) => said.has(codec));
      this.report.check('multivariant.codecs', same, this.name, () => `CODECS ${[...said]} of ${variant.url.split('/').slice(-2).join('/')}, the media has ${[...found]}`);
      const picture = tracks[0].track;
      if (picture.kind === 'vide') {
        const fits = variant.width === picture.width && variant.height === picture.height;
        this.report.check('multivariant.resolution', fits, this.name, () => `RESOLUTION ${variant.width}x${variant.height}, the media has ${picture.width}x${picture.height}`);
        this.#checkFrameRate(variant);
      }
    }
    for (const one of list.media.filter((other) => other.type === 'AUDIO' && other.url && other.channels)) {
      const track = await this.#current(one.url, before);
      const channels = track && channelsOf(track.track);
      if (track) this.report.check('multivariant.channels', Number(one.channels.split('/')[0]) === channels, this.name, () => `CHANNELS ${one.channels}, the media has ${channels}`);
    }
  }

  #checkFrameRate({ url, frameRate }) {
    const rendition = this.renditions.get(url);
    const measured = rendition.inspector.rates.get(rendition.list.segments.filter((segment) => segment.map).at(-1)?.map);
    if (frameRate === undefined || !(measured?.seconds >= RATE_SECS)) return;
    const rate = measured.frames / measured.seconds;
    this.report.check('multivariant.frame-rate', Math.abs(rate - frameRate) <= Math.max(1, frameRate * 0.03), this.name, () => `FRAME-RATE ${frameRate}, the media has ${rate.toFixed(2)}`);
  }

  /** What a rendition plays, when that did not change around the time at which the multivariant playlist was fetched. */
  async #current(url, before) {
    const rendition = this.renditions.get(url);
    const map = mapOf(rendition);
    if (!map || map !== before.get(url)) return null;
    const got = await this.session.http.get(url, { headers: { 'accept-encoding': 'identity' } });
    const after = got?.status === 200 ? got.body.toString('utf8').match(/EXT-X-MAP:URI="([^"]+)"/g)?.at(-1) : undefined;
    if (!after || new URL(after.split('"')[1], url).href !== map) return null;
    return rendition.init(map);
  }

  // Renditions among themselves

  #heard(rendition, list, answer) {
    this.#compareHeads(rendition, list);
    for (const other of this.renditions.values()) {
      if (other !== rendition) checkSameRanges(this.report, other.history.ranges, list, answer, rendition.name);
    }
    this.#checkReports(rendition, list, answer);
    this.#compareStarts(rendition);
    this.#compareEdges(rendition, list);
  }

  /** What must be said alike in all renditions. */
  #compareHeads(rendition, list) {
    const heads = { 'playlist.target-duration': list.targetDuration };
    if (!list.ended) Object.assign(heads, { 'playlist.server-control': list.serverControl, 'playlist.part-information': list.partInformation });
    for (const [rule, value] of Object.entries(heads)) {
      this.#heads[rule] ??= value;
      this.report.check(rule, this.#heads[rule] === value, rendition.name, () => `${value}, another rendition has ${this.#heads[rule]}`);
    }
  }

  #checkReports(rendition, list, answer) {
    const { report } = this;
    if (list.ended) return;
    const others = [...this.renditions.values()].filter((other) => other !== rendition);
    const reported = new Set(list.reports.map((one) => one.url));
    report.check(
      'report.all', others.every((other) => reported.has(other.url)) && reported.size === list.reports.length, rendition.name,
      () => `${list.reports.length} reports for ${others.length} others`,
    );
    for (const one of list.reports) {
      const isGap = one.part === undefined;
      if (!report.check('report.true', one.msn >= 0 && (isGap || one.part >= 0), rendition.name, () => `${one.url}, LAST-MSN=${one.msn}, LAST-PART=${one.part}`)) continue;
      const other = this.renditions.get(one.url);
      if (!other) {
        this.#unknown.push({ at: answer.headAt, url: one.url, by: rendition.name });
        continue;
      }
      const said = { msn: one.msn, part: isGap ? -1 : one.part };
      this.#said.push({ at: answer.headAt, said, about: other, by: rendition.name });
      this.#checkFresh(said, other, rendition.name, answer);
    }
  }

  /** What reports tell of is in a multivariant playlist that is asked for later. */
  #settleUnknown(askedAt) {
    this.#unknown = this.#unknown.filter(({ at, url, by }) => {
      if (askedAt < at) return true;
      this.report.check('report.true', this.renditions.has(url), by, () => `a report of ${url}, which no multivariant playlist lists`);
      return false;
    });
  }

  /** Not more than a part behind what the rendition itself said before this answer was made. */
  #checkFresh(said, other, by, answer) {
    // Answers are looked at when this process gets round to it.
    const crossing = Math.max(CROSSING_MS, this.session.lateMs);
    const known = other.seen.filter((seen) => seen.at < Math.max(answer.headAt - crossing, answer.askedAt)).at(-1)?.edge;
    if (!known) return;
    let missing = 0;
    for (const segment of other.history.segments.values()) {
      if (segment.msn < said.msn || segment.msn > known.msn) continue;
      missing += segment.parts.filter((_, part) => compare({ msn: segment.msn, part }, said) > 0 && compare({ msn: segment.msn, part }, { msn: known.msn, part: known.part }) <= 0).length;
    }
    this.report.measure('report_parts_behind', missing);
    this.report.check('report.fresh', missing <= 1, by, () => `${other.name} is reported at ${said.msn}.${said.part}, it had said ${known.msn}.${known.part}`);
  }

  /** What a report said must be in whatever the rendition answers to a question asked later. */
  #settle(rendition) {
    const last = rendition.seen.at(-1);
    this.#said = this.#said.filter(({ at, said, about, by }) => {
      if (about !== rendition || last.askedAt < at) return now() - at < 30_000;
      const reached = last.edge.msn > said.msn || (last.edge.msn === said.msn && last.edge.part >= said.part);
      this.report.check('report.true', reached || rendition.ended, by, () => `${about.name} is reported at ${said.msn}.${said.part}, later it says ${last.edge.msn}.${last.edge.part}`);
      return false;
    });
  }

  #compareStarts(rendition) {
    this.#settle(rendition);
    for (const other of this.renditions.values()) {
      if (other === rendition) continue;
      for (const [msn, mine] of rendition.inspector.starts) {
        const its = other.inspector.starts.get(msn);
        const key = [msn, ...[rendition.name, other.name].sort()].join();
        if (!its || this.#compared.has(key)) continue;
        this.#compared.add(key);
        this.#compareStart(`${rendition.name}, ${other.name} ${msn}`, mine, its);
      }
    }
  }

  #compareStart(at, mine, its) {
    const { report } = this;
    report.check('align.discontinuity', mine.dsn === its.dsn, at, () => `discontinuity sequence numbers ${mine.dsn} and ${its.dsn}`);
    const frame = Math.max(mine.frame, its.frame) + 0.001;
    const apart = Math.abs(mine.start - its.start);
    report.measure('alignment_ms', apart * 1000);
    report.check('align.time', apart <= frame, at, () => `begin at ${mine.start} and ${its.start} s, ${(apart * 1000).toFixed(1)} ms apart, a frame is ${(frame * 1000).toFixed(1)} ms`);
    const mapping = mine.date / 1000 - mine.start - (its.date / 1000 - its.start);
    report.check('align.dates', Math.abs(mapping) <= 0.0025, at, () => `dates of the same media time differ by ${(mapping * 1000).toFixed(1)} ms`);
  }

  /** Renditions that are far behind another one would be missing content (6.2.4). */
  #compareEdges(rendition, list) {
    if (list.ended) return;
    const mine = edge(list);
    for (const other of this.renditions.values()) {
      if (other === rendition || !other.list) continue;
      const its = other.seen.filter((seen) => seen.at < now() - CROSSING_MS).at(-1)?.edge;
      if (its) this.report.check('align.edges', mine.msn >= its.msn - 1, rendition.name, () => `at ${mine.msn}.${mine.part} while ${other.name} was at ${its.msn}.${its.part}`);
    }
  }

  // At the end

  #conclude() {
    for (const rendition of this.renditions.values()) rendition.conclude();
  }

  /** BANDWIDTH against what was measured before this list was asked for. */
  #checkRates(list) {
    for (const variant of list.variants) {
      const groups = Object.entries(variant.groups).map(([type, group]) => list.media.filter((one) => one.type === type && one.group === group));
      const rates = groups.map((group) => Math.max(0, ...group.map((one) => this.#peak(one.url))));
      const own = list.media.some((one) => one.url === variant.url) ? 0 : this.#peak(variant.url);
      const peak = own + rates.reduce((sum, rate) => sum + rate, 0);
      if (peak === 0) continue;
      this.report.measure('peak_of_bandwidth', peak / variant.bandwidth);
      this.report.check(
        'multivariant.bandwidth', peak <= variant.bandwidth * (1 + ROUNDING), this.name,
        () => `BANDWIDTH ${variant.bandwidth} of ${variant.url.split('/').slice(-2).join('/')}, ${Math.round(peak)} were measured`,
      );
    }
  }

  /** Peak segment bit rate: the highest of contiguous segments that last 0.5 to 1.5 target durations together (4.1). */
  #peak(url) {
    const rendition = this.renditions.get(url);
    const target = rendition?.list?.targetDuration ?? 1;
    let peak = 0;
    // What is not listed any more is nobody's to play.
    const sizes = (rendition?.sizes ?? []).filter(({ msn }) => msn >= rendition.list.mediaSequence);
    sizes.forEach((_, from) => {
      let [bytes, seconds] = [0, 0];
      for (let to = from; to < sizes.length && seconds <= 1.5 * target && sizes[to].msn === sizes[from].msn + (to - from); to += 1) {
        bytes += sizes[to].bytes;
        seconds += sizes[to].seconds;
        if (seconds >= 0.5 * target && seconds <= 1.5 * target) peak = Math.max(peak, (bytes * 8) / seconds);
      }
    });
    return peak;
  }

  /** For the summary. */
  describe() {
    return [...this.renditions.values()].map((rendition) => ({
      name: rendition.name,
      segments: rendition.history.segments.size,
      gaps: [...rendition.history.segments.values()].filter((segment) => segment.gap).length,
      discontinuities: [...rendition.history.segments.values()].filter((segment) => segment.discontinuity).length,
      listed_s: rendition.list ? Math.round(length(rendition.list)) : 0,
      hints: { right: rendition.hintsRight, wrong: rendition.hintsWrong.length },
      ended: rendition.ended,
    }));
  }
}

/** Every media playlist's address, once. */
function addresses(list) {
  return [...new Set([...list.variants, ...list.media].map((one) => one.url).filter(Boolean))];
}

/** The initialisation segment of the newest media that are listed. */
function mapOf(rendition) {
  return rendition?.list?.segments.filter((segment) => segment.map && !segment.gap).at(-1)?.map;
}
