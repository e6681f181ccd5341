/**
 * Who is signed in. The access token lives in this module's memory only; the refresh token is an HttpOnly cookie that
 * scripts never see. A refresh token is good once and its reuse signs the device out, so refreshing is serialised
 * over all tabs.
 */
import { API, ApiError, request, type Reply, type RequestOptions } from './api';
import { exclusively } from './lock';
import { recall, remember } from './storage';
import type { TokenReply, User } from './types';

/** Set while a cookie is likely there, so that a visitor without one is not greeted with a refused refresh. */
const HINT = 'playhouse.signed-in';
/** Set while a refresh is on its way. */
const ROTATING = 'playhouse.refreshing-since';
/** A page that was left during a refresh leaves its answer to the browser; the next one gives it this long. */
const ORPHAN_MS = 2000;
/** A token with less life than this is renewed before use. */
const RENEW_BEFORE_MS = 30_000;

class Session {
  user = $state<User | null>(null);
  /** Whether it is known by now if someone is signed in. */
  settled = $state(false);

  #token: string | null = null;
  #expiresAt = 0;
  #refreshing: Promise<string | null> | null = null;
  #ready: Promise<void> | null = null;
  #tabs = typeof BroadcastChannel === 'undefined' ? null : new BroadcastChannel('playhouse.session');

  /** Finds out who is signed in; once per page. */
  start(): Promise<void> {
    this.#ready ??= this.#begin();
    return this.#ready;
  }

  async #begin(): Promise<void> {
    this.#tabs?.addEventListener('message', (event) => this.#heard(event.data));
    try {
      if (recall(HINT) !== null) await this.refresh();
    } catch {
      // Unreachable server: the page shows that where it needs the server.
    } finally {
      this.settled = true;
    }
  }

  #heard(what: unknown): void {
    if (what === 'out') this.#clear();
    if (what === 'in') void this.refresh().catch(() => undefined);
  }

  async signIn(username: string, password: string): Promise<void> {
    const { data } = await request<TokenReply>('POST', '/auth/login', { body: { username, password } });
    this.#accept(data);
    this.#tabs?.postMessage('in');
  }

  async register(username: string, email: string, password: string): Promise<void> {
    const { data } = await request<TokenReply>('POST', '/auth/register', { body: { username, email, password } });
    this.#accept(data);
    this.#tabs?.postMessage('in');
  }

  async signOut(): Promise<void> {
    await exclusively('playhouse.refresh', () => request('POST', '/auth/logout', { token: this.#token }));
    this.#clear();
    this.#tabs?.postMessage('out');
  }

  /** A good access token, or null for a visitor. */
  async token(): Promise<string | null> {
    await this.start();
    if (this.#token && Date.now() < this.#expiresAt - RENEW_BEFORE_MS) return this.#token;
    return this.user ? this.refresh() : null;
  }

  /** Trades the cookie for a new access token; null when nobody is signed in. */
  refresh(): Promise<string | null> {
    this.#refreshing ??= exclusively('playhouse.refresh', () => this.#rotate()).finally(() => {
      this.#refreshing = null;
    });
    return this.#refreshing;
  }

  async #rotate(): Promise<string | null> {
    await orphanedRefresh();
    remember(ROTATING, String(Date.now()));
    try {
      // keepalive: leaving the page must not lose the answer that carries the next cookie
      const { data } = await request<TokenReply>('POST', '/auth/refresh', { keepalive: true });
      remember(ROTATING, null);
      this.#accept(data);
      return data.access_token;
    } catch (error) {
      // Without an answer the cookie may still be on its way: the mark stays.
      if (error instanceof ApiError && error.status > 0) remember(ROTATING, null);
      if (!(error instanceof ApiError) || ![400, 401, 403].includes(error.status)) throw error;
      this.#clear();
      return null;
    }
  }

  /** A request as whoever is signed in; an expired token is renewed once. */
  async call<T>(method: string, path: string, options: RequestOptions = {}): Promise<Reply<T>> {
    const token = await this.token();
    try {
      return await request<T>(method, path, { ...options, token });
    } catch (error) {
      if (!token || !(error instanceof ApiError) || error.status !== 401) throw error;
      const renewed = await this.refresh();
      if (!renewed) throw error;
      return request<T>(method, path, { ...options, token: renewed });
    }
  }

  /** A file that only some may see. */
  async fetched(path: string): Promise<Blob> {
    const token = await this.token();
    const response = await fetch(API + path, { headers: token ? { Authorization: `Bearer ${token}` } : {} });
    if (!response.ok) throw new ApiError(response.status, 'unknown', 'The file could not be loaded.');
    return response.blob();
  }

  /** The token as it is now, for requests that cannot wait because the page is going away. */
  get tokenNow(): string | null {
    return this.#token;
  }

  #accept(reply: TokenReply): void {
    this.#token = reply.access_token;
    this.#expiresAt = Date.now() + reply.expires_in * 1000;
    this.user = reply.user;
    this.settled = true;
    remember(HINT, '1');
  }

  #clear(): void {
    this.#token = null;
    this.#expiresAt = 0;
    this.user = null;
    remember(HINT, null);
  }
}

/** Waits for the next cookie when the page before this one was left between sending the old one and getting it. */
async function orphanedRefresh(): Promise<void> {
  const age = Date.now() - Number(recall(ROTATING) ?? 0);
  if (age >= 0 && age < ORPHAN_MS) await new Promise((resolve) => setTimeout(resolve, ORPHAN_MS - age));
}

export const session = new Session();
