// Reads HLS playlists by the letter: what is not allowed where it stands is told in `errors`.

const ATTRIBUTE = /([A-Z0-9-]+)=("[^"\r\n]*"|[^",\s][^,\s]*)(,|$)/y;
const ONCE = new Set([
  'EXT-X-VERSION', 'EXT-X-TARGETDURATION', 'EXT-X-SERVER-CONTROL', 'EXT-X-PART-INF', 'EXT-X-MEDIA-SEQUENCE', 'EXT-X-SKIP',
  'EXT-X-DISCONTINUITY-SEQUENCE', 'EXT-X-INDEPENDENT-SEGMENTS', 'EXT-X-ENDLIST', 'EXT-X-PLAYLIST-TYPE', 'EXT-X-START',
]);
/** Must come before the first segment (4.4.3.2, 4.4.3.3). */
const BEFORE_SEGMENTS = new Set(['EXT-X-MEDIA-SEQUENCE', 'EXT-X-DISCONTINUITY-SEQUENCE']);

/** Attributes of a list as written, quotes kept; `null` when it is malformed. */
export function attributes(text) {
  const found = {};
  ATTRIBUTE.lastIndex = 0;
  while (ATTRIBUTE.lastIndex < text.length) {
    const match = ATTRIBUTE.exec(text);
    if (!match || match[1] in found) return null;
    found[match[1]] = match[2];
  }
  return text.endsWith(',') ? null : found;
}

/** The content of a quoted string; `undefined` for anything else. */
function unquoted(value) {
  return /^"[^"]*"$/.test(value ?? '') ? value.slice(1, -1) : undefined;
}

function lines(text, errors) {
  if (!text.endsWith('\n')) errors.push('the last line is not ended');
  if (text.charCodeAt(0) === 0xfeff) errors.push('there is a byte order mark');
  const found = text.split('\n').map((line) => line.replace(/\r$/, ''));
  if (found[0] !== '#EXTM3U') errors.push('it does not begin with EXTM3U');
  return found;
}

function split(line) {
  const colon = line.indexOf(':');
  return colon < 0 ? [line.slice(1), ''] : [line.slice(1, colon), line.slice(colon + 1)];
}

/** A multivariant playlist: `{ version, independentSegments, media, variants, errors }`. */
export function parseMultivariant(text, base) {
  const list = { version: 1, independentSegments: false, media: [], variants: [], errors: [] };
  let pending = null;
  for (const line of lines(text, list.errors).slice(1)) {
    if (line === '' || (line.startsWith('#') && !line.startsWith('#EXT'))) continue;
    if (!line.startsWith('#')) {
      if (pending) list.variants.push({ ...pending, url: new URL(line, base).href });
      else list.errors.push(`${line} is the address of no variant`);
      pending = null;
      continue;
    }
    if (pending) list.errors.push('an EXT-X-STREAM-INF has no address');
    const [tag, value] = split(line);
    const named = tag === 'EXT-X-MEDIA' || tag === 'EXT-X-STREAM-INF' ? attributes(value) : {};
    if (!named) list.errors.push(`malformed: ${line}`);
    else if (tag === 'EXT-X-VERSION') list.version = Number(value);
    else if (tag === 'EXT-X-INDEPENDENT-SEGMENTS') list.independentSegments = true;
    else if (tag === 'EXT-X-MEDIA') list.media.push(alternative(named, base));
    else if (tag === 'EXT-X-STREAM-INF') pending = variant(named);
    else if (/^EXT(INF|-X-(TARGETDURATION|PART|MEDIA-SEQUENCE|MAP|SKIP|SERVER-CONTROL))/.test(tag)) {
      list.errors.push(`${tag} is of media playlists`);
    }
  }
  return list;
}

function alternative(named, base) {
  const uri = unquoted(named.URI);
  return {
    type: named.TYPE,
    group: unquoted(named['GROUP-ID']),
    name: unquoted(named.NAME),
    isDefault: named.DEFAULT === 'YES',
    autoselect: named.AUTOSELECT,
    channels: unquoted(named.CHANNELS),
    url: uri === undefined ? undefined : new URL(uri, base).href,
  };
}

function variant(named) {
  const [width, height] = (named.RESOLUTION ?? '').split('x').map(Number);
  return {
    bandwidth: /^\d+$/.test(named.BANDWIDTH ?? '') ? Number(named.BANDWIDTH) : undefined,
    codecs: unquoted(named.CODECS)?.split(','),
    width,
    height,
    frameRate: named['FRAME-RATE'] === undefined ? undefined : Number(named['FRAME-RATE']),
    groups: Object.fromEntries(['AUDIO', 'VIDEO', 'SUBTITLES'].filter((type) => named[type]).map((type) => [type, unquoted(named[type])])),
  };
}

