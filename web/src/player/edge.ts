/** Where a live stream is, and where in it somebody is who watches it. */
import type { Fragment, LevelDetails } from 'hls.js';

/** On the element's own timeline; seconds. */
export interface LiveEdge {
  /** The oldest that is still there. */
  start: number;
  /** The newest that is there. */
  end: number;
  /** Where those are who watch it live. */
  live: number;
  /** How far the position is behind the publisher; null when the browser does not say, and when it is over. */
  latency: number | null;
  /** Who is away, when nothing new comes. */
  stalled: 'publisher' | 'server' | null;
  /** Where media go on behind the hole that the position is in; null when it is in none. */
  next: number | null;
  /** Nothing more will come. */
  over: boolean;
}

/** Nothing new for this long, and for two segments, is an interruption. */
const STALLED_AFTER_S = 4;
/** A hole that begins no further ahead than this is what keeps a position from moving. */
const HOLE_AHEAD_S = 1;
/** The browser's own player does not say where it plays live: so far from the newest. */
const NATIVE_HOLD_BACK_S = 6;

/** Whoever is no further than this from where it is live watches live. */
const LIVE_WITHIN_S = 3;

type Segment = Pick<Fragment, 'start' | 'end' | 'tagList'>;
type Details = Pick<LevelDetails, 'live' | 'age' | 'edge' | 'partEnd' | 'fragmentStart' | 'fragmentEnd' | 'targetduration'> & {
  fragments: Segment[];
};

interface Spot {
  at: number;
  /** Where hls.js would play live. */
  live: number | null;
  /** Whether the server answers. */
  reached: boolean;
}

/** By the newest playlist. */
export function edgeOf(details: Details, { at, live, reached }: Spot): LiveEdge {
  const { fragments, fragmentStart: start, edge: newest, age, live: isLive, targetduration } = details;
  const isAway = isHole(fragments.at(-1)) && details.partEnd <= details.fragmentEnd;
  const end = isAway ? lastMediaEnd(fragments) : newest;
  const isStalled = isLive && (isAway || age > Math.max(STALLED_AFTER_S, 2 * targetduration));
  const sync = isLive && !isAway ? (live ?? end) : end;
  return {
    start,
    end,
    live: sync,
    latency: isLive ? newest + age - at : null,
    stalled: isStalled ? (reached ? 'publisher' : 'server') : null,
    next: behindHole(fragments, at),
    over: !isLive,
  };
}

/** Whether going live from here would show something newer. */
export function isBehind(edge: LiveEdge, at: number): boolean {
  return !edge.over && edge.live - at > LIVE_WITHIN_S;
}

/** A segment without media: its publisher was away. */
function isHole(segment: Segment | undefined): boolean {
  return segment?.tagList.some(([tag]) => tag === 'GAP') ?? false;
}

function lastMediaEnd(segments: Segment[]): number {
  let last = segments.length - 1;
  while (last > 0 && isHole(segments[last])) last -= 1;
  return segments[last]?.end ?? 0;
}

/** Where media go on behind the hole that a position is in, or close to. */
function behindHole(segments: Segment[], at: number): number | null {
  const hole = segments.findIndex((one) => one.end > at && one.start < at + HOLE_AHEAD_S && isHole(one));
  if (hole < 0) return null;
  return segments.slice(hole).find((one) => !isHole(one))?.start ?? null;
}

/** Where what is buffered goes on behind a hole that the position is at; null when it is at none. */
export function nextBuffered({ buffered, currentTime }: HTMLVideoElement): number | null {
  for (let index = 0; index < buffered.length; index += 1) {
    const [start, end] = [buffered.start(index), buffered.end(index)];
    if (start > currentTime) return start;
    if (end > currentTime + HOLE_AHEAD_S) return null;
  }
  return null;
}

/** By what the element says, where the browser plays HLS itself. */
export function nativeEdge({ seekable, duration }: HTMLVideoElement): LiveEdge | null {
  if (seekable.length === 0) return null;
  const [start, end] = [seekable.start(0), seekable.end(seekable.length - 1)];
  const over = Number.isFinite(duration);
  const live = over ? end : Math.max(start, end - NATIVE_HOLD_BACK_S);
  return { start, end, live, latency: null, stalled: null, next: null, over };
}
