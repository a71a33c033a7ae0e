//! Every row of the device socket's rules and limits, one by one.

use super::*;

/// What goes in, and what must come out of each standing.
fn check(make: fn() -> Session, at: u64, rows: &[(Input, Did)]) {
    for (input, expected) in rows {
        let mut session = make();
        assert_eq!(input.put(&mut session, at), *expected, "{input:?} at {at} ms");
        if let Did::Close(reason) = expected {
            assert_eq!(session.ended(), Some(*reason), "{input:?} ends the session");
        }
    }
}

fn padded(frame: &str, bytes: usize) -> Input {
    let padding = bytes - frame.len();
    Input::Text(format!("{frame}{}", " ".repeat(padding)))
}

fn nested(depth: usize) -> Input {
    // The frame's own object is the first level.
    let inner = format!("{}{}", "[".repeat(depth - 1), "]".repeat(depth - 1));
    Input::Text(ACK.replacen('{', &format!("{{\"x\":{inner},"), 1))
}

fn with_keys(keys: usize) -> Input {
    let more: String = (3..keys).map(|key| format!("\"k{key}\":0,")).collect();
    Input::Text(ACK.replacen('{', &format!("{{{more}"), 1))
}

fn answer(depth: usize) -> Input {
    let inner = format!("{}{}", "{\"a\":".repeat(depth - 1), "{}");
    Input::Text(format!(
        r#"{{"type":"answer","ceremony_id":"cer_AAAAAAAAAAAAAAAAAAAAAA","attempt":"att_AAAAAAAAAAAAAAAAAAAAAA","credential":{inner}{}}}"#,
        "}".repeat(depth - 1)
    ))
}

const UNAUTHENTICATED: Did = Did::Close(CloseReason::Unauthenticated);
const INVALID: Did = Did::Error(FrameErrorCode::InvalidFrame);

#[test]
fn a_session_is_small_because_there_is_one_for_every_idle_phone() {
    assert!(size_of::<Session>() <= 72, "{} bytes", size_of::<Session>());
}

#[test]
fn hello_carries_the_nonce_and_the_time_that_is_left() {
    let (session, hello) = Session::accept(2_500, 10_000, nonce(1), Arc::default());
    let RelayFrame::Hello { nonce: shown, auth_within_s } = hello else { panic!("{hello:?}") };
    assert_eq!((shown, auth_within_s), (nonce(1).to_string(), 7));
    assert_eq!(session.wakes_at(), 10_000);
    assert!(!session.is_live());
}

#[test]
fn before_auth_one_auth_frame_counts_and_every_other_failure_is_the_same_4401() {
    check(
        awaiting,
        9_999,
        &[
            (Input::text(AUTH), Did::Verify),
            (Input::text(ACK), UNAUTHENTICATED),
            (Input::text(LATER), UNAUTHENTICATED),
            (Input::text("{\"type\":\"auth\"}"), UNAUTHENTICATED),
            (Input::text("not JSON"), UNAUTHENTICATED),
            (Input::text(""), UNAUTHENTICATED),
            (nested(9), UNAUTHENTICATED),
            (Input::text(PING), Did::Pong),
            (Input::text("{\"type\":\"ping\"}"), UNAUTHENTICATED),
            (padded(AUTH, 2048), Did::Verify),
            (padded(AUTH, 2049), Did::Close(CloseReason::TooBig)),
            (Input::Binary, Did::Close(CloseReason::Binary)),
            (Input::Control, Did::Nothing),
            (Input::Auth(Ok(())), Did::Nothing),
            (Input::Tick, Did::Nothing),
        ],
    );
    assert_eq!(CloseReason::Unauthenticated.code(), Some(4401));
}

#[test]
fn while_the_proof_is_checked_nothing_but_its_result_counts() {
    check(
        checking,
        9_999,
        &[
            (Input::Auth(Ok(())), Did::Welcome),
            (Input::Auth(Err(AuthFailure::Refused)), UNAUTHENTICATED),
            (Input::Auth(Err(AuthFailure::Revoked)), UNAUTHENTICATED),
            (Input::Auth(Err(AuthFailure::Unavailable)), Did::Close(CloseReason::Overload)),
            (Input::text(AUTH), UNAUTHENTICATED),
            (Input::text(ACK), UNAUTHENTICATED),
            (Input::text(PING), Did::Pong),
            (Input::Binary, Did::Close(CloseReason::Binary)),
            (Input::Control, Did::Nothing),
            (Input::Tick, Did::Nothing),
        ],
    );
}

#[test]
fn the_deadline_of_auth_ends_the_socket_whatever_comes_with_it() {
    let late = Did::Close(CloseReason::AuthTooLate);
    let inputs = [
        Input::text(AUTH),
        Input::text(PING),
        Input::Binary,
        Input::Control,
        Input::Auth(Ok(())),
        Input::Auth(Err(AuthFailure::Refused)),
        Input::Tick,
    ];
    for input in inputs {
        check(awaiting, DEADLINE, &[(input.clone(), late)]);
        check(checking, DEADLINE, &[(input, late)]);
    }
}

