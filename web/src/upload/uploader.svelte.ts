/**
 * One upload at a time, by tus: it goes on while other pages are visited, survives lost connections, and can be taken
 * up again after the page was closed (tus-js-client remembers the upload's URL under the file's fingerprint).
 */
import type { Upload } from 'tus-js-client';
import { API, BROWSER_HEADER, explain, request } from '../lib/api';
import { session } from '../lib/session.svelte';
import type { Details } from '../lib/types';
import { deleteVideo } from '../lib/videos';
import { Speed } from './speed';
import { fingerprint, forget, tus, type Unfinished } from './unfinished';

export type Phase = 'idle' | 'starting' | 'uploading' | 'paused' | 'interrupted' | 'done' | 'failed';

/** Proxies in front of a server often limit a request's size; one more round trip per 64 MiB costs nothing. */
const CHUNK_BYTES = 64 * 1024 * 1024;
const RETRY_AFTER_MS = [0, 1000, 3000, 5000, 10_000, 20_000, 30_000];

class Uploader {
  phase = $state<Phase>('idle');
  fileName = $state('');
  sent = $state(0);
  total = $state(0);
  /** Bytes per second; null until known. */
  speed = $state<number | null>(null);
  error = $state('');
  /** The connection is lost and being tried again. */
  retrying = $state(false);
  videoId = $state<string | null>(null);
  title = $state('');

  #upload: Upload | null = null;
  #again: (() => Promise<void>) | null = null;
  #speed = new Speed();

  get busy(): boolean {
    return ['starting', 'uploading', 'paused', 'interrupted'].includes(this.phase);
  }

  /** Seconds left at the present speed; null while unknown. */
  get eta(): number | null {
    return this.speed && this.phase === 'uploading' ? (this.total - this.sent) / this.speed : null;
  }

  /** Starts sending a file, or goes on where `resume` stopped. */
  async start(file: File, details: Details, resume: Unfinished | null): Promise<void> {
    this.reset();
    this.#again = () => this.start(file, details, resume);
    this.phase = 'starting';
    this.fileName = file.name;
    this.title = details.title;
    this.total = file.size;
    try {
      const { Upload } = await tus();
      this.#upload = new Upload(file, await this.#options(file, details));
      if (resume) this.#upload.resumeFromPreviousUpload(resume.previous);
      this.#run();
    } catch (error) {
      this.#fail(explain(error));
    }
  }

  async #options(file: File, details: Details): Promise<ConstructorParameters<typeof Upload>[1]> {
    return {
      endpoint: await uploadsUrl(),
      chunkSize: CHUNK_BYTES,
      retryDelays: RETRY_AFTER_MS,
      removeFingerprintOnSuccess: true,
      fingerprint: () => Promise.resolve(fingerprint(file)),
      metadata: {
        filename: file.name,
        filetype: file.type,
        title: details.title,
        description: details.description,
        tags: details.tags.join(','),
        privacy: details.privacy,
      },
      onBeforeRequest: async (req) => {
        const token = await session.token();
        if (token) req.setHeader('Authorization', `Bearer ${token}`);
        for (const [name, value] of Object.entries(BROWSER_HEADER)) req.setHeader(name, value);
      },
      onAfterResponse: (req, res) => {
        // tus-js-client starts anew whenever it may not ask where it stopped, also when the server is only restarting.
        if (req.getMethod() === 'HEAD' && mayPass(res.getStatus())) throw new Error('cannot be resumed yet');
        this.videoId = res.getHeader('Playhouse-Video-Id') ?? this.videoId;
      },
      onShouldRetry: (error) => {
        const status = error.originalResponse?.getStatus() ?? 0;
        this.retrying = status === 0 || mayPass(status);
        if (this.retrying) this.speed = null;
        return this.retrying;
      },
      onProgress: (sent, total) => this.#progress(sent, total),
      onSuccess: () => {
        this.phase = 'done';
        this.sent = this.total;
      },
      onError: (error) => this.#stopped(error),
    };
  }

  #run(): void {
    this.error = '';
    this.retrying = false;
    this.phase = 'uploading';
    this.#speed = new Speed();
    this.speed = null;
    this.#upload?.start();
  }

  #progress(sent: number, total: number): void {
    if (this.phase !== 'uploading') return;
    this.retrying = false;
    this.sent = sent;
    this.total = total;
    this.speed = this.#speed.at(performance.now(), sent);
  }

  #stopped(error: Error): void {
    const response = 'originalResponse' in error ? (error.originalResponse as { getStatus(): number; getBody(): string } | null) : null;
    if (response === null) {
      this.phase = 'interrupted';
      this.error = 'The connection was lost. What has arrived is kept.';
      addEventListener('online', () => this.resume(), { once: true });
      return;
    }
    this.#fail(problemText(response));
  }

  #fail(reason: string): void {
    this.phase = 'failed';
    this.error = reason;
  }

  async pause(): Promise<void> {
    if (this.phase !== 'uploading') return;
    this.phase = 'paused';
    this.speed = null;
    await this.#upload?.abort();
  }

  resume(): void {
    if (this.phase === 'paused' || this.phase === 'interrupted') this.#run();
  }

  /** Tries again after a refusal that may have been temporary. */
  retry(): void {
    if (this.phase !== 'failed') return;
    if (this.#upload) this.#run();
    else void this.#again?.();
  }

  /** Gives up: the server drops what it has. */
  async cancel(): Promise<void> {
    const upload = this.#upload;
    const video = this.videoId;
    this.reset();
    await upload?.abort().catch(() => undefined);
    if (upload?.url) await forget(upload.url);
    if (video) await deleteVideo(video).catch(() => undefined);
  }

  reset(): void {
    this.#upload = null;
    this.#again = null;
    this.phase = 'idle';
    this.sent = 0;
    this.total = 0;
    this.speed = null;
    this.error = '';
    this.videoId = null;
    this.fileName = '';
    this.title = '';
  }
}

/** Refusals that another try may not meet: a stale token, a lock held by a dead connection, a busy or restarting server. */
function mayPass(status: number): boolean {
  return status >= 500 || [401, 409, 423, 429].includes(status);
}

/** Where uploads are created: the server says so itself. */
async function uploadsUrl(): Promise<string> {
  const { data } = await request<{ uploads_url?: string }>('GET', '');
  return data?.uploads_url ?? `${API}/uploads`;
}

function problemText(response: { getStatus(): number; getBody(): string }): string {
  try {
    const problem = JSON.parse(response.getBody());
    const field = problem.errors?.[0]?.detail;
    return [problem.detail ?? problem.title, field].filter(Boolean).join(' ');
  } catch {
    return `The server refused the upload (${response.getStatus()}).`;
  }
}

export const uploader = new Uploader();

addEventListener('beforeunload', (event) => {
  if (['starting', 'uploading'].includes(uploader.phase)) event.preventDefault();
});
