-- The id that a broadcast under way will have as a video: its spans are kept under it.
ALTER TABLE lives ADD COLUMN recording TEXT;
CREATE INDEX lives_by_recording ON lives (recording);
