//! Sending one webhook delivery, and what keeps it from being turned against the relay's own
//! network. Implementations follow nothing, repeat nothing and keep nothing of an answer.

use fido_relay_proto::UnixMillis;
use futures::future::BoxFuture;
use url::Url;

/// Who registered an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Registrar {
    /// An initiator: its hosts must be on the operator's list.
    Client,
    /// The operator, who may name any host. Addresses are checked nevertheless.
    Operator,
}

/// One request to an endpoint.
#[derive(Clone, PartialEq, Eq)]
pub struct OutgoingRequest {
    pub url: Url,
    /// Who vouches for that.
    pub registrar: Registrar,
    /// Header names in lower case and their values.
    pub headers: Vec<(&'static str, String)>,
    /// The exact bytes to send.
    pub body: Vec<u8>,
}

impl std::fmt::Debug for OutgoingRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OutgoingRequest")
            .field("registrar", &self.registrar)
            .finish_non_exhaustive()
    }
}

/// An endpoint's answer, of any status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    pub status: u16,
    /// When the endpoint accepts the next delivery.
    pub retry_after: Option<RetryAfter>,
}

/// `Retry-After` (RFC 9110 section 10.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// After so many seconds.
    Seconds(u64),
    /// At a time by the endpoint's clock, which did not say what time it is there.
    At(UnixMillis),
}

impl RetryAfter {
    /// Seconds to wait, rounded up; 0 if the time has passed.
    #[must_use]
    pub fn seconds(self, now: UnixMillis) -> u64 {
        match self {
            Self::Seconds(seconds) => seconds,
            Self::At(at) => at.millis_since(now).div_ceil(1000),
        }
    }
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsent {
    /// The endpoint did not answer in time.
    #[error("no answer in time")]
    Timeout,
    /// No connection, no good certificate, or it broke off.
    #[error("unreachable")]
    Unreachable,
    /// The host or one of its addresses is forbidden; no connection was made.
    #[error("not to be connected to")]
    Forbidden,
}

/// Why an endpoint cannot be registered. The texts are for the registering operator or initiator,
/// and repeat no input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsendable {
    /// No URL, or one that a parser would rewrite.
    #[error(
        "must be a URL in its normal form: lower-case host, no default port, no user, no fragment"
    )]
    Form,
    /// Not https.
    #[error("must be https")]
    Scheme,
    /// A port that the operator does not allow.
    #[error("must use port 443 or one of webhooks.allowed_ports")]
    Port,
    /// A host that the operator does not allow.
    #[error("its host must be on the operator's list (webhooks.allowed_hosts)")]
    Host,
    /// An address that is not a public one.
    #[error("must not name an address of a private or reserved network")]
    Address,
}

pub trait WebhookSender: Send + Sync + std::fmt::Debug {
    /// Whether an endpoint with this URL may be registered. What its host resolves to is not part
    /// of it: that is checked at every connection.
    ///
    /// # Errors
    /// [`Unsendable`].
    fn permits(&self, url: &str, registrar: Registrar) -> Result<Url, Unsendable>;

    /// Sends one request, with its own limit of time and of what it reads.
    fn send(&self, letter: OutgoingRequest) -> BoxFuture<'_, Result<Answered, Unsent>>;
}
