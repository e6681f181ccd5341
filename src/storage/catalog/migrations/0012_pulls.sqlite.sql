-- The server that a live stream is fetched from; its URL is sealed.
ALTER TABLE lives ADD COLUMN pull TEXT;
CREATE INDEX lives_pulled ON lives (state, created_at, id) WHERE pull IS NOT NULL;
