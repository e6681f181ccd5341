/** Calls about live streams. */
import type { Reply } from './api';
import { session } from './session.svelte';
import type { Details, Live, LiveChoices, Page, Pull, Push } from './types';

const PAGE_LIMIT = 24;

/** What is live now, or all of one's own. */
export async function listLives(cursor: string | null, mine: boolean): Promise<Page<Live>> {
  const query = new URLSearchParams({ limit: String(PAGE_LIMIT) });
  if (cursor) query.set('cursor', cursor);
  if (mine) query.set('owner', 'me');
  return (await session.call<Page<Live>>('GET', `/live?${query}`)).data;
}

/** The record and its ETag, which an edit must bring back. */
export function getLive(id: string, signal?: AbortSignal): Promise<Reply<Live>> {
  return session.call<Live>('GET', `/live/${id}`, { signal });
}

export async function createLive(live: Details & Partial<LiveChoices>): Promise<Live> {
  return (await session.call<Live>('POST', '/live', { body: live })).data;
}

/** Changes what is given; with an ETag only if nobody else changed it meanwhile. */
export function editLive(id: string, change: Details & Partial<LiveChoices>, etag: string | null): Promise<Reply<Live>> {
  const headers: Record<string, string> = etag ? { 'If-Match': etag } : {};
  return session.call<Live>('PATCH', `/live/${id}`, { body: change, headers });
}

export async function endLive(id: string): Promise<void> {
  await session.call('POST', `/live/${id}/end`);
}

/** Makes a new stream key; whoever publishes with the old one is cut off. */
export function renewKey(id: string): Promise<Reply<Live>> {
  return session.call<Live>('POST', `/live/${id}/key`);
}

/** The picture that viewers see while the publisher is away. */
export function slatePicture(id: string): Promise<Blob> {
  return session.fetched(`/live/${id}/slate`);
}

export function uploadSlate(id: string, picture: File): Promise<Reply<Live>> {
  const headers = { 'Content-Type': picture.type || 'application/octet-stream' };
  return session.call<Live>('PUT', `/live/${id}/slate`, { body: picture, headers });
}

export function removeSlate(id: string): Promise<Reply<Live>> {
  return session.call<Live>('DELETE', `/live/${id}/slate`);
}

export async function deleteLive(id: string): Promise<void> {
  await session.call('DELETE', `/live/${id}`);
}

/** Other servers that it is sent to. */
export async function listPushes(id: string): Promise<Push[]> {
  return (await session.call<{ data: Push[] }>('GET', `/live/${id}/pushes`)).data.data;
}

export async function addPush(id: string, push: { name: string; url: string; stream_key?: string }): Promise<void> {
  await session.call('POST', `/live/${id}/pushes`, { body: push });
}

export async function changePush(id: string, push: string, change: { enabled: boolean }): Promise<void> {
  await session.call('PATCH', `/live/${id}/pushes/${push}`, { body: change });
}

export async function removePush(id: string, push: string): Promise<void> {
  await session.call('DELETE', `/live/${id}/pushes/${push}`);
}

/** Another server that it is fetched from. */
export async function getPull(id: string): Promise<Pull> {
  return (await session.call<Pull>('GET', `/live/${id}/pull`)).data;
}

export async function setPull(id: string, pull: { url?: string; stream_key?: string; enabled?: boolean }): Promise<Pull> {
  return (await session.call<Pull>('PUT', `/live/${id}/pull`, { body: pull })).data;
}

export async function removePull(id: string): Promise<void> {
  await session.call('DELETE', `/live/${id}/pull`);
}
