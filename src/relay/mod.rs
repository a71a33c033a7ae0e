//! Orchestration: load, step, save, then act; what comes of the act is an event again.
//!
//! There is one way to change a ceremony, [`Relay::drive`]. After a change everybody concerned
//! is told to look again ([`Notice`]), and every node then shows its own sockets and watchers what
//! the stored state asks for. A notice that is lost or comes twice does no harm. This room knows
//! the ports and the core, and nothing of HTTP, sockets, configuration or a FIDO2 server's protocol.
//!
//! ```text
//!  event ─▶ drive: load → step → save ─┬─▶ effects: begin | complete ─▶ event
//!                                      └─▶ bus: look again ─▶ prompts (phones), watchers
//! ```

mod census;
mod ceremonies;
mod claims;
mod connection;
mod contact;
mod copies;
mod deadlines;
mod drive;
mod effects;
mod keyed_mutex;
mod network;
mod news;
mod open;
mod open_ceremonies;
mod places;
mod prompts;
mod pull;
mod registry;
mod revocations;
mod sockets;
mod sweeper;
mod user_agent;
mod user_prompts;
mod view;
mod wakes;
mod watchers;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fido_relay_proto::{NodeId, TenantId, UnixMillis, Username};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

pub use self::census::Census;
pub use self::ceremonies::{CeremonyKey, RESULTS_S};
pub use self::connection::{Connection, Next, OUTBOX_BYTES, Outgoing, Owner};
pub use self::drive::{DriveError, Driven};
pub use self::open::{Initiator, OpenError, OpenRequest};
pub use self::places::{Full, OpenLimits};
pub use self::pull::PullOrder;
pub use self::registry::Registry;
pub use self::view::{End, ProgressEvent, Steps, View};
pub use self::watchers::{Watch, Watchers};

use self::copies::{Copies, Held};
use self::deadlines::Deadlines;
use self::keyed_mutex::KeyedMutex;
use self::open_ceremonies::OpenCeremonies;
use self::places::Places;
use self::pull::Pullers;
use self::wakes::{UnderWay, WakeCheck};
use crate::app::devices::UserKey;
use crate::app::users;
use crate::core::ceremony::{Ceremony, Event, Refusal, Reply};
use crate::core::prompt_limits::Policy;
use crate::journal::Journal;
use crate::ports::{
    Ability, Batch, Bucket, Bus, Cards, Clock, Counts, DueRecord, DueRule, Duty, Fido, Notice,
    Push, Revision, Revocations, SecurityEvent, Store, StoreError, records,
};
use crate::security::encryption::Encryptor;
use crate::security::random;
use crate::tasks::Tasks;

/// What the relay's own records are due for.
pub const DUE: [DueRule; 3] = [ceremonies::CEREMONIES, open::IDEMPOTENCY_KEYS, users::STANDINGS];

/// Records that one page of a walk over an index names.
const PAGE: usize = 256;

/// Pause before open ceremonies are read again from a store that did not answer.
const RECOVERY_PAUSE: Duration = Duration::from_secs(1);

/// What a relay needs of the dependencies.
#[derive(Clone, Debug)]
pub struct Dependencies {
    /// Durable records.
    pub store: Arc<dyn Store>,
    /// Revoked devices and removed cards, apart from the store.
    pub revocations: Arc<dyn Revocations>,
    /// "Look again" between nodes.
    pub bus: Arc<dyn Bus>,
    /// The FIDO2 server.
    pub fido: Arc<dyn Fido>,
    /// The push services, if any is configured.
    pub push: Option<Arc<dyn Push>>,
    /// The FIDO2 server's cards, if it keeps them here.
    pub cards: Option<Arc<dyn Cards>>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// What seals the FIDO2 server's sessions.
    pub sealer: Encryptor,
    /// How the journal is written.
    pub journal: Journal,
    /// Whether what the journal holds is exported.
    pub recording: watch::Receiver<Ability>,
    /// Counts what this process commits.
    pub counts: Arc<dyn Counts>,
    /// Who owns the tasks.
    pub tasks: Tasks,
}

impl Dependencies {
    /// Commits a security event by itself.
    pub async fn note(&self, event: &SecurityEvent) {
        let noted = self.store.commit(Batch::new().entry(event.entry())).await;
        if let Err(error) = noted {
            tracing::warn!(%error, "a security event could not be stored");
        }
    }
}

/// What initiators may have of a node and of a person.
#[derive(Clone, Debug, Default)]
pub struct Bounds {
    /// Ceremonies at a time.
    pub open: OpenLimits,
    /// Prompts, and codes that may be wrong.
    pub attention: Policy,
    /// How long an app has to acknowledge a prompt before its push service wakes it. 0: a device
    /// without a socket is woken at once.
    pub wake_after: Duration,
}

/// One node of the relay. Clones are the same node.
#[derive(Clone, Debug)]
pub struct Relay {
    node: Arc<Node>,
}

#[derive(Debug)]
struct Node {
    id: NodeId,
    dependencies: Dependencies,
    registry: Registry,
    watchers: Arc<Watchers>,
    open_ceremonies: OpenCeremonies,
    places: Places,
    copies: Copies,
    open_limits: OpenLimits,
    deadlines: Deadlines<CeremonyKey>,
    wakes: Deadlines<WakeCheck>,
    waking: UnderWay,
    wake_after: Duration,
    pullers: Pullers,
    policy: Policy,
    /// Which ceremony is moved.
    moves: KeyedMutex,
    /// The device whose code is looked at.
    claims: KeyedMutex,
    /// Whose standing is changed.
    user_prompts: KeyedMutex,
    /// Whether the store refused this node's last commit.
    is_refused: AtomicBool,
    /// Cancelled once recovery has seen everything.
    recovered: CancellationToken,
    /// Cancelled once the store has every revocation that was known at the start.
    revocations_applied: CancellationToken,
}

