-- What viewers see of a live stream while its publisher is away.
ALTER TABLE lives ADD COLUMN slate TEXT;
