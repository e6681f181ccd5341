-- Accounts, uploads, videos, watching and the change feed. Times are milliseconds since the Unix epoch, flags are 0 or 1,
-- JSON is text, ids are opaque text. Every foreign key has an index that starts with its column.

CREATE TABLE users (
    id              TEXT PRIMARY KEY,
    username        TEXT NOT NULL,
    username_key    TEXT NOT NULL UNIQUE,           -- lower case: names are compared without case
    email           TEXT NOT NULL,
    email_key       TEXT NOT NULL UNIQUE,
    password_hash   TEXT NOT NULL,
    display_name    TEXT NOT NULL,
    avatar_url      TEXT,
    role            TEXT NOT NULL,
    is_active       INTEGER NOT NULL DEFAULT 1,
    is_verified     INTEGER NOT NULL DEFAULT 0,
    stored_bytes    INTEGER NOT NULL DEFAULT 0,     -- originals stored and in flight: what the quota is checked against
    open_uploads    INTEGER NOT NULL DEFAULT 0,
    revision        INTEGER NOT NULL DEFAULT 1,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL
) STRICT;

CREATE TABLE channels (
    id               TEXT PRIMARY KEY,
    user_id          TEXT NOT NULL UNIQUE REFERENCES users (id) ON DELETE CASCADE,
    name             TEXT NOT NULL,
    description      TEXT NOT NULL DEFAULT '',
    subscriber_count INTEGER NOT NULL DEFAULT 0,
    created_at       INTEGER NOT NULL
) STRICT;

CREATE TABLE logins (
    id            TEXT PRIMARY KEY,
    user_id       TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    refresh_hash  TEXT NOT NULL UNIQUE,
    previous_hash TEXT,
    is_browser    INTEGER NOT NULL,
    user_agent    TEXT NOT NULL,
    address       TEXT NOT NULL,
    created_at    INTEGER NOT NULL,
    used_at       INTEGER NOT NULL,
    expires_at    INTEGER NOT NULL,
    revoked_at    INTEGER
) STRICT;
CREATE INDEX logins_by_user ON logins (user_id, created_at DESC, id DESC);
CREATE INDEX logins_by_expiry ON logins (expires_at);
CREATE INDEX logins_by_revocation ON logins (revoked_at);

-- Every refresh token a living sign-in has spent: any of them shown again is a theft, not only the last one.
CREATE TABLE spent_refresh_tokens (
    refresh_hash TEXT PRIMARY KEY,
    login_id     TEXT NOT NULL REFERENCES logins (id) ON DELETE CASCADE,
    spent_at     INTEGER NOT NULL
) STRICT;
CREATE INDEX spent_refresh_tokens_by_login ON spent_refresh_tokens (login_id);

CREATE TABLE videos (
    id               TEXT PRIMARY KEY,
    playback_id      TEXT NOT NULL UNIQUE,
    user_id          TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    channel_id       TEXT NOT NULL REFERENCES channels (id) ON DELETE CASCADE,
    title            TEXT NOT NULL,
    description      TEXT NOT NULL,
    category         TEXT,
    tags             TEXT NOT NULL,                 -- JSON array
    privacy          TEXT NOT NULL,
    status           TEXT NOT NULL,
    is_listed        INTEGER NOT NULL DEFAULT 0,    -- public, playable and not deleted: what public lists select by
    progress_percent INTEGER NOT NULL DEFAULT 0,
    failure          TEXT,                          -- JSON object
    non_standard     TEXT NOT NULL,                 -- JSON array
    media            TEXT,                          -- JSON object; the next six columns repeat what is filtered by
    duration_ms      INTEGER,
    width            INTEGER,
    height           INTEGER,
    codec            TEXT,
    bit_rate         INTEGER,
    asset_generation INTEGER NOT NULL DEFAULT 0,
    file_size        INTEGER NOT NULL,
    file_name        TEXT,
    expected_digest  TEXT,
    view_count       INTEGER NOT NULL DEFAULT 0,
    like_count       INTEGER NOT NULL DEFAULT 0,
    dislike_count    INTEGER NOT NULL DEFAULT 0,
    comment_count    INTEGER NOT NULL DEFAULT 0,
    is_live          INTEGER NOT NULL DEFAULT 0,
    live_viewers     INTEGER NOT NULL DEFAULT 0,
    revision         INTEGER NOT NULL DEFAULT 1,
    created_at       INTEGER NOT NULL,
    published_at     INTEGER,
    updated_at       INTEGER NOT NULL,
    deleted_at       INTEGER
) STRICT;
CREATE INDEX videos_by_user ON videos (user_id, created_at DESC, id DESC);
CREATE INDEX videos_by_user_category ON videos (user_id, category, created_at DESC, id DESC);
CREATE INDEX videos_by_channel ON videos (channel_id, created_at DESC, id DESC);
CREATE INDEX videos_listed ON videos (is_listed, created_at DESC, id DESC);
CREATE INDEX videos_listed_by_category ON videos (is_listed, category, created_at DESC, id DESC);
CREATE INDEX videos_by_status ON videos (status, created_at, id);
CREATE INDEX videos_deleted ON videos (deleted_at, id) WHERE deleted_at IS NOT NULL;

