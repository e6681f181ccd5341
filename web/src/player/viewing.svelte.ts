/** One viewing of one video: the session on the server, the engine that feeds the element, and the beats about it. */
import { ApiError, explain, request } from '../lib/api';
import { session } from '../lib/session.svelte';
import type { PlaybackReply } from '../lib/types';
import { openPlayback } from '../lib/videos';
import { Beacon, type Beat } from './beacon';
import { attachEngine, preloadEngine, type Engine, type FailureKind, type Offer } from './engine';
import { FAILURES, type Watching } from './watching';

/** When the server names no interval of its own. */
const BEAT_EVERY_S = 10;
/** A lost connection is tried again after each of these before the viewer is asked. */
const REOPEN_AFTER_MS = [500, 2000, 5000];
/** A position closer than this to either end is not resumed. */
const RESUME_MARGIN_S = 5;

export class Viewing implements Watching {
  failure = $state<string | null>(null);
  /** Seconds where an earlier viewing left off, when this one began there. */
  resumedAt = $state<number | null>(null);
  /** Qualities and tracks of sound there are to choose from; null before the manifest is there. */
  offer = $state<Offer | null>(null);
  readonly edge = null;
  readonly latency = null;
  readonly hiccup = null;

  #engine: Engine | null = null;
  #beacon: Beacon | null = null;
  #attempt = 0;
  #timer = 0;
  #beats = 0;
  #closed = false;
  #sessionGone = false;
  #began = 0;
  /** A picture was shown: from then on seeking is the viewer's doing, before it is the resume point being set. */
  #shown = false;
  #controller = new AbortController();

  constructor(
    private readonly videoId: string,
    private readonly duration: number | null,
    private readonly video: HTMLVideoElement,
  ) {
    this.#listen();
  }

  /** Opens a session and loads the video; at `startAt`, or where the viewer left off. */
  async open(startAt: number | null = null): Promise<void> {
    this.failure = null;
    this.#began = performance.now();
    void preloadEngine().catch(() => undefined);
    try {
      const reply = await openPlayback(this.videoId);
      if (!this.#closed) await this.#load(reply, startAt ?? this.#resumePoint(reply));
    } catch (error) {
      if (!this.#closed) this.#failed(error);
    }
  }

  async #load(reply: PlaybackReply, startAt: number): Promise<void> {
    this.#newBeacon(reply);
    this.#shown = false;
    this.#engine?.destroy();
    const engine = await attachEngine(this.video, {
      url: reply.urls.hls,
      startAt,
      onOffer: (offer) => (this.offer = offer),
      onFailure: (kind) => this.#engineFailed(kind),
    });
    if (this.#closed) return engine.destroy();
    this.#engine = engine;
    this.#onFirstFrame(() => {
      this.#attempt = 0;
      this.#shown = true;
      this.#beacon?.started(performance.now() - this.#began);
      void this.#beacon?.beat();
    });
  }

  /** Plays one quality only, or lets the engine choose. */
  choose(quality: string | null): void {
    this.#engine?.choose(quality);
  }

  listen(sound: string): void {
    this.#engine?.listen(sound);
  }

  chooseLatency(): void {}

  /** Renditions were added: takes them up without a break. */
  refresh(): void {
    this.#engine?.refresh();
  }

