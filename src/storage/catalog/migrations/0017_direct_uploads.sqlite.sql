-- Size of the parts that the client of an upload stores by itself; NULL: its bytes come through a server.
ALTER TABLE uploads ADD COLUMN part_bytes INTEGER;
