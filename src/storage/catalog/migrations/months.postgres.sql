-- A partition for each of the next months, and one for all before the first. Run whenever a server starts, and each day.
DO $$
DECLARE
    parent TEXT;
    first  TIMESTAMP := date_trunc('month', now() AT TIME ZONE 'UTC');
    month  TIMESTAMP;
BEGIN
    PERFORM pg_advisory_xact_lock(7812);
    FOREACH parent IN ARRAY ARRAY['comments', 'watch_events'] LOOP
        IF NOT EXISTS (SELECT 1 FROM pg_inherits WHERE inhparent = parent::regclass) THEN
            EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (MINVALUE) TO (%s)',
                parent || '_before', parent, (extract(epoch FROM first) * 1000)::BIGINT);
        END IF;
        FOR ahead IN 0..12 LOOP
            month := first + make_interval(months => ahead);
            EXECUTE format('CREATE TABLE IF NOT EXISTS %I PARTITION OF %I FOR VALUES FROM (%s) TO (%s)',
                parent || to_char(month, '_YYYY_MM'), parent, (extract(epoch FROM month) * 1000)::BIGINT,
                (extract(epoch FROM month + INTERVAL '1 month') * 1000)::BIGINT);
        END LOOP;
    END LOOP;
END $$;
