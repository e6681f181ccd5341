/** The HTTP API: one place that knows paths' prefix, headers and what an error looks like. */

export const API = '/api/v1';

/** Tells the server to keep the refresh token in an HttpOnly cookie instead of handing it to scripts. */
export const BROWSER_HEADER = { 'X-Playhouse-Client': 'browser' } as const;

/** One field the server refused. `pointer` is a JSON pointer, e.g. `/title`. */
export interface FieldProblem {
  pointer: string;
  code: string;
  detail: string;
}

/** A refused or failed request (RFC 9457), or a connection that did not work (`status` 0). */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly fields: FieldProblem[] = [],
    readonly requestId: string | null = null,
    /** Seconds to wait before trying again, when the server said so. */
    readonly retryAfter: number | null = null,
  ) {
    super(message);
    this.name = 'ApiError';
  }

  /** What is wrong with one form field, by its API name. */
  field(name: string): string | undefined {
    return this.fields.find((field) => field.pointer === `/${name}`)?.detail;
  }
}

export interface Reply<T> {
  data: T;
  etag: string | null;
}

export interface RequestOptions {
  body?: unknown;
  token?: string | null;
  headers?: Record<string, string>;
  signal?: AbortSignal;
  /** Lets the request outlive the page. */
  keepalive?: boolean;
}

/** One request. Resolves with the parsed body (`undefined` for an empty one), rejects with {@link ApiError}. */
export async function request<T>(method: string, path: string, options: RequestOptions = {}): Promise<Reply<T>> {
  const headers: Record<string, string> = { Accept: 'application/json', ...BROWSER_HEADER, ...options.headers };
  if (options.token) headers.Authorization = `Bearer ${options.token}`;
  if (options.body !== undefined) headers['Content-Type'] ??= 'application/json';
  let response: Response;
  try {
    response = await fetch(API + path, {
      method,
      headers,
      body: bodyOf(options.body),
      credentials: 'same-origin',
      signal: options.signal,
      keepalive: options.keepalive,
    });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new ApiError(0, 'offline', 'The server cannot be reached. Check your connection and try again.');
  }
  if (!response.ok) throw await readProblem(response);
  const text = await response.text();
  return { data: (text ? JSON.parse(text) : undefined) as T, etag: response.headers.get('ETag') };
}

/** Files go as they are, anything else as JSON. */
function bodyOf(body: unknown): BodyInit | undefined {
  if (body === undefined) return undefined;
  return body instanceof Blob ? body : JSON.stringify(body);
}

async function readProblem(response: Response): Promise<ApiError> {
  const seconds = Number.parseInt(response.headers.get('Retry-After') ?? '', 10);
  const retryAfter = Number.isFinite(seconds) ? seconds : null;
  const problem = await response.json().catch(() => ({}));
  const message = problem.detail ?? problem.title ?? fallbackMessage(response.status);
  return new ApiError(
    response.status,
    problem.code ?? 'unknown',
    message,
    Array.isArray(problem.errors) ? problem.errors : [],
    problem.request_id ?? null,
    retryAfter,
  );
}

function fallbackMessage(status: number): string {
  if (status === 404) return 'That does not exist.';
  if (status === 429) return 'Too many requests. Wait a moment and try again.';
  if (status >= 500) return 'The server had a problem. Try again in a moment.';
  return `The request was refused (${status}).`;
}

/** Any thrown value as words for a person. */
export function explain(error: unknown): string {
  if (error instanceof ApiError) {
    if (error.fields.length > 0) return error.fields.map(fieldText).join(' ');
    const wait = error.status === 429 && error.retryAfter ? ` Try again in ${error.retryAfter} s.` : '';
    return error.message + wait;
  }
  return error instanceof Error ? error.message : 'Something went wrong.';
}

/** `/display_name` and what is wrong with it, as `Display name: must have …`. */
function fieldText({ pointer, detail }: FieldProblem): string {
  const name = pointer.replace(/^\//, '').replaceAll('_', ' ');
  const text = name ? `${name[0]?.toUpperCase()}${name.slice(1)}: ${detail}` : detail;
  return /[.!?]['”"]?$/.test(text) ? text : `${text}.`;
}
