/** One viewing of one live stream: the engine that feeds the element, set up anew whenever it gives up. */
import { ApiError, explain } from '../lib/api';
import { getLive } from '../lib/lives';
import { recall, remember } from '../lib/storage';
import type { Live } from '../lib/types';
import { isBehind, nextBuffered, type LiveEdge } from './edge';
import { attachEngine, type Engine, type FailureKind, type Offer } from './engine';
import { attachRealtime, hasRealtime } from './realtime';
import { FAILURES, type Latency, type Watching } from './watching';

/** How often it is looked where the stream is. */
const LOOK_EVERY_MS = 500;
const LOST = 'The connection is lost. Trying again…';
const AWAY = 'The broadcaster is away. It goes on when they are back.';
const FELL_BACK = 'The lowest latency does not work here. Playing with low latency.';
/** How long that is said. */
const SAID_MS = 4000;
/** What a viewer has chosen is remembered by this. */
const LATENCY = 'playhouse.latency';
/** A connection that has played for this long was good: the next one may fail once, too. */
const GOOD_MS = 20_000;
/** The engine gets over holes by itself, as a rule sooner than this. */
const HOLE_MS = 3000;
/** Something new comes, and yet who watches live sees nothing move for this long. */
const STUCK_MS = 10_000;
/** As long for who has gone back, where a slow connection may be the reason. */
const WAITING_MS = 20_000;
/** Longest wait before an engine that gave up is set up anew. */
const REOPEN_MS_MAX = 8000;
/** How often in a row broken media are tried again by themselves. */
const BROKEN_MAX = 5;

export class LiveViewing implements Watching {
  failure = $state<string | null>(null);
  hiccup = $state<string | null>(null);
  offer = $state<Offer | null>(null);
  edge = $state<LiveEdge | null>(null);
  latency = $state<Latency | null>(null);
  resumedAt = null;

  #engine: Engine | null = null;
  /** Openings since it last played. */
  #attempt = 0;
  #broken = 0;
  #reopening = 0;
  #looking = 0;
  #closed = false;
  /** Whether the viewer wants it to play, while the element is without an engine. */
  #wanted = true;
  #lost = false;
  /** Whether it was watched live when the interruption began. */
  #wasLive = false;
  #at = 0;
  #movedAt = 0;
  #helped = false;
  /** When the connection of the lowest latency began, and whether the one before it has failed. */
  #realtimeAt = 0;
  #realtimeFailed = false;
  #fellBackAt = Number.NEGATIVE_INFINITY;
  /** Counts how often an engine was asked for. */
  #loads = 0;
  #controller = new AbortController();

