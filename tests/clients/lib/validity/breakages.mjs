// One broken rule at a time: what the fixture is told to do wrong, and the rule that has to notice.
import { GAP } from './fixture.mjs';

const swap = (from, to) => ({ playlist: (text) => text.replaceAll(from, to) });
const ofSound = (from, to) => ({ playlist: (text, { name }) => (name === 'a0' ? text.replaceAll(from, to) : text) });
const inMaster = (from, to) => ({ multivariant: (text) => text.replaceAll(from, to) });
const inMpd = (from, to) => ({ mpd: (text) => text.replaceAll(from, to) });
/** What is late is so by this: more than the validator is told to allow. */
const LATE_MS = 2500;
/** After the session has gone on for a while. */
const LATER = 22;
const later = (change) => ({ playlist: (text, context) => (context.state.whole >= LATER ? change(text, context) : text) });
const replies = (matches, change) => ({ reply: (reply) => (matches(reply) ? change(reply) : {}) });
const without = (name) => ({ headers }) => ({ headers: Object.fromEntries(Object.entries(headers).filter(([key]) => key !== name)) });
const withHeader = (name, value) => ({ headers }) => ({ headers: { ...headers, [name]: value } });
const isMedia = ({ file, name }) => Boolean(name) && file.endsWith('.m4s');
const isList = ({ file }) => file === 'media.m3u8';
const isBlocking = ({ query }) => query.includes('_HLS_msn');
const numbers = (more = {}) => ({ ...more, settings: { dash: 'numbers', ...more.settings } });
const ends = (more = {}) => ({ ...more, settings: { endsAt: LATER, ...more.settings } });

const MULTIVARIANT = {
  'multivariant.syntax': inMaster('GROUP-ID="sound"', 'GROUP-ID=sound,,'),
  'multivariant.groups': inMaster('AUDIO="sound"', 'AUDIO="noise"'),
  'multivariant.codecs': inMaster('avc1.42c00c', 'avc1.64001f'),
  'multivariant.resolution': inMaster('320x180', '640x360'),
  'multivariant.frame-rate': inMaster('20.000', '30.000'),
  'multivariant.channels': inMaster('CHANNELS="2"', 'CHANNELS="6"'),
  'multivariant.bandwidth': inMaster('BANDWIDTH=200000', 'BANDWIDTH=20000'),
  'multivariant.same-address': { multivariant: (() => ((calls) => (text) => (calls++ > 0 ? text.replace('#EXT-X-MEDIA:', '#EXT-X-MEDIAS:') : text))(0))() },
};

const PLAYLIST = {
  'playlist.syntax': swap('#EXT-X-VERSION:9', '#EXT-X-VERSION:9\n#EXT-X-VERSION:9'),
  'playlist.version': { settings: { version: 8 } },
  'playlist.kind': swap('#EXT-X-VERSION:9', '#EXT-X-VERSION:9\n#EXT-X-PLAYLIST-TYPE:EVENT'),
  'playlist.target-duration': ofSound('DURATION:1', 'DURATION:2'),
  'playlist.segment-duration': swap('EXTINF:1.00000', 'EXTINF:1.60000'),
  'playlist.server-control': ofSound('HOLD-BACK=3.0', 'HOLD-BACK=4.0'),
  'playlist.part-information': ofSound('PART-TARGET=0.25', 'PART-TARGET=0.26'),
  'playlist.hold-back': swap(',HOLD-BACK=3.0', ',HOLD-BACK=2.0'),
  'playlist.part-hold-back': swap('PART-HOLD-BACK=0.75', 'PART-HOLD-BACK=0.5'),
  'playlist.skip-until': swap('CAN-SKIP-UNTIL=6.0', 'CAN-SKIP-UNTIL=5.0'),
  'playlist.dates': swap('#EXT-X-PROGRAM-DATE-TIME', '#EXT-X-DATE'),
  'playlist.date-format': { playlist: (text) => text.replace(/\.\d{3}Z/g, '.5Z') },
  'playlist.initialisation': swap('#EXT-X-MAP', '#EXT-X-CARD'),
};

