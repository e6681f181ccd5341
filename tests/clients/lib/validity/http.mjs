// Requests with exact times, nothing decoded behind our back.
import http from 'node:http';
import https from 'node:https';

/** Longest wait for an answer: blocking requests are held for some target durations. */
const PATIENCE_MS = 60_000;

/** Milliseconds since 1970, never going back. */
export function now() {
  return performance.timeOrigin + performance.now();
}

/** Waits so long, or until the signal is given. */
export function sleep(ms, signal) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, Math.max(0, ms));
    signal?.addEventListener('abort', done, { once: true });
    if (signal?.aborted) done();
  });
}

/** Times at which this process itself stood still: `{ from, to }`. */
const stalls = [];
/** How often it is looked whether it stands still, and what counts as such. */
const TICK_MS = 20;
const STALL_MS = 40;

let watchers = 0;
let timer = null;

/** Notes stalls of this process until the signal is given, so that nobody is blamed for them. */
export function watchStalls(signal) {
  watchers += 1;
  timer ??= setInterval(tick(now()), TICK_MS);
  signal.addEventListener('abort', () => {
    watchers -= 1;
    if (watchers === 0) timer = clearInterval(timer) ?? null;
  }, { once: true });
}

function tick(last) {
  return () => {
    const at = now();
    if (at - last > TICK_MS + STALL_MS) stalls.push({ from: last + TICK_MS, to: at });
    if (stalls.length > 2000) stalls.splice(0, 1000);
    last = at;
  };
}

/** Milliseconds from one instant to another in which this process could have noticed something. */
export function elapsed(from, to) {
  const lost = stalls.reduce((sum, stall) => sum + Math.max(0, Math.min(to, stall.to) - Math.max(from, stall.from)), 0);
  return to - from - lost;
}

export class Http {
  #agents = {
    'http:': new http.Agent({ keepAlive: true }),
    'https:': new https.Agent({ keepAlive: true, rejectUnauthorized: false }),
  };
  #open = new Set();

  /**
   * `{ status, headers, body, askedAt, headAt, endAt, arrivals }`, or `null` when the session was closed meanwhile.
   * `arrivals` are the times and sizes in which the body came.
   */
  async get(url, { headers = {}, method = 'GET' } = {}) {
    for (let attempt = 0; ; attempt += 1) {
      try {
        return await this.#once(new URL(url), { headers, method });
      } catch (error) {
        if (this.#agents === null) return null;
        // A connection that was kept open may have been closed by the other side at this very moment.
        if (attempt >= 2 || !['ECONNRESET', 'EPIPE'].includes(error.code)) throw new Error(`${method} ${url}: ${error.message}`);
      }
    }
  }

  /** Ends everything that is still held. */
  close() {
    const agents = this.#agents;
    this.#agents = null;
    this.#open.forEach((request) => request.destroy());
    Object.values(agents ?? {}).forEach((agent) => agent.destroy());
  }

  #once(url, { headers, method }) {
    if (this.#agents === null) return Promise.resolve(null);
    const askedAt = now();
    return new Promise((resolve, reject) => {
      const module = url.protocol === 'https:' ? https : http;
      const options = { method, headers, agent: this.#agents[url.protocol], timeout: PATIENCE_MS };
      const request = module.request(url, options, (response) => {
        const answer = { status: response.statusCode, headers: response.headers, askedAt, headAt: now(), arrivals: [] };
        const pieces = [];
        response.on('data', (piece) => {
          pieces.push(piece);
          answer.arrivals.push({ at: now(), bytes: piece.length });
        });
        response.on('end', () => resolve({ ...answer, endAt: now(), body: Buffer.concat(pieces) }));
        response.on('error', reject);
      });
      this.#open.add(request);
      request.on('close', () => this.#open.delete(request));
      request.on('timeout', () => request.destroy(new Error('no answer')));
      request.on('error', reject);
      request.end();
    });
  }
}

/** Directives of a Cache-Control header, `{ 'max-age': 6, immutable: true }`. */
export function caching(headers) {
  const pairs = (headers['cache-control'] ?? '').split(',').map((one) => one.trim().split('='));
  return Object.fromEntries(pairs.filter(([name]) => name).map(([name, value]) => [name, value === undefined ? true : Number(value)]));
}
