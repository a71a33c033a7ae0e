//! What holds for any inputs in any order at any times.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        8 => Just(Input::text(ACK)),
        2 => Just(Input::text(AUTH)),
        1 => Just(Input::text(LATER)),
        1 => Just(Input::text(PING)),
        1 => Just(Input::text("{\"type\":")),
        1 => "\\PC{0,40}".prop_map(Input::Text),
        1 => Just(Input::Binary),
        4 => Just(Input::Control),
        2 => Just(Input::Auth(Ok(()))),
        1 => prop::sample::select(vec![
            AuthFailure::Refused,
            AuthFailure::Revoked,
            AuthFailure::Unavailable,
        ])
        .prop_map(|failure| Input::Auth(Err(failure))),
        4 => Just(Input::Tick),
    ]
}

/// Waits of every scale that a rule is about.
fn wait() -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => Just(0_u64),
        4 => 0..200_u64,
        2 => 0..30_000_u64,
        1 => 0..4_000_000_u64,
    ]
}

/// A life: what happened when, and what came of it.
fn live_through(session: &mut Session, script: &[(u64, Input)]) -> Vec<(u64, Did)> {
    let mut now = 0;
    script
        .iter()
        .map(|(wait, input)| {
            now += wait;
            (now, input.put(session, now))
        })
        .collect()
}

/// The largest number of `times` beyond what a budget allows for the time between two of them.
fn excess(times: &[u64], every_ms: u64, burst: u64) -> u64 {
    let mut worst = 0;
    for (first, start) in times.iter().enumerate() {
        for (last, end) in times.iter().enumerate().skip(first) {
            let taken = (last - first + 1) as u64;
            worst = worst.max(taken.saturating_sub(burst + (end - start) / every_ms));
        }
    }
    worst
}

proptest! {
    #[test]
    fn nothing_is_delivered_before_a_proof_was_found_good(
        script in vec((wait(), input()), 0..60)
    ) {
        let mut session = awaiting();
        let mut verified = false;
        let mut known = false;
        let life = live_through(&mut session, &script);
        for ((_, input), (_, did)) in script.iter().zip(life) {
            match did {
                Did::Verify => verified = true,
                Did::Welcome => {
                    prop_assert!(verified && matches!(input, Input::Auth(Ok(()))));
                    prop_assert!(!known, "welcome comes once");
                    known = true;
                }
                Did::Deliver | Did::Ping | Did::Reauth | Did::Error(_) => prop_assert!(known),
                Did::Pong | Did::Nothing | Did::Close(_) => {}
            }
        }
    }

    #[test]
    fn never_more_than_the_budget_is_delivered_in_any_window(
        waits in vec(prop_oneof![3 => Just(0_u64), 2 => 0..150_u64, 1 => 0..4000_u64], 1..200)
    ) {
        let mut session = live();
        let script: Vec<_> = waits.into_iter().map(|wait| (wait, Input::text(ACK))).collect();
        let delivered: Vec<_> = live_through(&mut session, &script)
            .into_iter()
            .filter_map(|(now, did)| (did == Did::Deliver).then_some(now))
            .collect();
        prop_assert_eq!(excess(&delivered, 100, 30), 0);
    }

    #[test]
    fn whoever_keeps_to_the_budget_is_always_served(
        waits in vec(100..2_000_u64, 1..200), burst in 1..30_usize
    ) {
        let mut session = live();
        let bursts = (0..burst).map(|_| (0, Input::text(ACK)));
        let script: Vec<_> =
            bursts.chain(waits.into_iter().map(|wait| (wait, Input::text(ACK)))).collect();
        for (now, did) in live_through(&mut session, &script) {
            prop_assert_eq!(did, Did::Deliver, "at {}", now);
        }
    }

    #[test]
    fn an_error_is_told_at_most_four_times_a_minute(
        script in vec((wait(), input()), 0..120)
    ) {
        let mut session = live();
        let told: Vec<_> = live_through(&mut session, &script)
            .into_iter()
            .filter_map(|(now, did)| match did {
                Did::Error(FrameErrorCode::UnknownType) => None,
                Did::Error(_) => Some(now),
                _ => None,
            })
            .collect();
        for window in told.windows(5) {
            prop_assert!(window[4] - window[0] >= 60_000, "{:?}", window);
        }
    }

    #[test]
    fn nothing_but_the_first_close_comes_after_the_end(
        script in vec((wait(), input()), 0..80)
    ) {
        let mut session = live();
        let mut end = None;
        for (_, did) in live_through(&mut session, &script) {
            if let Some(reason) = end {
                prop_assert_eq!(did, Did::Close(reason));
            } else if let Did::Close(reason) = did {
                end = Some(reason);
            }
        }
        prop_assert_eq!(session.ended(), end);
    }

    #[test]
    fn a_socket_that_nobody_feeds_ends_by_its_timer_alone(
        script in vec((wait(), input()), 0..40), bits in vec(any::<u16>(), 8)
    ) {
        let mut session = awaiting();
        let mut now = live_through(&mut session, &script).last().map_or(0, |(now, _)| *now);
        let mut ended = false;
        // Two pings, one demand for a proof, and the end.
        for bits in bits.into_iter().take(5) {
            now = now.max(session.wakes_at().min(now + 4_000_000));
            if let Tick::Close(_) = session.on_tick(now, Jitter::from_bits(bits), || nonce(9)) {
                ended = true;
                break;
            }
        }
        prop_assert!(ended, "still {session:?} at {now}");
    }

    #[test]
    fn a_tick_on_time_is_never_for_nothing(
        script in vec((wait(), input()), 0..40)
    ) {
        let mut session = live();
        let now = live_through(&mut session, &script).last().map_or(0, |(now, _)| *now);
        if session.ended().is_none() {
            let due = session.wakes_at();
            prop_assert!(due < u64::MAX);
            prop_assert!(Input::Tick.put(&mut session, due.max(now)) != Did::Nothing);
        }
    }

    #[test]
    fn no_clock_however_wrong_makes_it_panic(
        script in vec((any::<u64>(), input()), 0..60)
    ) {
        let mut session = awaiting();
        let mut ended = false;
        for (now, input) in script {
            let did = input.put(&mut session, now);
            prop_assert!(!ended || matches!(did, Did::Close(_)));
            ended |= matches!(did, Did::Close(_));
        }
    }
}
