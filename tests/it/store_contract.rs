//! The contract of `ports::Store`, run over every backend.

use std::collections::BTreeMap;
use std::sync::Arc;

use fido_relay::backends::embedded::{FileStore, MemoryStore};
use fido_relay::ports::{
    Batch, Bucket, Due, DueRecord, Duty, RecordName, Revision, Store, StoreError,
};
use fido_relay_proto::UnixMillis;

/// A store under test and whatever must live as long as it does.
struct Subject {
    store: Arc<dyn Store>,
    _keeps: Option<tempfile::TempDir>,
}

fn memory() -> Subject {
    Subject { store: Arc::new(MemoryStore::new()), _keeps: None }
}

fn file() -> Subject {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::open(&directory.path().join("store.redb"), &[]).unwrap();
    Subject { store: Arc::new(store), _keeps: Some(directory) }
}

/// Runs each clause over each backend.
macro_rules! contract {
    ($($clause:ident),+ $(,)?) => {
        mod memory_store {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $clause() { super::$clause(&super::memory().store).await; })+
        }
        mod file_store {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $clause() { super::$clause(&super::file().store).await; })+
        }
    };
}

contract!(
    what_was_never_written_is_absent,
    what_was_saved_is_loaded_with_its_revision,
    a_save_at_another_revision_conflicts_and_changes_nothing,
    a_removal_at_another_revision_conflicts_and_changes_nothing,
    buckets_do_not_see_one_anothers_keys,
    revisions_grow_also_over_a_removal,
    a_listing_has_exactly_the_prefix_in_key_order,
    a_walk_in_pages_meets_every_record_once,
    a_long_listing_misses_nothing,
    concurrent_increments_lose_none,
    of_concurrent_creations_exactly_one_wins,
    a_key_that_not_every_store_can_keep_is_refused,
    a_batch_is_committed_whole_or_not_at_all,
    a_batch_that_no_store_could_commit_is_refused,
    random_batches_leave_what_a_model_has,
    overlapping_transfers_keep_the_sum,
    what_is_due_comes_in_order_of_time_and_in_pages,
    a_record_is_due_for_what_its_last_value_says,
);

const BUCKET: Bucket = Bucket::Ceremonies;

fn conflict(bucket: Bucket, key: &str) -> StoreError {
    StoreError::Conflict(RecordName { bucket, key: key.into() })
}

async fn what_was_never_written_is_absent(store: &Arc<dyn Store>) {
    assert_eq!(store.load(BUCKET, "a").await, Ok(None));
    assert_eq!(store.list(BUCKET, "").await, Ok(Vec::new()));
    let removal = store.remove(BUCKET, "a", Revision(1)).await;
    assert_eq!(removal, Err(conflict(BUCKET, "a")));
}

async fn what_was_saved_is_loaded_with_its_revision(store: &Arc<dyn Store>) {
    for value in [Vec::new(), b"small".to_vec(), vec![7; 300_000]] {
        let before = store.load(BUCKET, "a").await.unwrap();
        let expected = before.map_or(Revision::ABSENT, |stored| stored.revision);
        let revision = store.save(BUCKET, "a", expected, value.clone()).await.unwrap();
        let stored = store.load(BUCKET, "a").await.unwrap().unwrap();
        assert_eq!((stored.revision, stored.value), (revision, value));
        assert!(revision > expected);
    }
}

async fn a_save_at_another_revision_conflicts_and_changes_nothing(store: &Arc<dyn Store>) {
    let first = store.save(BUCKET, "a", Revision::ABSENT, b"1".to_vec()).await.unwrap();
    let second = store.save(BUCKET, "a", first, b"2".to_vec()).await.unwrap();
    for stale in [Revision::ABSENT, first, Revision(second.0 + 1), Revision(u64::MAX)] {
        let refused = store.save(BUCKET, "a", stale, b"3".to_vec()).await;
        assert_eq!(refused, Err(conflict(BUCKET, "a")), "{stale:?}");
    }
    let absent = store.save(BUCKET, "b", second, b"3".to_vec()).await;
    assert_eq!(absent, Err(conflict(BUCKET, "b")));
    assert_eq!(store.load(BUCKET, "b").await, Ok(None));
    let stored = store.load(BUCKET, "a").await.unwrap().unwrap();
    assert_eq!((stored.revision, stored.value), (second, b"2".to_vec()));
}