CREATE TABLE video_sources (
    video_id TEXT NOT NULL REFERENCES videos (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    blob_key TEXT NOT NULL,
    bytes    INTEGER NOT NULL,
    PRIMARY KEY (video_id, position)
) STRICT;

CREATE TABLE renditions (
    video_id          TEXT NOT NULL REFERENCES videos (id) ON DELETE CASCADE,
    position          INTEGER NOT NULL,
    name              TEXT NOT NULL,
    kind              TEXT NOT NULL,
    codec             TEXT NOT NULL,
    rung              TEXT NOT NULL,
    width             INTEGER NOT NULL,
    height            INTEGER NOT NULL,
    frame_rate_milli  INTEGER NOT NULL,
    bandwidth         INTEGER NOT NULL,
    average_bandwidth INTEGER NOT NULL,
    state             TEXT NOT NULL,
    PRIMARY KEY (video_id, position),
    UNIQUE (video_id, name)
) STRICT;

CREATE TABLE thumbnails (
    video_id     TEXT NOT NULL REFERENCES videos (id) ON DELETE CASCADE,
    position     INTEGER NOT NULL,
    name         TEXT NOT NULL,
    blob_key     TEXT NOT NULL,
    content_type TEXT NOT NULL,
    width        INTEGER NOT NULL,
    height       INTEGER NOT NULL,
    PRIMARY KEY (video_id, position),
    UNIQUE (video_id, name)
) STRICT;

-- Where bytes lie. No foreign key: a blob outlives its owner's row until it is deleted.
CREATE TABLE blobs (
    blob_key   TEXT PRIMARY KEY,
    owner_kind TEXT NOT NULL,
    owner_id   TEXT NOT NULL,
    tier       TEXT NOT NULL,
    place      TEXT NOT NULL,
    bytes      INTEGER NOT NULL,
    digest     TEXT,
    state      TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX blobs_by_owner ON blobs (owner_id, owner_kind, blob_key);

CREATE TABLE uploads (
    id              TEXT PRIMARY KEY,
    user_id         TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    video_id        TEXT REFERENCES videos (id) ON DELETE SET NULL,
    protocol        TEXT NOT NULL,
    state           TEXT NOT NULL,
    length          INTEGER,
    reserved_bytes  INTEGER NOT NULL DEFAULT 0,     -- its share of users.stored_bytes; a video's file_size takes over
    concatenation   TEXT NOT NULL,                  -- none, partial or final
    taken_by        TEXT REFERENCES uploads (id) ON DELETE SET NULL,
    may_expire      INTEGER NOT NULL,               -- 1 while expires_at counts
    details         TEXT NOT NULL,                  -- JSON object
    file_name       TEXT,
    file_type       TEXT,
    expected_digest TEXT,
    raw_metadata    TEXT,
    extents         TEXT NOT NULL,                  -- JSON array
    end_reason      TEXT,
    created_at      INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL,
    completed_at    INTEGER
) STRICT;
CREATE INDEX uploads_by_user ON uploads (user_id, created_at DESC);
CREATE INDEX uploads_by_video ON uploads (video_id);
CREATE INDEX uploads_by_taker ON uploads (taken_by);
CREATE INDEX uploads_by_expiry ON uploads (may_expire, expires_at);

CREATE TABLE upload_parts (
    final_id TEXT NOT NULL REFERENCES uploads (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    part_id  TEXT NOT NULL REFERENCES uploads (id) ON DELETE CASCADE,
    PRIMARY KEY (final_id, position)
) STRICT;
CREATE INDEX upload_parts_by_part ON upload_parts (part_id);

CREATE TABLE watch_history (
    user_id            TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    video_id           TEXT NOT NULL REFERENCES videos (id) ON DELETE CASCADE,
    position_ms        INTEGER NOT NULL,
    watched_per_myriad INTEGER NOT NULL,
    completed          INTEGER NOT NULL,
    created_at         INTEGER NOT NULL,
    updated_at         INTEGER NOT NULL,
    PRIMARY KEY (user_id, video_id)
) STRICT;
CREATE INDEX watch_history_by_user ON watch_history (user_id, updated_at DESC);
CREATE INDEX watch_history_by_video ON watch_history (video_id);

CREATE TABLE playback_sessions (
    id               TEXT PRIMARY KEY,
    video_id         TEXT NOT NULL REFERENCES videos (id) ON DELETE CASCADE,
    user_id          TEXT REFERENCES users (id) ON DELETE SET NULL,
    opened_at        INTEGER NOT NULL,
    ended_at         INTEGER,                       -- set once, with all that follows
    viewed           INTEGER NOT NULL DEFAULT 0,    -- whether it is in videos.view_count
    startup_ms       INTEGER,
    watch_ms         INTEGER NOT NULL DEFAULT 0,
    rebuffer_count   INTEGER NOT NULL DEFAULT 0,
    rebuffer_ms      INTEGER NOT NULL DEFAULT 0,
    average_bit_rate INTEGER NOT NULL DEFAULT 0,
    seek_count       INTEGER NOT NULL DEFAULT 0,
    position_ms      INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX playback_sessions_by_video ON playback_sessions (video_id, opened_at);
CREATE INDEX playback_sessions_by_user ON playback_sessions (user_id, opened_at);

CREATE TABLE watch_events (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    session_id  TEXT NOT NULL,
    user_id     TEXT REFERENCES users (id) ON DELETE SET NULL,
    video_id    TEXT NOT NULL REFERENCES videos (id) ON DELETE CASCADE,
    event_type  TEXT NOT NULL,                      -- play, pause, seek or end
    position_ms INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,
    event_time  INTEGER NOT NULL
) STRICT;
CREATE INDEX watch_events_by_user ON watch_events (user_id, event_time DESC);
CREATE INDEX watch_events_by_video ON watch_events (video_id, event_time DESC);

CREATE TABLE likes (
    user_id    TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    video_id   TEXT NOT NULL REFERENCES videos (id) ON DELETE CASCADE,
    like_type  TEXT NOT NULL,                       -- like or dislike
    created_at INTEGER NOT NULL,
    PRIMARY KEY (user_id, video_id)
) STRICT;
CREATE INDEX likes_by_video ON likes (video_id, created_at DESC);

CREATE TABLE comments (
    id                TEXT PRIMARY KEY,
    video_id          TEXT NOT NULL REFERENCES videos (id) ON DELETE CASCADE,
    user_id           TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    parent_id         TEXT REFERENCES comments (id) ON DELETE CASCADE,
    content           TEXT NOT NULL,
    is_edited         INTEGER NOT NULL DEFAULT 0,
    like_count        INTEGER NOT NULL DEFAULT 0,
    dislike_count     INTEGER NOT NULL DEFAULT 0,
    reply_count       INTEGER NOT NULL DEFAULT 0,
    is_pinned         INTEGER NOT NULL DEFAULT 0,
    is_deleted        INTEGER NOT NULL DEFAULT 0,
    moderation_status TEXT NOT NULL DEFAULT 'approved',
    created_at        INTEGER NOT NULL,
    updated_at        INTEGER NOT NULL
) STRICT;
CREATE INDEX comments_by_video ON comments (video_id, parent_id, created_at DESC, id DESC);
CREATE INDEX comments_by_user ON comments (user_id, created_at DESC);
CREATE INDEX comments_by_parent ON comments (parent_id, created_at, id);

CREATE TABLE subscriptions (
    subscriber_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    channel_id    TEXT NOT NULL REFERENCES channels (id) ON DELETE CASCADE,
    created_at    INTEGER NOT NULL,
    PRIMARY KEY (subscriber_id, channel_id)
) STRICT;
CREATE INDEX subscriptions_by_channel ON subscriptions (channel_id, created_at DESC);

CREATE TABLE engagement (
    video_id       TEXT PRIMARY KEY REFERENCES videos (id) ON DELETE CASCADE,
    likes          INTEGER NOT NULL DEFAULT 0,
    comments_count INTEGER NOT NULL DEFAULT 0,
    shares         INTEGER NOT NULL DEFAULT 0,
    updated_at     INTEGER NOT NULL
) STRICT;

CREATE TABLE transcode_jobs (
    id         TEXT PRIMARY KEY,
    video_id   TEXT NOT NULL REFERENCES videos (id) ON DELETE CASCADE,
    resolution TEXT NOT NULL,
    status     TEXT NOT NULL,                       -- queued, processing, done or failed
    worker_id  TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX transcode_jobs_by_video ON transcode_jobs (video_id);
CREATE INDEX transcode_jobs_by_status ON transcode_jobs (status, created_at);

CREATE TABLE secrets (
    name       TEXT PRIMARY KEY,
    secret     BLOB NOT NULL
) STRICT;

-- The change feed: the sequence is the commit order, because one writer assigns it inside the transaction.
CREATE TABLE events (
    sequence     INTEGER PRIMARY KEY AUTOINCREMENT,
    kind         TEXT NOT NULL,
    subject      TEXT NOT NULL,
    payload      TEXT NOT NULL,                     -- JSON
    committed_at INTEGER NOT NULL
) STRICT;
