//! What only the store on disk can be asked: that a process which is opened again, or was killed,
//! has lost nothing it acknowledged, what is refused when tables and log do not belong together,
//! and the move from the tables of an earlier version.

use std::collections::{BTreeMap, HashSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fido_relay::backends::embedded::{FileStore, LogSlot, StoreFile, StoreOpenError, StoreOptions};
use fido_relay::ports::{Bucket, Due, DueRule, Duty, Revision, Store};
use fido_relay_proto::UnixMillis;
use redb::backends::FileBackend;
use rustix::process::Signal;

use crate::store_contract::{due_keys, put_due};
use crate::support::child::{ChildProcess, this_test};

const BUCKET: Bucket = Bucket::Ceremonies;

fn log_files(tables: &Path) -> [PathBuf; 2] {
    [LogSlot::Even, LogSlot::Odd].map(|turn| StoreFile::Log(turn).file(tables))
}

pub(crate) fn opened(path: &Path) -> std::io::Result<FileBackend> {
    let mut options = std::fs::OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(false).open(path)?;
    FileBackend::new(file).map_err(std::io::Error::other)
}

/// Log files so small that a checkpoint comes every few records.
pub(crate) fn small(path: &Path) -> FileStore {
    let tables = path.to_owned();
    let open = move |part: StoreFile| {
        Ok(Box::new(opened(&part.file(&tables))?) as Box<dyn redb::StorageBackend>)
    };
    let options = StoreOptions { log_bytes: 64 * 1024, ..StoreOptions::default() };
    FileStore::open_by(path, options, open).unwrap()
}

#[tokio::test]
async fn records_and_what_they_are_due_for_come_through_checkpoints_and_openings() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let mut store = Arc::new(small(&path)) as Arc<dyn Store>;
    let mut revisions = BTreeMap::new();
    for round in 0..200_u64 {
        let key = format!("k{}", round % 30);
        let expected = revisions.get(&key).copied().unwrap_or(Revision::ABSENT);
        if round % 7 == 6 && expected != Revision::ABSENT {
            store.remove(BUCKET, &key, expected).await.unwrap();
            revisions.remove(&key);
        } else {
            let made = put_due(&store, BUCKET, &key, expected, Some((Duty::Remove, round))).await;
            revisions.insert(key, made);
        }
        if round % 50 == 49 {
            drop(store);
            store = Arc::new(small(&path));
        }
        let listed = store.list(BUCKET, "").await.unwrap();
        let found: BTreeMap<_, _> =
            listed.iter().map(|(key, stored)| (key.clone(), stored.revision)).collect();
        assert_eq!(found, revisions, "round {round}");
        let mut due: Vec<_> =
            listed.iter().map(|(key, stored)| (stored.due, key.clone())).collect();
        due.sort();
        assert!(
            due_keys(&*store, Duty::Remove, u64::MAX).await.iter().eq(due.iter().map(|d| &d.1))
        );
    }
}

/// The files of a store as they lie there while a process has it open, and the store.
async fn in_use(path: &Path) -> (FileStore, Revision) {
    let store = FileStore::open(path, &[]).unwrap();
    let made = store.save(BUCKET, "a", Revision::ABSENT, b"1".to_vec()).await.unwrap();
    (store, made)
}

fn copied(from: &Path, to: &Path) {
    let pairs = log_files(from).into_iter().zip(log_files(to));
    for (from, to) in pairs.chain([(from.to_owned(), to.to_owned())]) {
        std::fs::copy(from, to).unwrap();
    }
}

#[tokio::test]
async fn after_a_kill_the_tables_are_refused_without_their_own_log() {
    let directory = tempfile::tempdir().unwrap();
    let (path, copy) = (directory.path().join("a.redb"), directory.path().join("b.redb"));
    let other = directory.path().join("other.redb");
    let ((store, made), (_other, _)) = (in_use(&path).await, in_use(&other).await);
    let spoils: [fn(&Path, &Path); 3] = [
        |log, _| std::fs::remove_file(log).unwrap(),
        |log, _| std::fs::write(log, vec![0; 16 * 1024 * 1024]).unwrap(),
        |log, other| assert!(std::fs::copy(other, log).is_ok()),
    ];
    for spoil in spoils {
        copied(&path, &copy);
        for (log, others) in log_files(&copy).iter().zip(log_files(&other)) {
            spoil(log, &others);
        }
        let refused = FileStore::open(&copy, &[]).unwrap_err();
        assert!(matches!(refused, StoreOpenError::Damaged { .. }), "{refused:?}");
        assert!(refused.to_string().contains("its log"), "{refused}");
    }
    copied(&path, &copy);
    let whole = FileStore::open(&copy, &[]).unwrap();
    assert_eq!(whole.load(BUCKET, "a").await.unwrap().unwrap().revision, made);
    drop(store);
}

