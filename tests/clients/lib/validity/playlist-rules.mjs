// What a media playlist must be by itself, and how it may change from one answer to the next.
import { compare, edge, length, partsLength } from './playlist.mjs';
import { RangeHistory, checkRanges } from './range-rules.mjs';

/** Decimals of playlists are rounded: seconds that may be lost by it. */
const ROUNDING_S = 0.0001;
/** Dates may be corrected by less than a second (6.2.1). */
const DATE_STEP_MAX_MS = 1000;
/** A date may be this far from the clock of this machine. */
const CLOCK_MAX_MS = 10_000;

/** Rules for one answer: `where` names the playlist. */
export function checkAlone(report, list, where) {
  report.check('playlist.syntax', list.errors.length === 0, where, () => list.errors.join('; '));
  const needed = list.skipped > 0 ? 9 : list.segments.some((segment) => segment.map) ? 6 : 3;
  report.check('playlist.version', list.version >= needed, where, () => `version ${list.version}, needs ${needed}`);
  report.check('playlist.kind', list.type === undefined || list.ended, where, () => `EXT-X-PLAYLIST-TYPE:${list.type}`);
  const target = list.targetDuration;
  for (const segment of list.segments.filter((one) => one.complete)) {
    const holds = Math.round(segment.duration) <= target;
    report.check('playlist.segment-duration', holds, where, () => `segment ${segment.msn} lasts ${segment.duration} of ${target}`);
  }
  for (const segment of list.segments) {
    report.check('playlist.dates', segment.date > 0, where, () => `segment ${segment.msn} has no date`);
    report.check('playlist.date-format', segment.isExact, `${where} ${segment.msn}`, () => `${segment.dateText}`);
    const hasMap = segment.map !== undefined || segment.gap || list.skipped > 0;
    report.check('playlist.initialisation', hasMap, where, () => `segment ${segment.msn} comes before any EXT-X-MAP`);
  }
  checkRanges(report, list, where);
  if (list.ended) checkEnded(report, list, where);
  else checkControl(report, list, where);
}

function checkEnded(report, list, where) {
  const rest = list.tail.filter((line) => /PRELOAD-HINT|EXT-X-PART:/.test(line));
  report.check('time.end', list.hints.length === 0 && rest.length === 0 && list.segments.every((one) => one.complete), where, 'after the end something is still to come');
}

function checkControl(report, list, where) {
  const { control, partTarget, targetDuration } = list;
  if (!report.check('playlist.server-control', control?.canBlock, where, () => `${list.serverControl}`)) return;
  report.check('playlist.part-information', partTarget > 0, where, () => `${list.partInformation}`);
  report.check('playlist.hold-back', control.holdBack >= 3 * targetDuration, where, () => `HOLD-BACK=${control.holdBack}`);
  report.check('playlist.part-hold-back', control.partHoldBack >= 3 * partTarget - ROUNDING_S, where, () => `PART-HOLD-BACK=${control.partHoldBack} of ${partTarget}`);
  report.check('playlist.skip-until', control.canSkipUntil >= 6 * targetDuration, where, () => `CAN-SKIP-UNTIL=${control.canSkipUntil}`);
  const hints = list.hints.filter((hint) => hint.type === 'PART').length;
  report.check('hint.present', hints === 1, where, () => `${hints} hints`);
  for (const segment of list.segments) checkParts(report, list, segment, where);
}

/** Durations of a segment's parts; the last one of an open segment is judged when its successor is known. */
function checkParts(report, list, segment, where) {
  segment.parts.forEach((part, index) => {
    const at = `${where} ${segment.msn}.${index}`;
    const isLast = index === segment.parts.length - 1;
    report.check('part.duration-max', part.duration <= list.partTarget, at, () => part.line);
    if (isLast || part.gap || segment.parts[index + 1].gap) return;
    report.check('part.duration-min', part.duration >= 0.85 * list.partTarget - ROUNDING_S, at, () => `${part.line} of ${list.partTarget}`);
  });
  if (!segment.complete || segment.parts.length === 0) return;
  const sum = partsLength(segment);
  report.check('part.sum', Math.abs(sum - segment.duration) <= ROUNDING_S * segment.parts.length, `${where} ${segment.msn}`, () => `parts last ${sum}, EXTINF says ${segment.duration}`);
}

