/** Feeds a `<video>` from an HLS manifest: hls.js where Media Source Extensions exist, the browser's own player else. */
import type HlsClass from 'hls.js';

export interface Engine {
  /** Bits per second of what is being played, when known. */
  bitrate(): number | null;
  destroy(): void;
}

export type FailureKind = 'network' | 'media' | 'unsupported';

export interface EngineRequest {
  url: string;
  /** Seconds. */
  startAt: number;
  /** The engine gave up; nothing more comes from it. */
  onFailure(kind: FailureKind): void;
}

/** How often a decoder is set up anew before the media count as broken. */
const MEDIA_RECOVERIES_MAX = 2;

let library: Promise<typeof HlsClass> | null = null;

/** Starts loading hls.js, so that it arrives while other answers are awaited. */
export function preloadEngine(): Promise<typeof HlsClass> {
  library ??= import('hls.js').then((module) => module.default);
  library.catch(() => (library = null));
  return library;
}

export async function attachEngine(video: HTMLVideoElement, request: EngineRequest): Promise<Engine> {
  const Hls = await preloadEngine();
  if (Hls.isSupported()) return attachHls(Hls, video, request);
  if (video.canPlayType('application/vnd.apple.mpegurl')) return attachNative(video, request);
  request.onFailure('unsupported');
  return { bitrate: () => null, destroy: () => undefined };
}

function attachHls(Hls: typeof HlsClass, video: HTMLVideoElement, request: EngineRequest): Engine {
  const hls = new Hls({
    // The worker repackages MPEG-TS; what comes here is CMAF already.
    enableWorker: false,
    startPosition: request.startAt,
    capLevelToPlayerSize: true,
    maxBufferLength: 30,
    backBufferLength: 60,
    startFragPrefetch: true,
  });
  let recoveries = 0;
  hls.on(Hls.Events.ERROR, (_, error) => {
    if (!error.fatal) return;
    if (error.type === Hls.ErrorTypes.MEDIA_ERROR && recoveries < MEDIA_RECOVERIES_MAX) {
      recoveries += 1;
      hls.recoverMediaError();
      return;
    }
    request.onFailure(error.type === Hls.ErrorTypes.NETWORK_ERROR ? 'network' : 'media');
  });
  hls.loadSource(request.url);
  hls.attachMedia(video);
  return {
    bitrate: () => hls.levels[hls.currentLevel]?.bitrate ?? null,
    destroy: () => hls.destroy(),
  };
}

function attachNative(video: HTMLVideoElement, request: EngineRequest): Engine {
  const onError = () => request.onFailure(video.error?.code === MediaError.MEDIA_ERR_NETWORK ? 'network' : 'media');
  const onMetadata = () => {
    if (request.startAt > 0) video.currentTime = request.startAt;
  };
  video.addEventListener('error', onError);
  video.addEventListener('loadedmetadata', onMetadata, { once: true });
  video.src = request.url;
  return {
    bitrate: () => null,
    destroy: () => {
      video.removeEventListener('error', onError);
      video.removeEventListener('loadedmetadata', onMetadata);
      video.removeAttribute('src');
      video.load();
    },
  };
}
