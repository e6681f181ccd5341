-- The part of a video that its owner wants to be shown.
ALTER TABLE videos ADD COLUMN trim TEXT;
