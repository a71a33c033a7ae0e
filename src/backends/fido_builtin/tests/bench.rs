//! A server over a store in memory, with cards to try it with.

use std::sync::Arc;

use fido_relay_proto::device::CardErrorCode;
use fido_relay_proto::http::{Transaction, UpstreamOptions};
use fido_relay_proto::{CeremonyType, DisplayName, TenantId, Username};
use serde_json::value::RawValue;

use super::super::server::{BuiltinFido, Settings};
use super::memory::{MemoryStore, SetClock};
use super::{ORIGIN, RP_ID};
use crate::ceremony::{Begun, Verdict};
use crate::ports::{BeginFault, BeginRequest, Fido as _};
use crate::softcard::{Prompt, SoftCard};

pub(super) struct Bench {
    pub(super) store: Arc<MemoryStore>,
    pub(super) clock: Arc<SetClock>,
    pub(super) server: BuiltinFido,
}

pub(super) fn settings() -> Settings {
    Settings::new(RP_ID, "Example", ORIGIN)
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(settings())
    }

    pub(super) fn with(settings: Settings) -> Self {
        let store = Arc::new(MemoryStore::default());
        let clock = Arc::new(SetClock::default());
        let server = BuiltinFido::new(store.clone(), clock.clone(), settings);
        Self { store, clock, server }
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

    pub(super) async fn complete(
        &self,
        ceremony_type: CeremonyType,
        begun: &Begun,
        answer: &RawValue,
    ) -> Verdict {
        self.server.complete(ceremony_type, &begun.session, answer, 10_000).await
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
