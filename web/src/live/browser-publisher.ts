/** Publishing from this page by WHIP (RFC 9725): camera or screen go to the server over WebRTC. */

export type Source = 'camera' | 'screen';

export interface Choice {
  source: Source;
  /** Ids of devices; empty: whatever the browser takes. */
  camera?: string;
  microphone?: string;
  sound: boolean;
}

/** Bits a second of pictures at most. */
const VIDEO_BITRATE = 4_000_000;
const FRAME_RATE = 30;

/** Whether a browser gives pages cameras and screens at all: it does so on secure pages only. */
export function reason(scope: Pick<typeof globalThis, 'isSecureContext'> & { navigator?: Partial<Navigator> }): string | null {
  if (!scope.isSecureContext) return 'Browsers give cameras and screens only to pages over HTTPS. Open this page over HTTPS, or publish with another program.';
  if (!scope.navigator?.mediaDevices || typeof RTCPeerConnection === 'undefined') return 'This browser cannot publish. Use another one, or another program.';
  return null;
}

/** What went wrong, for a person. */
export function explainMedia(error: unknown): string {
  const name = error instanceof Error ? error.name : '';
  switch (name) {
    case 'NotAllowedError':
      return 'The browser was not allowed to use it. Allow camera, microphone or screen for this page, and try again.';
    case 'NotFoundError':
    case 'OverconstrainedError':
      return 'There is no such camera or microphone. Is it plugged in?';
    case 'NotReadableError':
    case 'AbortError':
      return 'The camera, microphone or screen cannot be read: another program may be using it.';
    default:
      return error instanceof Error && error.message ? error.message : 'It does not work, and the browser does not say why.';
  }
}

/** Asks the browser for what was chosen; a person may be asked, too. */
export async function capture({ source, camera, microphone, sound }: Choice): Promise<MediaStream> {
  const devices = navigator.mediaDevices;
  const size = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: FRAME_RATE, max: FRAME_RATE } };
  const audio = sound && { ...(microphone ? { deviceId: { exact: microphone } } : {}), echoCancellation: source === 'camera' };
  if (source === 'camera') {
    return hinted(await devices.getUserMedia({ video: { ...size, ...(camera ? { deviceId: { exact: camera } } : {}) }, audio }), 'motion');
  }
  const screen = await devices.getDisplayMedia({ video: { frameRate: { ideal: FRAME_RATE, max: FRAME_RATE } }, audio: sound });
  if (sound && screen.getAudioTracks().length === 0) {
    // The screen gives no sound: that of a microphone is better than none.
    try {
      const voice = await devices.getUserMedia({ audio: audio || true });
      voice.getAudioTracks().forEach((track) => screen.addTrack(track));
    } catch (error) {
      release(screen);
      throw error;
    }
  }
  return hinted(screen, 'detail');
}

/** What the pictures are like decides what the encoder gives up first. */
function hinted(stream: MediaStream, hint: string): MediaStream {
  for (const track of stream.getVideoTracks()) track.contentHint = hint;
  return stream;
}

/** Lets go of devices. */
export function release(stream: MediaStream | null): void {
  stream?.getTracks().forEach((track) => track.stop());
}

/** The reason in a problem's body, or one made of the status. */
export async function refusal(response: Pick<Response, 'status' | 'json'>): Promise<string> {
  try {
    const { detail } = (await response.json()) as { detail?: unknown };
    if (typeof detail === 'string' && detail) return detail;
  } catch {
    // Something between here and the server has answered.
  }
  return `The server refuses the stream (${response.status}).`;
}

export type State = 'connecting' | 'live' | 'interrupted' | 'over';

/** One session, from its offer to its end. */
export class BrowserPublisher {
  #connection = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
  #session: string | null = null;
  #over = false;

  constructor(
    private readonly url: string,
    private readonly onstate: (state: State, reason?: string) => void,
  ) {
    this.#connection.addEventListener('connectionstatechange', () => this.#changed());
  }

  async start(stream: MediaStream): Promise<void> {
    this.onstate('connecting');
    for (const track of stream.getTracks()) {
      const pictures = track.kind === 'video';
      this.#connection.addTransceiver(track, {
        direction: 'sendonly',
        streams: [stream],
        sendEncodings: pictures ? [{ maxBitrate: VIDEO_BITRATE, maxFramerate: FRAME_RATE }] : undefined,
      });
    }
    await this.#connection.setLocalDescription();
    const response = await fetch(this.url, {
      method: 'POST',
      headers: { 'Content-Type': 'application/sdp' },
      body: this.#connection.localDescription?.sdp,
    });
    if (!response.ok) throw new Error(await refusal(response));
    this.#session = new URL(response.headers.get('Location') ?? '', new URL(this.url, location.href)).href;
    const sdp = await response.text();
    if (this.#over) return this.#forget();
    await this.#connection.setRemoteDescription({ type: 'answer', sdp });
    // Not every browser's connection says so when the other side ends it.
    const transport = this.#connection.getSenders()[0]?.transport;
    transport?.addEventListener('statechange', () => transport.state === 'closed' && this.#ended());
    await this.#keepSize();
  }

  #ended(): void {
    if (this.#over) return;
    this.stop();
    this.onstate('over', 'The server has ended the session: another publisher may have taken over, or the stream was ended.');
  }

  /** Viewers' players are interrupted when pictures change their size: rather fewer than smaller ones. */
  async #keepSize(): Promise<void> {
    for (const sender of this.#connection.getSenders().filter(({ track }) => track?.kind === 'video')) {
      const parameters = sender.getParameters() as RTCRtpSendParameters & { degradationPreference?: string };
      parameters.degradationPreference = 'maintain-resolution';
      await sender.setParameters(parameters).catch(() => undefined);
    }
  }

  #changed(): void {
    if (this.#over) return;
    switch (this.#connection.connectionState) {
      case 'connected':
        return this.onstate('live');
      case 'disconnected':
        return this.onstate('interrupted');
      case 'failed':
        this.stop();
        return this.onstate('over', 'The connection to the server was lost, or cannot be made: its UDP port for WebRTC may be blocked.');
      case 'closed':
        return this.#ended();
    }
  }

  /** Ends it; also when the page goes away. */
  stop(): void {
    this.#over = true;
    this.#connection.close();
    this.#forget();
  }

  #forget(): void {
    if (this.#session) void fetch(this.#session, { method: 'DELETE', keepalive: true }).catch(() => undefined);
    this.#session = null;
  }
}
