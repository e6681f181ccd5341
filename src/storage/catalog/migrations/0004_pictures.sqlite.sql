-- Still pictures of several moments, which of them the owner chose, and the sheets of the scrubber's preview.
ALTER TABLE thumbnails ADD COLUMN moment TEXT NOT NULL DEFAULT 'early';
ALTER TABLE thumbnails ADD COLUMN at_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE videos ADD COLUMN chosen_moment TEXT;
ALTER TABLE videos ADD COLUMN storyboard TEXT;      -- JSON object
