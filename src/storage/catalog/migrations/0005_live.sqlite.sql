-- Live streams. The playback id and the key are for the stream's whole life, whoever publishes and however often.
CREATE TABLE lives (
    id          TEXT PRIMARY KEY,
    playback_id TEXT NOT NULL UNIQUE,
    user_id     TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    channel_id  TEXT NOT NULL REFERENCES channels (id) ON DELETE CASCADE,
    details     TEXT NOT NULL,                      -- JSON object
    choices     TEXT NOT NULL,                      -- JSON object
    key_hash    TEXT NOT NULL UNIQUE,
    sealed_key  BLOB NOT NULL,
    state       TEXT NOT NULL,                      -- idle, live or ended
    is_listed   INTEGER NOT NULL DEFAULT 0,         -- public and live: what the public list selects by
    generation  INTEGER NOT NULL DEFAULT 0,         -- of the newest publishing lease
    video_id    TEXT REFERENCES videos (id) ON DELETE SET NULL,
    started_at  INTEGER,
    ended_at    INTEGER,
    revision    INTEGER NOT NULL DEFAULT 1,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL
) STRICT;
CREATE INDEX lives_by_user ON lives (user_id, created_at DESC, id DESC);
CREATE INDEX lives_by_channel ON lives (channel_id);
CREATE INDEX lives_by_video ON lives (video_id);
CREATE INDEX lives_listed ON lives (is_listed, created_at DESC, id DESC);
CREATE INDEX lives_by_state ON lives (state, created_at, id);
