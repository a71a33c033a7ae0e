//! Waking a device whose app holds no socket, through its platform's push service. A service learns
//! when it is to wake which of its own tokens, and nothing else: no user, relying party, ceremony or
//! text of theirs.

use fido_relay_proto::http::PushTarget;
use futures::future::BoxFuture;

/// One wake to be handed to a push service.
#[derive(Clone, Debug)]
pub struct Wake {
    /// The device's address at the service.
    pub target: PushTarget,
    /// A random name of this wake, 22 characters of base64url; it says nothing.
    pub id: String,
    /// Seconds after which the wake is of no use: what is left of the ceremony. Never 0.
    pub ttl_s: u64,
}

/// Why a wake was not handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum PushFailure {
    /// The service no longer knows the token: forget it.
    #[error("the push service no longer knows the address")]
    Gone,
    /// Nothing of the configuration serves this target.
    #[error("no push service is configured for the address")]
    Unserved,
    /// The service refused the wake or the relay's credential; an operator has to look.
    #[error("the push service refused the wake")]
    Refused,
    /// The service is failing, and is left alone for a while.
    #[error("the push service is failing")]
    Failing,
    /// As many wakes as there is room for are under way.
    #[error("too many wakes at once")]
    Full,
    /// The wake was not taken before it was of no use.
    #[error("the push service did not take the wake in time")]
    Late,
}

impl PushFailure {
    /// Its name, for counters; it never changes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Unserved => "unserved",
            Self::Refused => "refused",
            Self::Failing => "failing",
            Self::Full => "full",
            Self::Late => "late",
        }
    }
}

/// Why an address cannot be set. The texts are for the app's developer and repeat nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unpushable(pub &'static str);

/// The push services of a relay.
pub trait Push: Send + Sync + std::fmt::Debug {
    /// Whether a device may set this address: its form, and that something is configured for it.
    ///
    /// # Errors
    /// [`Unpushable`].
    fn permits(&self, target: &PushTarget) -> Result<(), Unpushable>;

    /// Hands one wake over, with every retry that is worth it; at the latest after `ttl_s` it gives
    /// up. Once this is `Ok` the service has taken it.
    ///
    /// # Errors
    /// [`PushFailure`].
    fn wake(&self, wake: Wake) -> BoxFuture<'_, Result<(), PushFailure>>;
}
