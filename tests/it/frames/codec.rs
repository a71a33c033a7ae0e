//! Everything that reads a text from outside, without sockets.

use std::sync::Arc;

use fido_relay::core::session::{Action, Jitter, Nonce, Session, SessionLimits};
use fido_relay_proto::http::{OpenCeremony, PairDevice};
use fido_relay_proto::limits::{JSON_DEPTH, JSON_KEYS};
use fido_relay_proto::{ConnectionId, DeviceFrame, RelayFrame, shape};

use super::generator::Generator;
use super::{frames, seed, tell};
use crate::support::child::{self, this_test};

/// A session whose device is known.
fn known() -> Session {
    let nonce = Nonce::from_bytes([1; 32]);
    let limits = Arc::new(SessionLimits::default());
    let mut session = Session::accept(0, 10_000, nonce, limits).0;
    let action = session.on_text(1, r#"{"type":"auth","proof":"e30.e30.c2ln"}"#);
    assert!(matches!(action, Action::Verify { .. }));
    let id = ConnectionId::from_bytes([7; 16]);
    let welcomed = session.on_auth_result(2, Ok(id), Jitter::from_bits(0));
    assert!(matches!(welcomed, Action::Reply(RelayFrame::Welcome { .. })));
    session
}

/// What came of a run.
#[derive(Debug, Default)]
struct Tally {
    not_utf8: u64,
    refused_shape: u64,
    refused_frame: u64,
    read: u64,
    sessions: u64,
}

/// Puts frames through every reader; each result must agree with the others.
fn run(frames: u64, seed: u64) -> Tally {
    let mut generator = Generator::new(seed, None);
    let mut tally = Tally::default();
    let (mut session, mut now) = (known(), 1_000);
    for _ in 0..frames {
        let bytes = generator.frame();
        let shape = shape::check(&bytes, JSON_DEPTH, JSON_KEYS);
        // Bodies of HTTP requests are read from bytes.
        drop(serde_json::from_slice::<OpenCeremony>(&bytes));
        drop(serde_json::from_slice::<PairDevice>(&bytes));
        let Ok(text) = std::str::from_utf8(&bytes) else {
            tally.not_utf8 += 1;
            continue;
        };
        let read = DeviceFrame::decode(text);
        drop(RelayFrame::decode(text));
        if let Ok(frame) = &read {
            let again = DeviceFrame::decode(&frame.encode());
            assert!(again.is_ok(), "what was read is a frame: {text}");
        }
        // One second apart, so that the budget refuses nothing.
        now += 1_000;
        let action = session.on_text(now, text);
        match (shape, &read) {
            (Err(_), _) => tally.refused_shape += 1,
            (Ok(()), Err(_)) => tally.refused_frame += 1,
            (Ok(()), Ok(_)) => tally.read += 1,
        }
        let delivered = matches!(action, Action::Deliver(_));
        assert!(!delivered || (shape.is_ok() && read.is_ok()), "delivered: {text}");
        if session.ended().is_some() {
            tally.sessions += 1;
            (session, now) = (known(), 1_000);
        } else if now > 1_000_000 {
            (session, now) = (known(), 1_000);
        }
    }
    tally
}

#[test]
fn no_frame_makes_the_codec_or_a_session_panic() {
    // A tenth here, beside other tests; all of them in a process whose memory can be measured.
    let tally = run(frames() / 10, seed());
    assert!(tally.read > 500 && tally.refused_frame > 2_000, "{tally:?}");
    assert!(tally.refused_shape > 200 && tally.not_utf8 > 300 && tally.sessions > 20, "{tally:?}");
}

/// What [`the_codec_takes_every_frame_and_keeps_none`] runs in a process of its own.
#[cfg(target_os = "linux")]
#[test]
#[ignore = "measures the memory of its own process: run it alone"]
fn codec_alone() {
    run(frames() / 20, seed() + 1);
    let before = super::resident();
    let tally = run(frames(), seed());
    let growth = super::resident().saturating_sub(before);
    tell(&format!("codec: {} frames, {tally:?}, {} KiB more in RAM", frames(), growth / 1024));
    assert!(growth < super::GROWTH, "{growth} bytes more");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_codec_takes_every_frame_and_keeps_none() {
    let text = child::run(&mut this_test("frames::codec::codec_alone")).await.with_code(0);
    assert!(text.contains("1 passed"), "{text}");
    let told = text.lines().find(|line| line.starts_with("codec: ")).unwrap();
    tell(told);
}