#[test]
fn after_auth_frames_are_delivered_and_bad_ones_are_answered_in_band() {
    check(
        live,
        1,
        &[
            (Input::text(ACK), Did::Deliver),
            (Input::text(LATER), Did::Error(FrameErrorCode::UnknownType)),
            (Input::text(PING), Did::Pong),
            (Input::text("{\"type\":\"ping\"}"), INVALID),
            (Input::text("not JSON"), INVALID),
            (Input::text("{}"), INVALID),
            (Input::text("{\"type\":\"ack\"}"), INVALID),
            (Input::text(AUTH), INVALID),
            (nested(8), Did::Deliver),
            (nested(9), INVALID),
            (with_keys(64), Did::Deliver),
            (with_keys(65), INVALID),
            (answer(7), Did::Deliver),
            (answer(8), INVALID),
            (padded(ACK, 32 * 1024), Did::Deliver),
            (padded(ACK, 32 * 1024 + 1), Did::Close(CloseReason::TooBig)),
            (Input::Binary, Did::Close(CloseReason::Binary)),
            (Input::Control, Did::Nothing),
            (Input::Auth(Ok(())), Did::Nothing),
            (Input::Auth(Err(AuthFailure::Refused)), Did::Nothing),
            (Input::Tick, Did::Nothing),
        ],
    );
}

#[test]
fn an_error_says_whether_to_try_again_and_never_repeats_input() {
    let Action::Reply(frame) = live().on_text(1, "{\"type\":\"ack\",\"of\":\"sesame\"}") else {
        panic!("a bad frame is answered")
    };
    let text = frame.encode();
    assert!(text.contains("\"retryable\":false"), "{text}");
    assert!(!text.contains("sesame"), "{text}");
}

#[test]
fn the_first_good_proof_is_welcomed_with_the_limits() {
    let mut session = checking();
    let action = session.on_auth_result(0, Ok(CONNECTION), CALM);
    let Action::Reply(RelayFrame::Welcome { connection_id, heartbeat_s, reauth_in_s, limits }) =
        action
    else {
        panic!("{action:?}")
    };
    assert_eq!((connection_id, heartbeat_s, reauth_in_s), (CONNECTION, 25, 59 * 60));
    assert_eq!((limits.frame_bytes, limits.frames_per_s, limits.burst), (32 * 1024, 10, 30));
    assert!(session.is_live());
}

#[test]
fn a_nonce_goes_with_the_proof_that_it_is_held_against() {
    let mut session = awaiting();
    let Action::Verify { auth: Auth { proof }, nonce: asked } = session.on_text(0, AUTH) else {
        panic!("an auth frame is verified")
    };
    assert_eq!((proof.as_str(), asked), ("e30.e30.c2ln", nonce(1)));

    let mut session = renewing();
    let Action::Verify { nonce: asked, .. } = session.on_text(reauth_at(), AUTH) else {
        panic!("an auth frame that was asked for is verified")
    };
    assert_eq!(asked, nonce(9), "the fresh nonce, never the first one again");
}

#[test]
fn a_device_whose_key_has_changed_is_asked_at_once_and_once() {
    let mut session = live();
    session.renew(1_000);
    assert_eq!(session.wakes_at(), 1_000);
    assert_eq!(Input::Tick.put(&mut session, 1_000), Did::Reauth);
    session.renew(1_001);
    assert_eq!(Input::Tick.put(&mut session, 1_001), Did::Nothing);
    assert_eq!(Input::text(AUTH).put(&mut session, 1_002), Did::Verify);
    session.renew(1_003);
    assert_eq!(Input::Auth(Ok(())).put(&mut session, 1_004), Did::Nothing);
    // Nobody is known before the first proof, and nobody after the end.
    let mut stranger = awaiting();
    let wakes_at = stranger.wakes_at();
    stranger.renew(0);
    assert_eq!(stranger.wakes_at(), wakes_at);
}

