//! A server over a store in memory, with cards to try it with.

use std::sync::{Arc, Mutex};

use fido_relay_proto::device::CardErrorCode;
use fido_relay_proto::http::{Transaction, UpstreamOptions};
use fido_relay_proto::{CeremonyType, DisplayName, TenantId, Username};
use fido_relay_rig::softcard::{Prompt, SoftCard};
use serde_json::value::RawValue;

use super::super::server::{BuiltinFido, BuiltinFidoSettings};
use super::faulty_store::{FaultyStore, SetClock};
use super::{ORIGIN, RP_ID};
use crate::core::ceremony::{Begun, Verdict};
use crate::ports::{
    BeginFault, BeginRequest, Completion, Fido as _, SecurityEventKind, Store as _, StoreError,
};

pub(super) struct Bench {
    pub(super) store: Arc<FaultyStore>,
    pub(super) clock: Arc<SetClock>,
    pub(super) server: BuiltinFido,
    /// Security events of completions whose changes were committed.
    pub(super) heard: Mutex<Vec<SecurityEventKind>>,
}

pub(super) fn settings() -> BuiltinFidoSettings {
    BuiltinFidoSettings::new(RP_ID, "Example", ORIGIN)
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(settings())
    }

    pub(super) fn with(settings: BuiltinFidoSettings) -> Self {
        let store = Arc::new(FaultyStore::default());
        let clock = Arc::new(SetClock::default());
        let server = BuiltinFido::new(store.clone(), clock.clone(), settings);
        Self { store, clock, server, heard: Mutex::default() }
    }

    /// Another server over the same store and clock, as after a restart or on another node.
    pub(super) fn another_server(&self) -> BuiltinFido {
        BuiltinFido::new(self.store.clone(), self.clock.clone(), settings())
    }

    pub(super) async fn begin(
        &self,
        ceremony_type: CeremonyType,
        username: &str,
        options: UpstreamOptions,
    ) -> Result<Begun, BeginFault> {
        self.server.begin(request(ceremony_type, username, options, None)).await
    }

    /// A whole registration with this card.
    pub(super) async fn register(&self, card: &mut SoftCard, username: &str) -> Verdict {
        let begun = self
            .begin(CeremonyType::Registration, username, UpstreamOptions::default())
            .await
            .unwrap();
        let answer = make(card, username, &begun).unwrap();
        self.complete(CeremonyType::Registration, &begun, &answer).await
    }

    /// A whole authentication with this card.
    pub(super) async fn authenticate(&self, card: &mut SoftCard, username: &str) -> Verdict {
        let begun = self
            .begin(CeremonyType::Authentication, username, UpstreamOptions::default())
            .await
            .unwrap();
        let answer = sign(card, username, &begun).unwrap();
        self.complete(CeremonyType::Authentication, &begun, &answer).await
    }

    /// Hands the answer in and commits what follows, as the relay does; a verdict that the store
    /// did not take is [`Verdict::Full`].
    pub(super) async fn complete(
        &self,
        ceremony_type: CeremonyType,
        begun: &Begun,
        answer: &RawValue,
    ) -> Verdict {
        self.complete_at(&self.server, ceremony_type, begun, answer).await
    }

    /// [`Self::complete`] at a server over the same store.
    pub(super) async fn complete_at(
        &self,
        server: &BuiltinFido,
        ceremony_type: CeremonyType,
        begun: &Begun,
        answer: &RawValue,
    ) -> Verdict {
        loop {
            let call = server.complete(ceremony_type, &begun.session, answer, 10_000);
            let Completion { verdict, records, event } = call.await;
            if !records.is_empty() {
                match self.store.commit(records).await {
                    Ok(_) => {}
                    Err(StoreError::Conflict(_)) => continue,
                    Err(_) => return Verdict::Full,
                }
            }
            self.heard.lock().unwrap().extend(event);
            return verdict;
        }
    }
}

pub(super) fn request(
    ceremony_type: CeremonyType,
    username: &str,
    options: UpstreamOptions,
    transaction: Option<Transaction>,
) -> BeginRequest {
    BeginRequest {
        tenant: TenantId::default(),
        ceremony_type,
        username: Username::new(username).unwrap(),
        display_name: DisplayName::new("Ada Lovelace").unwrap(),
        rp_id: RP_ID.to_owned(),
        options,
        transaction,
        time_left_ms: 60_000,
    }
}

fn prompt<'a>(username: &'a str, begun: &'a Begun) -> Prompt<'a> {
    Prompt {
        rp_id: RP_ID,
        origin: &begun.origin,
        challenge: &begun.challenge,
        username,
        display_name: "Ada Lovelace",
        public_key: &begun.public_key,
    }
}

/// The card's answer to a registration.
pub(super) fn make(
    card: &mut SoftCard,
    username: &str,
    begun: &Begun,
) -> Result<Box<RawValue>, CardErrorCode> {
    card.register(&prompt(username, begun)).map(raw)
}

/// The card's answer to an authentication.
pub(super) fn sign(
    card: &mut SoftCard,
    username: &str,
    begun: &Begun,
) -> Result<Box<RawValue>, CardErrorCode> {
    card.authenticate(&prompt(username, begun)).map(raw)
}

pub(super) fn raw(text: String) -> Box<RawValue> {
    RawValue::from_string(text).unwrap()
}