async fn a_removal_at_another_revision_conflicts_and_changes_nothing(store: &Arc<dyn Store>) {
    let first = store.save(BUCKET, "a", Revision::ABSENT, b"1".to_vec()).await.unwrap();
    let second = store.save(BUCKET, "a", first, b"2".to_vec()).await.unwrap();
    for stale in [Revision::ABSENT, first, Revision(second.0 + 1)] {
        assert_eq!(store.remove(BUCKET, "a", stale).await, Err(conflict(BUCKET, "a")));
    }
    assert_eq!(store.load(BUCKET, "a").await.unwrap().unwrap().revision, second);
    assert_eq!(store.remove(BUCKET, "a", second).await, Ok(()));
    assert_eq!(store.load(BUCKET, "a").await, Ok(None));
    assert_eq!(store.remove(BUCKET, "a", second).await, Err(conflict(BUCKET, "a")));
}

async fn buckets_do_not_see_one_anothers_keys(store: &Arc<dyn Store>) {
    for bucket in Bucket::ALL {
        let value = bucket.name().as_bytes().to_vec();
        store.save(bucket, "same", Revision::ABSENT, value).await.unwrap();
    }
    for bucket in Bucket::ALL {
        let listed = store.list(bucket, "").await.unwrap();
        assert_eq!(listed.len(), 1, "{bucket:?}");
        assert_eq!(listed[0].1.value, bucket.name().as_bytes(), "{bucket:?}");
    }
}

async fn revisions_grow_also_over_a_removal(store: &Arc<dyn Store>) {
    let mut last = Revision::ABSENT;
    for round in 0..5_u8 {
        let made = store.save(BUCKET, "a", Revision::ABSENT, vec![round]).await.unwrap();
        assert!(made > last, "round {round}");
        store.remove(BUCKET, "a", made).await.unwrap();
        let stale = store.save(BUCKET, "a", made, vec![round]).await;
        assert_eq!(stale, Err(conflict(BUCKET, "a")), "round {round}");
        last = made;
    }
}

async fn a_listing_has_exactly_the_prefix_in_key_order(store: &Arc<dyn Store>) {
    let keys = ["user.b", "user.a", "user", "user.a.2", "user.a.10", "uses", "user-", "use"];
    for key in keys {
        store.save(BUCKET, key, Revision::ABSENT, key.as_bytes().to_vec()).await.unwrap();
    }
    for prefix in ["", "u", "user", "user.", "user.a", "user.a.", "uses", "v", "user.b.c"] {
        let mut expected: Vec<_> = keys.into_iter().filter(|key| key.starts_with(prefix)).collect();
        expected.sort_unstable();
        let listed = store.list(BUCKET, prefix).await.unwrap();
        let found: Vec<_> = listed.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(found, expected, "prefix {prefix:?}");
        for (key, stored) in &listed {
            assert_eq!(stored.value, key.as_bytes());
            assert_eq!(store.load(BUCKET, key).await.unwrap().as_ref(), Some(stored));
        }
    }
}

async fn a_walk_in_pages_meets_every_record_once(store: &Arc<dyn Store>) {
    for number in 0..10 {
        let key = format!("key{number}");
        store.save(Bucket::Devices, &key, Revision::ABSENT, vec![number]).await.unwrap();
    }
    let mut after = String::new();
    let mut met = Vec::new();
    loop {
        let page = store.page(Bucket::Devices, &after, 3).await.unwrap();
        assert!(page.len() <= 3);
        let Some((last, _)) = page.last() else { break };
        after = last.clone();
        met.extend(page.into_iter().map(|(_, stored)| stored.value[0]));
    }
    assert_eq!(met, (0..10).collect::<Vec<u8>>());
}

async fn a_long_listing_misses_nothing(store: &Arc<dyn Store>) {
    let keys: Vec<String> = (0..1025).map(|n| format!("k.{n:05}")).collect();
    let saves = keys.iter().map(|key| store.save(BUCKET, key, Revision::ABSENT, Vec::new()));
    futures::future::try_join_all(saves).await.unwrap();
    let listed = store.list(BUCKET, "k.").await.unwrap();
    assert!(listed.iter().map(|(key, _)| key).eq(&keys), "{} keys", listed.len());
}

