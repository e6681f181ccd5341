-- Sources without an index are decoded from their start; ladders made from copies of them begin anew.
UPDATE ladders SET state = 'abandoned' WHERE is_staged = 1 AND state = 'open';
ALTER TABLE ladders DROP COLUMN is_staged;
