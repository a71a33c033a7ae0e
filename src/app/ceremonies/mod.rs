//! Ceremonies of one node: opening them, advancing them by events, and what follows from that.
//!
//! There is one way to change a ceremony, [`Ceremonies::advance`]: load, step, commit, then perform
//! the effect, whose result is an event again. After a commit every node gets a [`Notice`] to look at
//! the ceremony again; a notice that is lost or comes twice does no harm. This room knows the store,
//! the bus, the FIDO2 port and the core. It must not know sockets, push services, watchers or HTTP:
//! what delivery on this node must hear besides the notice goes through [`CeremonyObserver`].
//!
//! ```text
//!  event ─▶ advance: load → step → commit ─┬─▶ effects: begin | complete ─▶ event
//!                                          └─▶ bus: look again ─▶ delivery (devices, watchers)
//! ```

mod advance;
mod claims;
mod commit;
mod copies;
mod deadlines;
mod device_identity;
mod effects;
mod frame_refusal;
mod idempotency;
mod keyed_mutex;
mod network;
mod open;
mod open_index;
mod open_request;
mod prompt_states;
mod record;
mod recovery;
mod slots;
mod user_agent;
mod view;
mod viewer;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use fido_relay_proto::{CeremonyId, DeviceId, NodeId, TenantId, Username};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use self::advance::{AdvanceError, Advanced};
pub use self::device_identity::DeviceIdentity;
pub use self::open::OpenError;
#[cfg(any(feature = "rig", test))]
pub use self::open_request::plain_sign_in;
pub use self::open_request::{OpenRefusal, OpenRequest, may_open};
#[cfg(feature = "rig")]
pub use self::record::store_all;
pub use self::record::{CeremonyKey, newest_time};
pub use self::slots::{OpenLimitReached, OpenLimits};
pub use self::view::{CeremonyEnd, CeremonySnapshot, ProgressEvent, VisibleSteps};
pub use self::viewer::{ViewRefusal, Viewer, VisibleParts};

pub(crate) use self::claims::ClaimOutcome;
pub(crate) use self::copies::CeremonyCopy;
pub(crate) use self::deadlines::Deadlines;
pub(crate) use self::frame_refusal::FrameRefusal;
pub(crate) use self::open::DELIVERY_DELAY;
pub(crate) use self::record::user_of;

use self::copies::CeremonyCopies;
use self::keyed_mutex::KeyedMutex;
use self::open_index::OpenIndex;
use self::slots::OpenSlots;
use crate::app::devices::UserKey;
use crate::app::users;
use crate::core::ceremony::{Ceremony, Event, Refusal, Reply};
use crate::core::prompt_limits::Policy;
use crate::journal::Journal;
use crate::ports::{
    Bucket, Bus, Clock, Counts, DueRule, ExportHealth, Fido, Store, StoreError, records,
};
use crate::security::encryption::Encryptor;
use crate::security::random;
use crate::tasks::Tasks;

/// When the records of this room, and those that it changes with them, are due.
pub const DUE: [DueRule; 3] = [record::CEREMONIES, idempotency::KEYS, users::STANDINGS];

/// What delivery on this node must hear of besides the notice on the bus. Implementations return at
/// once, and hold no [`Ceremonies`]: the handle holds them.
pub trait CeremonyObserver: fmt::Debug + Send + Sync {
    /// Devices may ring for this ceremony from now on.
    fn may_ring(&self, ceremony: &CeremonyKey);

    /// The ceremony closed with this device's answer. Called before the notice goes out, so that the
    /// device hears of the end also if its socket never showed the ceremony.
    fn answer_decided(&self, ceremony: CeremonyId, device: DeviceId);
}

/// What ceremonies need of the world.
#[derive(Clone, Debug)]
pub struct CeremonyDependencies {
    pub store: Arc<dyn Store>,
    pub bus: Arc<dyn Bus>,
    pub fido: Arc<dyn Fido>,
    pub clock: Arc<dyn Clock>,
    /// Encrypts the FIDO2 server's sessions.
    pub encryptor: Encryptor,
    pub journal: Journal,
    /// Whether what the journal holds is exported.
    pub recording: watch::Receiver<ExportHealth>,
    pub counts: Arc<dyn Counts>,
    pub tasks: Tasks,
    pub observer: Arc<dyn CeremonyObserver>,
}

/// The ceremonies of one node. Clones are the same.
#[derive(Clone, Debug)]
pub struct Ceremonies {
    state: Arc<CeremoniesState>,
}

#[derive(Debug)]
struct CeremoniesState {
    node: NodeId,
    dependencies: CeremonyDependencies,
    policy: Policy,
    open_limits: OpenLimits,
    open: OpenIndex,
    slots: OpenSlots,
    copies: CeremonyCopies,
    deadlines: Deadlines<CeremonyKey>,
    /// By ceremony: one advance at a time.
    advances: KeyedMutex,
    /// By device: one claim at a time.
    claims: KeyedMutex,
    /// By user: one change of the prompt state at a time.
    prompt_states: KeyedMutex,
    /// Whether the store refused this node's last commit.
    store_refuses: AtomicBool,
    /// Cancelled once recovery has seen everything.
    recovered: CancellationToken,
}

/// How much of ceremonies this node holds in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CeremonyGauges {
    pub(crate) open: usize,
    pub(crate) deadlines: usize,
    pub(crate) copies: usize,
}