async fn concurrent_increments_lose_none(store: &Arc<dyn Store>) {
    const TASKS: u64 = 64;
    const EACH: u64 = 10;
    let increment = |store: Arc<dyn Store>| async move {
        for _ in 0..EACH {
            loop {
                let found = store.load(BUCKET, "n").await.unwrap();
                let (revision, n) = found.map_or((Revision::ABSENT, 0), |stored| {
                    let n = u64::from_be_bytes(stored.value.try_into().unwrap());
                    (stored.revision, n)
                });
                match store.save(BUCKET, "n", revision, (n + 1).to_be_bytes().to_vec()).await {
                    Ok(_) => break,
                    Err(StoreError::Conflict(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
    };
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..TASKS {
        tasks.spawn(increment(Arc::clone(store)));
    }
    tasks.join_all().await;
    let total = store.load(BUCKET, "n").await.unwrap().unwrap();
    assert_eq!(total.value, (TASKS * EACH).to_be_bytes());
}

async fn of_concurrent_creations_exactly_one_wins(store: &Arc<dyn Store>) {
    let saves = (0..32_u8).map(|n| store.save(BUCKET, "one", Revision::ABSENT, vec![n]));
    let results = futures::future::join_all(saves).await;
    let winners: Vec<_> = (0_u8..).zip(&results).filter(|(_, result)| result.is_ok()).collect();
    assert_eq!(winners.len(), 1);
    let stored = store.load(BUCKET, "one").await.unwrap().unwrap();
    assert_eq!((vec![winners[0].0], &Ok(stored.revision)), (stored.value, winners[0].1));
}

async fn a_key_that_not_every_store_can_keep_is_refused(store: &Arc<dyn Store>) {
    for key in ["", "a b", "a/b", "ä", "a*", "a>", "a\0", &"k".repeat(201)] {
        let refused = store.save(BUCKET, key, Revision::ABSENT, Vec::new()).await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{key:?}: {refused:?}");
    }
    store.save(BUCKET, &"k".repeat(200), Revision::ABSENT, Vec::new()).await.unwrap();
}

async fn a_batch_is_committed_whole_or_not_at_all(store: &Arc<dyn Store>) {
    let made = Batch::new()
        .put(Bucket::Users, "a", Revision::ABSENT, b"1".to_vec())
        .put(Bucket::Devices, "a", Revision::ABSENT, b"2".to_vec())
        .check(Bucket::Clients, "a", Revision::ABSENT);
    let first = store.commit(made).await.unwrap();
    for bucket in [Bucket::Users, Bucket::Devices] {
        assert_eq!(store.load(bucket, "a").await.unwrap().unwrap().revision, first);
    }
    // The last condition fails, so that nothing before it may stand.
    let refused = Batch::new()
        .put(Bucket::Users, "a", first, b"3".to_vec())
        .remove(Bucket::Devices, "a", first)
        .put(Bucket::Users, "b", Revision::ABSENT, Vec::new())
        .check(Bucket::Clients, "a", first);
    assert_eq!(store.commit(refused).await, Err(conflict(Bucket::Clients, "a")));
    assert_eq!(store.load(Bucket::Users, "a").await.unwrap().unwrap().value, b"1");
    assert_eq!(store.load(Bucket::Devices, "a").await.unwrap().unwrap().value, b"2");
    assert_eq!(store.load(Bucket::Users, "b").await, Ok(None));
    let second =
        store
            .commit(
                Batch::new()
                    .check(Bucket::Users, "a", first)
                    .remove(Bucket::Devices, "a", first)
                    .put(Bucket::Clients, "a", Revision::ABSENT, Vec::new()),
            )
            .await
            .unwrap();
    assert!(second > first);
    assert_eq!(store.load(Bucket::Users, "a").await.unwrap().unwrap().revision, first);
    assert_eq!(store.load(Bucket::Devices, "a").await, Ok(None));
}

async fn a_batch_that_no_store_could_commit_is_refused(store: &Arc<dyn Store>) {
    use fido_relay::ports::batch::{MAX_BYTES, MAX_CHANGES};
    let many = |count: usize| {
        (0..count).fold(Batch::new(), |batch, n| {
            batch.put(BUCKET, &format!("k{n}"), Revision::ABSENT, Vec::new())
        })
    };
    let twice = Batch::new().check(BUCKET, "a", Revision::ABSENT);
    for batch in [
        Batch::new(),
        many(MAX_CHANGES + 1),
        twice.put(BUCKET, "a", Revision::ABSENT, Vec::new()),
        Batch::new().put(BUCKET, "a", Revision::ABSENT, vec![0; MAX_BYTES + 1]),
        Batch::new().check(BUCKET, "a b", Revision::ABSENT),
    ] {
        let refused = store.commit(batch.clone()).await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{batch:?}");
    }
    assert_eq!(store.list(BUCKET, "").await, Ok(Vec::new()));
    store.commit(many(MAX_CHANGES)).await.unwrap();
}

pub(crate) async fn put_due(
    store: &Arc<dyn Store>,
    bucket: Bucket,
    key: &str,
    expected: Revision,
    due: Option<(Duty, u64)>,
) -> Revision {
    let due = due.map(|(duty, at)| Due { duty, at: UnixMillis(at) });
    store.commit(Batch::new().put_due(bucket, key, expected, Vec::new(), due)).await.unwrap()
}

pub(crate) async fn due_keys(store: &dyn Store, duty: Duty, until: u64) -> Vec<String> {
    let due = store.due(duty, UnixMillis(until), None, usize::MAX).await.unwrap();
    due.into_iter().map(|record| record.key).collect()
}

async fn what_is_due_comes_in_order_of_time_and_in_pages(store: &Arc<dyn Store>) {
    use Bucket::{Ceremonies, Users};
    let made = [(Users, "c", 7), (Ceremonies, "d", 7), (Ceremonies, "b", 7), (Users, "a", 3)];
    for (bucket, key, at) in made {
        put_due(store, bucket, key, Revision::ABSENT, Some((Duty::Remove, at))).await;
    }
    put_due(store, Users, "other", Revision::ABSENT, Some((Duty::Close, 1))).await;
    put_due(store, Users, "never", Revision::ABSENT, None).await;
    put_due(store, Users, "later", Revision::ABSENT, Some((Duty::Remove, 9))).await;
    assert_eq!(due_keys(&**store, Duty::Remove, 2).await, [""; 0]);
    assert_eq!(due_keys(&**store, Duty::Remove, 3).await, ["a"]);
    assert_eq!(due_keys(&**store, Duty::Remove, 8).await, ["a", "b", "d", "c"]);
    assert_eq!(due_keys(&**store, Duty::Close, u64::MAX).await, ["other"]);
    let mut after: Option<DueRecord> = None;
    for expected in [&["a", "b", "d"][..], &["c", "later"], &[]] {
        let page = store.due(Duty::Remove, UnixMillis(9), after.as_ref(), 3).await.unwrap();
        assert!(page.iter().map(|record| record.key.as_str()).eq(expected.iter().copied()));
        after = page.last().cloned().or(after);
    }
}

async fn a_record_is_due_for_what_its_last_value_says(store: &Arc<dyn Store>) {
    let first = put_due(store, BUCKET, "a", Revision::ABSENT, Some((Duty::Close, 5))).await;
    let second = put_due(store, BUCKET, "a", first, Some((Duty::Remove, 9))).await;
    assert_eq!(due_keys(&**store, Duty::Close, u64::MAX).await, [""; 0]);
    let due = store.due(Duty::Remove, UnixMillis(9), None, 9).await.unwrap();
    let (at, key) = (UnixMillis(9), "a".to_owned());
    assert_eq!(due, [DueRecord { at, bucket: BUCKET, key, revision: second }]);
    let stored = store.load(BUCKET, "a").await.unwrap().unwrap();
    assert_eq!(stored.due, Some(Due::removal(at)));
    store.remove(BUCKET, "a", second).await.unwrap();
    assert_eq!(due_keys(&**store, Duty::Remove, u64::MAX).await, [""; 0]);
    let again = put_due(store, BUCKET, "a", Revision::ABSENT, Some((Duty::Close, 1))).await;
    put_due(store, BUCKET, "a", again, None).await;
    assert_eq!(due_keys(&**store, Duty::Close, u64::MAX).await, [""; 0]);
}

/// A model that decides each batch by itself says what the store must answer and hold.
async fn random_batches_leave_what_a_model_has(store: &Arc<dyn Store>) {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut draw = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut model: BTreeMap<(&str, String), (Revision, Vec<u8>)> = BTreeMap::new();
    let (mut committed, mut refused) = (0, 0);
    for round in 0..400_u32 {
        let mut batch = Batch::new();
        let mut next = model.clone();
        let mut stale = Vec::new();
        let mut written = Vec::new();
        for number in 0..=draw(4) {
            let bucket = [Bucket::Users, Bucket::Devices][usize::try_from(draw(2)).unwrap()];
            let place = (bucket.name(), format!("k{number}{}", draw(2)));
            let found = model.get(&place).map_or(Revision::ABSENT, |(revision, _)| *revision);
            let expected = if draw(8) == 0 { Revision(found.0 + 1) } else { found };
            let key = place.1.clone();
            if expected != found {
                stale.push(conflict(bucket, &key));
            }
            batch = match draw(5) {
                0 => batch.check(bucket, &key, expected),
                1 => {
                    next.remove(&place);
                    batch.remove(bucket, &key, expected)
                }
                _ => {
                    let value = round.to_be_bytes().to_vec();
                    next.insert(place.clone(), (expected, value.clone()));
                    written.push(place);
                    batch.put(bucket, &key, expected, value)
                }
            };
        }
        match store.commit(batch).await {
            Ok(revision) => {
                assert!(stale.is_empty(), "round {round}");
                for place in written {
                    next.get_mut(&place).unwrap().0 = revision;
                }
                (model, committed) = (next, committed + 1);
            }
            Err(error) => {
                assert!(stale.contains(&error), "round {round}: {error}");
                refused += 1;
            }
        }
    }
    assert!(committed > 100 && refused > 50, "{committed} committed, {refused} refused");
    for bucket in [Bucket::Users, Bucket::Devices] {
        let listed = store.list(bucket, "").await.unwrap();
        let held = model.iter().filter(|((name, _), _)| *name == bucket.name());
        let held: Vec<_> = held.map(|((_, key), record)| (key.clone(), record.clone())).collect();
        let listed: Vec<_> =
            listed.into_iter().map(|(key, found)| (key, (found.revision, found.value))).collect();
        assert_eq!(listed, held, "{bucket:?}");
    }
}

/// Batches over two records at once, from many tasks: no reader of both finds half of one.
async fn overlapping_transfers_keep_the_sum(store: &Arc<dyn Store>) {
    const ACCOUNTS: usize = 4;
    const EACH: u64 = 1000;
    let number = |value: Vec<u8>| u64::from_be_bytes(value.try_into().unwrap());
    for account in 0..ACCOUNTS {
        let value = EACH.to_be_bytes().to_vec();
        store.save(BUCKET, &account.to_string(), Revision::ABSENT, value).await.unwrap();
    }
    let transfer =
        |store: Arc<dyn Store>, from: usize, to: usize| async move {
            for amount in 1..=10_u64 {
                loop {
                    let source = store.load(BUCKET, &from.to_string()).await.unwrap().unwrap();
                    let target = store.load(BUCKET, &to.to_string()).await.unwrap().unwrap();
                    let less = (number(source.value) - amount).to_be_bytes().to_vec();
                    let more = (number(target.value) + amount).to_be_bytes().to_vec();
                    let batch = Batch::new()
                        .put(BUCKET, &from.to_string(), source.revision, less)
                        .put(BUCKET, &to.to_string(), target.revision, more);
                    match store.commit(batch).await {
                        Ok(_) => break,
                        Err(StoreError::Conflict(_)) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        };
    let mut tasks = tokio::task::JoinSet::new();
    for pair in 0..ACCOUNTS * (ACCOUNTS - 1) {
        let (from, other) = (pair / (ACCOUNTS - 1), pair % (ACCOUNTS - 1));
        let to = other + usize::from(other >= from);
        tasks.spawn(transfer(Arc::clone(store), from, to));
    }
    tasks.join_all().await;
    let all = store.list(BUCKET, "").await.unwrap();
    let sum: u64 = all.into_iter().map(|(_, stored)| number(stored.value)).sum();
    assert_eq!(sum, EACH * ACCOUNTS as u64);
}
