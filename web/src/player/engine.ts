/** Feeds a `<video>` from an HLS manifest: hls.js where Media Source Extensions exist, the browser's own player else. */
import type HlsClass from 'hls.js';
import type { Fragment, FragmentState, HlsConfig, Level, Part, RetryConfig } from 'hls.js';
import { edgeOf, nativeEdge, type LiveEdge } from './edge';

/** A rendition of pictures that a viewer can choose. */
export interface Quality {
  /** Stays the same when the manifest is loaded anew. */
  id: string;
  /** Lines of its short side. */
  side: number;
  /** For a person: `H.264` or `AV1`. */
  codec: string;
}

/** A track of sound that a viewer can choose. */
export interface Sound {
  id: string;
  label: string;
}

/** What there is to choose from, and what is chosen. */
export interface Offer {
  /** From the largest down. */
  qualities: Quality[];
  /** Null while the engine chooses by itself. */
  chosen: string | null;
  /** What is on screen now. */
  playing: string | null;
  sounds: Sound[];
  sound: string | null;
}

export interface Engine {
  /** Null for what is not live, and before it is known. */
  edge(): LiveEdge | null;
  /** Plays as close to the publisher as at first: the last stall was not the connection's. */
  closeUp(): void;
  /** Bits per second of what is being played, when known. */
  bitrate(): number | null;
  /** Measured bits per second of the connection, when known. */
  throughput(): number | null;
  /** Plays this quality only; null lets the engine choose. */
  choose(quality: string | null): void;
  listen(sound: string): void;
  /** Takes up what the manifest lists by now. What is playing and what is loaded stay. */
  refresh(): void;
  destroy(): void;
}

export type FailureKind = 'network' | 'media' | 'unsupported';

export interface EngineRequest {
  url: string;
  /** Seconds; null for the live edge. */
  startAt: number | null;
  /** Set for live streams: whether parts of segments are to be played as they come. */
  live?: 'low' | 'normal';
  /** What there is to choose from has changed. */
  onOffer(offer: Offer): void;
  /** The engine gave up; nothing more comes from it. */
  onFailure(kind: FailureKind): void;
}

/** How often a decoder is set up anew before the media count as broken. */
const MEDIA_RECOVERIES_MAX = 2;

/** How much faster than taken a live stream is played to catch up after a hiccup. */
const CATCH_UP_RATE = 1.1;

/** How the server says that a live playlist does not go on. */
const NOTHING_NEW = 503;

/** A live playlist is asked for until it comes: its publisher or the network may be away for any time. */
const PATIENT: RetryConfig = {
  maxNumRetry: Number.POSITIVE_INFINITY,
  retryDelayMs: 500,
  maxRetryDelayMs: 4000,
  // By itself hls.js takes a server that cannot be reached for one that refuses.
  shouldRetry: (_config, _count, isTimeout, response) => isTimeout || !response?.code || response.code >= 500,
};
const LIVE_CONFIG: Partial<HlsConfig> = {
  liveDurationInfinity: true,
  maxLiveSyncPlaybackRate: CATCH_UP_RATE,
  playlistLoadPolicy: {
    default: { maxTimeToFirstByteMs: 20_000, maxLoadTimeMs: 30_000, timeoutRetry: PATIENT, errorRetry: PATIENT },
  },
};

/** How far ahead pictures of a quality that is no longer wanted are kept, seconds: what loading others may take. */
const SWITCH_AHEAD_S = 2;
/** How far ahead they are kept when better ones may have come: nobody waits for those. */
const KEEP_AHEAD_S = 8;

let library: Promise<typeof HlsClass> | null = null;

/** Starts loading hls.js, so that it arrives while other answers are awaited. */
export function preloadEngine(): Promise<typeof HlsClass> {
  library ??= import('hls.js').then((module) => module.default);
  library.catch(() => (library = null));
  return library;
}

export async function attachEngine(video: HTMLVideoElement, request: EngineRequest): Promise<Engine> {
  const Hls = await preloadEngine();
  if (Hls.isSupported()) return new HlsEngine(Hls, video, request);
  if (video.canPlayType('application/vnd.apple.mpegurl')) return attachNative(video, request);
  request.onFailure('unsupported');
  return { ...INERT, destroy: () => undefined };
}

export const INERT = {
  edge: () => null,
  closeUp: () => undefined,
  bitrate: () => null,
  throughput: () => null,
  choose: () => undefined,
  listen: () => undefined,
  refresh: () => undefined,
};

class HlsEngine implements Engine {
  #hls: HlsClass;
  /** Loads a newer manifest; takes the element over once it has it. */
  #next: HlsClass | null = null;
  #chosen: string | null = null;
  #sound: string | null = null;
  /** What is on screen; an instance that took over what another had loaded does not know. */
  #playing: string | null = null;
  #recoveries = 0;
  /** Whether something is buffered that another instance loaded. */
  #inherited = false;
  /** Whether the server answered the last time. */
  #reached = true;

