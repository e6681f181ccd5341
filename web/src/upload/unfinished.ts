/** Uploads of this browser that were started and not finished. */
import type { PreviousUpload } from 'tus-js-client';
import { BROWSER_HEADER } from '../lib/api';
import { session } from '../lib/session.svelte';
import type { Details, Privacy } from '../lib/types';
import { parseTags } from '../lib/format';

export interface Unfinished {
  previous: PreviousUpload;
  fileName: string;
  size: number;
  details: Details;
}

export function tus(): Promise<typeof import('tus-js-client')> {
  return import('tus-js-client');
}

/** Names a file for the account that is signed in, so that two people at one computer do not take over each other's uploads. */
export function fingerprint(file: File): string {
  return [prefix(), file.name, file.size, file.lastModified].join('-');
}

function prefix(): string {
  return `playhouse-${session.user?.user_id ?? 'nobody'}`;
}

/** What was begun for exactly this file. */
export async function findFor(file: File): Promise<Unfinished | null> {
  const { defaultOptions } = await tus();
  const found = await defaultOptions.urlStorage.findUploadsByFingerprint(fingerprint(file));
  const newest = found.filter((upload) => upload.uploadUrl).sort(newestFirst)[0];
  return newest ? describe(newest) : null;
}

/** Everything this account began here. */
export async function findAll(): Promise<Unfinished[]> {
  const { defaultOptions } = await tus();
  const all = await defaultOptions.urlStorage.findAllUploads();
  return all
    .filter((upload) => upload.uploadUrl && upload.urlStorageKey.startsWith(`tus::${prefix()}-`))
    .sort(newestFirst)
    .map(describe);
}

function newestFirst(a: PreviousUpload, b: PreviousUpload): number {
  return Date.parse(b.creationTime) - Date.parse(a.creationTime);
}

function describe(previous: PreviousUpload): Unfinished {
  const { filename, title, description, tags, privacy } = previous.metadata;
  return {
    previous,
    fileName: filename ?? '',
    size: previous.size ?? 0,
    details: {
      title: title ?? '',
      description: description ?? '',
      tags: parseTags(tags ?? ''),
      privacy: (privacy ?? 'public') as Privacy,
    },
  };
}

/** Drops an upload here and on the server; one that is gone there already is fine. */
export async function forget(url: string): Promise<void> {
  const { Upload, defaultOptions } = await tus();
  const token = await session.token();
  const headers = { ...BROWSER_HEADER, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  await Upload.terminate(url, { headers, retryDelays: [] }).catch(() => undefined);
  for (const upload of await defaultOptions.urlStorage.findAllUploads()) {
    if (upload.uploadUrl === url) await defaultOptions.urlStorage.removeUpload(upload.urlStorageKey);
  }
}
