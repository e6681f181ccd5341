-- What publishers of a live stream encrypt with over SRT, sealed.
ALTER TABLE lives ADD COLUMN sealed_passphrase BLOB;