  #resumePoint(reply: PlaybackReply): number {
    const at = reply.resume_position ?? 0;
    const worth = at >= RESUME_MARGIN_S && (this.duration === null || at <= this.duration - RESUME_MARGIN_S);
    this.resumedAt = worth ? at : null;
    return worth ? at : 0;
  }

  #failed(error: unknown): void {
    const temporary = error instanceof ApiError && (error.status === 0 || error.status >= 500);
    if (temporary && this.#retryLater()) return;
    this.failure = explain(error);
  }

  #engineFailed(kind: FailureKind): void {
    // The link may have expired or the network may be away: a new session brings a new link.
    if (kind === 'network' && this.#retryLater()) return;
    this.failure = FAILURES[kind];
  }

  #retryLater(): boolean {
    const delay = REOPEN_AFTER_MS[this.#attempt];
    if (delay === undefined || this.#closed) return false;
    this.#attempt += 1;
    const at = this.video.currentTime || null;
    const playing = !this.video.paused;
    this.#timer = window.setTimeout(() => {
      void this.open(at).then(() => (playing ? this.video.play().catch(() => undefined) : undefined));
    }, delay);
    return true;
  }

  /** The viewer asks again after a failure. */
  async retry(): Promise<void> {
    this.#attempt = 0;
    await this.open(this.video.currentTime || null);
    await this.video.play().catch(() => undefined);
  }

  #listen(): void {
    const { signal } = this.#controller;
    const on = (type: string, act: () => void) => this.video.addEventListener(type, act, { signal });
    const tell = (type: 'play' | 'pause' | 'seek' | 'end') => {
      this.#beacon?.record(type);
      void this.#beacon?.beat();
    };
    on('play', () => {
      if (this.#sessionGone) void this.#renewSession();
      tell('play');
    });
    on('pause', () => {
      this.#beacon?.flowing();
      if (!this.video.ended) tell('pause');
    });
    on('seeked', () => {
      if (this.#shown) tell('seek');
    });
    on('ended', () => tell('end'));
    on('waiting', () => {
      if (!this.video.seeking && this.video.played.length > 0) this.#beacon?.stall();
    });
    on('playing', () => this.#beacon?.flowing());
    addEventListener('pagehide', () => this.#beacon?.leave(), { signal });
  }

  #newBeacon(opened: PlaybackReply): void {
    this.#beacon?.leave();
    this.#sessionGone = false;
    clearInterval(this.#beats);
    this.#beats = window.setInterval(
      () => {
        if (!this.video.paused) void this.#beacon?.beat();
      },
      (opened.heartbeat_interval ?? BEAT_EVERY_S) * 1000,
    );
    this.#beacon = new Beacon(
      opened.session,
      (beat, leaving) => this.#send(beat, leaving),
      () => ({
        position: this.video.currentTime,
        bitrate: this.#engine?.bitrate() ?? null,
        throughput: this.#engine?.throughput() ?? null,
      }),
    );
  }

  async #send(beat: Beat, leaving: boolean): Promise<void> {
    const token = leaving ? session.tokenNow : await session.token();
    try {
      await request('POST', `/videos/${this.videoId}/heartbeat`, { body: beat, token, keepalive: true });
    } catch (error) {
      const status = error instanceof ApiError ? error.status : 0;
      if (!leaving && (status === 404 || status === 410)) this.#sessionLost();
      const worthRepeating = status === 0 || status === 401 || status === 429 || status >= 500;
      if (worthRepeating) throw error;
    }
  }

  /** A beat came too late; whoever is watching needs a new session at once, others when they play on. */
  #sessionLost(): void {
    const isNews = !this.#sessionGone;
    this.#sessionGone = true;
    if (isNews && !this.video.paused) void this.#renewSession();
  }

  /** The server closed an idle session; watching on needs a new one, the media loaded stay. */
  async #renewSession(): Promise<void> {
    try {
      this.#newBeacon(await openPlayback(this.videoId));
      this.#beacon?.record('play');
    } catch {
      this.#sessionGone = true;
    }
  }

  #onFirstFrame(act: () => void): void {
    if ('requestVideoFrameCallback' in this.video) this.video.requestVideoFrameCallback(act);
    else (this.video as HTMLVideoElement).addEventListener('loadeddata', act, { once: true });
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    clearInterval(this.#beats);
    this.#beacon?.leave();
    this.#beacon = null;
    this.#controller.abort();
    this.#engine?.destroy();
    this.#engine = null;
  }
}
