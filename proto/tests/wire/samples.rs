//! One of everything, with every optional field and without.

use fido_relay_proto::device::{
    Ack, AckOf, Answer, Auth, Card, CardErrorCode, CardEvent, Challenge, Claim, Decline,
    DeclineReason, FrameErrorCode, Notice, NoticeEvent, Offer, Preview, Probe, SocketLimits,
};
use fido_relay_proto::http::{BrowserContext, Platform, Transaction, TransactionField};
use fido_relay_proto::{
    AttemptId, CardId, CeremonyId, CeremonyType, ConnectionId, DeviceFrame, DeviceId, NoticeId,
    Outcome, PlainText, Reason, RelayFrame,
};
use serde_json::value::RawValue;

pub(crate) const CEREMONY: CeremonyId = CeremonyId::from_bytes([0x11; 16]);
pub(crate) const DEVICE: DeviceId = DeviceId::from_bytes([0x22; 16]);
pub(crate) const CARD: CardId = CardId::from_bytes([0x66; 32]);
pub(crate) const ATTEMPT: AttemptId = AttemptId::from_bytes([0x33; 16]);
pub(crate) const CONNECTION: ConnectionId = ConnectionId::from_bytes([0x44; 16]);
pub(crate) const NOTICE: NoticeId = NoticeId::from_bytes([0x55; 16]);

/// JSON that no serializer would write like this: spaces, escapes, key order, number forms.
pub(crate) const CREDENTIAL: &str = r#"{ "rawId":"AQ",  "id" : "\u0041Q", "n":1.50, "big":12345678901234567890123, "response":{ } }"#;
pub(crate) const OPTIONS: &str =
    r#"{"rpId":"bank.example", "timeout":60000.0,"allowCredentials":[ {"id":"AQ"} ]}"#;

pub(crate) fn text<const MAX: usize, const EXACT: bool>(text: &str) -> PlainText<MAX, EXACT> {
    PlainText::new(text).unwrap()
}

pub(crate) fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap()
}

pub(crate) fn transaction() -> Transaction {
    Transaction {
        title: text("Payment to Ada"),
        fields: vec![TransactionField { label: text("Amount"), value: text("120.00 EUR") }],
    }
}

pub(crate) fn context() -> BrowserContext {
    BrowserContext {
        ip: Some(text("192.0.2.7")),
        user_agent: Some("Firefox on Linux".to_owned()),
        location: Some(text("Vienna, AT")),
        browser: None,
    }
}

pub(crate) fn bare_offer() -> Offer {
    Offer {
        ceremony_id: CEREMONY,
        ceremony_type: CeremonyType::Authentication,
        client_name: text("Example Bank"),
        rp_id: "bank.example".to_owned(),
        username: text("ada@bank.example"),
        display_name: text("Ada \"the Countess\" Lovelace"),
        message: None,
        transaction: None,
        context: None,
        code_length: 0,
        expires_in: 120,
        preview: None,
    }
}

pub(crate) fn full_offer() -> Offer {
    Offer {
        ceremony_type: CeremonyType::Approval,
        message: Some(text("Zahlung best\u{E4}tigen")),
        transaction: Some(transaction()),
        context: Some(context()),
        code_length: 6,
        ..bare_offer()
    }
}

fn preview() -> Preview {
    Preview {
        by_code: true,
        rang: false,
        known_browser: true,
        after_not_me: false,
        claim_id: Some(text("claim-3")),
    }
}

pub(crate) fn challenge(offer: Offer) -> Challenge {
    Challenge {
        offer,
        attempt: ATTEMPT,
        challenge: "Y2hhbGxlbmdl".to_owned(),
        origin: "https://fido.bank.example".to_owned(),
        public_key: raw(OPTIONS),
    }
}

