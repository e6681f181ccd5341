/** What the API returns; field names as on the wire. */

export interface User {
  user_id: string;
  username: string;
  display_name: string;
  email?: string;
  role?: string;
}

export interface TokenReply {
  access_token: string;
  token_type: string;
  /** Seconds. */
  expires_in: number;
  user: User;
}

export interface Page<T> {
  data: T[];
  next_cursor: string | null;
  has_more: boolean;
  total_estimate: number;
}

/** A signed-in device. */
export interface Device {
  id: string;
  user_agent: string;
  address: string;
  created_at: string;
  used_at: string;
  current: boolean;
}

/** A node of the cluster, as another one sees it. */
export interface ClusterNode {
  node: string;
  /** When its process began, milliseconds since the Unix epoch. */
  epoch: number;
  address: string;
  roles: string[];
  zone: string;
  state: 'up' | 'without_catalog' | 'aside' | 'draining';
  is_connected: boolean;
  /** Version of the protocol between it and the node that answers, while they are connected. */
  protocol: number | null;
  program: string;
  /** 0 to 1, and above when work waits. */
  load: number;
}

export type Privacy = 'public' | 'unlisted' | 'private';
export type VideoStatus = 'uploading' | 'verifying' | 'processing' | 'playable' | 'ready' | 'failed';

/** A stable code with one sentence for a person. */
export interface Reason {
  code: string;
  message: string;
}

export interface Thumbnail {
  url: string;
  width: number;
  height: number;
  content_type: string;
  /** `early`, `c1` to `c4`, or `custom`. */
  moment: string;
  /** Seconds. */
  time: number;
  /** Whether it stands for the video. */
  chosen: boolean;
}

/** Pictures of all moments, in all sizes and formats. */
export interface Pictures {
  chosen: string | null;
  data: Thumbnail[];
}

/** Sheets of small pictures for the seek bar. */
export interface Storyboard {
  sheets: string[];
  width: number;
  height: number;
  columns: number;
  rows: number;
  /** Seconds from one small picture to the next. */
  interval: number;
  count: number;
  /** Seconds from the first one to where what is shown begins. */
  skipped: number;
}

export interface Rendition {
  name: string;
  kind: 'video' | 'audio';
  rung: string;
  /** `h264`, `av1`, `aac` and the like. */
  format: string;
  width: number;
  height: number;
  state: 'queued' | 'processing' | 'ready' | 'failed';
}

export interface Details {
  title: string;
  description: string;
  tags: string[];
  privacy: Privacy;
}

export interface Video extends Details {
  id: string;
  category: string | null;
  status: VideoStatus;
  /** Percent. */
  progress: number;
  failure: Reason | null;
  non_standard: Reason[];
  /** Seconds; null until probed. */
  duration: number | null;
  resolution: string | null;
  /** Null when the account is gone. */
  user: User | null;
  view_count: number;
  created_at: string;
  published_at: string | null;
  renditions: Rendition[];
  thumbnails: Thumbnail[];
  storyboard: Storyboard | null;
  /** The part that is shown, seconds of the whole; null when that is all. */
  trim: { start: number; end: number; full_duration: number } | null;
  /** Seconds of work that is left, when known. */
  estimated_time_remaining: number | null;
  video_urls: { hls?: string | null };
}

export interface StatusReply {
  video_id: string;
  status: VideoStatus;
  progress: number;
  /** Seconds. */
  estimated_time_remaining: number | null;
  failure: Reason | null;
}

export interface PlaybackReply {
  session: string;
  /** Seconds. */
  resume_position: number | null;
  urls: { hls: string };
  /** Seconds. */
  heartbeat_interval?: number;
}

export type LiveState = 'idle' | 'live' | 'ended';

/** How close to the publisher viewers are, and which sizes they get. */
export type Latency = 'low' | 'normal';
export type Ladder = 'source' | 'full';

/** What the owner of a live stream chooses beside its details. */
export interface LiveChoices {
  latency: Latency;
  ladder: Ladder;
  /** How far back viewers can go, seconds. */
  dvr_window: number;
  /** Can be published to again after a broadcast. */
  permanent: boolean;
  /** A broadcast becomes a video when it ends. */
  archive: boolean;
}

/** How publishing goes; what is not known yet is null or 0. */
export interface IngestStats {
  /** Whether viewers see the slate. */
  slate: boolean;
  connected: boolean;
  recording: boolean;
  bits_per_sec: number;
  frame_rate: number;
  gop_secs: number | null;
  width: number | null;
  height: number | null;
  /** As RFC 6381 names them. */
  video_codec: string | null;
  audio_codec: string | null;
  /** Times that were mended, by kind. */
  repairs: Record<string, number>;
  /** Frames that were left out, by kind. */
  dropped: Record<string, number>;
  /** Times that the publisher came. */
  epochs: number;
  gaps: number;
  /** How smaller sizes do, when there are some. */
  ladder?: { rungs: { name: string; width: number; height: number; dropped: boolean }[]; added_latency_ms: number | null; restarts: number };
  /** How it gets to other servers, where it does. */
  pushes?: PushStats[];
}

/** How a stream gets to another server. */
export interface PushStats {
  id: string;
  state: 'waiting' | 'connecting' | 'sending' | 'failed';
  error: string | null;
  failures: number;
  bytes_sent: number;
}

/** Another server that a stream is sent to. */
export interface Push {
  id: string;
  name: string;
  /** Without its key. */
  url: string;
  enabled: boolean;
}

/** Another server that a stream is fetched from. */
export interface Pull {
  /** Without its key. */
  url: string;
  enabled: boolean;
  /** How it does, while it is on. */
  stats?: { state: 'waiting' | 'connecting' | 'receiving' | 'failed' | 'over'; error: string | null; failures: number };
}

export interface Live extends Details, LiveChoices {
  id: string;
  state: LiveState;
  /** The recording of the last broadcast. */
  video_id: string | null;
  /** Null when the account is gone. */
  user: User | null;
  created_at: string;
  started_at: string | null;
  ended_at: string | null;
  playback: { hls: string; whep: string };
  viewers: number;
  /** What is live now. */
  thumbnail?: string;
  /** Where to get the picture that is shown while the publisher is away. */
  slate: string | null;
  /** These three are for its owner only. */
  stream_key?: string;
  ingest?: { rtmp: string; rtmps?: string; srt: string; whip: string };
  ingest_stats?: IngestStats | null;
  /** The server that it is fetched from; for its owner. */
  pull?: Pull;
}

/** Whether renditions are still being made: it may be ready, and more have been asked for. */
export function isGrowing({ status, renditions }: Pick<Video, 'status' | 'renditions'>): boolean {
  return status === 'playable' || (status === 'ready' && renditions.some(({ state }) => state === 'queued' || state === 'processing'));
}

export function isPlayable(status: VideoStatus): boolean {
  return status === 'playable' || status === 'ready';
}