#[tokio::test]
async fn after_a_clean_stop_the_tables_alone_are_whole() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let (store, made) = in_use(&path).await;
    drop(store);
    let backup = std::fs::read(&path).unwrap();
    let store = FileStore::open(&path, &[]).unwrap();
    store.save(BUCKET, "a", made, b"2".to_vec()).await.unwrap();
    drop(store);
    // Back over what was written since, first beside that time's log, then without any.
    for without_log in [false, true] {
        std::fs::write(&path, &backup).unwrap();
        if without_log {
            log_files(&path).iter().for_each(|log| std::fs::remove_file(log).unwrap());
        }
        let store = FileStore::open(&path, &[]).unwrap();
        assert_eq!(store.load(BUCKET, "a").await.unwrap().unwrap().value, b"1");
    }
}

#[tokio::test]
async fn older_tables_beside_a_newer_log_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (path, old) = (directory.path().join("store.redb"), directory.path().join("old"));
    let store = small(&path);
    let mut last = store.save(BUCKET, "a", Revision::ABSENT, Vec::new()).await.unwrap();
    // While the store is in use, as no backup should be made.
    std::fs::copy(&path, &old).unwrap();
    // Until the log's file of that time is begun anew.
    let head = || std::fs::read(&log_files(&path)[1]).unwrap().get(..64).map(<[u8]>::to_vec);
    let of_then = head();
    while head() == of_then {
        last = store.save(BUCKET, "a", last, vec![7; 2000]).await.unwrap();
    }
    let copy = directory.path().join("copy.redb");
    copied(&path, &copy);
    std::fs::copy(&old, &copy).unwrap();
    let refused = FileStore::open(&copy, &[]).unwrap_err();
    assert!(matches!(refused, StoreOpenError::Damaged { .. }), "{refused:?}");
}

/// What the version before wrote: a table for each bucket, without due times.
fn write_earlier_store(path: &Path, records: u32) {
    use redb::TableDefinition;
    let database = redb::Database::create(path).unwrap();
    let transaction = database.begin_write().unwrap();
    for bucket in Bucket::ALL {
        let name = bucket.name();
        let table = TableDefinition::<&str, (u64, &[u8])>::new(name);
        let mut table = transaction.open_table(table).unwrap();
        for n in 0..records {
            let value = n.to_le_bytes();
            table
                .insert(format!("k{n:05}").as_str(), (u64::from(n) + 1, value.as_slice()))
                .unwrap();
        }
    }
    let meta = TableDefinition::<&str, u64>::new("meta");
    transaction.open_table(meta).unwrap().insert("revision", 100_000).unwrap();
    transaction.commit().unwrap();
}

fn closes_at_its_number(value: &[u8]) -> Option<Due> {
    let at = UnixMillis(u64::from(u32::from_le_bytes(value.try_into().unwrap())));
    Some(Due { duty: Duty::Close, at })
}

/// Copies made in the middle are what a kill leaves.
#[tokio::test]
async fn an_earlier_store_is_moved_whole_also_when_that_is_cut_off() {
    const EACH: u32 = 5000;
    let directory = tempfile::tempdir().unwrap();
    let (path, cut) = (directory.path().join("a.redb"), directory.path().join("cut.redb"));
    write_earlier_store(&path, EACH);
    let rules = [DueRule { bucket: Bucket::Pairings, due: closes_at_its_number }];
    let tables = path.clone();
    let copies = Arc::new(std::sync::Mutex::new(0_usize));
    let (counted, cuts) = (Arc::clone(&copies), directory.path().to_owned());
    let open = move |part: StoreFile| {
        let path = part.file(&tables);
        let inner = opened(&path)?;
        let copies = Arc::clone(&counted);
        let is_tables = part == StoreFile::Tables;
        Ok(Box::new(Copying { inner, path, cuts: cuts.clone(), copies, is_tables })
            as Box<dyn redb::StorageBackend>)
    };
    drop(
        FileStore::open_by(&path, StoreOptions { rules: &rules, ..StoreOptions::default() }, open)
            .unwrap(),
    );
    let copies = *copies.lock().unwrap();
    assert!(copies > 2 * Bucket::ALL.len(), "{copies}");
    let last = directory.path().join("a.redb");
    for image in
        (0..copies).step_by(5).map(|n| directory.path().join(format!("cut{n}"))).chain([last])
    {
        for log in log_files(&cut) {
            drop(std::fs::remove_file(log));
        }
        std::fs::copy(&image, &cut).unwrap();
        let Ok(store) = FileStore::open(&cut, &rules) else {
            panic!("{} is refused", image.display())
        };
        for bucket in Bucket::ALL {
            let listed = store.list(bucket, "").await.unwrap();
            assert_eq!(listed.len(), EACH as usize, "{bucket:?}");
            for (n, (key, stored)) in (0_u32..).zip(&listed) {
                assert_eq!(
                    (key, stored.revision),
                    (&format!("k{n:05}"), Revision(u64::from(n) + 1))
                );
                let due = (bucket == Bucket::Pairings).then(|| closes_at_its_number(&stored.value));
                assert_eq!(stored.due, due.flatten());
            }
        }
        assert_eq!(due_keys(&store, Duty::Close, u64::MAX).await.len(), EACH as usize);
        let next = store.save(BUCKET, "new", Revision::ABSENT, Vec::new()).await.unwrap();
        assert_eq!(next, Revision(100_001));
        // The version before opens its own kind of meta alone.
        drop(store);
        let database = redb::Database::create(&cut).unwrap();
        let meta = redb::TableDefinition::<&str, u64>::new("meta");
        assert!(database.begin_write().unwrap().open_table(meta).is_err());
    }
}

