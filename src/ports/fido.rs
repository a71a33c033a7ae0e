//! The FIDO2 server ("upstream"): makes challenges and verifies answers.

use fido_relay_proto::http::{Transaction, UpstreamOptions};
use fido_relay_proto::{CeremonyType, DisplayName, Reason, TenantId, Username};
use futures::future::BoxFuture;
use serde_json::value::RawValue;

use super::batch::Batch;
use super::security_event::SecurityEventKind;
use crate::core::ceremony::{Begun, UpstreamSession, Verdict};

/// What a challenge is wanted for.
#[derive(Clone, Debug)]
pub struct BeginRequest {
    /// The relying party's tenant.
    pub tenant: TenantId,
    /// Registration makes a credential; authentication and approval use one.
    pub ceremony_type: CeremonyType,
    pub username: Username,
    /// How the person is greeted.
    pub display_name: DisplayName,
    /// The relying party id.
    pub rp_id: String,
    /// The initiator's wishes.
    pub options: UpstreamOptions,
    /// What an approval is about; a server that can makes the challenge cover it.
    pub transaction: Option<Transaction>,
    /// Milliseconds until the ceremony's deadline: no call may outlast them.
    pub time_left_ms: u64,
}

/// Why there is no challenge.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no challenge ({}): {detail}", reason.code())]
pub struct BeginFault {
    pub reason: Reason,
    /// For the log: what the server said, without secrets.
    pub detail: String,
}

/// What came of handing in an answer.
#[derive(Clone, Debug)]
pub struct Completion {
    pub verdict: Verdict,
    /// Changes of the server's own records in the relay's store, from a server that judges locally:
    /// they are committed with the answer and the ceremony's end.
    pub records: Batch,
    /// What happened to a card, from such a server: its entry of the journal, and what it means for
    /// the user's devices, are committed with the ceremony's end too.
    pub event: Option<SecurityEventKind>,
}

impl From<Verdict> for Completion {
    fn from(verdict: Verdict) -> Self {
        Self { verdict, records: Batch::new(), event: None }
    }
}

/// A FIDO2 server. Implementations do their own retries for `begin`; for `complete` they retry
/// only what provably never left this machine.
pub trait Fido: Send + Sync + std::fmt::Debug {
    /// Whether the server accepts usernames of this form. It says nothing about accounts.
    fn takes_username(&self, _username: &Username) -> bool {
        true
    }

    /// Whether handing in an answer has no effect but the records that it gives: such a server is
    /// asked before the answer is stored, and again if the commit meets another write.
    fn judges_locally(&self) -> bool {
        false
    }

    /// Asks for a challenge.
    fn begin(&self, request: BeginRequest) -> BoxFuture<'_, Result<Begun, BeginFault>>;

    /// Hands in the card's answer, byte for byte. A server that is elsewhere is called at most once;
    /// `time_left_ms` bounds the retries of a call that never left.
    fn complete<'a>(
        &'a self,
        ceremony_type: CeremonyType,
        session: &'a UpstreamSession,
        credential: &'a RawValue,
        time_left_ms: u64,
    ) -> BoxFuture<'a, Completion>;
}