  constructor(
    private readonly Hls: typeof HlsClass,
    private readonly video: HTMLVideoElement,
    private readonly request: EngineRequest,
  ) {
    this.#hls = this.#make(request.startAt ?? -1);
    this.#follow(this.#hls);
    this.#hls.loadSource(request.url);
    this.#hls.attachMedia(video);
  }

  #make(startPosition: number, autoStartLoad = true): HlsClass {
    const { live } = this.request;
    return new this.Hls({
      // The worker repackages MPEG-TS; what comes here is CMAF already.
      enableWorker: false,
      startPosition,
      autoStartLoad,
      capLevelToPlayerSize: true,
      maxBufferLength: 30,
      backBufferLength: 60,
      startFragPrefetch: !live,
      audioStreamController: mended(this.Hls),
      ...(live && { ...LIVE_CONFIG, lowLatencyMode: live === 'low' }),
    });
  }

  #follow(hls: HlsClass): void {
    const { Events } = this.Hls;
    for (const event of [Events.MANIFEST_PARSED, Events.LEVEL_SWITCHED, Events.LEVELS_UPDATED, Events.AUDIO_TRACKS_UPDATED, Events.AUDIO_TRACK_SWITCHED] as const) {
      hls.on(event, () => this.#tell());
    }
    hls.on(Events.LEVEL_LOADED, () => (this.#reached = true));
    hls.on(Events.ERROR, (_, error) => {
      if (error.type === this.Hls.ErrorTypes.NETWORK_ERROR && !error.frag) this.#reached = error.response?.code === NOTHING_NEW;
      if (!error.fatal || hls !== this.#hls) return;
      if (error.type === this.Hls.ErrorTypes.MEDIA_ERROR && this.#recoveries < MEDIA_RECOVERIES_MAX) {
        this.#recoveries += 1;
        hls.recoverMediaError();
        return;
      }
      this.request.onFailure(error.type === this.Hls.ErrorTypes.NETWORK_ERROR ? 'network' : 'media');
    });
  }

  #tell(): void {
    const hls = this.#hls;
    const playing = hls.levels[hls.currentLevel];
    const sound = hls.audioTracks[hls.audioTrack];
    if (playing) this.#playing = idOf(playing);
    this.request.onOffer({
      qualities: qualitiesOf(hls.levels),
      chosen: this.#chosen,
      playing: this.#playing,
      sounds: hls.audioTracks.map(({ name, lang }) => ({ id: name, label: soundLabel(name, lang) })),
      sound: sound?.name ?? null,
    });
  }

  edge(): LiveEdge | null {
    const details = this.#hls.latestLevelDetails;
    if (!this.request.live || !details || details.fragments.length === 0) return null;
    return edgeOf(details, { at: this.video.currentTime, live: this.#hls.liveSyncPosition, reached: this.#reached });
  }

  closeUp(): void {
    const details = this.#hls.latestLevelDetails;
    const close = (this.request.live === 'low' && details?.partHoldBack) || details?.holdBack;
    if (close) this.#hls.targetLatency = close;
  }

  bitrate(): number | null {
    return this.#hls.levels[this.#hls.currentLevel]?.bitrate ?? null;
  }

  throughput(): number | null {
    const estimate = this.#hls.bandwidthEstimate;
    return Number.isFinite(estimate) && estimate > 0 ? Math.round(estimate) : null;
  }

  choose(quality: string | null): void {
    this.#chosen = quality;
    this.#hls.nextLevel = levelFor(this.#hls, quality);
    if (this.#inherited) this.#forgetPictures(SWITCH_AHEAD_S);
    this.#tell();
  }

  /**
   * Drops pictures that lie further from the position than this, so that they are loaded anew as chosen by now. hls.js does
   * so by itself with what it loaded, but does not know what it took over from another instance.
   */
  #forgetPictures(marginS: number): void {
    const { currentTime } = this.video;
    const flush = (startOffset: number, endOffset: number) =>
      this.#hls.trigger(this.Hls.Events.BUFFER_FLUSHING, { startOffset, endOffset, type: 'video' });
    flush(currentTime + marginS, Number.POSITIVE_INFINITY);
    if (currentTime > marginS) flush(0, currentTime - marginS);
  }

  listen(sound: string): void {
    this.#sound = sound;
    const index = this.#hls.audioTracks.findIndex(({ name }) => name === sound);
    if (index >= 0) this.#hls.audioTrack = index;
  }

  refresh(): void {
    this.#next?.destroy();
    const next = this.#make(-1, false);
    this.#next = next;
    next.once(this.Hls.Events.MANIFEST_PARSED, () => this.#takeOver(next));
    next.once(this.Hls.Events.ERROR, () => {
      // The old manifest still plays; the next change asks again.
      if (this.#next === next) this.#next = null;
      next.destroy();
    });
    next.loadSource(this.request.url);
  }

  /** Hands the element with all that is buffered from the old instance to the one with the newer manifest. */
  #takeOver(next: HlsClass): void {
    if (this.#next !== next) return;
    this.#next = null;
    const old = this.#hls;
    const media = old.transferMedia();
    next.removeAllListeners(this.Hls.Events.ERROR);
    this.#hls = next;
    this.#follow(next);
    next.bandwidthEstimate = old.bandwidthEstimate;
    next.attachMedia(media ?? this.video);
    old.destroy();
    const chosen = levelFor(next, this.#chosen);
    if (chosen >= 0) next.startLevel = chosen;
    next.startLoad(this.video.currentTime, true);
    if (chosen >= 0) next.nextLevel = chosen;
    this.#inherited = true;
    if (this.#chosen === null) this.#forgetPictures(KEEP_AHEAD_S);
    if (this.#sound !== null) this.listen(this.#sound);
    this.#tell();
  }

  destroy(): void {
    this.#next?.destroy();
    this.#hls.destroy();
  }
}

/**
 * Two faults of hls.js 1.7 stop live streams. Sound that came before the first picture of its epoch is set aside until that is
 * known; it is looked for once in 100 ms only, and when a further part of the sound comes sooner, the one set aside is forgotten and
 * no sound is loaded any more. And a segment of which a fifth of a second is missing counts as loaded, although its last part may be
 * as short: so it does where that part is listed while the one before it is still on its way, as for viewers far away.
 */
function mended({ DefaultConfig }: typeof HlsClass): HlsConfig['audioStreamController'] {
  const Base = DefaultConfig.audioStreamController;
  if (!Base) return undefined;
  return class extends Base {
    constructor(...made: ConstructorParameters<NonNullable<HlsConfig['audioStreamController']>>) {
      super(...made);
      const [hls, tracker] = made;
      const stateOf = tracker.getState.bind(tracker);
      tracker.getState = (segment) => {
        const tracks = segment.type === 'audio' ? this.levels : hls.levels;
        const parts = tracks?.[segment.level]?.details?.partList ?? [];
        const state = stateOf(segment);
        return state === LOADED && isWithoutItsEnd(segment, parts) ? PARTIAL : state;
      };
    }

    override onInitPtsFound(...found: Parameters<typeof Base.prototype.onInitPtsFound>): void {
      super.onInitPtsFound(...found);
      if (this.state === 'WAITING_INIT_PTS') this.tick();
    }
  };
}

/** What hls.js calls the states of a segment that is loaded, and of one that has to be loaded further. */
const LOADED = 'OK' as FragmentState;
const PARTIAL = 'PARTIAL' as FragmentState;

/** Whether parts of a segment are loaded, but not its last one. */
function isWithoutItsEnd(segment: Fragment, parts: Part[]): boolean {
  const own = parts.filter(({ fragment }) => fragment.sn === segment.sn);
  return own.some(({ loaded }) => loaded) && own.at(-1)?.loaded === false;
}

function sideOf(level: Level): number {
  return Math.min(level.width, level.height);
}

/** Levels that differ in their sound alone are one quality. */
function idOf(level: Level): string {
  return `${sideOf(level)} ${level.videoCodec?.split('.')[0] ?? ''}`;
}

export function qualitiesOf(levels: Level[]): Quality[] {
  const found = new Map<string, Quality>();
  for (const level of levels) {
    if (level.width > 0) found.set(idOf(level), { id: idOf(level), side: sideOf(level), codec: codecName(level.videoCodec) });
  }
  return [...found.values()].sort((one, other) => other.side - one.side || one.codec.localeCompare(other.codec));
}

export function codecName(codec: string | undefined): string {
  if (codec?.startsWith('av01')) return 'AV1';
  return codec?.startsWith('avc') ? 'H.264' : (codec ?? '');
}

/** Index of the level to play for a quality, with the sound that is being played if it can be; -1 for any. */
function levelFor(hls: HlsClass, quality: string | null): number {
  if (quality === null) return -1;
  const group = hls.levels[hls.currentLevel]?.attrs.AUDIO;
  const fits = hls.levels.map((level, index) => ({ level, index })).filter(({ level }) => idOf(level) === quality);
  return (fits.find(({ level }) => level.attrs.AUDIO === group) ?? fits[0])?.index ?? -1;
}

/** A track by its language in the viewer's own, when it has one. */
export function soundLabel(name: string, language: string | undefined): string {
  if (!language || !name.startsWith(language)) return name;
  try {
    const spoken = new Intl.DisplayNames(undefined, { type: 'language' }).of(language) ?? language;
    return spoken + name.slice(language.length);
  } catch {
    return name;
  }
}

function attachNative(video: HTMLVideoElement, request: EngineRequest): Engine {
  const onError = () => request.onFailure(video.error?.code === MediaError.MEDIA_ERR_NETWORK ? 'network' : 'media');
  const onMetadata = () => {
    if (request.startAt) video.currentTime = request.startAt;
  };
  video.addEventListener('error', onError);
  video.addEventListener('loadedmetadata', onMetadata, { once: true });
  video.src = request.url;
  return {
    ...INERT,
    edge: () => (request.live ? nativeEdge(video) : null),
    destroy: () => {
      video.removeEventListener('error', onError);
      video.removeEventListener('loadedmetadata', onMetadata);
      video.removeAttribute('src');
      video.load();
    },
  };
}
