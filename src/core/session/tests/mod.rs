//! What a session is tested with: frames as an app writes them, and shorthands for what came out.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test names what it expects and fails on the rest"
)]

use std::sync::Arc;

use fido_relay_proto::device::{Auth, FrameErrorCode};
use fido_relay_proto::{ConnectionId, RelayFrame};

use super::*;

mod properties;
mod table;

const ACK: &str = r#"{"type":"ack","ceremony_id":"cer_AAAAAAAAAAAAAAAAAAAAAA","of":"offer"}"#;
const AUTH: &str = r#"{"type":"auth","proof":"e30.e30.c2ln"}"#;
const PING: &str = r#"{"type":"ping","id":"probe-7"}"#;
const LATER: &str = r#"{"type":"telemetry","battery":81}"#;

const DEADLINE: u64 = 10_000;
const CALM: Jitter = Jitter::from_bits(0);
const CONNECTION: ConnectionId = ConnectionId::from_bytes([7; 16]);

/// An action or tick without its payload, so that a table can name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Did {
    Nothing,
    Verify,
    Deliver,
    Welcome,
    Ping,
    Pong,
    Reauth,
    Error(FrameErrorCode),
    Close(CloseReason),
}

fn nonce(seed: u8) -> Nonce {
    Nonce::from_bytes([seed; 32])
}

fn sent(frame: &RelayFrame) -> Did {
    match frame {
        RelayFrame::Welcome { .. } => Did::Welcome,
        RelayFrame::Reauth { .. } => Did::Reauth,
        RelayFrame::Pong(_) => Did::Pong,
        RelayFrame::Error { code, ceremony_id: None, .. } => Did::Error(*code),
        other => panic!("a session never sends {other:?} by itself"),
    }
}

fn did(action: &Action) -> Did {
    match action {
        Action::Nothing => Did::Nothing,
        Action::Verify { .. } => Did::Verify,
        Action::Deliver(_) => Did::Deliver,
        Action::Reply(frame) => sent(frame),
        Action::Close(reason) => Did::Close(*reason),
    }
}

/// Something that happens to a session.
#[derive(Clone, Debug)]
enum Input {
    Text(String),
    Binary,
    Control,
    Auth(Result<(), AuthFailure>),
    Tick,
}

impl Input {
    fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    fn put(&self, session: &mut Session, now: u64) -> Did {
        match self {
            Self::Text(text) => did(&session.on_text(now, text)),
            Self::Binary => did(&session.on_binary(now)),
            Self::Control => did(&session.on_control(now)),
            Self::Auth(result) => {
                did(&session.on_auth_result(now, result.map(|()| CONNECTION), CALM))
            }
            Self::Tick => match session.on_tick(now, CALM, || nonce(9)) {
                Tick::Nothing => Did::Nothing,
                Tick::Ping => Did::Ping,
                Tick::Send(frame) => sent(&frame),
                Tick::Close(reason) => Did::Close(reason),
            },
        }
    }
}

/// Accepted at 0, nothing received.
fn awaiting() -> Session {
    Session::accept(0, DEADLINE, nonce(1), Arc::default()).0
}

/// The proof is with the verifier.
fn checking() -> Session {
    let mut session = awaiting();
    assert_eq!(Input::text(AUTH).put(&mut session, 0), Did::Verify);
    session
}

/// Known since 0.
fn live() -> Session {
    let mut session = checking();
    assert_eq!(Input::Auth(Ok(())).put(&mut session, 0), Did::Welcome);
    session
}

/// When a session that was live at 0, without jitter, is asked to sign again.
fn reauth_at() -> u64 {
    let limits = SessionLimits::default();
    limits.auth_lifetime_ms - limits.reauth_within_ms
}

/// Answers pings until it is asked to sign again, which must be at [`reauth_at`].
fn until_asked(session: &mut Session) {
    loop {
        let now = session.wakes_at();
        match Input::Tick.put(session, now) {
            Did::Ping => assert_eq!(Input::Control.put(session, now), Did::Nothing),
            other => return assert_eq!((other, now), (Did::Reauth, reauth_at())),
        }
    }
}

/// Known, and asked to sign again at [`reauth_at`].
fn renewing() -> Session {
    let mut session = live();
    until_asked(&mut session);
    session
}

/// The second proof is with the verifier.
fn rechecking() -> Session {
    let mut session = renewing();
    assert_eq!(Input::text(AUTH).put(&mut session, reauth_at()), Did::Verify);
    session
}
