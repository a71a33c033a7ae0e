//! What a success is made of: everything that a signed word about it may say.

use fido_relay_proto::http::Transaction;
use fido_relay_proto::{
    Binding, CeremonyId, CeremonyType, ClientId, ClientNonce, DeviceId, Outcome, SameNetwork,
    UnixMillis, Username,
};

use super::state::{Ceremony, TxBinding, VerifiedAnswer};

/// A ceremony that succeeded, as its initiator may be told.
#[derive(Clone, Debug)]
pub struct Success {
    /// The ceremony.
    pub id: CeremonyId,
    /// What it was for.
    pub ceremony_type: CeremonyType,
    /// Who opened it.
    pub client_id: ClientId,
    /// The initiator's own value.
    pub client_nonce: Option<ClientNonce>,
    /// Whose card.
    pub username: Username,
    /// The phone whose answer was accepted.
    pub device_id: DeviceId,
    /// How page and phone were tied together.
    pub binding: Binding,
    /// What was approved.
    pub transaction: Option<Transaction>,
    /// What vouches for the transaction's words.
    pub tx_binding: Option<TxBinding>,
    /// Whether phone and browser were in one network, where that is compared.
    pub same_network: Option<SameNetwork>,
    /// What was verified.
    pub approval: VerifiedAnswer,
    /// When the verdict was stored.
    pub at: UnixMillis,
}

impl Ceremony {
    /// The success, if it is one.
    #[must_use]
    pub fn success(&self) -> Option<Success> {
        let closed = self.closed().filter(|closed| closed.outcome == Outcome::Succeeded)?;
        let (_, device_id, _) = closed.accepted?;
        let request = &self.request;
        Some(Success {
            id: request.id,
            ceremony_type: request.ceremony_type,
            client_id: request.client_id,
            client_nonce: request.client_nonce.clone(),
            username: request.username.clone(),
            device_id,
            binding: request.binding,
            transaction: request.transaction.clone(),
            tx_binding: closed.tx_binding,
            same_network: self.same_network,
            approval: closed.approval.clone()?,
            at: closed.at,
        })
    }
}
