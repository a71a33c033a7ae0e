//! The revocation list: revoked devices and removed cards in a file beside the store, one line each,
//! appended and flushed, never changed.
//!
//! It is a file of its own because a restored backup of the store must not undo revocations. A line
//! is `epoch tenant what milliseconds`, where `what` is a device's id, or `card.` and the name of the
//! card's record. A line that a crash cut short was never acknowledged, and is removed when the file
//! is opened.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fido_relay_proto::{TenantId, UnixMillis};

use crate::ports::{BoxFuture, Revocation, Revocations, Revoked, StoreError};
use crate::private_file;

/// The prefix of a card's name.
const CARD: &str = "card.";
/// Revocations that are kept: at most some 130 MB of file and 150 MB of memory. The oldest are
/// dropped first, by number and not by age, so that a wrong clock drops nothing.
const MOST: usize = 1_000_000;

/// Why the list cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum RevocationsError {
    /// The file cannot be read or written.
    #[error("cannot open {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    /// A line is malformed. The file is not skipped: a relay that does not know which devices and
    /// cards were revoked must not accept any.
    #[error("line {line} of {} is no revocation", path.display())]
    Damaged {
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
}

/// The list, in a file or in memory alone. Clones share it.
#[derive(Clone, Debug)]
pub struct RevocationList(Arc<Mutex<List>>);

#[derive(Debug, Default)]
struct List {
    /// `None` in memory. The file is made with the first revocation.
    path: Option<PathBuf>,
    file: Option<File>,
    /// The epoch before that of the first entry; epochs have no gaps.
    before: u64,
    entries: Vec<Revocation>,
}

impl RevocationList {
    /// A list in memory, for relays whose store is, too.
    #[cfg(feature = "test-support")]
    #[must_use]
    pub fn in_memory() -> Self {
        Self(Arc::default())
    }

    /// The list in this file, which need not exist yet.
    ///
    /// # Errors
    /// [`RevocationsError`].
    pub fn open(path: &Path) -> Result<Self, RevocationsError> {
        Self::open_with_room(path, MOST)
    }

    fn open_with_room(path: &Path, most: usize) -> Result<Self, RevocationsError> {
        let failed = |source| RevocationsError::Io { path: path.to_owned(), source };
        let mut list = List { path: Some(path.to_owned()), ..List::default() };
        match std::fs::read(path) {
            Ok(bytes) => {
                let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                let damaged = |line| RevocationsError::Damaged { path: path.to_owned(), line };
                list.read(&bytes[..whole]).map_err(damaged)?;
                if list.entries.len() > most {
                    list.keep_the_newest(most, path).map_err(failed)?;
                } else {
                    let file = open_to_append(path).map_err(failed)?;
                    file.set_len(whole as u64).map_err(failed)?;
                    list.file = Some(file);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        Ok(Self(Arc::new(Mutex::new(list))))
    }

    fn list(&self) -> MutexGuard<'_, List> {
        // Every change under the lock is complete, so the state is valid after a panic, too.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(&self, revocation: Revocation) -> Result<(), StoreError> {
        let mut list = self.list();
        list.append(revocation).map_err(|error| {
            StoreError::Unavailable(format!("a revocation could not be written: {error}"))
        })
    }
}

impl List {
    /// Parses complete lines; an error is the number of the first malformed one.
    fn read(&mut self, bytes: &[u8]) -> Result<(), usize> {
        let text = std::str::from_utf8(bytes).map_err(|_| 1_usize)?;
        for (at, line) in text.lines().enumerate() {
            let (epoch, mut revocation) = parse(line).ok_or(at + 1)?;
            match self.entries.last() {
                None => self.before = epoch.checked_sub(1).ok_or(at + 1)?,
                Some(_) if epoch != self.last() + 1 => return Err(at + 1),
                // Shares one allocation among a tenant's entries.
                Some(last) if last.tenant == revocation.tenant => {
                    revocation.tenant = last.tenant.clone();
                }
                Some(_) => {}
            }
            self.entries.push(revocation);
        }
        Ok(())
    }

    fn last(&self) -> u64 {
        self.before + self.entries.len() as u64
    }

    fn append(&mut self, revocation: Revocation) -> io::Result<()> {
        let line = line(self.last() + 1, &revocation);
        if let Some(path) = &self.path {
            if self.file.is_none() {
                self.file = Some(open_to_append(path)?);
                private_file::sync_directory(path)?;
            }
            if let Some(file) = &mut self.file {
                let length = file.metadata()?.len();
                let written = file.write_all(line.as_bytes()).and_then(|()| file.sync_data());
                if let Err(error) = written {
                    // Removes a partial line before the next one is written.
                    file.set_len(length)?;
                    return Err(error);
                }
            }
        }
        self.entries.push(revocation);
        Ok(())
    }

    /// Writes the newest entries into a new file, which replaces the old one atomically.
    fn keep_the_newest(&mut self, most: usize, path: &Path) -> io::Result<()> {
        let gone = self.entries.len() - most;
        self.before += gone as u64;
        self.entries.drain(..gone);
        let mut text = String::new();
        for (entry, epoch) in self.entries.iter().zip(self.before + 1..) {
            text.push_str(&line(epoch, entry));
        }
        private_file::write(path, text.as_bytes())?;
        self.file = Some(open_to_append(path)?);
        Ok(())
    }
}

impl Revocations for RevocationList {
    fn record(&self, revocation: Revocation) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            if self.list().path.is_none() {
                return self.append(revocation);
            }
            // Completes even if the caller stops waiting.
            let list = self.clone();
            let appended = tokio::task::spawn_blocking(move || list.append(revocation)).await;
            appended.map_err(|error| StoreError::Unavailable(error.to_string()))?
        })
    }

    fn after(
        &self,
        epoch: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(u64, Revocation)>, StoreError>> {
        let list = self.list();
        let from = epoch.max(list.before);
        let skip = usize::try_from(from - list.before).unwrap_or(usize::MAX);
        let rest = list.entries.get(skip..).unwrap_or_default();
        let page = rest.iter().take(limit).cloned().zip(from.saturating_add(1)..);
        let page = page.map(|(revocation, epoch)| (epoch, revocation)).collect();
        Box::pin(std::future::ready(Ok(page)))
    }
}

