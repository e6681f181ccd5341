use super::*;

fn quick() -> JournalOptions {
    JournalOptions { open_wait: Duration::ZERO, ..JournalOptions::default() }
}

fn puts(records: &[(&'static str, &[u8], &[u8])]) -> JournalBatch {
    let puts = records.iter().map(|(tree, key, value)| (*tree, key.to_vec(), value.to_vec())).collect();
    JournalBatch { puts, removes: Vec::new() }
}

#[tokio::test]
async fn trees_are_apart_and_in_key_order() {
    let dir = tempfile::tempdir().unwrap();
    let journal = SledJournal::open(&dir.path().join("journal"), &quick()).unwrap();
    let records: &[(&str, &[u8], &[u8])] =
        &[("b", b"2", b"two"), ("b", b"1", b"one"), ("ba", b"x", b"other"), ("a", b"\0", b""), ("b", b"", b"zero")];
    journal.write(puts(records)).await.unwrap();
    let found = journal.scan("b").await.unwrap();
    let expected = [(b"".to_vec(), b"zero".to_vec()), (b"1".into(), b"one".into()), (b"2".into(), b"two".into())];
    assert_eq!(found, expected);
    assert_eq!(journal.scan("nothing").await.unwrap(), []);
    let step = JournalBatch {
        puts: vec![("b", b"3".into(), b"three".into())],
        removes: vec![("b", b"1".into()), ("b", b"absent".into())],
    };
    journal.write(step).await.unwrap();
    let keys: Vec<_> = journal.scan("b").await.unwrap().into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, [b"".to_vec(), b"2".into(), b"3".into()]);
}

#[tokio::test]
async fn written_records_are_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let journal = SledJournal::open(&path, &quick()).unwrap();
    let writes = (0..100u8).map(|n| journal.write(puts(&[("t", &[n], &[n, n])])));
    futures::future::join_all(writes).await.into_iter().for_each(|outcome| outcome.unwrap());
    drop(journal);
    let journal = SledJournal::open(&path, &JournalOptions::default()).unwrap();
    assert_eq!(journal.scan("t").await.unwrap().len(), 100);
}

/// What a killed process leaves: the files as they are right after a write was answered, nothing closed or flushed later.
#[tokio::test]
async fn an_answered_write_is_in_the_files_already() {
    let dir = tempfile::tempdir().unwrap();
    let options = JournalOptions { flush_interval: Duration::from_secs(3600), ..quick() };
    let journal = SledJournal::open(&dir.path().join("journal"), &options).unwrap();
    journal.write(puts(&[("t", b"key", b"value")])).await.unwrap();
    let copy = dir.path().join("copy");
    std::fs::create_dir(&copy).unwrap();
    for entry in std::fs::read_dir(dir.path().join("journal")).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
        }
    }
    let survivor = SledJournal::open(&copy, &quick()).unwrap();
    assert_eq!(survivor.scan("t").await.unwrap(), [(b"key".to_vec(), b"value".to_vec())]);
}

#[tokio::test]
async fn a_held_journal_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let first = SledJournal::open(&path, &quick()).unwrap();
    let refused = SledJournal::open(&path, &quick()).err().expect("it is held");
    assert!(refused.0.contains("lock"), "{refused}");
    assert!(path.exists(), "a held journal is not a corrupt one");
    let waiting = tokio::task::spawn_blocking({
        let path = path.clone();
        move || SledJournal::open(&path, &JournalOptions::default())
    });
    tokio::task::spawn_blocking(move || drop(first)).await.unwrap();
    waiting.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_corrupt_journal_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let journal = SledJournal::open(&path, &quick()).unwrap();
    journal.write(puts(&[("t", b"key", b"value")])).await.unwrap();
    drop(journal);
    std::fs::write(path.join("conf"), b"not a configuration").unwrap();
    let journal = SledJournal::open(&path, &JournalOptions::default()).unwrap();
    assert_eq!(journal.scan("t").await.unwrap(), []);
    journal.write(puts(&[("t", b"new", b"value")])).await.unwrap();
    assert_eq!(journal.scan("t").await.unwrap().len(), 1);
    let kept = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(kept.into_iter().any(|name| name.starts_with("journal.corrupt-")));
}
