-- Attempts at a piece of work that ended badly: with their worker process, or with the server.
ALTER TABLE transcode_jobs ADD COLUMN crashed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE transcode_jobs ADD COLUMN interrupted INTEGER NOT NULL DEFAULT 0;