  constructor(
    private live: Live,
    private readonly video: HTMLVideoElement,
  ) {
    const { signal } = this.#controller;
    video.addEventListener('playing', () => this.#plays(), { signal });
    if (hasRealtime()) this.latency = recall(LATENCY) === 'lowest' ? 'lowest' : 'low';
    this.#looking = window.setInterval(() => this.#look(), LOOK_EVERY_MS);
  }

  async open(): Promise<void> {
    try {
      await this.#load();
    } catch {
      // What plays could not be fetched itself.
      if (!this.#closed) this.#reopenLater();
    }
  }

  async #load(): Promise<void> {
    this.failure = null;
    this.#engine?.destroy();
    this.#engine = null;
    this.#loads += 1;
    const load = this.#loads;
    const engine = (this.latency === 'lowest' && (await this.#attachRealtime())) || (await this.#attachHls());
    // Another choice may have been made meanwhile.
    if (this.#closed || load !== this.#loads) return engine.destroy();
    this.#engine = engine;
    this.#movedAt = performance.now();
    // Where the browser does not let it begin by itself, the viewer presses play.
    if (this.#wanted) await this.video.play().catch(() => undefined);
  }

  #attachHls(): Promise<Engine> {
    return attachEngine(this.video, {
      url: this.live.playback.hls,
      startAt: null,
      live: this.live.latency,
      onOffer: (offer) => {
        this.offer = offer;
        this.#lost = false;
      },
      onFailure: (kind) => this.#engineFailed(kind),
    });
  }

  /** Null when it does not work: then it is played as everywhere else. */
  async #attachRealtime(): Promise<Engine | null> {
    this.offer = null;
    this.#realtimeAt = performance.now();
    try {
      const engine = await attachRealtime(this.video, { url: this.live.playback.whep, onFailure: () => this.#realtimeGone() });
      this.#lost = false;
      return engine;
    } catch {
      this.#fallBack();
      return null;
    }
  }

  /** Once it is tried again: the stream may have changed so that another connection is needed. */
  #realtimeGone(): void {
    if (this.#closed) return;
    this.#engine = null;
    const wasGood = performance.now() - this.#realtimeAt > GOOD_MS;
    if (this.#realtimeFailed && !wasGood) this.#fallBack();
    this.#realtimeFailed = !wasGood;
    this.#reopenLater();
  }

  #fallBack(): void {
    this.latency = 'low';
    this.#fellBackAt = performance.now();
  }

  chooseLatency(latency: Latency): void {
    if (latency === this.latency) return;
    this.latency = latency;
    this.#realtimeFailed = false;
    remember(LATENCY, latency === 'lowest' ? latency : null);
    if (this.#engine) this.#wanted = !this.video.paused;
    this.#attempt = 0;
    void this.#reopen();
  }

  async retry(): Promise<void> {
    this.#attempt = 0;
    this.#broken = 0;
    this.#wanted = true;
    await this.#reopen();
  }

  choose(quality: string | null): void {
    this.#engine?.choose(quality);
  }

  listen(sound: string): void {
    this.#engine?.listen(sound);
  }

  refresh(): void {}

  #plays(): void {
    this.#attempt = 0;
    this.#broken = 0;
  }

  #engineFailed(kind: FailureKind): void {
    if (this.#closed) return;
    if (kind === 'media') this.#broken += 1;
    if (kind === 'unsupported' || this.#broken > BROKEN_MAX) {
      this.failure = FAILURES[kind];
      return;
    }
    this.#reopenLater();
  }

  #reopenLater(): void {
    this.#lost = true;
    if (this.#engine) this.#wanted = !this.video.paused;
    clearTimeout(this.#reopening);
    const delay = Math.min(500 * 2 ** this.#attempt, REOPEN_MS_MAX);
    this.#attempt += 1;
    this.#reopening = window.setTimeout(() => void this.#reopen(), delay);
  }

  /** With a new link: the old one may have expired. */
  async #reopen(): Promise<void> {
    try {
      const live = (await getLive(this.live.id)).data;
      if (this.#closed) return;
      this.live = live;
      if (live.state === 'live') await this.open();
      else this.failure = 'The stream has ended.';
    } catch (error) {
      if (this.#closed) return;
      if (error instanceof ApiError && [401, 403, 404].includes(error.status)) this.failure = explain(error);
      else this.#reopenLater();
    }
  }

  #look(): void {
    const { hiccup, video, edge } = this;
    this.edge = this.#engine?.edge() ?? null;
    // Catching up is over with the stream.
    if (this.edge?.over && !edge?.over) video.playbackRate = 1;
    const stalled = this.#lost ? 'server' : this.edge?.stalled;
    const said = performance.now() - this.#fellBackAt < SAID_MS ? FELL_BACK : null;
    this.hiccup = stalled ? (stalled === 'server' ? LOST : AWAY) : said;
    if (this.hiccup && !hiccup) this.#wasLive = !video.paused && (!this.edge || !isBehind(this.edge, video.currentTime));
    if (hiccup && !this.hiccup) this.#goOn(hiccup);
    this.#helpIfStuck();
  }

  /** Something comes again: who watched live before goes on doing so. */
  #goOn(hiccup: string): void {
    const { edge, video } = this;
    if (hiccup === FELL_BACK) return;
    // The engine itself gets over the hole that an absence leaves, and what it has waited for is live.
    if (hiccup === AWAY) this.#engine?.closeUp();
    else if (this.#wasLive && edge && video.readyState > 0) video.currentTime = edge.live;
  }

  /** Moves on over what the engine does not get over, and failing that sets it up anew. */
  #helpIfStuck(): void {
    const { edge, video } = this;
    const now = performance.now();
    if (video.currentTime !== this.#at || video.paused || video.ended || !edge || edge.over || this.hiccup) {
      if (video.currentTime !== this.#at) this.#helped = false;
      this.#at = video.currentTime;
      this.#movedAt = now;
      return;
    }
    const next = edge.next ?? nextBuffered(video);
    // Who has gone back and waits there for a slow connection is given time.
    const isWaiting = next === null && video.readyState < video.HAVE_FUTURE_DATA && isBehind(edge, video.currentTime);
    if (now - this.#movedAt < (next !== null ? HOLE_MS : isWaiting ? WAITING_MS : STUCK_MS)) return;
    this.#movedAt = now;
    if (this.#helped) this.#reopenLater();
    else video.currentTime = next ?? edge.live;
    this.#helped = !this.#helped;
    this.#at = video.currentTime;
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#reopening);
    clearInterval(this.#looking);
    this.#controller.abort();
    this.#engine?.destroy();
    this.#engine = null;
  }
}