fn line(epoch: u64, Revocation { tenant, what, at }: &Revocation) -> String {
    let what = match what {
        Revoked::Device(device) => device.to_string(),
        Revoked::Card(record) => format!("{CARD}{record}"),
    };
    format!("{epoch} {tenant} {what} {}\n", at.0)
}

fn parse(line: &str) -> Option<(u64, Revocation)> {
    let mut parts = line.split(' ');
    let epoch = parts.next()?.parse().ok()?;
    let tenant: TenantId = parts.next()?.parse().ok()?;
    let what = parts.next()?;
    let what = match what.strip_prefix(CARD) {
        Some(record) => Revoked::Card(record.into()),
        None => Revoked::Device(what.parse().ok()?),
    };
    let at = UnixMillis(parts.next()?.parse().ok()?);
    parts.next().is_none().then_some((epoch, Revocation { tenant, what, at }))
}

fn open_to_append(path: &Path) -> io::Result<File> {
    private_file::options().append(true).create(true).open(path)
}

#[cfg(test)]
mod tests {
    use fido_relay_proto::DeviceId;

    use super::*;

    /// Of a card and of a device in turn.
    fn revocation(n: u8) -> Revocation {
        let what = match n % 2 {
            0 => Revoked::Card(format!("user_{n}.card-{n}").into()),
            _ => Revoked::Device(DeviceId::from_bytes([n; 16])),
        };
        Revocation { tenant: TenantId::default(), what, at: UnixMillis(u64::from(n)) }
    }

    async fn all(list: &RevocationList) -> Vec<(u64, Revocation)> {
        list.after(0, usize::MAX).await.unwrap()
    }

    #[tokio::test]
    async fn what_was_recorded_is_there_after_opening_again_and_in_its_order() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("revocations");
        let list = RevocationList::open(&path).unwrap();
        assert!(!path.exists(), "nothing is made before there is something to keep");
        for n in 1..=3 {
            list.record(revocation(n)).await.unwrap();
        }
        let again = RevocationList::open(&path).unwrap();
        let expected: Vec<_> = (1..=3).map(|n| (u64::from(n), revocation(n))).collect();
        assert_eq!(all(&again).await, expected);
        assert_eq!(again.after(1, 1).await.unwrap(), expected[1..2]);
        assert_eq!(again.after(3, 9).await.unwrap(), []);
        assert_eq!(again.after(u64::MAX, 9).await.unwrap(), []);
        again.record(revocation(4)).await.unwrap();
        assert_eq!(again.after(3, 9).await.unwrap(), [(4, revocation(4))]);
        #[cfg(unix)]
        {
            let mode = std::os::unix::fs::PermissionsExt::mode(
                &std::fs::metadata(&path).unwrap().permissions(),
            );
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[tokio::test]
    async fn a_line_that_was_cut_short_is_cut_off_and_one_that_is_damaged_is_not_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("revocations");
        let list = RevocationList::open(&path).unwrap();
        list.record(revocation(1)).await.unwrap();
        list.record(revocation(2)).await.unwrap();
        let whole = std::fs::read(&path).unwrap();
        let first = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for length in first..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            let list = RevocationList::open(&path).unwrap();
            assert_eq!(all(&list).await, [(1, revocation(1))], "{length} bytes");
            list.record(revocation(7)).await.unwrap();
            let list = RevocationList::open(&path).unwrap();
            assert_eq!(all(&list).await, [(1, revocation(1)), (2, revocation(7))]);
        }
        let text = String::from_utf8(whole).unwrap();
        for (damaged, line) in [
            (text.replace("1 default", "x default"), 1),
            (text.replace("2 default", "3 default"), 2),
            (text.replace("dev_", "cer_"), 1),
            (text.replace('\n', " more\n"), 1),
            (format!("{text}\n"), 3),
        ] {
            std::fs::write(&path, damaged).unwrap();
            let error = RevocationList::open(&path).unwrap_err();
            assert!(error.to_string().starts_with(&format!("line {line} of")), "{error}");
        }
    }

    #[tokio::test]
    async fn of_too_many_the_newest_are_kept_under_their_own_epochs() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("revocations");
        let list = RevocationList::open(&path).unwrap();
        for n in 1..=9 {
            list.record(revocation(n)).await.unwrap();
        }
        let list = RevocationList::open_with_room(&path, 4).unwrap();
        let kept: Vec<_> = (6..=9).map(|n| (u64::from(n), revocation(n))).collect();
        assert_eq!(all(&list).await, kept);
        assert_eq!(list.after(2, 2).await.unwrap(), kept[..2]);
        list.record(revocation(10)).await.unwrap();
        let again = RevocationList::open(&path).unwrap();
        assert_eq!(again.after(8, 9).await.unwrap(), [kept[3].clone(), (10, revocation(10))]);
    }
}
