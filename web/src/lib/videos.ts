/** Calls about videos. */
import { session } from './session.svelte';
import type { Details, Page, Pictures, PlaybackReply, StatusReply, Video } from './types';
import type { Reply } from './api';

const PAGE_LIMIT = 24;

export async function listVideos(cursor: string | null, mine: boolean): Promise<Page<Video>> {
  const query = new URLSearchParams({ limit: String(PAGE_LIMIT) });
  if (cursor) query.set('cursor', cursor);
  if (mine) query.set('owner', 'me');
  return (await session.call<Page<Video>>('GET', `/videos?${query}`)).data;
}

/** The record and its ETag, which an edit must bring back. */
export function getVideo(id: string, signal?: AbortSignal): Promise<Reply<Video>> {
  return session.call<Video>('GET', `/videos/${id}`, { signal });
}

export async function getStatus(id: string, signal?: AbortSignal): Promise<StatusReply> {
  return (await session.call<StatusReply>('GET', `/videos/${id}/status`, { signal })).data;
}

/** Changes details; with an ETag only if nobody else changed them meanwhile. */
export function editVideo(id: string, details: Details, etag: string | null): Promise<Reply<Video>> {
  const headers: Record<string, string> = etag ? { 'If-Match': etag } : {};
  return session.call<Video>('PATCH', `/videos/${id}`, { body: details, headers });
}

/** Shows a part of a video, in seconds of the whole; null for all of it. */
export async function trimVideo(id: string, trim: { start: number | null; end: number | null } | null): Promise<Video> {
  return (await session.call<Video>('PATCH', `/videos/${id}`, { body: { trim } })).data;
}

export async function deleteVideo(id: string): Promise<void> {
  await session.call('DELETE', `/videos/${id}`);
}

/** Opens a viewing session and says where the manifest is. */
export async function openPlayback(id: string): Promise<PlaybackReply> {
  return (await session.call<PlaybackReply>('POST', `/videos/${id}/playback`, { body: {} })).data;
}

export async function listThumbnails(id: string): Promise<Pictures> {
  return (await session.call<Pictures>('GET', `/videos/${id}/thumbnails`)).data;
}

/** Makes one of the candidates, or what is shown at a time, the video's picture. */
export async function chooseThumbnail(id: string, choice: { candidate: string } | { time: number }): Promise<Pictures> {
  return (await session.call<Pictures>('PUT', `/videos/${id}/thumbnail`, { body: choice })).data;
}

/** Makes a picture of the owner's own the video's. */
export async function uploadThumbnail(id: string, picture: File): Promise<Pictures> {
  const headers = { 'Content-Type': picture.type || 'application/octet-stream' };
  return (await session.call<Pictures>('PUT', `/videos/${id}/thumbnail`, { body: picture, headers })).data;
}
