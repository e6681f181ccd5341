-- Servers that a live stream is pushed to; their URLs are sealed.
ALTER TABLE lives ADD COLUMN pushes TEXT NOT NULL DEFAULT '[]';