#[test]
fn signing_again_happens_in_place() {
    let at = reauth_at();
    check(
        renewing,
        at + 59_999,
        &[
            (Input::text(AUTH), Did::Verify),
            (Input::text(ACK), Did::Deliver),
            (Input::Auth(Ok(())), Did::Nothing),
        ],
    );
    check(
        rechecking,
        at + 59_999,
        &[
            (Input::text(ACK), Did::Deliver),
            (Input::text(AUTH), INVALID),
            (Input::Auth(Ok(())), Did::Nothing),
            (Input::Auth(Err(AuthFailure::Refused)), Did::Close(CloseReason::ReauthFailed)),
            (Input::Auth(Err(AuthFailure::Revoked)), Did::Close(CloseReason::Revoked)),
            (Input::Auth(Err(AuthFailure::Unavailable)), Did::Close(CloseReason::Overload)),
        ],
    );
    let failed = Did::Close(CloseReason::ReauthFailed);
    for make in [renewing as fn() -> Session, rechecking] {
        check(
            make,
            at + 60_000,
            &[
                (Input::text(ACK), failed),
                (Input::text(AUTH), failed),
                (Input::Control, failed),
                (Input::Auth(Ok(())), failed),
                (Input::Tick, failed),
            ],
        );
    }
    let mut session = rechecking();
    assert_eq!(Input::Auth(Ok(())).put(&mut session, at), Did::Nothing);
    assert_eq!(Input::text(ACK).put(&mut session, at + 60_000), Did::Deliver);
    assert_eq!(Input::text(AUTH).put(&mut session, at + 60_000), INVALID, "until asked once more");
}

#[test]
fn a_proof_that_nobody_asked_for_changes_nothing() {
    let mut session = live();
    assert_eq!(Input::text(AUTH).put(&mut session, 1), INVALID);
    assert_eq!(Input::Auth(Ok(())).put(&mut session, 1), Did::Nothing);
    assert_eq!(Input::Auth(Err(AuthFailure::Refused)).put(&mut session, 1), Did::Nothing);
    until_asked(&mut session);
}

#[test]
fn no_proof_vouches_for_longer_than_an_hour() {
    for (bits, expected) in [(0, 59 * 60_000), (u16::MAX, 54 * 60_000)] {
        let mut session = checking();
        let jitter = Jitter::from_bits(bits);
        session.on_auth_result(0, Ok(CONNECTION), jitter);
        let mut asked = None;
        let (now, ended) = loop {
            let now = session.wakes_at();
            match session.on_tick(now, jitter, || nonce(9)) {
                Tick::Ping => assert!(matches!(session.on_control(now), Action::Nothing)),
                Tick::Send(_) => asked = Some(now),
                Tick::Close(reason) => break (now, reason),
                Tick::Nothing => panic!("woken at {now} for nothing"),
            }
        };
        assert_eq!(ended, CloseReason::ReauthFailed);
        assert_eq!(asked, Some(expected));
        assert_eq!(now, expected + 60_000);
    }
}

#[test]
fn a_burst_of_thirty_is_served_and_then_ten_a_second() {
    let mut session = live();
    for _ in 0..30 {
        assert_eq!(Input::text(ACK).put(&mut session, 0), Did::Deliver);
    }
    assert_eq!(Input::text(ACK).put(&mut session, 0), Did::Error(FrameErrorCode::SlowDown));
    assert_eq!(Input::text(ACK).put(&mut session, 99), Did::Error(FrameErrorCode::SlowDown));
    assert_eq!(Input::text(ACK).put(&mut session, 100), Did::Deliver, "refusals cost nothing");
    for now in (200..20_000).step_by(100) {
        assert_eq!(Input::text(ACK).put(&mut session, now), Did::Deliver);
    }
    for _ in 0..30 {
        assert_eq!(Input::text(ACK).put(&mut session, 60_000), Did::Deliver, "after a silence");
    }
}

#[test]
fn a_ping_costs_a_frame_and_leaves_the_proof_to_come() {
    let mut session = live();
    for _ in 0..30 {
        assert_eq!(Input::text(PING).put(&mut session, 0), Did::Pong);
    }
    assert_eq!(Input::text(PING).put(&mut session, 0), Did::Error(FrameErrorCode::SlowDown));

    let mut session = awaiting();
    for _ in 0..30 {
        assert_eq!(Input::text(PING).put(&mut session, 0), Did::Pong);
    }
    assert_eq!(session.wakes_at(), DEADLINE, "the deadline stays");
    let mut flooded = awaiting();
    for _ in 0..30 {
        Input::text(PING).put(&mut flooded, 0);
    }
    assert_eq!(Input::text(PING).put(&mut flooded, 0), UNAUTHENTICATED);
    assert_eq!(Input::text(AUTH).put(&mut session, 0), Did::Verify, "auth is no worse for it");
}

#[test]
fn a_frame_over_the_budget_is_not_looked_at() {
    let mut session = live();
    for _ in 0..30 {
        Input::text(ACK).put(&mut session, 0);
    }
    let answer = Input::text("not JSON").put(&mut session, 0);
    assert_eq!(answer, Did::Error(FrameErrorCode::SlowDown));
}