const RANGES = {
  'range.attributes': swap('X-SCORE=2.5', 'X-SCORE=-2.5'),
  'range.same-id': swap('PLANNED-DURATION=4.000,SCTE35-OUT=0xFC00', 'DURATION=4.000,SCTE35-OUT=0xFC00'),
  'range.constant': later((text) => text.replace('SCTE35-OUT=0xFC00', 'SCTE35-OUT=0xFC02')),
  'range.removal': later((text) => text.replace(/#EXT-X-DATERANGE:ID="break".*\n/g, '')),
  'range.everywhere': ofSound('ID="mark"', 'ID="other"'),
};

const TIME = {
  'time.unchanged': later((text) => text.replace('EXTINF:1.00000', 'EXTINF:0.99000')),
  'time.forward': { clock: (secs) => (Math.floor(secs * 4) % 5 === 0 ? secs - 1 : secs) },
  'time.removal': { settings: { window: 2, partsFor: 2 } },
  'time.discontinuity-sequence': { playlist: (text) => text.replace(/#EXT-X-DISCONTINUITY-SEQUENCE.*\n/, '') },
  'time.segment-cadence': { clock: (secs) => (secs > 21.1 && secs < 27 ? 21.1 : secs) },
  'time.part-cadence': { clock: (secs) => (secs > 20.6 && secs < 25.9 ? 20.6 : secs) },
  'time.dates': { date: (ms, { n }) => (n > LATER ? ms + 1200 : ms) },
  'time.dates-order': { date: (ms, { n }) => (n > LATER - 1 ? ms - 1500 : ms) },
  'time.wall-clock': { date: (ms) => ms - 60_000 },
  'time.new-initialisation': swap('#EXT-X-DISCONTINUITY\n', ''),
  'time.end': ends({ playlist: (text, { state }) => (state.ended ? `${text}#EXT-X-PRELOAD-HINT:TYPE=PART,URI="x.m4s"\n` : text) }),
};

const PARTS = {
  'part.duration-max': swap('DURATION=0.25000', 'DURATION=0.25100'),
  'part.duration-min': swap('DURATION=0.25000', 'DURATION=0.20000'),
  'part.sum': swap('EXTINF:1.00000', 'EXTINF:0.98000'),
  'part.listed': { settings: { partsFor: 1 } },
  'part.removed': { settings: { partsFor: 8 } },
};

const RELOADS = {
  'reload.early': { hurries: ({ k }) => k !== undefined },
  'reload.late': { delay: ({ query }) => (query.includes('_HLS_part') ? LATE_MS : 0) },
  'reload.segment': { hurries: ({ k }) => k === undefined },
  'reload.beyond-last-part': { hurries: ({ k }) => Number(k) >= 4 },
  'reload.old': { delay: ({ query }) => (query.includes('_HLS_other') ? LATE_MS : 0) },
  'reload.too-far': { forgives: true },
  'reload.too-far-part': { forgives: true },
  'reload.part-alone': { forgives: true },
  'reload.malformed': { forgives: true },
  'reload.ended': ends({ forgetsEnd: true }),
  'reload.status': replies((reply) => isList(reply) && isBlocking(reply) && Math.random() < 0.2, () => ({ status: 503 })),
};

const DELTAS = {
  'delta.equivalent': { playlist: (text, { isDelta }) => (isDelta ? text.replace('HOLD-BACK=3.0', 'HOLD-BACK=3.1') : text) },
  'delta.merge': { playlist: (text, { isDelta }) => (isDelta ? text.replace('SKIPPED-SEGMENTS=6', 'SKIPPED-SEGMENTS=7') : text) },
  'delta.boundary': { settings: { boundary: 3 } },
  'delta.asked-only': { playlist: (text, { isDelta }) => (isDelta ? text : text.replace(/(#EXT-X-MEDIA-SEQUENCE.*\n(?:#EXT-X-DISCONTINUITY-SEQUENCE.*\n)?)/, '$1#EXT-X-SKIP:SKIPPED-SEGMENTS=1\n')) },
};

const HINTS = {
  'hint.present': { playlist: (text) => text.replace(/#EXT-X-PRELOAD-HINT.*\n/, '') },
  'hint.bytes': { hinted: (bytes) => Buffer.concat([bytes, Buffer.from([0, 0, 0, 8, 102, 114, 101, 101])]) },
  'hint.next': { settings: { hintAhead: 1 } },
  'hint.answered': { reply: ({ status, file }) => (/\.\d\.m4s$/.test(file) && status === 200 ? { status: 500 } : {}) },
  'hint.late': { delay: (() => ((asked) => ({ name, file }) => (/\.\d\.m4s$/.test(file) && !asked.has(name + file) ? (asked.add(name + file), LATE_MS) : 0))(new Set()))() },
};

const REPORTS = {
  'report.all': { playlist: (text) => text.replace(/#EXT-X-RENDITION-REPORT.*\n/, '') },
  'report.true': { settings: { reportAhead: 6 } },
  'report.fresh': { settings: { reportAhead: -3 } },
};

const MEDIA = {
  'media.available': { missing: ({ n, k, isHinted }) => k === 2 && n % 2 === 0 && !isHinted },
  'media.kept-part': { missing: ({ n, k, whole }) => k !== undefined && whole - n > 4 },
  'media.kept-segment': { missing: ({ n, k, whole }) => k === undefined && whole - n > 12, settings: { window: 8 } },
  'media.gap': { fillsGaps: true },
  'media.concatenation': { object: (bytes, { k }) => (k === undefined ? bytes.subarray(0, -200) : bytes) },
  'media.boxes': { media: () => ({ tail: true }) },
  'media.segment-head': { object: (bytes, { k }) => (k === 0 ? bytes.subarray(20) : bytes) },
  'media.sequence-numbers': { media: () => ({ sequence: 7 }) },
  'media.data-offsets': { media: () => ({ offset: 4 }) },
  'media.flags': { media: () => ({ baseIsMoof: false }) },
  'media.decode-time': { media: ({ k, exact }) => (k === 2 ? { start: exact.start + 1 } : {}) },
  'media.part-duration': { media: ({ k, exact }) => (k === 1 ? { frames: exact.frames - 1 } : {}) },
  'media.segment-duration': swap('EXTINF:1.00000', 'EXTINF:0.99000'),
  'media.independent': { playlist: (text, { name }) => (name === 'v0' ? text.replaceAll(',INDEPENDENT=YES', '') : text) },
  'media.independent-segments': { media: ({ name, k }) => (name === 'v0' && k === 0 ? { isKey: false } : {}) },
  'media.sync-flag': { media: ({ name, k }) => (name === 'v0' && k === 0 ? { looksKey: false } : {}) },
  'media.initialisation': { initWidth: 640 },
  'media.reference-time': { head: ({ dateMs }) => ({ dateMs: dateMs + 40 }) },
};

const ALIGNMENT = {
  'align.time': { media: ({ name, exact }) => (name === 'a0' ? { start: exact.start + 9600 } : {}) },
  'align.discontinuity': { playlist: (text, { name }) => (name === 'a0' ? text.replace('#EXT-X-DISCONTINUITY\n', '') : text) },
  'align.dates': { date: (ms, { name }) => (name === 'a0' ? ms + 20 : ms) },
  'align.edges': { clock: (secs, name) => (name === 'a0' ? secs - 2.5 : secs) },
};

const TRANSPORT = {
  'http.type': replies(isList, withHeader('content-type', 'text/plain')),
  'http.cors': replies(isMedia, without('access-control-allow-origin')),
  'http.immutable': replies(isMedia, withHeader('cache-control', 'max-age=60')),
  'http.blocking-cache': replies((reply) => isList(reply) && isBlocking(reply), withHeader('cache-control', 'max-age=1')),
  'http.plain-cache': replies((reply) => isList(reply) && !isBlocking(reply), withHeader('cache-control', 'max-age=10')),
  'http.negative-cache': replies(({ status }) => status === 404, withHeader('cache-control', 'max-age=600')),
  'http.compression': replies(isList, without('vary')),
  'http.range': replies(({ status }) => status === 206, withHeader('content-range', 'bytes 0-1/2')),
  'http.conditional': replies(({ status }) => status === 304, () => ({ status: 200, bytes: Buffer.from('again') })),
  'http.not-found': replies(({ status }) => status === 404, () => ({ status: 500 })),
};

const DASH = {
  'dash.syntax': inMpd('</Period>', ''),
  'dash.type': inMpd(' minimumUpdatePeriod="PT1S"', ''),
  'dash.constant': { mpd: (text, whole) => (whole > LATER ? text.replace('availabilityStartTime="20', 'availabilityStartTime="19') : text) },
  'dash.publish-time': { mpd: (text) => text.replace(/publishTime="[^"]*"/, 'publishTime="2020-01-01T00:00:00Z"') },
  'dash.clock': { clockOff: 5000 },
  'dash.periods': inMpd('duration="PT13S"', 'duration="PT14.5S"'),
  'dash.timeline': { mpd: (text) => text.replace(/<S t="(\d+)"/g, '<S t="$1" d="1000"/><S t="$1"') },
  'dash.available': { missing: ({ n, k }) => k === undefined && n === 21 },
  'dash.window': { mpd: (text) => text.replace('timeShiftBufferDepth="PT12S"', 'timeShiftBufferDepth="PT2S"') },
  'dash.decode-time': { mpd: (text) => text.replace(/<S t="(\d+)"/g, (_, t) => `<S t="${Number(t) + 900}"`) },
  'dash.initialisation': inMpd('avc1.42c00c', 'avc1.64001f'),
  'dash.edge': { mpd: (text) => text.replace(/r="(\d+)"/g, (_, r) => `r="${Math.max(0, Number(r) - 5)}"`) },
  'dash.progressive': numbers({ isLump: true }),
  'dash.reference-time': numbers(inMpd('referenceId="0"', 'referenceId="7"')),
  'dash.same-bytes': { playlist: (text) => text.replace(/^(\d+)\.m4s/gm, 'other-$1.m4s') },
};

/** Rule → what breaks it. */
export const BREAKAGES = { ...MULTIVARIANT, ...PLAYLIST, ...RANGES, ...TIME, ...PARTS, ...RELOADS, ...DELTAS, ...HINTS, ...REPORTS, ...MEDIA, ...ALIGNMENT, ...TRANSPORT, ...DASH };

/** Sessions that follow all rules. */
export const CLEAN = { 'whole segments in DASH': {}, 'chunks in DASH': numbers(), 'an end': ends({ settings: { endsAt: GAP + 3 } }) };
