// Reads a media presentation description (ISO/IEC 23009-1): periods, representations, and the segments they address.
import { all, one, parseXml, seconds } from './xml.mjs';

/** `{ root, attributes, availabilityStart, publish, window, periods, timing, latencies }`, times in milliseconds or seconds as named. */
export function parseMpd(text, base) {
  const root = parseXml(text);
  if (root.name !== 'MPD') throw new Error(`the root is ${root.name}`);
  const { attributes } = root;
  const bases = one(root, 'BaseURL')?.text ?? '';
  const periods = [];
  for (const element of all(root, 'Period')) periods.push(period(element, new URL(bases, base).href, periods.at(-1)));
  return {
    attributes,
    availabilityStartMs: Date.parse(attributes.availabilityStartTime ?? ''),
    publishMs: Date.parse(attributes.publishTime ?? ''),
    windowSecs: seconds(attributes.timeShiftBufferDepth),
    longestSecs: seconds(attributes.maxSegmentDuration),
    timings: all(root, 'UTCTiming').map((element) => element.attributes),
    latencies: all(root, 'ServiceDescription').flatMap((element) => all(element, 'Latency').map((latency) => latency.attributes)),
    periods,
  };
}

function period(element, base, before) {
  const { attributes } = element;
  const duration = attributes.duration === undefined ? undefined : seconds(attributes.duration);
  const start = attributes.start === undefined ? (before ? before.start + before.duration : 0) : seconds(attributes.start);
  const representations = all(element, 'AdaptationSet').flatMap((set) => all(set, 'Representation').map((one) => representation(one, set, element, base)));
  return { id: attributes.id, start, duration, representations, attributes };
}

function representation(element, set, period, base) {
  const attributes = { ...set.attributes, ...element.attributes };
  const templates = [period, set, element].map((level) => one(level, 'SegmentTemplate')).filter(Boolean);
  const template = Object.assign({}, ...templates.map((one) => one.attributes));
  const timeline = templates.map((level) => one(level, 'SegmentTimeline')).filter(Boolean).at(-1);
  const bases = [period, set, element].map((level) => one(level, 'BaseURL')?.text ?? '');
  return {
    id: element.attributes.id,
    attributes,
    base: bases.reduce((url, relative) => new URL(relative, url).href, base),
    template,
    timescale: Number(template.timescale ?? 1),
    offset: Number(template.presentationTimeOffset ?? 0),
    startNumber: Number(template.startNumber ?? 1),
    entries: timeline && expand(timeline, Number(template.startNumber ?? 1)),
    duration: template.duration === undefined ? undefined : Number(template.duration),
    availabilityOffset: Number(template.availabilityTimeOffset ?? 0),
    isWhole: template.availabilityTimeComplete !== 'false',
    references: [set, element].flatMap((level) => all(level, 'ProducerReferenceTime')),
  };
}

/** `{ time, duration, number }` of every segment of a timeline; open repeats are not followed. */
function expand(timeline, startNumber) {
  const found = [];
  let time = 0;
  for (const { attributes } of all(timeline, 'S')) {
    if (attributes.t !== undefined) time = Number(attributes.t);
    const duration = Number(attributes.d);
    const count = Math.max(0, Number(attributes.r ?? 0)) + 1;
    for (let index = 0; index < count; index += 1, time += duration) {
      found.push({ time, duration, number: Number(attributes.n ?? startNumber + found.length) });
    }
  }
  return found;
}

/** Address of a segment, or of the initialisation segment when it is `null`. */
export function address(representation, segment) {
  const { template, id, attributes, base } = representation;
  const values = { RepresentationID: id, Bandwidth: attributes.bandwidth, Number: segment?.number, Time: segment?.time };
  const name = (segment ? template.media : template.initialization).replace(/\$(\w+)(?:%0(\d+)d)?\$/g, (_, key, width) => String(values[key]).padStart(Number(width ?? 0), '0'));
  return new URL(name.replaceAll('$$', '$'), base).href;
}

/** Seconds of presentation time at which a segment begins, from the presentation's start. */
export function presented(period, representation, time) {
  return period.start + (time - representation.offset) / representation.timescale;
}

/** The segments that are addressed by numbers alone and begin before `untilSecs` of presentation time. */
export function numbered(period, representation, fromSecs, untilSecs) {
  const { duration, timescale, startNumber, offset } = representation;
  const each = duration / timescale;
  const end = Math.min(untilSecs, period.duration === undefined ? Infinity : period.start + period.duration - 0.001);
  const first = Math.max(0, Math.floor((fromSecs - period.start) / each));
  const found = [];
  for (let index = first; period.start + index * each < end; index += 1) {
    found.push({ number: startNumber + index, time: offset + index * duration, duration });
  }
  return found;
}
