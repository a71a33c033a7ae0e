//! What only this backend can be asked: a disk that fails, permissions, a second opener.

use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

use super::{FileStore, StoreFile, StoreOpenError, StoreOptions};
use crate::ports::{Bucket, Revision, Store as _, StoreError};

/// A file whose disk fails every change while `failing` is set.
#[derive(Debug)]
struct FailingFile {
    inner: FileBackend,
    failing: Arc<AtomicBool>,
}

impl FailingFile {
    fn check(&self) -> std::io::Result<()> {
        if self.failing.load(Ordering::SeqCst) {
            Err(std::io::Error::other("told to fail"))
        } else {
            Ok(())
        }
    }
}

impl StorageBackend for FailingFile {
    fn len(&self) -> std::io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.check()?;
        self.inner.set_len(len)
    }

    fn sync_data(&self) -> std::io::Result<()> {
        self.check()?;
        self.inner.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.check()?;
        self.inner.write(offset, data)
    }

    fn close(&self) -> std::io::Result<()> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }
}

/// A store of which every part refuses to be changed while the switch is on.
fn store_on_failing_disk(path: &Path) -> (FileStore, Arc<AtomicBool>) {
    let failing = Arc::new(AtomicBool::new(false));
    let (tables, switch) = (path.to_owned(), Arc::clone(&failing));
    let open = move |part: StoreFile| {
        let inner = file(&part.file(&tables))?;
        Ok(Box::new(FailingFile { inner, failing: Arc::clone(&switch) }) as Box<_>)
    };
    (FileStore::open_by(path, StoreOptions::default(), open).unwrap(), failing)
}

fn file(path: &Path) -> std::io::Result<FileBackend> {
    let mut options = std::fs::OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(false).open(path)?;
    FileBackend::new(file).map_err(std::io::Error::other)
}

#[tokio::test]
async fn a_disk_that_refuses_makes_writes_unavailable_and_the_store_goes_on_once_it_takes_them() {
    let directory = tempfile::tempdir().unwrap();
    let (store, failing) = store_on_failing_disk(&directory.path().join("store.redb"));
    let before = store.save(Bucket::Keys, "a", Revision::ABSENT, b"1".to_vec()).await.unwrap();

    failing.store(true, Ordering::SeqCst);
    let mut write = store.save(Bucket::Keys, "b", Revision::ABSENT, b"2".to_vec());
    // Whether its frame stands cannot be known while the disk takes nothing: it is not answered.
    let early = tokio::time::timeout(std::time::Duration::from_millis(200), &mut write).await;
    assert!(early.is_err(), "{early:?}");
    // What comes after it touches nothing, and need not wait.
    let next = store.save(Bucket::Keys, "c", Revision::ABSENT, b"2".to_vec()).await;
    assert!(matches!(next, Err(StoreError::Unavailable(_))), "{next:?}");

    failing.store(false, Ordering::SeqCst);
    let refused = write.await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    assert_eq!(store.load(Bucket::Keys, "b").await, Ok(None));
    let after = store.save(Bucket::Keys, "b", Revision::ABSENT, b"3".to_vec()).await.unwrap();
    assert!(after > before);
    let kept = store.load(Bucket::Keys, "a").await.unwrap().unwrap();
    assert_eq!((kept.revision, kept.value.as_slice()), (before, b"1".as_slice()));
    store.save(Bucket::Keys, "a", before, b"4".to_vec()).await.unwrap();
}

#[tokio::test]
async fn a_write_whose_fate_cannot_be_settled_ends_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let (store, failing) = store_on_failing_disk(&path);
    let kept = store.save(Bucket::Keys, "a", Revision::ABSENT, b"1".to_vec()).await.unwrap();
    failing.store(true, Ordering::SeqCst);
    let fenced = store.save(Bucket::Keys, "b", Revision::ABSENT, b"2".to_vec()).await;
    assert!(matches!(fenced, Err(StoreError::Fenced(_))), "{fenced:?}");
    assert!(store.damaged().await.contains("unknown"));
    failing.store(false, Ordering::SeqCst);
    let later = store.save(Bucket::Keys, "c", Revision::ABSENT, b"3".to_vec()).await;
    assert!(matches!(later, Err(StoreError::Fenced(_))), "{later:?}");
    drop(store);
    let again = FileStore::open(&path, &[]).unwrap();
    assert_eq!(again.load(Bucket::Keys, "a").await.unwrap().unwrap().revision, kept);
    assert_eq!(again.load(Bucket::Keys, "c").await, Ok(None));
}