/** What was listed so far of one rendition, and what that demands of each further answer. */
export class History {
  segments = new Map();
  newest = null;
  longest = 0;
  #fixed = {};
  #recent = [];

  constructor(report, where) {
    this.report = report;
    this.where = where;
    this.ranges = new RangeHistory(report, where);
  }

  /**
   * Takes an answer. `answer` has the times of its request. Returns what is new: `{ parts, completed, removed, unlisted }`,
   * each a list of `{ segment, index? }`.
   */
  absorb(list, answer) {
    const { report, where } = this;
    this.constant('playlist.target-duration', list.targetDuration);
    if (!list.ended) {
      this.constant('playlist.server-control', list.serverControl);
      this.constant('playlist.part-information', list.partInformation);
    }
    const news = { parts: [], completed: [], removed: [], unlisted: [] };
    for (const segment of list.segments) this.compare(segment, answer, news);
    this.checkChain(list);
    this.ranges.absorb(list, answer);
    this.checkForward(list, answer);
    this.checkRemoved(list, answer, news);
    this.longest = Math.max(this.longest, length(list));
    const ahead = this.newest ? compare(edge(list), edge(this.newest.list)) : 1;
    if (ahead > 0 || (ahead === 0 && answer.askedAt >= this.newest.headAt)) this.newest = { list, headAt: answer.headAt };
    if (!list.ended) this.checkListed(list);
    report.check('time.discontinuity-sequence', list.saysDiscontinuitySequence || !this.lostDiscontinuity, where, 'a discontinuity was removed, EXT-X-DISCONTINUITY-SEQUENCE is not there');
    return news;
  }

