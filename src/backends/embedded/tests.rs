//! What only this backend can be asked: a disk that fails, permissions, a second opener.

use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

use super::{FileStore, OpenError};
use crate::ports::{Bucket, Revision, Store as _, StoreError};

/// A file whose disk is full while `full` is set.
#[derive(Debug)]
struct FailingFile {
    inner: FileBackend,
    full: Arc<AtomicBool>,
}

impl FailingFile {
    fn check(&self) -> std::io::Result<()> {
        if self.full.load(Ordering::SeqCst) {
            Err(std::io::Error::from(std::io::ErrorKind::StorageFull))
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

fn store_on_failing_disk(path: &Path) -> (FileStore, Arc<AtomicBool>) {
    let full = Arc::new(AtomicBool::new(false));
    let (file, switch) = (path.to_owned(), Arc::clone(&full));
    let open = move || {
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&file)?;
        let inner = FileBackend::new(file)?;
        redb::Builder::new().create_with_backend(FailingFile { inner, full: Arc::clone(&switch) })
    };
    (FileStore::open_by(path, open).unwrap(), full)
}

#[tokio::test]
async fn a_full_disk_makes_writes_unavailable_and_the_store_goes_on_once_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let (store, full) = store_on_failing_disk(&directory.path().join("store.redb"));
    let before = store.save(Bucket::Keys, "a", Revision::ABSENT, b"1".to_vec()).await.unwrap();

    full.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        let refused = store.save(Bucket::Keys, "b", Revision::ABSENT, b"2".to_vec()).await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    }

    full.store(false, Ordering::SeqCst);
    assert_eq!(store.load(Bucket::Keys, "b").await, Ok(None));
    let after = store.save(Bucket::Keys, "b", Revision::ABSENT, b"3".to_vec()).await.unwrap();
    assert!(after > before);
    let kept = store.load(Bucket::Keys, "a").await.unwrap().unwrap();
    assert_eq!((kept.revision, kept.value.as_slice()), (before, b"1".as_slice()));
    store.save(Bucket::Keys, "a", before, b"4".to_vec()).await.unwrap();
}

#[test]
fn a_second_opener_is_told_that_the_file_is_in_use() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let first = FileStore::open(&path).unwrap();
    let second = FileStore::open(&path).unwrap_err();
    assert!(matches!(second, OpenError::InUse { .. }), "{second:?}");
    assert!(second.to_string().contains("in use by another process"), "{second}");
    drop(first);
    FileStore::open(&path).unwrap();
}

#[test]
fn a_file_of_something_else_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let content = b"not a store, and longer than a header: ".repeat(400);
    std::fs::write(&path, &content).unwrap();
    let refused = FileStore::open(&path).unwrap_err();
    assert!(matches!(refused, OpenError::Damaged { .. }), "{refused:?}");
    assert_eq!(std::fs::read(&path).unwrap(), content);
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("file"), b"").unwrap();
    let refused = FileStore::open(&directory.path().join("file/data/store.redb")).unwrap_err();
    assert!(matches!(refused, OpenError::Io { .. }), "{refused:?}");
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
    let store = FileStore::open(&whole).unwrap();
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
        match FileStore::open(&path) {
            Ok(store) => {
                assert_eq!(store.list(Bucket::Ceremonies, "").await.unwrap(), listed, "{page}");
            }
            Err(OpenError::Damaged { .. }) => refused += 1,
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
        let file = path.clone();
        // Without a cache every page is read from the file again.
        let open = move || redb::Builder::new().set_cache_size(0).create(&file);
        let store = FileStore::open_by(&path, open).unwrap();
        fill(&store).await;
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
    let _store = FileStore::open(&path).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
}