impl Ceremonies {
    /// The ceremonies of this node. [`Ceremonies::follow_deadlines`] and [`Ceremonies::recovery`] are
    /// to be run beside them.
    #[must_use]
    pub fn new(
        dependencies: CeremonyDependencies,
        policy: Policy,
        open_limits: OpenLimits,
    ) -> Self {
        let state = CeremoniesState {
            node: NodeId::from_bytes(random::bytes()),
            dependencies,
            policy,
            open_limits,
            open: OpenIndex::default(),
            slots: OpenSlots::default(),
            copies: CeremonyCopies::default(),
            deadlines: Deadlines::default(),
            advances: KeyedMutex::default(),
            claims: KeyedMutex::default(),
            prompt_states: KeyedMutex::default(),
            store_refuses: AtomicBool::new(false),
            recovered: CancellationToken::new(),
        };
        Self { state: Arc::new(state) }
    }

    fn dependencies(&self) -> &CeremonyDependencies {
        &self.state.dependencies
    }

    fn store(&self) -> &dyn Store {
        &*self.state.dependencies.store
    }

    /// The node that takes answers here, and completes them.
    pub(crate) fn node(&self) -> NodeId {
        self.state.node
    }

    pub(crate) fn occupancy(&self) -> CeremonyGauges {
        CeremonyGauges {
            open: self.state.slots.len(),
            deadlines: self.state.deadlines.len(),
            copies: self.state.copies.len(),
        }
    }

    /// The ceremony as it is stored.
    ///
    /// # Errors
    /// The store's.
    pub async fn load(&self, key: &CeremonyKey) -> Result<Option<Arc<Ceremony>>, StoreError> {
        Ok(self.newest(key).await?.map(|copy| copy.stored))
    }

    /// The ceremony as an edge sees it.
    ///
    /// # Errors
    /// The store's.
    pub async fn view(&self, key: &CeremonyKey) -> Result<Option<CeremonySnapshot>, StoreError> {
        Ok(self.load(key).await?.as_deref().map(CeremonySnapshot::from))
    }

    /// The newest that this node knows: its copy where that is exact, and otherwise what the store
    /// has or this node has seen there.
    pub(crate) async fn newest(
        &self,
        key: &CeremonyKey,
    ) -> Result<Option<CeremonyCopy>, StoreError> {
        match self.copy(key) {
            Some(copy) if self.store().is_exclusive() => Ok(Some(copy)),
            Some(_) | None => self.read(key).await,
        }
    }

    /// This node's copy, which may be old where other nodes write too.
    pub(crate) fn copy(&self, key: &CeremonyKey) -> Option<CeremonyCopy> {
        self.state.copies.get(key)
    }

    /// Forgets the copy of a ceremony whose end was shown.
    pub(crate) fn forget_copy(&self, key: &CeremonyKey) {
        self.state.copies.forget(key);
    }

    /// Reads the ceremony, and notes it if it is open. A record that this node has a copy of, or a
    /// later one of, is not parsed again.
    async fn read(&self, key: &CeremonyKey) -> Result<Option<CeremonyCopy>, StoreError> {
        let copies = &self.state.copies;
        let (name, before) = (key.to_string(), copies.ends_before(key));
        let Some(stored) = self.store().load(Bucket::Ceremonies, &name).await? else {
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

    /// Cancels a ceremony on its initiator's behalf; `None` if it had its outcome already.
    ///
    /// # Errors
    /// [`AdvanceError`].
    pub async fn cancel(
        &self,
        key: &CeremonyKey,
    ) -> Result<Option<CeremonySnapshot>, AdvanceError> {
        let advanced = self.advance(key, Event::Cancel).await?;
        Ok(match advanced.reply {
            Reply::Refused(Refusal::AlreadyClosed) => None,
            Reply::Done | Reply::Accepted { .. } | Reply::Ignored | Reply::Refused(_) => {
                Some(CeremonySnapshot::from(&*advanced.ceremony))
            }
        })
    }

    /// Cancels all that is open for a user.
    ///
    /// # Errors
    /// [`AdvanceError`].
    pub async fn cancel_all_of(
        &self,
        tenant: &TenantId,
        username: &Username,
    ) -> Result<(), AdvanceError> {
        for key in self.state.open.all_of(&UserKey::new(tenant, username)) {
            match self.cancel(&key).await {
                Ok(_) | Err(AdvanceError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The open ceremonies of a device's user that devices may know of, oldest first.
    pub(crate) fn open_for(&self, device: &DeviceIdentity) -> Vec<CeremonyKey> {
        self.state.open.known_to_devices(&device.user())
    }

    /// The ceremonies that this device rings for.
    pub(crate) fn ringing_on(&self, device: &DeviceIdentity) -> Vec<CeremonyKey> {
        self.state.open.ringing(&device.user(), device.device, self.state.policy.ringing)
    }

    /// Forgets a ceremony that the store does not have.
    pub(crate) fn forget_missing(&self, user: &UserKey, key: &CeremonyKey) {
        self.state.open.remove(user, key);
        self.state.slots.release(key.id);
    }

    /// Keeps what this node must know of an open ceremony between looks.
    fn remember(&self, ceremony: &Ceremony) {
        let (key, user) = (CeremonyKey::from(ceremony), user_of(&ceremony.request));
        let may_others_ring = if let Some(at) = ceremony.wakes_at() {
            self.state.slots.meet(ceremony);
            let is_taken_up = self.state.open.insert(&user, ceremony);
            self.state.deadlines.schedule(at, key);
            is_taken_up
        } else {
            self.state.open.remove(&user, &key);
            self.state.slots.release(key.id);
            self.state.deadlines.forget(ceremony.request.deadline, &key);
            true
        };
        if may_others_ring {
            for other in self.state.open.known_to_devices(&user) {
                self.dependencies().observer.may_ring(&other);
            }
        }
    }
}