#[test]
fn a_second_opener_is_told_that_the_file_is_in_use() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let first = FileStore::open(&path, &[]).unwrap();
    let second = FileStore::open(&path, &[]).unwrap_err();
    assert!(matches!(second, StoreOpenError::InUse { .. }), "{second:?}");
    assert!(second.to_string().contains("in use by another process"), "{second}");
    drop(first);
    FileStore::open(&path, &[]).unwrap();
}

#[test]
fn a_file_of_something_else_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let content = b"not a store, and longer than a header: ".repeat(400);
    std::fs::write(&path, &content).unwrap();
    let refused = FileStore::open(&path, &[]).unwrap_err();
    assert!(matches!(refused, StoreOpenError::Damaged { .. }), "{refused:?}");
    assert_eq!(std::fs::read(&path).unwrap(), content);
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("file"), b"").unwrap();
    let refused = FileStore::open(&directory.path().join("file/data/store.redb"), &[]).unwrap_err();
    assert!(matches!(refused, StoreOpenError::Io { .. }), "{refused:?}");
    assert!(refused.to_string().contains("file/data"), "{refused}");
}

/// 4 KiB of noise, which depends on the seed alone.
fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[7]
    };
    (0..PAGE).map(step).collect()
}

const PAGE: usize = 4096;

fn overwrite(path: &Path, page: usize, seed: u64) {
    use std::io::{Seek as _, Write as _};
    let mut file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.seek(std::io::SeekFrom::Start((page * PAGE) as u64)).unwrap();
    file.write_all(&noise(seed)).unwrap();
}

async fn fill(store: &FileStore) {
    for n in 0..40 {
        for bucket in [Bucket::Ceremonies, Bucket::Users] {
            let value = vec![n; 700];
            store.save(bucket, &format!("key{n}"), Revision::ABSENT, value).await.unwrap();
        }
    }
}

#[tokio::test]
async fn noise_in_any_page_is_refused_at_the_opening_or_harms_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (whole, path) = (directory.path().join("whole"), directory.path().join("store.redb"));
    let store = FileStore::open(&whole, &[]).unwrap();
    fill(&store).await;
    let listed = store.list(Bucket::Ceremonies, "").await.unwrap();
    drop(store);
    let length = usize::try_from(std::fs::metadata(&whole).unwrap().len()).unwrap();
    // The file ends in pages that were never used.
    let used = std::fs::read(&whole).unwrap().iter().rposition(|byte| *byte != 0).unwrap() / PAGE;
    let mut refused = 0;
    for page in 0..=used.min(length / PAGE - 1) {
        std::fs::copy(&whole, &path).unwrap();
        overwrite(&path, page, page as u64 + 1);
        match FileStore::open(&path, &[]) {
            Ok(store) => {
                assert_eq!(store.list(Bucket::Ceremonies, "").await.unwrap(), listed, "{page}");
            }
            Err(StoreOpenError::Damaged { .. }) => refused += 1,
            Err(other) => panic!("page {page}: {other:?}"),
        }
    }
    assert!(refused > 10, "{refused} of {used} pages");
}

#[tokio::test]
async fn damage_that_is_met_while_it_runs_ends_the_store_and_not_the_process() {
    let mut ended = 0;
    for seed in 1..=12 {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.redb");
        let store = FileStore::open(&path, &[]).unwrap();
        fill(&store).await;
        // From here on nothing of it is in memory: without a cache every page is read again.
        drop(store);
        let options = StoreOptions { cache: 0, ..StoreOptions::default() };
        let tables = path.clone();
        let open = move |part: StoreFile| Ok(Box::new(file(&part.file(&tables))?) as Box<_>);
        let store = FileStore::open_by(&path, options, open).unwrap();
        let pages = usize::try_from(std::fs::metadata(&path).unwrap().len()).unwrap() / PAGE;
        for page in 1..pages {
            overwrite(&path, page, seed * 1000 + page as u64);
        }
        for n in 0..3 {
            let key = format!("key{n}");
            drop(store.load(Bucket::Users, &key).await);
            drop(store.list(Bucket::Ceremonies, "").await);
            drop(store.page(Bucket::Users, "", 10).await);
            drop(store.save(Bucket::Users, &format!("new{n}"), Revision::ABSENT, vec![1]).await);
        }
        if let Some(says) = futures::FutureExt::now_or_never(store.damaged()) {
            assert!(says.contains("store.redb as the store, it is damaged"), "{says}");
            assert!(says.contains("newest backup"), "{says}");
            assert!(store.load(Bucket::Users, "key1").await.is_err());
            assert!(store.writable().await.is_err());
            ended += 1;
        }
    }
    assert_eq!(ended, 12);
}

#[cfg(unix)]
#[test]
fn only_this_user_may_read_what_the_store_makes() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data/store.redb");
    let _store = FileStore::open(&path, &[]).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
}
