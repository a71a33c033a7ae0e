//! Whole ceremonies against an independent FIDO2 server (Yubico's library under Flask, tied
//! together by its session cookie), with the software card in place of phone and card.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use fido_relay::backends::embedded::SystemClock;
use fido_relay::backends::fido_http::{FidoHttp, FidoHttpSettings, PathSet};
use fido_relay::core::ceremony::{Begun, UpstreamSession, Verdict};
use fido_relay::ports::{BeginRequest, Fido as _};
use fido_relay_proto::http::{Requirement, UpstreamOptions};
use fido_relay_proto::{CeremonyType, DisplayName, Reason, TenantId, Username};
use fido_relay_rig::softcard::{Prompt, SoftCard};
use futures::{StreamExt as _, stream};
use serde_json::value::RawValue;

use crate::support::fido2_server::Fido2Server;

const RP_ID: &str = "example.com";
/// Calls in flight at once: more than the server has time for, few enough for its backlog.
const CONCURRENCY: usize = 32;

fn made(settings: FidoHttpSettings) -> FidoHttp {
    FidoHttp::new(settings, Arc::new(SystemClock)).unwrap()
}

/// One user with one card.
struct Holder {
    username: Username,
    card: SoftCard,
}

impl Holder {
    fn new(name: impl AsRef<str>) -> Self {
        Self { username: Username::new(name.as_ref()).unwrap(), card: SoftCard::new() }
    }

    fn request(&self, ceremony_type: CeremonyType) -> BeginRequest {
        BeginRequest {
            tenant: TenantId::default(),
            ceremony_type,
            username: self.username.clone(),
            display_name: DisplayName::new("Card Holder").unwrap(),
            rp_id: RP_ID.to_owned(),
            options: UpstreamOptions {
                user_verification: Some(Requirement::Required),
                ..UpstreamOptions::default()
            },
            transaction: None,
            time_left_ms: 60_000,
        }
    }

    /// What the card makes of a challenge.
    fn answer(&mut self, ceremony_type: CeremonyType, begun: &Begun) -> Box<RawValue> {
        let prompt = Prompt {
            rp_id: RP_ID,
            origin: &begun.origin,
            challenge: &begun.challenge,
            username: self.username.as_str(),
            display_name: "Card Holder",
            public_key: &begun.public_key,
        };
        let answer = match ceremony_type {
            CeremonyType::Registration => self.card.register(&prompt),
            CeremonyType::Authentication | CeremonyType::Approval => {
                self.card.authenticate(&prompt)
            }
        };
        RawValue::from_string(answer.unwrap()).unwrap()
    }
}

async fn complete(
    fido: &FidoHttp,
    ceremony_type: CeremonyType,
    session: &UpstreamSession,
    answer: &RawValue,
) -> Verdict {
    fido.complete(ceremony_type, session, answer, 60_000).await.verdict
}

/// One whole ceremony.
async fn run(fido: &FidoHttp, ceremony_type: CeremonyType, holder: &mut Holder) -> Verdict {
    let begun = fido.begin(holder.request(ceremony_type)).await.unwrap();
    let answer = holder.answer(ceremony_type, &begun);
    complete(fido, ceremony_type, &begun.session, &answer).await
}

#[track_caller]
fn assert_approved(verdict: &Verdict, who: impl Debug) {
    let Verdict::Approved(approval) = verdict else { panic!("{who:?}: {verdict:?}") };
    assert_eq!(approval.cred_hash.len(), 43, "{who:?}");
}

#[tokio::test]
async fn a_card_is_registered_then_signs_in_and_approves() {
    let Some(server) = Fido2Server::start("ceremonies with a real FIDO2 server", &[]).await else {
        return;
    };
    for paths in [PathSet::Certify, PathSet::Alias] {
        let mut settings = FidoHttpSettings::new(server.url().parse().unwrap());
        settings.paths = paths;
        let fido = made(settings);
        fido.reach().await.unwrap();
        let mut ada = Holder::new(format!("ada-{paths:?}"));

        let unknown = fido.begin(ada.request(CeremonyType::Authentication)).await.unwrap_err();
        assert_eq!(unknown.reason, Reason::NoCredential);

        let mut hashes = Vec::new();
        for ceremony_type in
            [CeremonyType::Registration, CeremonyType::Authentication, CeremonyType::Approval]
        {
            let verdict = run(&fido, ceremony_type, &mut ada).await;
            let Verdict::Approved(approval) = verdict else {
                panic!("{ceremony_type:?}: {verdict:?}")
            };
            assert_ne!(approval.user_verified, Some(false), "{ceremony_type:?}");
            hashes.push(approval.cred_hash);
        }
        assert!(hashes.iter().all(|hash| *hash == hashes[0]), "one card, one credential");
    }
}