impl Relay {
    /// Starts a node: it follows the bus and the clock, takes up every open ceremony where the
    /// store says it stands, and removes what has passed its retention, until the tasks are
    /// stopped.
    ///
    /// Taking up runs beside new work, so that a full store does not keep the node from serving;
    /// [`Relay::recovered`] waits for it.
    #[must_use]
    pub fn start(dependencies: Dependencies, bounds: Bounds) -> Self {
        let Bounds { open: open_limits, attention: policy, wake_after } = bounds;
        let node = Arc::new(Node {
            id: NodeId::from_bytes(random::bytes()),
            dependencies,
            registry: Registry::default(),
            watchers: Arc::default(),
            open_ceremonies: OpenCeremonies::default(),
            places: Places::default(),
            copies: Copies::default(),
            open_limits,
            deadlines: Deadlines::default(),
            wakes: Deadlines::default(),
            waking: UnderWay::default(),
            wake_after,
            pullers: Pullers::default(),
            policy,
            moves: KeyedMutex::default(),
            claims: KeyedMutex::default(),
            user_prompts: KeyedMutex::default(),
            is_refused: AtomicBool::new(false),
            recovered: CancellationToken::new(),
            revocations_applied: CancellationToken::new(),
        });
        let relay = Self { node };
        let tasks = &relay.dependencies().tasks;
        if let Some(feed) = relay.dependencies().bus.feed() {
            tasks.spawn_vital("notices", relay.clone().follow_notices(feed));
        }
        tasks.spawn_vital("revocations", relay.clone().follow_revocations());
        tasks.spawn_vital("deadlines", relay.clone().follow_deadlines());
        if let Some(push) = relay.dependencies().push.clone() {
            tasks.spawn_vital("wakes", relay.clone().follow_wakes(push));
        }
        tasks.spawn_vital("recovery", {
            let relay = relay.clone();
            async move {
                relay.recover().await;
                relay.node.recovered.cancel();
                relay.sweep_forever().await;
            }
        });
        relay
    }

    /// Waits until every ceremony that was open at the start is taken up.
    pub async fn recovered(&self) {
        self.node.recovered.cancelled().await;
    }

    /// Waits until the store has every revocation that was known at the start. No device is to be
    /// let in before: the store may be an earlier state of itself.
    pub async fn revocations_applied(&self) {
        self.node.revocations_applied.cancelled().await;
    }

    /// Runs something that must finish in a task of its own; none if that task was ended early.
    pub(crate) async fn run_detached<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        self.dependencies().tasks.run_detached(work).await
    }

    /// What the relay stands on.
    #[must_use]
    pub fn dependencies(&self) -> &Dependencies {
        &self.node.dependencies
    }

    /// The sockets of this node.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.node.registry
    }

    /// A place to wait for changes of a ceremony.
    #[must_use]
    pub fn watch(&self, ceremony: &CeremonyKey) -> Watch {
        self.node.watchers.subscribe(ceremony.id)
    }

    /// The ceremony as it is stored.
    ///
    /// # Errors
    /// The store's.
    pub async fn load(&self, key: &CeremonyKey) -> Result<Option<Arc<Ceremony>>, StoreError> {
        Ok(self.known(key).await?.map(|copy| copy.stored))
    }

    /// The newest that this node knows: its copy where that is exact, and otherwise what the store
    /// has or this node has seen there.
    async fn known(&self, key: &CeremonyKey) -> Result<Option<Held>, StoreError> {
        match self.node.copies.get(key) {
            Some(copy) if self.dependencies().store.is_exclusive() => Ok(Some(copy)),
            Some(_) | None => self.read(key).await,
        }
    }

    /// Reads the ceremony, and notes it if it is open; a record that this node knows, or a later
    /// one of which it knows, is not parsed again.
    async fn read(&self, key: &CeremonyKey) -> Result<Option<Held>, StoreError> {
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
    async fn recover(&self) {
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
    async fn until_read<T, F>(&self, read: impl Fn() -> F) -> Option<T>
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

    async fn take_up(&self, key: &CeremonyKey) {
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

    async fn follow_notices(self, mut feed: mpsc::Receiver<Notice>) {
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

    async fn follow_deadlines(self) {
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
    fn retry_deadline(&self, key: CeremonyKey, error: &DriveError) {
        match error {
            DriveError::Unavailable(_) => {
                tracing::warn!(ceremony = %key.id, %error, "a deadline could not be stored");
                self.tick_soon(key);
            }
            // It was never stored, or is swept: nothing of it is open.
            DriveError::NotFound => self.node.places.release(key.id),
        }
    }

    fn tick_soon(&self, key: CeremonyKey) {
        self.node.deadlines.schedule(self.dependencies().clock.now().plus_secs(1), key);
    }

    /// Commits, and notes whether the store takes commits.
    async fn commit_noted(&self, batch: Batch) -> Result<Revision, StoreError> {
        let committed = self.dependencies().store.commit(batch).await;
        let is_refused = match &committed {
            Ok(_) | Err(StoreError::Conflict(_)) => false,
            Err(StoreError::Unavailable(_) | StoreError::Fenced(_)) => true,
        };
        self.node.is_refused.store(is_refused, Ordering::Relaxed);
        committed
    }

    /// Keeps what this node must know of an open ceremony between looks.
    fn remember(&self, ceremony: &Ceremony) {
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
