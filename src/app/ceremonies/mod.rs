//! Ceremonies: load, step, save, then act; what comes of the act is an event again.

pub(crate) mod advance;
pub(crate) mod claims;
pub(crate) mod copies;
pub(crate) mod deadlines;
pub(crate) mod effects;
pub(crate) mod keyed_mutex;
pub(crate) mod network;
pub(crate) mod open;
pub(crate) mod open_ceremonies;
pub(crate) mod record;
pub(crate) mod slots;
pub(crate) mod user_agent;
pub(crate) mod user_prompts;
pub(crate) mod view;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fido_relay_proto::{TenantId, UnixMillis, Username};
use tokio::sync::mpsc;

pub use self::advance::{DriveError, Driven};
pub use self::open::{Initiator, OpenError, OpenRequest};
pub use self::record::{CeremonyKey, RESULTS_S};
pub use self::slots::{Full, OpenLimits};
pub use self::view::{End, ProgressEvent, Steps, View};

use self::copies::Held;
use crate::app::devices::UserKey;
use crate::app::users;
use crate::core::ceremony::{Ceremony, Event, Refusal, Reply};
use crate::node::Relay;
use crate::ports::{
    Batch, Bucket, DueRecord, DueRule, Duty, Notice, Revision, StoreError, records,
};

/// What the relay's own records are due for.
pub const DUE: [DueRule; 3] = [record::CEREMONIES, open::IDEMPOTENCY_KEYS, users::STANDINGS];

/// Records that one page of a walk over an index names.
const PAGE: usize = 256;

/// Pause before open ceremonies are read again from a store that did not answer.
const RECOVERY_PAUSE: Duration = Duration::from_secs(1);

impl Relay {
    /// The ceremony as it is stored.
    ///
    /// # Errors
    /// The store's.
    pub async fn load(&self, key: &CeremonyKey) -> Result<Option<Arc<Ceremony>>, StoreError> {
        Ok(self.known(key).await?.map(|copy| copy.stored))
    }

    /// The newest that this node knows: its copy where that is exact, and otherwise what the store
    /// has or this node has seen there.
    pub(crate) async fn known(&self, key: &CeremonyKey) -> Result<Option<Held>, StoreError> {
        match self.node.copies.get(key) {
            Some(copy) if self.dependencies().store.is_exclusive() => Ok(Some(copy)),
            Some(_) | None => self.read(key).await,
        }
    }

    /// Reads the ceremony, and notes it if it is open; a record that this node knows, or a later
    /// one of which it knows, is not parsed again.
    pub(crate) async fn read(&self, key: &CeremonyKey) -> Result<Option<Held>, StoreError> {
        let copies = &self.node.copies;
        let (name, before) = (key.to_string(), copies.before(key));
        let Some(stored) = self.dependencies().store.load(Bucket::Ceremonies, &name).await? else {
            copies.forget(key);
            return Ok(None);
        };
        match copies.get(key).filter(|copy| copy.revision >= stored.revision) {
            Some(copy) => Ok(Some(copy)),
            None => {
                let ceremony = Arc::new(records::parse(&stored)?);
                let copy = copies.read(key, ceremony, stored.revision, before);
                self.remember(&copy.stored);
                Ok(Some(copy))
            }
        }
    }

    /// The ceremony as an edge sees it.
    ///
    /// # Errors
    /// The store's.
    pub async fn view(&self, key: &CeremonyKey) -> Result<Option<View>, StoreError> {
        Ok(self.load(key).await?.as_deref().map(View::from))
    }

    /// Takes a ceremony back, on its initiator's behalf; `None` if it had its outcome already.
    ///
    /// # Errors
    /// [`DriveError`].
    pub async fn cancel(&self, key: &CeremonyKey) -> Result<Option<View>, DriveError> {
        let driven = self.drive(key, Event::Cancel).await?;
        Ok(match driven.reply {
            Reply::Refused(Refusal::AlreadyClosed) => None,
            Reply::Done | Reply::Accepted { .. } | Reply::Ignored | Reply::Refused(_) => {
                Some(View::from(&*driven.ceremony))
            }
        })
    }

