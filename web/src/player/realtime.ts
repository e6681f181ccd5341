/** Feeds a `<video>` by WHEP: media over WebRTC, as they come, within a fraction of a second. */
import { refusal } from '../live/browser-publisher';
import { INERT, type Engine } from './engine';

/** How long it may take until something is shown. */
const FIRST_PICTURE_MS = 8000;
/** Nothing new for this long is an interruption. */
const STALLED_AFTER_MS = 3000;

export interface RealtimeRequest {
  url: string;
  /** The connection is gone; nothing more comes from it. */
  onFailure(): void;
}

/** Whether this browser can do it at all. */
export function hasRealtime(scope: object = globalThis): boolean {
  return 'RTCPeerConnection' in scope;
}

/** Browsers decode sound in stereo only where their offer asks for it. */
export function withStereo(sdp: string): string {
  const opus = /a=rtpmap:(\d+) opus\/48000\/2/i.exec(sdp)?.[1];
  if (!opus) return sdp;
  return sdp.replace(new RegExp(`(a=fmtp:${opus} (?:(?!stereo=1).)*?)(\\r?\\n)`), '$1;stereo=1$2');
}

/** Resolves when something is shown. */
export async function attachRealtime(video: HTMLVideoElement, request: RealtimeRequest): Promise<Engine> {
  const connection = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
  const stream = new MediaStream();
  let session: string | null = null;
  let over = false;
  let attached = false;
  const destroy = () => {
    over = true;
    removeEventListener('pagehide', destroy);
    connection.close();
    if (session) void fetch(session, { method: 'DELETE', keepalive: true }).catch(() => undefined);
    session = null;
    if (video.srcObject === stream) video.srcObject = null;
  };
  const gone = () => {
    if (over) return;
    destroy();
    if (attached) request.onFailure();
  };
  // Nobody is to wait for a page that is gone.
  addEventListener('pagehide', destroy);
  try {
    for (const kind of ['audio', 'video']) connection.addTransceiver(kind, { direction: 'recvonly' });
    connection.addEventListener('track', ({ track }) => stream.addTrack(track));
    await connection.setLocalDescription();
    const response = await fetch(request.url, {
      method: 'POST',
      headers: { 'Content-Type': 'application/sdp' },
      body: withStereo(connection.localDescription?.sdp ?? ''),
    });
    if (!response.ok) throw new Error(await refusal(response));
    session = new URL(response.headers.get('Location') ?? '', new URL(request.url, location.href)).href;
    connection.addEventListener('connectionstatechange', () => ['failed', 'closed'].includes(connection.connectionState) && gone());
    await connection.setRemoteDescription({ type: 'answer', sdp: await response.text() });
    // Not every browser's connection says so when the other side ends it.
    const transport = connection.getReceivers()[0]?.transport;
    transport?.addEventListener('statechange', () => transport.state === 'closed' && gone());
    video.srcObject = stream;
    await firstPicture(video, () => over);
    attached = true;
  } catch (error) {
    destroy();
    throw error;
  }
  let frames = 0;
  let movedAt = performance.now();
  const edge: Engine['edge'] = () => {
    const { totalVideoFrames } = video.getVideoPlaybackQuality();
    if (totalVideoFrames !== frames || video.paused) movedAt = performance.now();
    frames = totalVideoFrames;
    const at = video.currentTime;
    const stalled = performance.now() - movedAt > STALLED_AFTER_MS;
    const isReached = connection.connectionState === 'connected';
    return { start: at, end: at, live: at, latency: null, stalled: stalled ? (isReached ? 'publisher' : 'server') : null, next: null, over: false };
  };
  return { ...INERT, edge, destroy };
}

/** A picture's size is known when it has come, whether the element may play or not. */
function firstPicture(video: HTMLVideoElement, isOver: () => boolean): Promise<void> {
  const begun = performance.now();
  return new Promise((resolve, reject) => {
    const look = () => {
      if (video.videoWidth > 0 && video.readyState >= video.HAVE_CURRENT_DATA) return resolve();
      if (isOver() || performance.now() - begun > FIRST_PICTURE_MS) return reject(new Error('nothing is shown'));
      window.setTimeout(look, 50);
    };
    look();
  });
}
