-- What is made of a source besides itself: the plan, and the units in which it is made, each leased, attempted and counted
-- on its own.
CREATE TABLE ladders (
    video_id   TEXT NOT NULL REFERENCES videos (id) ON DELETE CASCADE,
    generation INTEGER NOT NULL,
    state      TEXT NOT NULL,                       -- open, done, failed or abandoned
    plan       TEXT NOT NULL,                       -- JSON object
    is_staged  INTEGER NOT NULL,
    wants_av1  INTEGER NOT NULL DEFAULT 0,          -- 1 when its owner asked for it and the plan does not have it yet
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (video_id, generation)
) STRICT;
CREATE INDEX ladders_by_state ON ladders (state, created_at, video_id);
CREATE INDEX ladders_by_video ON ladders (video_id, state);

CREATE TABLE ladder_units (
    video_id    TEXT NOT NULL REFERENCES videos (id) ON DELETE CASCADE,
    generation  INTEGER NOT NULL,
    number      INTEGER NOT NULL,                   -- of the chunk, or of the track of sound
    pass        TEXT NOT NULL,                      -- first, sound, rest or av1
    state       TEXT NOT NULL,                      -- queued, leased, done or failed
    crashed     INTEGER NOT NULL DEFAULT 0,
    interrupted INTEGER NOT NULL DEFAULT 0,
    refused     INTEGER NOT NULL DEFAULT 0,
    node        TEXT,                               -- who leased it last, and which of its lives
    epoch       INTEGER,
    result      BLOB,
    failure     TEXT,                               -- JSON object
    updated_at  INTEGER NOT NULL,
    PRIMARY KEY (video_id, generation, number, pass)
) STRICT;

-- When a video is expected to have all its renditions; NULL until its speed is known.
ALTER TABLE videos ADD COLUMN ready_at INTEGER;
