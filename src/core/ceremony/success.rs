//! The data of a success: everything that a signed statement about it may contain.

use fido_relay_proto::http::Transaction;
use fido_relay_proto::{
    Binding, CeremonyId, CeremonyType, ClientId, ClientNonce, DeviceId, Outcome, SameNetwork,
    UnixMillis, Username,
};

use super::state::{Ceremony, TxBinding, VerifiedAnswer};

/// A ceremony that succeeded, as its initiator may see it.
#[derive(Clone, Debug)]
pub struct Success {
    pub id: CeremonyId,
    pub ceremony_type: CeremonyType,
    pub client_id: ClientId,
    pub client_nonce: Option<ClientNonce>,
    pub username: Username,
    /// The device whose answer was accepted.
    pub device_id: DeviceId,
    pub binding: Binding,
    pub transaction: Option<Transaction>,
    pub tx_binding: Option<TxBinding>,
    pub same_network: Option<SameNetwork>,
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