#[tokio::test]
async fn an_answer_in_another_ceremonys_session_or_in_none_is_not_approved() {
    let Some(server) = Fido2Server::start("crossed sessions at a real FIDO2 server", &[]).await
    else {
        return;
    };
    let fido = made(FidoHttpSettings::new(server.url().parse().unwrap()));
    let (mut ada, mut bob) = (Holder::new("ada"), Holder::new("bob"));
    let registration = CeremonyType::Registration;

    let for_ada = fido.begin(ada.request(registration)).await.unwrap();
    let for_bob = fido.begin(bob.request(registration)).await.unwrap();
    let by_ada = ada.answer(registration, &for_ada);
    let by_bob = bob.answer(registration, &for_bob);
    let crossed = complete(&fido, registration, &for_bob.session, &by_ada).await;
    assert_eq!(crossed, Verdict::Rejected(Reason::UpstreamRejected));
    let nobodys = UpstreamSession(r#"{"cookies":[]}"#.to_owned());
    let lost = complete(&fido, registration, &nobodys, &by_ada).await;
    assert_eq!(lost, Verdict::SessionLost);
    assert_approved(&complete(&fido, registration, &for_ada.session, &by_ada).await, "ada");
    assert_approved(&complete(&fido, registration, &for_bob.session, &by_bob).await, "bob");

    let authentication = CeremonyType::Authentication;
    let for_ada = fido.begin(ada.request(authentication)).await.unwrap();
    let for_bob = fido.begin(bob.request(authentication)).await.unwrap();
    let by_ada = ada.answer(authentication, &for_ada);
    let crossed = complete(&fido, authentication, &for_bob.session, &by_ada).await;
    assert_eq!(crossed, Verdict::Rejected(Reason::UpstreamRejected));
}

#[tokio::test]
async fn an_answer_for_another_origin_is_rejected() {
    let Some(server) = Fido2Server::start("origins at a real FIDO2 server", &[]).await else {
        return;
    };
    let mut settings = FidoHttpSettings::new(server.url().parse().unwrap());
    settings.origin = Some("https://evil.example".to_owned());
    let fido = made(settings);
    let verdict = run(&fido, CeremonyType::Registration, &mut Holder::new("ada")).await;
    assert_eq!(verdict, Verdict::Rejected(Reason::UpstreamRejected));

    let mut settings = FidoHttpSettings::new(server.url().parse().unwrap());
    settings.origin = Some(server.url().to_owned());
    let fido = made(settings);
    assert_approved(&run(&fido, CeremonyType::Registration, &mut Holder::new("ada")).await, "ada");
}

/// One of the interleaved ceremonies.
struct Interleaved {
    ceremony_type: CeremonyType,
    holder: Holder,
    begun: Begun,
}

/// A cookie jar shared by all ceremonies once let 499 of 500 end in another user's session: the
/// last one that began.
#[tokio::test]
async fn five_hundred_interleaved_ceremonies_each_end_in_their_own_session() {
    let Some(server) = Fido2Server::start("500 interleaved ceremonies", &[]).await else { return };
    let mut settings = FidoHttpSettings::new(server.url().parse().unwrap());
    // It is about whose session, not about how fast a busy machine is.
    settings.begin_limit = Duration::from_secs(15);
    settings.complete_limit = Duration::from_secs(15);
    let fido = &made(settings);

    // Half of them sign in with a card registered before, half register a new one.
    let known = (0..250).map(|number| async move {
        let mut holder = Holder::new(format!("known-{number}"));
        assert_approved(&run(fido, CeremonyType::Registration, &mut holder).await, number);
        (CeremonyType::Authentication, holder)
    });
    let mut holders: Vec<_> = stream::iter(known).buffer_unordered(CONCURRENCY).collect().await;
    holders.extend(
        (0..250).map(|number| (CeremonyType::Registration, Holder::new(format!("new-{number}")))),
    );
    shuffle(&mut holders);

    let begins = holders.into_iter().map(|(ceremony_type, holder)| async move {
        let begun = fido.begin(holder.request(ceremony_type)).await.unwrap();
        Interleaved { ceremony_type, holder, begun }
    });
    let mut begun: Vec<_> = stream::iter(begins).buffer_unordered(CONCURRENCY).collect().await;
    shuffle(&mut begun);

    let completions = begun.into_iter().map(|mut one| async move {
        let answer = one.holder.answer(one.ceremony_type, &one.begun);
        let verdict = complete(fido, one.ceremony_type, &one.begun.session, &answer).await;
        assert_approved(&verdict, &one.holder.username);
    });
    let done = stream::iter(completions).buffer_unordered(CONCURRENCY).count().await;
    assert_eq!(done, 500);
}

/// The same order every time, far from the one before: 211 shares no factor with 500.
fn shuffle<T>(items: &mut Vec<T>) {
    let mut numbered: Vec<_> = items.drain(..).enumerate().collect();
    numbered.sort_by_key(|(index, _)| index * 211 % 500);
    items.extend(numbered.into_iter().map(|(_, item)| item));
}