#[test]
fn control_frames_have_a_budget_of_their_own() {
    let mut session = live();
    for _ in 0..4 {
        assert_eq!(Input::Control.put(&mut session, 0), Did::Nothing);
    }
    assert_eq!(Input::Control.put(&mut session, 499), Did::Error(FrameErrorCode::SlowDown));
    assert_eq!(Input::Control.put(&mut session, 500), Did::Nothing);
    assert_eq!(Input::text(ACK).put(&mut session, 500), Did::Deliver, "text is not touched");

    let mut session = awaiting();
    for _ in 0..4 {
        assert_eq!(Input::Control.put(&mut session, 0), Did::Nothing);
    }
    assert_eq!(Input::Control.put(&mut session, 0), UNAUTHENTICATED, "no word before auth");
}

#[test]
fn five_policy_errors_within_a_minute_end_the_socket() {
    let mut session = live();
    for now in [0, 1, 2, 59_998] {
        assert_eq!(Input::text("[]").put(&mut session, now), INVALID);
    }
    let last = Input::text("[]").put(&mut session, 59_999);
    assert_eq!(last, Did::Close(CloseReason::PolicyErrors));

    let mut session = live();
    for now in [0, 20_000, 30_000, 59_999, 60_000, 80_000, 90_000] {
        assert_eq!(Input::text("[]").put(&mut session, now), INVALID, "four in any minute");
    }
}

#[test]
fn budget_and_form_are_counted_together_and_a_newer_app_is_not() {
    let mut session = live();
    for _ in 0..20 {
        let told = Input::text(LATER).put(&mut session, 0);
        assert_eq!(told, Did::Error(FrameErrorCode::UnknownType));
    }
    for _ in 0..4 {
        assert_eq!(Input::Control.put(&mut session, 0), Did::Nothing);
    }
    for _ in 0..2 {
        assert_eq!(Input::Control.put(&mut session, 0), Did::Error(FrameErrorCode::SlowDown));
        assert_eq!(Input::text("[]").put(&mut session, 0), INVALID);
    }
    assert_eq!(Input::text(AUTH).put(&mut session, 0), Did::Close(CloseReason::PolicyErrors));
}

#[test]
fn two_silent_pings_are_tolerated_and_the_third_is_not_sent() {
    let mut session = live();
    for expected in [Did::Ping, Did::Ping, Did::Close(CloseReason::Silent)] {
        let now = session.wakes_at();
        assert_eq!(Input::Tick.put(&mut session, now), expected);
    }
    assert_eq!(CloseReason::Silent.name(), "silent");
}

#[test]
fn any_frame_is_a_sign_of_life_even_one_that_is_refused() {
    for sign in [Input::Control, Input::text(ACK), Input::text(PING), Input::text("[]")] {
        let mut session = live();
        for expected in [Did::Ping, Did::Ping] {
            let now = session.wakes_at();
            assert_eq!(Input::Tick.put(&mut session, now), expected);
        }
        let now = session.wakes_at() - 1;
        sign.put(&mut session, now);
        for expected in [Did::Ping, Did::Ping, Did::Close(CloseReason::Silent)] {
            let now = session.wakes_at();
            assert_eq!(Input::Tick.put(&mut session, now), expected, "after {sign:?}");
        }
    }
}

#[test]
fn pings_come_every_25_seconds_give_or_take_a_fifth() {
    for (bits, first, second) in [(0, 20_000, 40_000), (u16::MAX, 30_000, 60_000)] {
        let jitter = Jitter::from_bits(bits);
        let mut session = checking();
        session.on_auth_result(0, Ok(CONNECTION), jitter);
        assert_eq!(session.wakes_at(), first);
        assert!(matches!(session.on_tick(first - 1, jitter, || nonce(9)), Tick::Nothing));
        assert!(matches!(session.on_tick(first, jitter, || nonce(9)), Tick::Ping));
        assert_eq!(session.wakes_at(), second);
    }
}

#[test]
fn the_first_reason_to_end_stays() {
    let mut session = live();
    assert_eq!(session.end(CloseReason::Replaced), CloseReason::Replaced);
    assert_eq!(session.end(CloseReason::Revoked), CloseReason::Replaced);
    let replaced = Did::Close(CloseReason::Replaced);
    for input in [Input::text(ACK), Input::Binary, Input::Control, Input::Auth(Ok(())), Input::Tick]
    {
        assert_eq!(input.put(&mut session, 1), replaced);
    }
    assert_eq!(session.wakes_at(), u64::MAX);
    assert!(!session.is_live());
}

#[test]
fn every_end_has_a_name_of_its_own_and_a_code_of_the_contract() {
    let contract =
        [1001, 1002, 1003, 1007, 1008, 1009, 1011, 1012, 1013, 4401, 4403, 4408, 4409, 4426, 4429];
    let mut names: Vec<_> = CloseReason::ALL.iter().map(|reason| reason.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), CloseReason::ALL.len());
    assert!(names.iter().all(|name| {
        name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit())
    }));
    let mut codes: Vec<_> = CloseReason::ALL.iter().filter_map(|reason| reason.code()).collect();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes, contract);
}
