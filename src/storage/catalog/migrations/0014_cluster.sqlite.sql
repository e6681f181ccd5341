-- Bytes of uploads under way, where they lie in an object store.
CREATE TABLE upload_bytes (
    upload_id TEXT PRIMARY KEY,
    writer    INTEGER NOT NULL
) STRICT;
CREATE TABLE upload_extents (
    upload_id TEXT NOT NULL REFERENCES upload_bytes (upload_id) ON DELETE CASCADE,
    position  INTEGER NOT NULL,
    blob_key  TEXT NOT NULL,
    bytes     INTEGER NOT NULL,
    PRIMARY KEY (upload_id, position)
) STRICT;

-- Servers, by the database's clock, and what each of them alone may do.
CREATE TABLE nodes (
    name       TEXT PRIMARY KEY,
    epoch      INTEGER NOT NULL,
    renewed_at INTEGER NOT NULL
) STRICT;
CREATE TABLE leases (
    lease_key  TEXT PRIMARY KEY,
    node       TEXT NOT NULL,
    epoch      INTEGER NOT NULL,
    generation INTEGER NOT NULL
) STRICT;
