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
    let newest = Steps::ALL.newest();
    assert_eq!(standing(&connection).unwrap(), Standing { found: newest, needs: newest });
}

/// What releases to come may do: one only adds, one changes the shape of what it has added, one takes away what this release reads.
const TO_COME: [Migration; 3] = [
    Migration { needs: 18, ..alike(1001, "expand", "ALTER TABLE videos ADD COLUMN made_up TEXT NOT NULL DEFAULT ''") },
    Migration { needs: 18, ..alike(1002, "expand_more", "CREATE INDEX videos_made_up ON videos (made_up)") },
    alike(1003, "contract", "ALTER TABLE videos DROP COLUMN original_at"),
];

/// The steps of a release that knows so many of these.
pub(in super::super) fn steps_of_a_later_release(to_come: usize) -> Steps {
    let known = MIGRATIONS.iter().chain(&TO_COME[..to_come]);
    let copied = known.map(|&Migration { version, needs, name, sqlite, postgres }| Migration {
        version,
        needs,
        name,
        sqlite,
        postgres,
    });
    Steps(copied.collect::<Vec<_>>().leak())
}

#[test]
fn tables_of_a_newer_program_are_used_until_something_is_taken_away() {
    let mut connection = migrated();
    for expanded in [1, 2] {
        migrate_by(steps_of_a_later_release(expanded), &mut connection).unwrap();
        migrate(&mut connection).expect("tables that suit this program, too");
        assert_eq!(standing(&connection).unwrap(), Standing { found: 1000 + expanded as i64, needs: 18 });
    }
    migrate_by(steps_of_a_later_release(3), &mut connection).unwrap_err();
    connection.execute("DROP INDEX videos_by_original", []).unwrap();
    migrate_by(steps_of_a_later_release(3), &mut connection).unwrap();
    for older in [Steps::ALL, steps_of_a_later_release(2)] {
        let refused = migrate_by(older, &mut connection).unwrap_err();
        assert!(matches!(refused, SchemaError::Newer { found: 1003, needs: 1003, .. }), "{refused}");
        assert!(refused.to_string().contains("run the newer program"), "{refused}");
    }
}

/// The first releases did not say what their steps need, and go on to write what they did.
#[test]
fn histories_of_the_first_releases_are_gone_on_with() {
    let mut connection = Connection::open_in_memory().unwrap();
    connection.execute(CREATE_HISTORY, []).unwrap();
    for migration in &MIGRATIONS[..5] {
        connection.execute_batch(migration.sqlite).unwrap();
        let insert = "INSERT INTO schema_migrations (version, name, applied_at) VALUES (?1, ?2, 0)";
        connection.execute(insert, (migration.version, migration.name)).unwrap();
    }
    migrate(&mut connection).unwrap();
    let newest = Steps::ALL.newest();
    assert_eq!(standing(&connection).unwrap(), Standing { found: newest, needs: newest });
    let insert = "INSERT INTO schema_migrations (version, name, applied_at) VALUES (1999, 'untold', 0)";
    connection.execute(insert, []).unwrap();
    let refused = migrate(&mut connection).unwrap_err();
    assert!(matches!(refused, SchemaError::Newer { found: 1999, needs: 1999, .. }), "{refused}");
}

#[test]
fn versions_increase() {
    assert!(MIGRATIONS.is_sorted_by(|earlier, later| earlier.version < later.version));
    assert!(MIGRATIONS.iter().all(|migration| migration.needs <= migration.version));
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
