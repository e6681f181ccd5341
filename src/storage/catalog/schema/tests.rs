use super::*;

fn migrated() -> Connection {
    let mut connection = Connection::open_in_memory().unwrap();
    migrate(&mut connection).unwrap();
    connection
}

fn texts(connection: &Connection, sql: &str) -> Vec<String> {
    let mut prepared = connection.prepare(sql).unwrap();
    prepared.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn migrating_again_changes_nothing() {
    let mut connection = migrated();
    let before = texts(&connection, "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name");
    migrate(&mut connection).unwrap();
    let after = texts(&connection, "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name");
    assert_eq!(before, after);
    assert_eq!(version(&connection).unwrap(), MIGRATIONS.last().unwrap().version);
}

#[test]
fn a_newer_database_is_refused() {
    let mut connection = migrated();
    connection.execute("INSERT INTO schema_migrations VALUES (999, 'from the future', 0)", []).unwrap();
    let refused = migrate(&mut connection).unwrap_err();
    assert!(matches!(refused, SchemaError::Newer { found: 999, .. }), "{refused}");
}

#[test]
fn versions_increase() {
    assert!(MIGRATIONS.is_sorted_by(|earlier, later| earlier.version < later.version));
}

/// A foreign key without an index on its own side makes every deletion of the other side walk the whole table.
#[test]
fn every_foreign_key_starts_an_index() {
    let connection = migrated();
    let foreign_keys = texts(
        &connection,
        "SELECT t.name || '.' || k.\"from\" FROM sqlite_schema t, pragma_foreign_key_list(t.name) k WHERE t.type = 'table'",
    );
    let indexed = texts(
        &connection,
        "SELECT t.name || '.' || c.name FROM sqlite_schema t, pragma_index_list(t.name) i, pragma_index_info(i.name) c \
         WHERE t.type = 'table' AND c.seqno = 0",
    );
    assert!(foreign_keys.len() > 20, "{foreign_keys:?}");
    for key in foreign_keys {
        assert!(indexed.contains(&key), "{key} has no index");
    }
}

/// What the product's descriptions ask of the tables, so that later parts find their columns.
#[test]
fn the_described_columns_are_there() {
    let connection = migrated();
    let columns = texts(
        &connection,
        "SELECT t.name || '.' || c.name FROM sqlite_schema t, pragma_table_info(t.name) c WHERE t.type = 'table'",
    );
    let described = [
        (
            "users",
            "id username email password_hash display_name avatar_url is_verified is_active created_at updated_at",
        ),
        ("channels", "name description subscriber_count"),
        (
            "videos",
            "id user_id title description category tags status duration_ms width height file_size codec bit_rate \
             view_count like_count dislike_count comment_count privacy is_live live_viewers created_at published_at \
             updated_at deleted_at",
        ),
        (
            "comments",
            "id video_id user_id parent_id content is_edited like_count dislike_count reply_count is_pinned is_deleted \
             moderation_status created_at updated_at",
        ),
        ("subscriptions", "subscriber_id channel_id created_at"),
        ("watch_history", "user_id video_id position_ms watched_per_myriad completed created_at updated_at"),
        ("likes", "user_id video_id like_type created_at"),
        ("watch_events", "user_id video_id event_time event_type position_ms duration_ms"),
        ("engagement", "video_id likes comments_count shares"),
        ("transcode_jobs", "id video_id resolution status worker_id created_at"),
    ];
    for (table, names) in described {
        for name in names.split_whitespace() {
            assert!(columns.contains(&format!("{table}.{name}")), "{table}.{name}");
        }
    }
}