/// Copies its file after every flush: what a kill at that moment leaves.
#[derive(Debug)]
struct Copying {
    inner: FileBackend,
    path: PathBuf,
    cuts: PathBuf,
    copies: Arc<std::sync::Mutex<usize>>,
    is_tables: bool,
}

impl redb::StorageBackend for Copying {
    fn len(&self) -> std::io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.inner.set_len(len)
    }

    fn sync_data(&self) -> std::io::Result<()> {
        self.inner.sync_data()?;
        if self.is_tables {
            let mut copies = self.copies.lock().unwrap();
            std::fs::copy(&self.path, self.cuts.join(format!("cut{copies}")))?;
            *copies += 1;
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.inner.write(offset, data)
    }
}

#[tokio::test]
async fn a_file_that_is_opened_again_has_everything_and_goes_on_counting() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let mut written = BTreeMap::new();
    let mut highest = Revision::ABSENT;
    for round in 0..4_u8 {
        let store = FileStore::open(&path, &[]).unwrap();
        let listed: BTreeMap<_, _> = store.list(BUCKET, "").await.unwrap().into_iter().collect();
        assert_eq!(listed, written, "round {round}");
        let removed = store.save(BUCKET, "gone", Revision::ABSENT, Vec::new()).await.unwrap();
        assert!(removed > highest, "round {round}");
        store.remove(BUCKET, "gone", removed).await.unwrap();
        let key = format!("k{round}");
        highest = store.save(BUCKET, &key, Revision::ABSENT, vec![round]).await.unwrap();
        assert!(highest > removed, "round {round}");
        written.insert(key.clone(), store.load(BUCKET, &key).await.unwrap().unwrap());
    }
}

#[tokio::test]
async fn writes_handed_over_before_the_store_is_dropped_are_finished() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let store = FileStore::open(&path, &[]).unwrap();
    {
        // Polled once, which hands the write over, then abandoned, as when a caller hangs up.
        let mut save = store.save(BUCKET, "a", Revision::ABSENT, b"1".to_vec());
        assert!(futures::poll!(&mut save).is_pending());
    }
    drop(store);
    let again = FileStore::open(&path, &[]).unwrap();
    assert!(again.load(BUCKET, "a").await.unwrap().is_some());
}

/// Tells the killed process where its store is.
const VICTIM_FILE: &str = "STORE_CONTRACT_VICTIM_FILE";

/// Writes from eight tasks for ever and prints the key of each record once it is acknowledged.
async fn write_and_tell(path: &Path, rounds: u64) {
    let store = Arc::new(FileStore::open(path, &[]).unwrap());
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            for n in 0..rounds {
                let key = format!("{}.{task}.{n}", std::process::id());
                let value = key.as_bytes().repeat(50);
                store.save(BUCKET, &key, Revision::ABSENT, value).await.unwrap();
                let line = format!("acknowledged {key}\n");
                std::io::stdout().write_all(line.as_bytes()).unwrap();
            }
        });
    }
    tasks.join_all().await;
}

/// The process that the next test kills. Run on its own, it only writes a little and looks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_for_the_next_test_to_kill() {
    #[expect(clippy::disallowed_methods, reason = "how the killing test speaks to this process")]
    if let Ok(path) = std::env::var(VICTIM_FILE) {
        write_and_tell(Path::new(&path), u64::MAX).await;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    write_and_tell(&path, 3).await;
    let store = FileStore::open(&path, &[]).unwrap();
    assert_eq!(store.list(BUCKET, "").await.unwrap().len(), 24);
}

#[tokio::test]
async fn a_killed_process_loses_no_acknowledged_record() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let mut acknowledged = HashSet::new();
    for round in 1..=5_usize {
        let mut victim = this_test("store_files::a_writer_for_the_next_test_to_kill");
        let mut victim = ChildProcess::start(victim.env(VICTIM_FILE, &path));
        for _ in 0..150 * round {
            acknowledged.insert(victim.prints("acknowledged ").await);
        }
        // SIGKILL in the middle of its writing; what it acknowledged by then counts too.
        victim.signal(Signal::KILL);
        let told = victim.exit().await.out;
        let told = told.lines().filter_map(|line| Some(line.split_once("acknowledged ")?.1));
        acknowledged.extend(told.map(str::to_owned));

        let store = FileStore::open(&path, &[]).unwrap();
        let found: BTreeMap<_, _> = store.list(BUCKET, "").await.unwrap().into_iter().collect();
        assert!(acknowledged.len() >= 150 * round, "the writer ended early");
        for key in &acknowledged {
            let stored = found.get(key).unwrap_or_else(|| panic!("{key} was lost in {round}"));
            assert_eq!(stored.value, key.as_bytes().repeat(50));
        }
        let revisions: HashSet<_> = found.values().map(|stored| stored.revision).collect();
        assert_eq!(revisions.len(), found.len(), "a revision was given twice");
    }
}