    /// Takes back all that is open for a user.
    ///
    /// # Errors
    /// [`DriveError`].
    pub async fn cancel_all_of(
        &self,
        tenant: &TenantId,
        username: &Username,
    ) -> Result<(), DriveError> {
        for key in self.node.open_ceremonies.all_of(&UserKey::new(tenant, username)) {
            match self.cancel(&key).await {
                Ok(_) | Err(DriveError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Takes up what is open by the store's index, whatever else is stored.
    pub(crate) async fn recover(&self) {
        let store = &*self.dependencies().store;
        let mut open = 0_u64;
        let mut last: Option<DueRecord> = None;
        loop {
            let due = || store.due(Duty::Close, UnixMillis(u64::MAX), last.as_ref(), PAGE);
            let Some(page) = self.until_read(due).await else { return };
            for record in &page {
                let load = || store.load(record.bucket, &record.key);
                let Some(stored) = self.until_read(load).await else { return };
                let Some(stored) = stored else { continue };
                match records::parse::<Ceremony>(&stored) {
                    Ok(ceremony) => {
                        open += 1;
                        // Which reads it again: what was just read may be over by now.
                        self.take_up(&CeremonyKey::from(&ceremony)).await;
                    }
                    Err(error) => {
                        let id = record.key.rsplit('.').next();
                        tracing::error!(ceremony = id, %error, "a ceremony was passed over");
                    }
                }
            }
            match page.last() {
                Some(record) => last = Some(record.clone()),
                None => break,
            }
            tokio::task::yield_now().await;
        }
        if open > 0 {
            tracing::info!(open, "took up the ceremonies that were open");
        }
    }

    /// Reads until the store answers; none: the node stops.
    pub(crate) async fn until_read<T, F>(&self, read: impl Fn() -> F) -> Option<T>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let stopping = self.dependencies().tasks.stopping();
        loop {
            match stopping.run_until_cancelled(read()).await? {
                Ok(found) => return Some(found),
                Err(error) => {
                    tracing::error!(%error, "ceremonies could not be read, trying again");
                    stopping.run_until_cancelled(tokio::time::sleep(RECOVERY_PAUSE)).await?;
                }
            }
        }
    }

    pub(crate) async fn take_up(&self, key: &CeremonyKey) {
        let stopping = self.dependencies().tasks.stopping().clone();
        while let Err(error) = self.drive(key, Event::Recover { by: self.node.id }).await {
            tracing::error!(ceremony = %key.id, %error, "an open ceremony was not taken up");
            let pause = tokio::time::sleep(RECOVERY_PAUSE);
            if matches!(error, DriveError::NotFound)
                || stopping.run_until_cancelled(pause).await.is_none()
            {
                return;
            }
        }
        self.escalate_later(key);
        // Its phone may be back already, from before this node knew what is open for it.
        self.look_until_still(key).await;
    }

    pub(crate) async fn follow_notices(self, mut feed: mpsc::Receiver<Notice>) {
        let stopping = self.dependencies().tasks.stopping().clone();
        while let Some(Some(notice)) = stopping.run_until_cancelled(feed.recv()).await {
            match notice {
                Notice::Ceremony(tenant, id) => {
                    self.look(&CeremonyKey { tenant, id }).await;
                }
                Notice::Revoked(device) => self.drop_revoked(device),
                Notice::News(tenant, username) => self.tell_news(&tenant, &username).await,
                Notice::Rekeyed(device) => self.renew(device),
            }
        }
    }

    pub(crate) async fn follow_deadlines(self) {
        let stopping = self.dependencies().tasks.stopping().clone();
        let due = || self.node.deadlines.due(&*self.dependencies().clock);
        while let Some(key) = stopping.run_until_cancelled(due()).await {
            match self.drive(&key, Event::Tick).await {
                // Too early, as when the clock was set back: it is due again.
                Ok(driven) => self.remember(&driven.ceremony),
                Err(error) => self.retry_deadline(key, &error),
            }
        }
    }

    /// A deadline that the store refused comes again: nothing else would close the ceremony.
    pub(crate) fn retry_deadline(&self, key: CeremonyKey, error: &DriveError) {
        match error {
            DriveError::Unavailable(_) => {
                tracing::warn!(ceremony = %key.id, %error, "a deadline could not be stored");
                self.tick_soon(key);
            }
            // It was never stored, or is swept: nothing of it is open.
            DriveError::NotFound => self.node.places.release(key.id),
        }
    }

    pub(crate) fn tick_soon(&self, key: CeremonyKey) {
        self.node.deadlines.schedule(self.dependencies().clock.now().plus_secs(1), key);
    }

    /// Commits, and notes whether the store takes commits.
    pub(crate) async fn commit_noted(&self, batch: Batch) -> Result<Revision, StoreError> {
        let committed = self.dependencies().store.commit(batch).await;
        let is_refused = match &committed {
            Ok(_) | Err(StoreError::Conflict(_)) => false,
            Err(StoreError::Unavailable(_) | StoreError::Fenced(_)) => true,
        };
        self.node.is_refused.store(is_refused, Ordering::Relaxed);
        committed
    }

    /// Keeps what this node must know of an open ceremony between looks.
    pub(crate) fn remember(&self, ceremony: &Ceremony) {
        let key = CeremonyKey::from(ceremony);
        let user = UserKey::new(&key.tenant, &ceremony.request.username);
        match ceremony.wakes_at() {
            Some(at) => {
                self.node.places.meet(ceremony);
                let is_taken_up = self.node.open_ceremonies.insert(user, ceremony);
                self.node.deadlines.schedule(at, key);
                if is_taken_up {
                    self.escalate_others(ceremony);
                }
            }
            None => {
                self.node.open_ceremonies.remove(&user, &key);
                self.node.places.release(key.id);
                self.node.deadlines.forget(ceremony.request.deadline, &key);
                self.escalate_others(ceremony);
            }
        }
    }
}
