//! When the phone comes back, and when it must not.

use std::sync::Arc;
use std::time::Duration;

use fido_relay_proto::RelayFrame;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use super::relay::{ScriptedRelay, Stage, soon};
use crate::phone::reconnect::{DisconnectCause, Reconnect, ReconnectStep};
use crate::phone::{Backoff, Codes, Faults, PhoneEvent, StopReason, Waits};

const ZERO: Duration = Duration::ZERO;
const STOOD: Duration = Duration::from_millis(1);

fn seconds(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn backoff() -> Backoff {
    Backoff { base: seconds(1), cap: seconds(60) }
}

/// The longest wait that may be drawn.
fn longest(reconnect: &mut Reconnect, cause: DisconnectCause, stood: Duration) -> ReconnectStep {
    reconnect.after(cause, stood, None, |bound| bound - 1)
}

#[test]
fn waits_double_up_to_the_cap_and_begin_anew_after_a_settled_connection() {
    let mut reconnect = Reconnect::new(backoff());
    for expected in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
        assert_eq!(
            longest(&mut reconnect, DisconnectCause::Lost, ZERO),
            ReconnectStep::Wait(seconds(expected))
        );
    }
    assert_eq!(
        longest(&mut reconnect, DisconnectCause::Lost, STOOD),
        ReconnectStep::Wait(seconds(60))
    );
    assert_eq!(
        longest(&mut reconnect, DisconnectCause::Lost, seconds(10)),
        ReconnectStep::Wait(seconds(1))
    );
}

#[test]
fn the_jitter_is_full() {
    let mut reconnect = Reconnect::new(backoff());
    let least = reconnect.after(DisconnectCause::Lost, ZERO, None, |_| 0);
    assert_eq!(least, ReconnectStep::Wait(ZERO));
}

#[test]
fn close_codes_say_whether_and_how_soon_to_come_back() {
    let after = |code| {
        let mut reconnect = Reconnect::new(backoff());
        reconnect.after(DisconnectCause::Closed(Some(code)), STOOD, None, |_| 0)
    };
    for soon in [1001, 1011, 1012, 4401, 4408] {
        assert_eq!(after(soon), ReconnectStep::Wait(ZERO), "{soon}");
    }
    for later in [1002, 1003, 1007, 1008, 1009, 1013, 4429] {
        assert_eq!(after(later), ReconnectStep::Wait(seconds(10)), "{later}");
    }
    assert_eq!(after(4403), ReconnectStep::Stop(StopReason::Revoked));
    assert_eq!(after(4409), ReconnectStep::Stop(StopReason::Replaced));
    assert_eq!(after(4426), ReconnectStep::Stop(StopReason::TooOld));
}

#[test]
fn a_retry_after_is_kept_within_the_cap() {
    for (asked, waits) in [(7, 7), (3600, 60)] {
        let cause = DisconnectCause::Refused { status: 503, retry_after_s: Some(asked) };
        let next = Reconnect::new(backoff()).after(cause, ZERO, None, |_| 0);
        assert_eq!(next, ReconnectStep::Wait(seconds(waits)));
    }
}

#[test]
fn a_goaway_is_obeyed_as_it_is_and_counts_as_no_failure() {
    let mut reconnect = Reconnect::new(backoff());
    let left = Some(Duration::from_millis(1234));
    let next = reconnect.after(DisconnectCause::Closed(Some(1012)), STOOD, left, |bound| bound - 1);
    assert_eq!(next, ReconnectStep::Wait(Duration::from_millis(1234)));
    assert_eq!(
        longest(&mut reconnect, DisconnectCause::Lost, ZERO),
        ReconnectStep::Wait(seconds(1))
    );
    let next = reconnect.after(DisconnectCause::Closed(Some(4403)), STOOD, left, |_| 0);
    assert_eq!(next, ReconnectStep::Stop(StopReason::Revoked));
}

#[test]
fn proofs_that_are_never_accepted_end_the_phone() {
    let refused = DisconnectCause::Closed(Some(4401));
    let mut reconnect = Reconnect::new(backoff());
    for _ in 0..4 {
        assert!(matches!(reconnect.after(refused, ZERO, None, |_| 0), ReconnectStep::Wait(_)));
    }
    // A welcome in between shows that the relay knows the device.
    assert!(matches!(reconnect.after(refused, STOOD, None, |_| 0), ReconnectStep::Wait(_)));
    for _ in 0..3 {
        assert!(matches!(reconnect.after(refused, ZERO, None, |_| 0), ReconnectStep::Wait(_)));
    }
    assert_eq!(
        reconnect.after(refused, ZERO, None, |_| 0),
        ReconnectStep::Stop(StopReason::Unknown)
    );
}

