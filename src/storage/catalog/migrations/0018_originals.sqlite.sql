-- Where a video's original is: 'stored' as it was uploaded, 'moving' (its copy in the archive is good), 'archived', or 'deleted'; and
-- when that was last looked at, 0 before the first time.
ALTER TABLE videos ADD COLUMN original TEXT NOT NULL DEFAULT 'stored';
ALTER TABLE videos ADD COLUMN original_at INTEGER NOT NULL DEFAULT 0;
CREATE INDEX videos_by_original ON videos (original, status, original_at, created_at, id);
