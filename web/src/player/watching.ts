/** What the player shows and asks of a viewing, whether of a video or of a live stream. */
import type { LiveEdge } from './edge';
import type { FailureKind, Offer } from './engine';

/** How far behind the publisher a live stream is played: as close as can be, or so that one can go back. */
export type Latency = 'low' | 'lowest';

export interface Watching {
  /** Why it cannot be watched; the viewer may try again. */
  readonly failure: string | null;
  /** What is in the way just now; it goes on by itself. */
  readonly hiccup: string | null;
  /** Seconds where an earlier viewing left off, when this one began there. */
  resumedAt: number | null;
  /** Qualities and tracks of sound there are to choose from; null before the manifest is there. */
  readonly offer: Offer | null;
  /** Where a live stream is. */
  readonly edge: LiveEdge | null;
  /** What is chosen of these; null where there is no choice. */
  readonly latency: Latency | null;
  open(): Promise<void>;
  /** The viewer asks again after a failure. */
  retry(): Promise<void>;
  /** Plays one quality only, or lets the engine choose. */
  choose(quality: string | null): void;
  listen(sound: string): void;
  chooseLatency(latency: Latency): void;
  /** Renditions were added: takes them up without a break. */
  refresh(): void;
  close(): void;
}

export const FAILURES: Record<FailureKind, string> = {
  network: 'The video cannot be loaded. Check your connection and try again.',
  media: 'This browser cannot play the video.',
  unsupported: 'This browser can play neither Media Source Extensions nor HLS.',
};