async fn stopped(stage: &mut Stage) -> StopReason {
    let why = stage
        .sees(
            "the stop",
            |event| if let PhoneEvent::Stopped(why) = event { Some(why) } else { None },
        )
        .await;
    assert!(soon("the end of events", stage.events.recv()).await.is_none());
    why
}

#[tokio::test]
async fn a_replaced_or_revoked_phone_stays_away() {
    for (code, why) in [(4409, StopReason::Replaced), (4403, StopReason::Revoked)] {
        let relay = ScriptedRelay::new().await;
        let mut stage = relay.phone(Arc::new(Waits), Faults::none());
        let mut line = relay.welcomed().await;
        line.close(code).await;
        assert_eq!(stopped(&mut stage).await, why);
    }
}

#[tokio::test]
async fn a_refused_proof_is_followed_by_another() {
    let relay = ScriptedRelay::new().await;
    let mut stage = relay.phone(Arc::new(Waits), Faults::none());
    let (mut line, _) = relay.proven("first").await;
    line.close(4401).await;
    let code = stage
        .sees("the refusal", |event| {
            if let PhoneEvent::Disconnected { code, .. } = event { Some(code) } else { None }
        })
        .await;
    assert_eq!(code, Some(4401));
    relay.welcomed().await;
    stage
        .sees("the welcome", |event| matches!(event, PhoneEvent::Connected { .. }).then_some(()))
        .await;
}

#[tokio::test]
async fn a_phone_leaves_when_the_goaway_says_and_comes_back_then() {
    let relay = ScriptedRelay::new().await;
    let _stage = relay.phone(Arc::new(Waits), Faults::none());
    let mut line = relay.welcomed().await;
    let began = Instant::now();
    line.send(&RelayFrame::Goaway { reconnect_in_ms: 150 }).await;
    assert!(line.is_gone().await);
    assert!(began.elapsed() >= Duration::from_millis(150));
    relay.welcomed().await;
}

#[tokio::test]
async fn a_relay_that_closes_after_its_goaway_is_not_dialled_before_the_time() {
    let relay = ScriptedRelay::new().await;
    let _stage = relay.phone(Arc::new(Waits), Faults::none());
    let mut line = relay.welcomed().await;
    let began = Instant::now();
    line.send(&RelayFrame::Goaway { reconnect_in_ms: 150 }).await;
    line.close(1012).await;
    relay.welcomed().await;
    assert!(began.elapsed() >= Duration::from_millis(150));
}

#[tokio::test]
async fn a_refused_upgrade_is_tried_again() {
    let relay = ScriptedRelay::new().await;
    let mut stage = relay.phone(Arc::new(Waits), Faults::none());
    let mut stream = relay.raw().await;
    let mut request = [0; 2048];
    assert_ne!(stream.read(&mut request).await.unwrap(), 0);
    let answer = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
    stream.write_all(answer.as_bytes()).await.unwrap();
    let why = stage
        .sees("the refusal", |event| {
            if let PhoneEvent::Disconnected { why, .. } = event { Some(why) } else { None }
        })
        .await;
    assert!(why.contains("503"), "{why}");
    relay.welcomed().await;
}

#[tokio::test]
async fn frames_of_a_newer_relay_are_passed_over() {
    let relay = ScriptedRelay::new().await;
    let (stage, offer) = relay.phone_with_code(Faults::none());
    let mut line = relay.welcomed().await;
    line.raw_text(r#"{"type":"from_the_future","x":1}"#).await;
    line.raw_text("nonsense").await;
    line.offer(&offer).await;
    assert_eq!(line.acked(fido_relay_proto::device::AckOf::Offer).await, offer.ceremony_id);
    drop(stage);
}

#[tokio::test]
async fn a_script_breaks_the_socket_and_stops_the_phone() {
    let relay = ScriptedRelay::new().await;
    let mut stage = relay.phone(Arc::new(Codes::default()), Faults::none());
    let mut line = relay.welcomed().await;
    stage.handle.break_socket().await;
    assert!(line.is_gone().await);
    let mut line = relay.welcomed().await;
    stage.handle.stop();
    assert!(line.is_gone().await);
    assert_eq!(stopped(&mut stage).await, StopReason::Requested);
    assert!(relay.tasks.stop(seconds(20)).await);
}
