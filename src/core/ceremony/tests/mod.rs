//! The cast and the props of the ceremony's tests: two phones of one user, a FIDO2 server's words,
//! a card's answers, and a clock that moves only when told to.

use fido_relay_proto::device::{AckOf, CardErrorCode, CardEvent, DeclineReason};
use fido_relay_proto::http::{Transaction, UpstreamOptions};
use fido_relay_proto::{
    AttemptId, Binding, CeremonyId, CeremonyType, ClientId, DeviceId, NodeId, Outcome, Phase,
    PlainText, Reason, Step, TenantId, UnixMillis,
};
use serde_json::value::RawValue;

use super::*;
use crate::core::prompt_limits::{Lane, SuppressionReason};

mod facts;
mod properties;
mod scripts;
mod stored;
mod table;

const PHONE: DeviceId = DeviceId::from_bytes([1; 16]);
const TABLET: DeviceId = DeviceId::from_bytes([2; 16]);
const FIRST: AttemptId = AttemptId::from_bytes([3; 16]);
const OTHER: AttemptId = AttemptId::from_bytes([4; 16]);

/// The process that runs, and the one after it.
const NODE: NodeId = NodeId::from_bytes([7; 16]);
const RESTARTED: NodeId = NodeId::from_bytes([8; 16]);

const OPENED: UnixMillis = UnixMillis(1_000_000);
const LIFE_MS: u64 = 120_000;

const CODE: &str = "402917";
const SESSION: &str = "cookie-canary";
const CHALLENGE: &str = "challenge-canary";
const OPTIONS: &str = r#"{"canary":"options",  "allowCredentials":[]}"#;
const SIGNED: &str = r#"{"id":"credential-canary", "n":1.0}"#;
const FORGED: &str = r#"{"id":"forgery-canary"}"#;
/// Everything above that must be gone, or stay hidden.
const CANARIES: [&str; 6] =
    [CODE, SESSION, CHALLENGE, "\"canary\"", "credential-canary", "forgery-canary"];

fn text<const MAX: usize, const EXACT: bool>(text: &str) -> PlainText<MAX, EXACT> {
    PlainText::new(text).unwrap()
}

fn request(binding: Binding) -> Request {
    Request {
        id: CeremonyId::from_bytes([5; 16]),
        tenant: TenantId::default(),
        client_id: ClientId::from_bytes([6; 16]),
        client_name: text("Example Bank"),
        ceremony_type: CeremonyType::Approval,
        username: text("ada"),
        display_name: text("Ada Lovelace"),
        device_id: None,
        binding,
        message: None,
        transaction: Some(Transaction { title: text("Payment to Charles"), fields: Vec::new() }),
        context: None,
        client_nonce: None,
        prior_auth: fido_relay_proto::life::PriorAuth::Password,
        browser: None,
        lane: Lane::default(),
        code_alone: true,
        show_delivery: Some(false),
        rp_id: "bank.example".to_owned(),
        options: UpstreamOptions::default(),
        opened_at: OPENED,
        deadline: OPENED.plus_millis(LIFE_MS),
    }
}

pub(crate) fn open(binding: Binding) -> Ceremony {
    Ceremony::open(request(binding), Code(CODE.to_owned()), FIRST, None)
}

/// One that rings on no phone.
fn open_suppressed(binding: Binding) -> Ceremony {
    Ceremony::open(request(binding), Code(CODE.to_owned()), FIRST, Some(SuppressionReason::Hour))
}

/// One ceremony with a fact of every kind, a second apart, for the tests of those who make something
/// of facts: the tablet says "not me" while the phone's answer is verified. No ceremony is both
/// suppressed and claimed: the suppression is put in.
pub(crate) fn with_every_kind() -> Ceremony {
    let mut ceremony = open(Binding::Code);
    let story = [
        Event::Sent { device: PHONE },
        Event::Woken { device: PHONE },
        Event::Acked { device: PHONE, of: AckOf::Offer },
        Event::Previewed { device: TABLET },
        claim(PHONE, FIRST, "000000"),
        claim(PHONE, FIRST, CODE),
        begun(FIRST),
        card(PHONE, Some(600)),
        answer(PHONE, FIRST, SIGNED),
    ];
    let mut at = OPENED;
    for event in story {
        at = at.plus_millis(1000);
        assert_eq!(ceremony.step(at, event).facts.len(), 1);
    }
    let kind = FactKind::Suppressed { why: Some(SuppressionReason::Hour) };
    ceremony.history.push(Fact { at: at.plus_millis(1000), device: None, kind });
    ceremony.suppressed = true;
    ceremony.step(at.plus_millis(3000), decline(TABLET, DeclineReason::NotMe));
    ceremony
}

fn claim(device: DeviceId, attempt: AttemptId, code: &str) -> Event {
    Event::Claim { device, attempt, code: code.to_owned(), same_network: None }
}

fn begun(attempt: AttemptId) -> Event {
    let begun = Begun {
        session: UpstreamSession(SESSION.to_owned()),
        challenge: CHALLENGE.to_owned(),
        origin: "https://fido.bank.example".to_owned(),
        public_key: raw(OPTIONS),
        tx_binding: TxBinding::Card,
    };
    Event::Begun { attempt, begun: Box::new(begun) }
}

fn card(device: DeviceId, error: Option<u16>) -> Event {
    let event = if error.is_some() { CardEvent::Error } else { CardEvent::Present };
    Event::Card { device, event, code: error.map(|number| CardErrorCode::new(number).unwrap()) }
}

/// An answer; its digest stands for its bytes as a hash would.
fn answer(device: DeviceId, attempt: AttemptId, credential: &str) -> Event {
    let digest = [u8::try_from(credential.len()).unwrap(); 32];
    Event::Answer { device, attempt, credential: raw(credential), digest, by: NODE }
}

fn approval() -> VerifiedAnswer {
    VerifiedAnswer { cred_hash: "hash".to_owned(), user_verified: Some(true), evidence: None }
}

fn completed(attempt: AttemptId, verdict: Verdict) -> Event {
    Event::Completed { attempt, verdict }
}

fn decline(device: DeviceId, reason: DeclineReason) -> Event {
    Event::Decline { device, reason }
}

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap()
}

fn json(ceremony: &Ceremony) -> String {
    serde_json::to_string(ceremony).unwrap()
}