/** Reads one media playlist. */
class MediaReader {
  constructor(text, base) {
    this.base = base;
    this.list = {
      text, version: 1, targetDuration: undefined, serverControl: undefined, partInformation: undefined, mediaSequence: 0,
      discontinuitySequence: 0, saysDiscontinuitySequence: false, ended: false, type: undefined, skipped: 0, segments: [],
      hints: [], reports: [], dateRanges: [], errors: [], header: [], tail: [], independentSegments: false,
    };
    this.seen = new Set();
    this.map = undefined;
    this.begin();
    lines(text, this.list.errors).slice(1).forEach((line) => this.line(line));
    this.finish();
  }

  begin() {
    this.open = { parts: [], discontinuity: false, gap: false, map: undefined, date: undefined, dateText: undefined, lines: [] };
  }

  error(text) {
    this.list.errors.push(text);
  }

  url(quoted) {
    const uri = unquoted(quoted);
    if (uri === undefined) this.error(`an address is missing or not quoted: ${quoted}`);
    return new URL(uri ?? '', this.base).href;
  }

  line(line) {
    if (line === '') return;
    if (!line.startsWith('#')) return this.segment(line);
    if (!line.startsWith('#EXT')) return;
    const [tag, value] = split(line);
    if (ONCE.has(tag) && this.seen.has(tag)) this.error(`${tag} occurs twice`);
    if (BEFORE_SEGMENTS.has(tag) && this.list.segments.length > 0) this.error(`${tag} comes after a segment`);
    if (this.list.ended && tag !== 'EXT-X-ENDLIST') this.list.tail.push(line);
    this.seen.add(tag);
    const read = TAGS[tag];
    if (!read) return /^EXT-X-(STREAM-INF|MEDIA$|I-FRAME-STREAM-INF)/.test(tag) && this.error(`${tag} is of multivariant playlists`);
    read(this, value, line);
  }

  named(value, ...required) {
    const found = attributes(value);
    if (!found) this.error(`malformed attributes: ${value}`);
    const missing = required.filter((name) => !(name in (found ?? {})));
    if (missing.length > 0) this.error(`${missing} missing in ${value}`);
    return found ?? {};
  }

  /** Tags of a parent segment apply to its parts and come before them (4.4.4.9). */
  before(tag, line) {
    if (this.open.parts.length > 0) this.error(`${tag} comes after a part that it applies to`);
    this.open.lines.push(line);
  }

  segment(uri) {
    const { open, list } = this;
    if (open.duration === undefined) this.error(`${uri} has no EXTINF`);
    open.lines.push(uri);
    list.segments.push({ ...open, uri, url: new URL(uri, this.base).href, map: this.map, complete: true });
    this.begin();
  }

  finish() {
    const { list, open } = this;
    if (open.duration !== undefined) this.error('an EXTINF has no address');
    if (open.parts.length > 0) list.segments.push({ ...open, map: this.map, complete: false });
    list.trailing = open.parts.length === 0 && open.lines.length > 0;
    let dsn = list.discontinuitySequence;
    list.segments.forEach((segment, index) => {
      segment.msn = list.mediaSequence + list.skipped + index;
      dsn += segment.discontinuity ? 1 : 0;
      segment.dsn = dsn;
    });
  }
}

const decimal = (text) => (/^\d+(\.\d+)?$/.test(text ?? '') ? Number(text) : NaN);
const integer = (text) => (/^\d+$/.test(text ?? '') ? Number(text) : NaN);