pub(crate) fn relay_frames() -> Vec<RelayFrame> {
    vec![
        RelayFrame::Hello { nonce: "bm9uY2U".to_owned(), auth_within_s: 9 },
        RelayFrame::Welcome {
            connection_id: CONNECTION,
            heartbeat_s: 25,
            reauth_in_s: 3540,
            limits: SocketLimits { frame_bytes: 32768, frames_per_s: 10, burst: 30 },
        },
        RelayFrame::Offer(Box::new(bare_offer())),
        RelayFrame::Offer(Box::new(full_offer())),
        RelayFrame::Challenge(Box::new(challenge(bare_offer()))),
        RelayFrame::Challenge(Box::new(challenge(full_offer()))),
        RelayFrame::Accepted { ceremony_id: CEREMONY, attempt: ATTEMPT },
        RelayFrame::Closed { ceremony_id: CEREMONY, outcome: Outcome::Succeeded, reason: None },
        RelayFrame::Closed {
            ceremony_id: CEREMONY,
            outcome: Outcome::Failed,
            reason: Some(Reason::Card(610)),
        },
        RelayFrame::Error {
            code: FrameErrorCode::SlowDown,
            message: "too many frames".to_owned(),
            retryable: true,
            ceremony_id: None,
            claim_id: None,
        },
        RelayFrame::Error {
            code: FrameErrorCode::WrongCode,
            message: "2 tries left".to_owned(),
            retryable: false,
            ceremony_id: Some(CEREMONY),
            claim_id: None,
        },
        RelayFrame::Reauth { nonce: "bm9uY2U".to_owned(), auth_within_s: 60 },
        RelayFrame::Goaway { reconnect_in_ms: 1234 },
        RelayFrame::Notice(Box::new(Notice {
            notice_id: NOTICE,
            event: NoticeEvent::DevicePaired,
            device_id: Some(DEVICE),
            card_id: None,
            name: Some(text("Ada's new phone")),
            platform: Some(Platform::Android),
            ago_s: 12,
            count: None,
            since_s: None,
        })),
        RelayFrame::Notice(Box::new(Notice {
            notice_id: NOTICE,
            event: NoticeEvent::DeviceKeyRotated,
            device_id: Some(DEVICE),
            card_id: None,
            name: None,
            platform: Some(Platform::Ios),
            ago_s: 0,
            count: None,
            since_s: None,
        })),
        RelayFrame::Notice(Box::new(Notice {
            notice_id: NOTICE,
            event: NoticeEvent::CardRemoved,
            device_id: None,
            card_id: Some(CARD),
            name: None,
            platform: None,
            ago_s: 3,
            count: None,
            since_s: None,
        })),
        RelayFrame::Pong(Probe { id: text("probe-7") }),
        RelayFrame::Offer(Box::new(Offer { preview: Some(preview()), ..full_offer() })),
        RelayFrame::Error {
            code: FrameErrorCode::WrongCode,
            message: "wrong code, 9 tries left today".to_owned(),
            retryable: false,
            ceremony_id: None,
            claim_id: Some(text("claim-3")),
        },
        RelayFrame::Notice(Box::new(Notice {
            notice_id: NOTICE,
            event: NoticeEvent::PromptsHeld,
            device_id: None,
            card_id: None,
            name: None,
            platform: None,
            ago_s: 3,
            count: Some(7),
            since_s: Some(900),
        })),
    ]
}

pub(crate) fn device_frames() -> Vec<DeviceFrame> {
    let ack = |of| DeviceFrame::Ack(Ack { ceremony_id: CEREMONY, of });
    let decline = |reason| DeviceFrame::Decline(Decline { ceremony_id: Some(CEREMONY), reason });
    vec![
        DeviceFrame::Auth(Auth { proof: "e30.e30.c2ln".to_owned() }),
        ack(AckOf::Offer),
        ack(AckOf::Challenge),
        ack(AckOf::Closed),
        DeviceFrame::Claim(Claim {
            ceremony_id: Some(CEREMONY),
            code: "402917".to_owned(),
            claim_id: None,
        }),
        DeviceFrame::Card(Card { ceremony_id: CEREMONY, event: CardEvent::Present, code: None }),
        DeviceFrame::Card(Card {
            ceremony_id: CEREMONY,
            event: CardEvent::Error,
            code: Some(CardErrorCode::new(608).unwrap()),
        }),
        DeviceFrame::Answer(Answer {
            ceremony_id: CEREMONY,
            attempt: ATTEMPT,
            credential: raw(CREDENTIAL),
        }),
        decline(DeclineReason::Declined),
        decline(DeclineReason::NotMe),
        DeviceFrame::Ping(Probe { id: text("probe-7") }),
        DeviceFrame::Claim(Claim {
            ceremony_id: None,
            code: "402 917".to_owned(),
            claim_id: Some(text("claim-3")),
        }),
        DeviceFrame::Decline(Decline { ceremony_id: None, reason: DeclineReason::NotMe }),
    ]
}
