//! One record of a store: its bucket and key, its revision, its value and its due time; and why a
//! store refuses.

use fido_relay_proto::UnixMillis;

/// A kind of record. Keys within a bucket are the caller's: `A-Z a-z 0-9 . _ = -`, at most 200 bytes,
/// so that they are also safe in a message subject. The numbers are what files hold: they never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Bucket {
    /// Ceremonies by id.
    Ceremonies = 0,
    /// The ceremony of an idempotency key.
    Idempotency = 1,
    /// Devices by id.
    Devices = 2,
    /// What belongs to a user: device ids.
    Users = 3,
    /// Pairing tokens by their hash.
    Pairings = 4,
    /// Initiators by id.
    Clients = 5,
    /// Initiators' API keys by their hash.
    ApiKeys = 6,
    /// How much of each user's attention was asked for.
    Standings = 7,
    /// The built-in FIDO2 server's credentials.
    Credentials = 8,
    /// The relay's own keys by their name.
    Keys = 9,
    /// Webhook endpoints by tenant, client and id.
    Webhooks = 10,
    /// Waiting and dead deliveries of webhook endpoints.
    Outbox = 11,
    /// Deliveries that arrived, so that none is sent again.
    Delivered = 12,
    /// Event tickets that were used, by their name.
    EventTickets = 13,
    /// Client assertions that were used, by hash.
    Assertions = 14,
    /// Rows of the journal by position: written by the store itself.
    Journal = 15,
    /// How far each reader of the journal has come, by its name.
    Cursors = 16,
    /// Which device has a push address, by its service and token.
    PushAddresses = 17,
}

impl Bucket {
    pub const ALL: [Self; 18] = [
        Self::Ceremonies,
        Self::Idempotency,
        Self::Devices,
        Self::Users,
        Self::Pairings,
        Self::Clients,
        Self::ApiKeys,
        Self::Standings,
        Self::Credentials,
        Self::Keys,
        Self::Webhooks,
        Self::Outbox,
        Self::Delivered,
        Self::EventTickets,
        Self::Assertions,
        Self::Journal,
        Self::Cursors,
        Self::PushAddresses,
    ];

    /// The bucket's name in a backend.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ceremonies => "ceremonies",
            Self::Idempotency => "idempotency",
            Self::Devices => "devices",
            Self::Users => "users",
            Self::Pairings => "pairings",
            Self::Clients => "clients",
            Self::ApiKeys => "api_keys",
            Self::Standings => "standings",
            Self::Credentials => "credentials",
            Self::Keys => "keys",
            Self::Webhooks => "webhooks",
            Self::Outbox => "outbox",
            Self::Delivered => "delivered",
            Self::EventTickets => "event_tickets",
            Self::Assertions => "assertions",
            Self::Journal => "journal",
            Self::Cursors => "cursors",
            Self::PushAddresses => "push_addresses",
        }
    }
}

/// Orders the writes to one key: a later write has a larger revision, also when the key was
/// removed between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl Revision {
    /// Expected of a key that must not exist.
    pub const ABSENT: Self = Self(0);
}

/// What has to be done with a record once its time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Duty {
    /// An open ceremony closes. Every open ceremony has this duty.
    Close = 1,
    /// The record is removed: its retention is over.
    Remove = 2,
}

impl Duty {
    /// In the order of their numbers.
    pub const ALL: [Self; 2] = [Self::Close, Self::Remove];
}

/// A record's duty and its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Due {
    pub duty: Duty,
    pub at: UnixMillis,
}

impl Due {
    /// Removal at this time.
    #[must_use]
    pub const fn removal(at: UnixMillis) -> Self {
        Self { duty: Duty::Remove, at }
    }
}

/// A record with its revision. Its `Debug` prints only the length: records hold secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Stored {
    /// Which write this is.
    pub revision: Revision,
    pub value: Vec<u8>,
    /// What it is due for.
    pub due: Option<Due>,
}

impl std::fmt::Debug for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { revision, value, due } = self;
        write!(f, "Stored({revision:?}, {} bytes, {due:?})", value.len())
    }
}

/// A record by its bucket and key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordName {
    pub bucket: Bucket,
    pub key: Box<str>,
}

impl std::fmt::Display for RecordName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.bucket.name(), self.key)
    }
}

/// Why a store did not do it. A commit that ends with an error has changed nothing, and never
/// will: the backend settles the fate of a write before it answers. Where it cannot, it answers
/// [`StoreError::Fenced`], and the next start decides.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// This record was not at its expected revision: another write came first. Load again, decide
    /// again.
    #[error("{0} was changed meanwhile")]
    Conflict(RecordName),
    /// The store cannot do it now. The text is for the log.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// This process may use the store no more and must end: the records are damaged, or the fate
    /// of a write could not be settled. The text is for the log.
    #[error("the store is closed to this process: {0}")]
    Fenced(String),
}

impl StoreError {
    /// Too many writes of others came first, one after the other.
    #[must_use]
    pub fn too_many_races() -> Self {
        Self::Unavailable("too many races for one record".to_owned())
    }
}
