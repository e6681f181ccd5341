/** The `<video>` element as reactive state, and what a viewer can do to it. */
import { clock, clockBack } from '../lib/format';
import { recall, remember } from '../lib/storage';
import { isBehind, type LiveEdge } from './edge';

const VOLUME = 'playhouse.volume';
export const RATES = [0.5, 0.75, 1, 1.25, 1.5, 1.75, 2];
/** The oldest of a live stream goes away while it is being loaded. */
const OLDEST_MARGIN_S = 3;

export class Player {
  paused = $state(true);
  ended = $state(false);
  /** Playing was asked for and data are missing. */
  waiting = $state(false);
  /** Whether it was played at all. */
  touched = $state(false);
  time = $state(0);
  duration = $state(0);
  /** Where a live stream is; null for videos. */
  edge = $state<LiveEdge | null>(null);
  /** What can be watched now goes from here to the end. */
  start = $derived(this.edge?.start ?? 0);
  end = $derived(this.edge?.end ?? this.duration);
  /** Going live would show something newer. */
  behind = $derived(this.edge !== null && isBehind(this.edge, this.time));
  bufferedTo = $state(0);
  /** While a stream is live its speed is the engine's, which catches up by it. */
  hasRates = $derived(this.edge === null || this.edge.over);
  volume = $state(1);
  muted = $state(false);
  rate = $state(1);
  fullscreen = $state(false);
  /** The last thing worth telling: shown for a moment and read out. */
  notice = $state('');

  #video: HTMLVideoElement | null = null;
  #box: HTMLElement | null = null;
  #noticeTimer = 0;

  /** Binds to elements; returns how to let go. */
  bind(video: HTMLVideoElement, box: HTMLElement): () => void {
    this.#video = video;
    this.#box = box;
    const stored = Number.parseFloat(recall(VOLUME) ?? '1');
    video.volume = stored >= 0 && stored <= 1 ? stored : 1;
    const controller = new AbortController();
    const { signal } = controller;
    const read = () => this.#read(video);
    for (const type of [
      'play', 'pause', 'ended', 'timeupdate', 'durationchange', 'progress', 'volumechange', 'ratechange', 'seeking', 'seeked',
    ]) {
      video.addEventListener(type, read, { signal });
    }
    video.addEventListener('waiting', () => (this.waiting = true), { signal });
    for (const type of ['playing', 'canplay', 'pause', 'emptied']) {
      video.addEventListener(type, () => (this.waiting = false), { signal });
    }
    document.addEventListener('fullscreenchange', () => (this.fullscreen = document.fullscreenElement === box), { signal });
    read();
    return () => {
      controller.abort();
      clearTimeout(this.#noticeTimer);
      this.#video = null;
    };
  }

  #read(video: HTMLVideoElement): void {
    this.paused = video.paused;
    this.ended = video.ended;
    this.touched ||= !video.paused;
    this.time = video.currentTime;
    this.duration = Number.isFinite(video.duration) ? video.duration : 0;
    this.volume = video.volume;
    this.muted = video.muted || video.volume === 0;
    this.rate = video.playbackRate;
    this.bufferedTo = bufferedFrom(video.buffered, video.currentTime);
  }

  say(text: string): void {
    this.notice = text;
    clearTimeout(this.#noticeTimer);
    this.#noticeTimer = window.setTimeout(() => (this.notice = ''), 1500);
  }

  toggle(): void {
    const video = this.#video;
    if (!video) return;
    if (video.paused) void video.play().catch(() => this.say('Playback was blocked by the browser'));
    else video.pause();
  }

  seek(to: number): void {
    const video = this.#video;
    if (!video || this.end <= this.start) return;
    const isGoingOn = this.edge !== null && !this.edge.over;
    const first = isGoingOn ? Math.min(this.start + OLDEST_MARGIN_S, this.edge?.live ?? 0) : this.start;
    const last = this.edge?.live ?? this.duration;
    video.currentTime = Math.min(Math.max(first, to), last);
    this.time = video.currentTime;
  }

  /** Shows this share of what there is. */
  seekToShare(share: number): void {
    this.seek(this.start + (this.end - this.start) * share);
  }

  /** Shows the newest of a live stream, and plays it. */
  goLive(): void {
    this.seek(this.end);
    if (this.#video?.paused) this.toggle();
    this.say('Live');
  }

  /** A position as viewers read it: from the start, or in a live stream back from its end. */
  clockAt(time: number): string {
    return this.edge ? clockBack(this.edge.end - time) : clock(time);
  }

  /** Moves by seconds and says where to. */
  seekBy(seconds: number): void {
    this.seek((this.#video?.currentTime ?? 0) + seconds);
    this.say(this.edge && !this.behind && !this.edge.over ? 'Live' : this.clockAt(this.time));
  }

  setVolume(volume: number): void {
    const video = this.#video;
    if (!video) return;
    video.volume = Math.round(Math.min(1, Math.max(0, volume)) * 100) / 100;
    video.muted = false;
    remember(VOLUME, String(video.volume));
  }

  volumeBy(change: number): void {
    this.setVolume((this.#video?.volume ?? 1) + change);
    this.say(`Volume ${Math.round((this.#video?.volume ?? 0) * 100)}%`);
  }

  toggleMute(): void {
    const video = this.#video;
    if (!video) return;
    if (video.volume === 0) this.setVolume(0.5);
    else video.muted = !video.muted;
    this.say(video.muted ? 'Muted' : 'Sound on');
  }

  setRate(rate: number): void {
    if (!this.#video) return;
    this.#video.playbackRate = rate;
    this.say(`Speed ${rate}×`);
  }

  rateStep(step: 1 | -1): void {
    const next = RATES[RATES.indexOf(this.rate) + step];
    if (next && this.hasRates) this.setRate(next);
  }

  async toggleFullscreen(): Promise<void> {
    const video = this.#video as (HTMLVideoElement & { webkitEnterFullscreen?: () => void }) | null;
    try {
      if (document.fullscreenElement) await document.exitFullscreen();
      else if (this.#box?.requestFullscreen) await this.#box.requestFullscreen();
      else video?.webkitEnterFullscreen?.(); // iPhone: only the element itself can
    } catch {
      this.say('Full screen is not allowed here');
    }
  }
}

function bufferedFrom(ranges: TimeRanges, time: number): number {
  for (let i = 0; i < ranges.length; i += 1) {
    if (ranges.start(i) <= time + 0.1 && time <= ranges.end(i)) return ranges.end(i);
  }
  return time;
}