const TAGS = {
  'EXT-X-VERSION': (reader, value) => (reader.list.version = integer(value)),
  'EXT-X-TARGETDURATION': (reader, value) => (reader.list.targetDuration = integer(value)),
  'EXT-X-MEDIA-SEQUENCE': (reader, value) => (reader.list.mediaSequence = integer(value)),
  'EXT-X-DISCONTINUITY-SEQUENCE': (reader, value) => {
    reader.list.discontinuitySequence = integer(value);
    reader.list.saysDiscontinuitySequence = true;
  },
  'EXT-X-PLAYLIST-TYPE': (reader, value) => (reader.list.type = value),
  'EXT-X-INDEPENDENT-SEGMENTS': (reader) => (reader.list.independentSegments = true),
  'EXT-X-ENDLIST': (reader) => (reader.list.ended = true),
  'EXT-X-SERVER-CONTROL': (reader, value) => {
    const named = reader.named(value);
    reader.list.serverControl = value;
    reader.list.control = {
      canBlock: named['CAN-BLOCK-RELOAD'] === 'YES',
      canSkipUntil: decimal(named['CAN-SKIP-UNTIL']),
      holdBack: decimal(named['HOLD-BACK']),
      partHoldBack: decimal(named['PART-HOLD-BACK']),
    };
  },
  'EXT-X-PART-INF': (reader, value) => {
    reader.list.partInformation = value;
    reader.list.partTarget = decimal(reader.named(value, 'PART-TARGET')['PART-TARGET']);
  },
  'EXT-X-SKIP': (reader, value) => {
    if (reader.list.segments.length > 0) reader.error('EXT-X-SKIP comes after a segment');
    reader.list.skipped = integer(reader.named(value, 'SKIPPED-SEGMENTS')['SKIPPED-SEGMENTS']);
  },
  'EXT-X-DISCONTINUITY': (reader, _, line) => {
    reader.before('EXT-X-DISCONTINUITY', line);
    reader.open.discontinuity = true;
  },
  'EXT-X-MAP': (reader, value, line) => {
    reader.before('EXT-X-MAP', line);
    reader.map = reader.url(reader.named(value, 'URI').URI);
  },
  'EXT-X-PROGRAM-DATE-TIME': (reader, value, line) => {
    reader.before('EXT-X-PROGRAM-DATE-TIME', line);
    const isExact = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3,}(Z|[+-]\d\d:\d\d)$/.test(value);
    Object.assign(reader.open, { date: Date.parse(value), dateText: value, isExact });
  },
  'EXT-X-DATERANGE': (reader, value, line) => {
    const named = reader.named(value, 'ID');
    reader.list.dateRanges.push({ id: unquoted(named.ID), named, line });
  },
  'EXT-X-GAP': (reader, _, line) => {
    reader.open.lines.push(line);
    reader.open.gap = true;
  },
  'EXT-X-PART': (reader, value, line) => {
    const named = reader.named(value, 'URI', 'DURATION');
    reader.open.lines.push(line);
    reader.open.parts.push({
      url: reader.url(named.URI),
      duration: decimal(named.DURATION),
      independent: named.INDEPENDENT === 'YES',
      gap: named.GAP === 'YES',
      line,
    });
  },
  EXTINF: (reader, value, line) => {
    const match = /^(\d+(?:\.\d+)?),/.exec(value);
    if (!match) reader.error(`malformed EXTINF:${value}`);
    if (reader.open.duration !== undefined) reader.error('two EXTINF for one segment');
    reader.open.duration = Number(match?.[1]);
    reader.open.lines.push(line);
  },
  'EXT-X-PRELOAD-HINT': (reader, value, line) => {
    const named = reader.named(value, 'URI', 'TYPE');
    reader.list.hints.push({ type: named.TYPE, url: reader.url(named.URI), start: integer(named['BYTERANGE-START'] ?? '0') });
    reader.list.tail.push(line);
  },
  'EXT-X-RENDITION-REPORT': (reader, value, line) => {
    const named = reader.named(value, 'URI', 'LAST-MSN');
    if (/^"(\/|[a-z]+:)/.test(named.URI ?? '')) reader.error('a report names an address that is not relative');
    reader.list.reports.push({ url: reader.url(named.URI), msn: integer(named['LAST-MSN']), part: named['LAST-PART'] === undefined ? undefined : integer(named['LAST-PART']) });
    reader.list.tail.push(line);
  },
};

/** A media playlist; see {@link MediaReader} for its fields. Segments have `msn`, `dsn`, and `complete` unless they are still open. */
export function parseMedia(text, base) {
  return new MediaReader(text, base).list;
}

/** The newest part or whole segment: `{ msn, part }`, `part` being -1 for a segment without parts. */
export function edge(list) {
  const last = list.segments.at(-1);
  return last ? { msn: last.msn, part: last.parts.length - 1, complete: last.complete } : { msn: list.mediaSequence - 1, part: -1, complete: true };
}

/** Negative when `a` comes before `b`. */
export function compare(a, b) {
  return a.msn - b.msn || a.part - b.part || Number(a.complete ?? 0) - Number(b.complete ?? 0);
}

/** The first part that is not listed yet. */
export function following(list) {
  const last = edge(list);
  return last.complete ? { msn: last.msn + 1, part: 0 } : { msn: last.msn, part: last.part + 1 };
}

/** Seconds listed; `whole`: up to the end of the last complete segment. */
export function length(list, whole = false) {
  const seconds = (segment) => (segment.complete ? segment.duration : whole ? 0 : partsLength(segment));
  return list.segments.reduce((sum, segment) => sum + seconds(segment), 0);
}

/** Seconds of the parts listed for a segment. */
export function partsLength(segment) {
  return segment.parts.reduce((sum, part) => sum + part.duration, 0);
}