  constant(rule, value) {
    this.#fixed[rule] ??= value;
    this.report.check(rule, this.#fixed[rule] === value, this.where, () => `${value} after ${this.#fixed[rule]}`);
  }

  /** A segment against what was listed of it before. */
  compare(segment, answer, news) {
    const { report } = this;
    const at = `${this.where} ${segment.msn}`;
    const known = this.segments.get(segment.msn);
    if (!known) {
      const hasParts = segment.parts.length > 0;
      const taken = { ...segment, parts: [...segment.parts], seenAt: answer.headAt, partsListed: hasParts, allParts: hasParts };
      this.segments.set(segment.msn, taken);
      taken.parts.forEach((_, index) => news.parts.push({ segment: taken, index }));
      if (taken.complete) news.completed.push({ segment: taken });
      return;
    }
    const same = (name) => report.check('time.unchanged', known[name] === segment[name], at, () => `${name} is ${segment[name]}, was ${known[name]}`);
    ['discontinuity', 'dsn', 'dateText'].forEach(same);
    // The one that a gap is under matters to nobody, and may have left with what was before it.
    if (!segment.gap) same('map');
    if (known.complete && segment.complete) ['url', 'duration', 'gap'].forEach(same);
    segment.parts.forEach((part, index) => {
      const before = known.parts[index];
      if (before) return report.check('time.unchanged', before.line === part.line, at, () => `${part.line} was ${before.line}`);
      report.check('time.unchanged', !known.complete, at, () => `${part.line} is new in a complete segment`);
      known.parts.push(part);
      known.partsListed = true;
      news.parts.push({ segment: known, index });
    });
    if (segment.complete && !known.complete) {
      Object.assign(known, { complete: true, url: segment.url, duration: segment.duration, gap: segment.gap });
      const wasMore = known.parts.length > segment.parts.length && segment.parts.length > 0;
      report.check('time.unchanged', !wasMore, at, () => `${segment.parts.length} parts, were ${known.parts.length}`);
      // Parts that were never listed cannot be added up.
      known.allParts = segment.parts.length > 0;
      news.completed.push({ segment: known });
    }
  }

  /** Dates, discontinuities and initialisation segments from one listed segment to the next. */
  checkChain(list) {
    const { report } = this;
    list.segments.forEach((segment, index) => {
      const before = list.segments[index - 1];
      if (!before?.complete) return;
      const at = `${this.where} ${segment.msn}`;
      const expected = before.date + before.duration * 1000;
      const step = segment.date - expected;
      report.check('time.dates-order', segment.date > before.date && step > -DATE_STEP_MAX_MS, at, () => `${segment.dateText} follows ${before.dateText} of ${before.duration} s`);
      if (segment.discontinuity) {
        // A gap has no initialisation segment of its own; what comes after needs a new one.
        const isNew = segment.map !== before.map || segment.gap || before.gap;
        report.check('time.new-initialisation', isNew, at, () => `a discontinuity with ${segment.map} as before`);
        return;
      }
      // … and it is told with the first segment that has media.
      report.check('time.new-initialisation', segment.map === before.map || before.gap, at, () => `${segment.map} after ${before.map} without a discontinuity`);
      report.check('time.dates', Math.abs(step) < DATE_STEP_MAX_MS, at, () => `${segment.dateText} is ${Math.round(step)} ms off`);
    });
  }

  /** An answer against those that had come before it was asked for. */
  checkForward(list, answer) {
    const { report, where } = this;
    for (const { list: old } of this.#recent.filter((one) => one.headAt <= answer.askedAt).slice(-1)) {
      report.check('time.forward', compare(edge(list), edge(old)) >= 0 || list.ended, where, () => `edge ${JSON.stringify(edge(list))} after ${JSON.stringify(edge(old))}`);
      report.check('time.forward', list.mediaSequence >= old.mediaSequence, where, () => `EXT-X-MEDIA-SEQUENCE ${list.mediaSequence} after ${old.mediaSequence}`);
      report.check(
        'time.forward', list.discontinuitySequence >= old.discontinuitySequence, where,
        () => `EXT-X-DISCONTINUITY-SEQUENCE ${list.discontinuitySequence} after ${old.discontinuitySequence}`,
      );
      report.check('time.forward', list.ended || !old.ended, where, 'the end has gone');
    }
    this.#recent.push({ list, headAt: answer.headAt });
    if (this.#recent.length > 40) this.#recent.splice(0, 20);
  }

  /** Segments and parts that are not listed any more. */
  checkRemoved(list, answer, news) {
    for (const [msn, segment] of this.segments) {
      if (msn >= list.mediaSequence || segment.isRemoved) continue;
      segment.isRemoved = true;
      if (segment.discontinuity) this.lostDiscontinuity = true;
      news.removed.push({ segment });
    }
    if (news.removed.length > 0 && !list.ended) {
      this.report.check('time.removal', length(list) >= 3 * list.targetDuration, this.where, () => `${length(list)} s are left`);
    }
    for (const segment of list.segments) {
      const known = this.segments.get(segment.msn);
      if (!known.partsListed || segment.parts.length > 0 || !segment.complete) continue;
      known.partsListed = false;
      if (!segment.gap) news.unlisted.push({ segment: known });
    }
  }

  /** Whether parts are listed as long as they have to be, and no longer than a segment more. */
  checkListed(list) {
    const { report, where } = this;
    const near = 3 * list.targetDuration;
    let before = length(list);
    for (const segment of list.segments) {
      const known = this.segments.get(segment.msn);
      const start = before;
      before -= segment.complete ? segment.duration : partsLength(segment);
      if (!segment.complete || segment.gap) continue;
      if (segment.parts.length > 0) {
        report.check('part.removed', before <= near + list.targetDuration, `${where} ${segment.msn}`, () => `parts are listed ${before} s from the end`);
      } else if (known.parts.length > 0 && !segment.gap) {
        // The last of its parts begins this far from the end.
        const distance = before + known.parts.at(-1).duration;
        report.check(
          'part.listed', distance > near, `${where} ${segment.msn}`,
          () => `a part that begins ${distance.toFixed(3)} s from the end is not listed (its segment begins ${start.toFixed(3)} s from it)`,
        );
      }
    }
  }

  /** Whether a segment's end, by its date, is near the clock when the whole of it begins to be listed. */
  checkClock(segment, answer) {
    const behind = answer.headAt - segment.date - segment.duration * 1000;
    this.report.check('time.wall-clock', behind > -DATE_STEP_MAX_MS && behind < CLOCK_MAX_MS, `${this.where} ${segment.msn}`, () => `${segment.dateText} is listed ${Math.round(behind)} ms later`);
  }
}

/** A delta update merged into an older playlist (6.3.7): its segments, or the reason why it cannot be. */
export function merge(older, delta) {
  const from = delta.mediaSequence;
  const kept = older.segments.filter((segment) => segment.complete && segment.msn >= from && segment.msn < from + delta.skipped);
  if (kept.length !== delta.skipped) return { reason: `${delta.skipped} are skipped, of which ${kept.length} were known` };
  let map = kept.at(-1)?.map;
  let dsn = delta.discontinuitySequence + kept.filter((segment) => segment.discontinuity).length;
  const rest = delta.segments.map((segment) => {
    map = segment.map ?? map;
    dsn += segment.discontinuity ? 1 : 0;
    return { ...segment, map, dsn };
  });
  return { segments: [...kept, ...rest] };
}

/** Rules for a delta update and the full playlist of the very same state; `older` is a full playlist from before. */
export function checkDelta(report, { full, delta, older, where }) {
  const boundary = delta.control?.canSkipUntil;
  let before = length(full, true);
  const skipped = full.segments.slice(0, delta.skipped);
  for (const segment of full.segments.filter((one) => one.complete)) {
    const isSkipped = segment.msn < full.mediaSequence + delta.skipped;
    const start = before;
    before -= segment.duration;
    if (isSkipped) report.check('delta.boundary', start > boundary, `${where} ${segment.msn}`, () => `skipped, begins ${start} s from the end`);
    else report.check('delta.boundary', before <= boundary + ROUNDING_S, `${where} ${segment.msn}`, () => `not skipped, ends ${before} s from the end`);
  }
  const lines = skipped.flatMap((segment) => segment.lines);
  // What is left of the full playlist when the lines of skipped segments are taken out.
  const rest = full.text.split('\n').filter((line) => line.startsWith('#EXT') || (line !== '' && !line.startsWith('#')));
  const at = lines.length > 0 ? rest.indexOf(lines[0]) : -1;
  if (at >= 0) rest.splice(at, lines.length);
  const given = delta.text.split('\n').filter((line) => line !== '' && !line.startsWith('#EXT-X-SKIP'));
  report.check('delta.equivalent', sameLines(rest, given), where, () => difference(rest, given));
  if (!older) return;
  const merged = merge(older, delta);
  const brief = (segments) => JSON.stringify(segments.map(({ msn, dsn, uri, duration, map, dateText, gap }) => [msn, dsn, uri, duration, gap ? null : map, dateText, gap]));
  report.check('delta.merge', merged.segments && brief(merged.segments) === brief(full.segments), where, () => merged.reason ?? 'merged with the older playlist it gives another list');
}

function sameLines(a, b) {
  return a.length === b.length && a.every((line, index) => line === b[index]);
}

function difference(a, b) {
  const index = a.findIndex((line, at) => line !== b[at]);
  return `line ${index}: full has ${a[index]}, delta has ${b[index]} (${a.length} and ${b.length} lines)`;
}
