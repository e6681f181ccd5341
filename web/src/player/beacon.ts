/**
 * What a viewing session tells the server: position, stalls, start-up time, bit rate and what the viewer did.
 * Beats are numbered and sent one after the other; one that did not arrive is sent again under its own number, so the
 * server counts everything once.
 */
export interface Beat {
  session: string;
  seq: number;
  progress_sec: number;
  buffer_events: { at_sec: number; duration_ms: number }[];
  startup_ms: number | null;
  bitrate: number | null;
  /** Measured bits per second of the connection. */
  throughput: number | null;
  events: { type: ViewerAction; at_sec: number }[];
}

export type ViewerAction = 'play' | 'pause' | 'seek' | 'end';

/** Sends one beat; rejects when it should be sent again. */
export type SendBeat = (beat: Beat, leaving: boolean) => Promise<void>;

/** The most of each list in one beat; older entries go first if a connection is away for long. */
const EVENTS_MAX = 100;

export class Beacon {
  #seq = 0;
  #events: Beat['events'] = [];
  #stalls: Beat['buffer_events'] = [];
  #startupMs: number | null = null;
  #unsent: Beat | null = null;
  #sending = false;
  #again = false;
  #stallBegan: { at: number; since: number } | null = null;

  constructor(
    readonly session: string,
    private readonly send: SendBeat,
    private readonly look: () => { position: number; bitrate: number | null; throughput: number | null },
    private readonly now: () => number = () => performance.now(),
  ) {}

  /** Time from opening the session to the first picture. Told once. */
  started(ms: number): void {
    this.#startupMs = Math.round(ms);
  }

  record(type: ViewerAction): void {
    this.#events.push({ type, at_sec: round(this.look().position) });
    if (this.#events.length > EVENTS_MAX) this.#events.shift();
  }

  /** Playback stopped for want of data. */
  stall(): void {
    this.#stallBegan ??= { at: round(this.look().position), since: this.now() };
  }

  /** Data came, or the viewer moved on. */
  flowing(): void {
    const began = this.#stallBegan;
    if (!began) return;
    this.#stallBegan = null;
    this.#stalls.push({ at_sec: began.at, duration_ms: Math.round(this.now() - began.since) });
    if (this.#stalls.length > EVENTS_MAX) this.#stalls.shift();
  }

  /** Sends what there is to tell. */
  async beat(): Promise<void> {
    if (this.#sending) {
      this.#again = true;
      return;
    }
    this.#sending = true;
    try {
      do {
        this.#again = this.#unsent !== null;
        const beat = (this.#unsent ??= this.#take());
        await this.send(beat, false);
        this.#unsent = null;
      } while (this.#again);
    } catch {
      // Kept in `#unsent`; the next beat sends it first.
    } finally {
      this.#sending = false;
    }
  }

  /** The page goes away: everything at once, without waiting for answers. */
  leave(): void {
    if (this.#unsent && !this.#sending) void this.send(this.#unsent, true).catch(() => undefined);
    this.#unsent = this.#sending ? this.#unsent : null;
    this.flowing();
    void this.send(this.#take(), true).catch(() => undefined);
  }

  #take(): Beat {
    const { position, bitrate, throughput } = this.look();
    this.#seq += 1;
    const beat: Beat = {
      session: this.session,
      seq: this.#seq,
      progress_sec: round(position),
      buffer_events: this.#stalls,
      startup_ms: this.#startupMs,
      bitrate: bitrate === null ? null : Math.round(bitrate),
      throughput: throughput === null ? null : Math.round(throughput),
      events: this.#events,
    };
    this.#stalls = [];
    this.#events = [];
    this.#startupMs = null;
    return beat;
  }
}

function round(seconds: number): number {
  return Math.round(seconds * 1000) / 1000;
}
