//! What holds for any events in any order at any times.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn device() -> impl Strategy<Value = DeviceId> {
    prop::sample::select(vec![PHONE, PHONE, TABLET])
}

fn attempt() -> impl Strategy<Value = AttemptId> {
    prop::sample::select(vec![FIRST, FIRST, FIRST, OTHER])
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop::sample::select(vec![
        Verdict::Approved(approval()),
        Verdict::Rejected(Reason::UpstreamRejected),
        Verdict::SessionLost,
        Verdict::Full,
        Verdict::NotAsked,
        Verdict::Unknown,
    ])
}

/// Every public step once, of two devices those that each has, three wrong codes, a lost prompt with
/// each that was sent again, one suppression.
const MOST_FACTS: usize = 26;
const _: () = assert!(MOST_FACTS <= HISTORY_LIMIT);

/// Why a begin call gives no challenge.
const UNBEGUN: [Reason; 4] = [
    Reason::NoCredential,
    Reason::UpstreamRejected,
    Reason::UpstreamUnavailable,
    Reason::UpstreamFull,
];

/// Events that lead on are frequent, those that end it rare: short lives teach little.
fn event() -> impl Strategy<Value = Event> {
    let code = prop::sample::select(vec![CODE, CODE, CODE, "000000"]);
    let credential = prop::sample::select(vec![SIGNED, SIGNED, FORGED]);
    let of = prop::sample::select(vec![AckOf::Offer, AckOf::Challenge, AckOf::Closed]);
    let number = prop::sample::select(vec![600_u16, 601, 604, 607, 602, 606, 608, 617]);
    let reason = prop::sample::select(vec![DeclineReason::Declined, DeclineReason::NotMe]);
    prop_oneof![
        4 => device().prop_map(|device| Event::Sent { device }),
        4 => (device(), of).prop_map(|(device, of)| Event::Acked { device, of }),
        8 => (device(), attempt(), code).prop_map(|(device, attempt, code)| {
            claim(device, attempt, code)
        }),
        8 => attempt().prop_map(begun),
        1 => (attempt(), prop::sample::select(UNBEGUN.to_vec())).prop_map(|(attempt, reason)| {
            Event::BeginFailed { attempt, reason }
        }),
        4 => device().prop_map(|device| card(device, None)),
        1 => (device(), number).prop_map(|(device, number)| card(device, Some(number))),
        8 => (device(), attempt(), credential).prop_map(|(device, attempt, credential)| {
            answer(device, attempt, credential)
        }),
        4 => (attempt(), verdict()).prop_map(|(attempt, verdict)| completed(attempt, verdict)),
        1 => (device(), reason).prop_map(|(device, reason)| decline(device, reason)),
        1 => Just(Event::Cancel),
        1 => Just(Event::Drop),
        1 => device().prop_map(|device| Event::Lost { device }),
        1 => device().prop_map(|device| Event::Woken { device }),
        1 => device().prop_map(|device| Event::Previewed { device }),
        4 => Just(Event::Tick),
        1 => Just(Event::Recover { by: RESTARTED }),
    ]
}

fn wait() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => Just(0_u64),
        8 => 0..3_000_u64,
        1 => 0..LIFE_MS,
    ]
}

fn binding() -> impl Strategy<Value = Binding> {
    prop::sample::select(vec![Binding::Code, Binding::None])
}

fn story() -> impl Strategy<Value = (Binding, Vec<(u64, Event)>)> {
    (binding(), vec((wait(), event()), 0..40))
}

/// A life step by step: the time, what happened, and what came of it.
struct Life {
    ceremony: Ceremony,
    now: UnixMillis,
}

impl Life {
    fn new(binding: Binding) -> Self {
        Self { ceremony: open(binding), now: OPENED }
    }

    fn step(&mut self, wait: u64, event: &Event) -> Transition {
        self.now = self.now.plus_millis(wait);
        self.ceremony.step(self.now, event.clone())
    }
}

/// A wrong guess counts each time that it is made; all else is the same twice as once.
fn is_guess(ceremony: &Ceremony, event: &Event) -> bool {
    matches!((&ceremony.state, event),
        (State::Offered { code, .. }, Event::Claim { code: typed, .. }) if !code.matches(typed))
}

proptest! {
    #[test]
    fn there_is_one_outcome_and_it_never_changes((binding, story) in story()) {
        let mut life = Life::new(binding);
        let mut end: Option<String> = None;
        for (wait, event) in &story {
            let Transition { facts, effect, .. } = life.step(*wait, event);
            if let Some(end) = &end {
                prop_assert_eq!(&json(&life.ceremony), end);
                prop_assert!(facts.is_empty() && effect.is_none());
            } else if life.ceremony.closed().is_some() {
                let last = facts.last().map(|fact| fact.kind);
                let closes = matches!(last, Some(FactKind::Closed { .. }));
                prop_assert!(closes);
                end = Some(json(&life.ceremony));
            }
        }
        // Time alone is enough for an end.
        for _ in 0..2 {
            if let Some(due) = life.ceremony.wakes_at() {
                life.ceremony.step(due, Event::Tick);
            }
        }
        prop_assert!(life.ceremony.closed().is_some());
    }

    #[test]
    fn the_fido_server_is_asked_at_most_once_to_verify((binding, story) in story()) {
        let mut life = Life::new(binding);
        let mut calls = 0;
        for (wait, event) in &story {
            let before = life.ceremony.phase();
            let Transition { effect, reply, .. } = life.step(*wait, event);
            if let Some(Effect::Complete { attempt }) = effect {
                calls += 1;
                prop_assert_eq!(before, Phase::Challenged);
                prop_assert_eq!(life.ceremony.phase(), Phase::Verifying, "stored before it is sent");
                prop_assert_eq!(reply, Reply::Accepted { attempt });
            }
            // Neither a restart nor a look at the state asks a second time.
            let pending = life.ceremony.pending_effect();
            let completes = matches!(pending, Some(Effect::Complete { .. }));
            prop_assert!(!completes);
        }
        prop_assert!(calls <= 1);
    }

    #[test]
    fn it_succeeds_only_if_the_answer_to_its_own_challenge_was_approved((binding, story) in story()) {
        let mut life = Life::new(binding);
        let mut asked = None;
        for (wait, event) in &story {
            let open = life.ceremony.closed().is_none();
            if let Some(Effect::Complete { attempt }) = life.step(*wait, event).effect {
                asked = Some(attempt);
            }
            let succeeded =
                life.ceremony.closed().is_some_and(|closed| closed.outcome == Outcome::Succeeded);
            if open && succeeded {
                let Event::Completed { attempt, verdict: Verdict::Approved(_) } = event else {
                    panic!("{event:?} is no approval")
                };
                prop_assert_eq!(Some(*attempt), asked);
            }
        }
    }

    #[test]
    fn no_answer_is_accepted_after_the_deadline((binding, story) in story()) {
        let mut life = Life::new(binding);
        let mut accepted = false;
        for (wait, event) in &story {
            let Transition { reply, effect, .. } = life.step(*wait, event);
            if let Some(Effect::Complete { .. }) = effect {
                prop_assert!(life.now < life.ceremony.request.deadline);
                accepted = true;
            }
            if let Reply::Accepted { .. } = reply {
                prop_assert!(accepted, "an acknowledgement without an answer in time");
            }
        }
    }

    #[test]
    fn with_a_code_no_device_sees_a_challenge_before_it_typed_that_code(
        story in vec((wait(), event()), 0..40)
    ) {
        let mut life = Life::new(Binding::Code);
        let mut knew = None;
        for (wait, event) in &story {
            let offered = life.ceremony.phase() == Phase::Offered;
            let effect = life.step(*wait, event).effect;
            if let Event::Claim { device, code, .. } = event
                && offered && code == CODE && life.now < life.ceremony.request.deadline
            {
                knew = Some(*device);
            }
            if let Some(Effect::Begin { .. }) = effect {
                prop_assert!(knew.is_some(), "the FIDO2 server is asked only after the code");
            }
            for device in [PHONE, TABLET] {
                if let Prompt::Challenge(_) = life.ceremony.prompt_for(device) {
                    prop_assert_eq!(knew, Some(device));
                }
            }
        }
    }

    #[test]
    fn what_is_silent_shows_nothing_until_it_is_claimed((binding, story) in story()) {
        let mut life = Life::new(binding);
        life.ceremony = open_suppressed(binding);
        for (wait, event) in &story {
            let effect = life.step(*wait, event).effect;
            if life.ceremony.is_unclaimed() {
                for device in [PHONE, TABLET] {
                    let shown = life.ceremony.prompt_for(device);
                    prop_assert!(matches!(shown, Prompt::Nothing), "{:?}", shown);
                }
                let completes = matches!(effect, Some(Effect::Complete { .. }));
                prop_assert!(!completes);
            }
        }
    }

    #[test]
    fn an_answer_counts_only_from_a_device_that_was_shown_the_challenge((binding, story) in story()) {
        let mut life = Life::new(binding);
        for (wait, event) in &story {
            let shown = |ceremony: &Ceremony, device| {
                matches!(ceremony.prompt_for(device), Prompt::Challenge(_))
            };
            let could = [PHONE, TABLET].map(|device| shown(&life.ceremony, device));
            if life.step(*wait, event).effect == Some(Effect::Complete { attempt: FIRST })
                && let State::Verifying { answer, .. } = &life.ceremony.state
            {
                prop_assert!(could[usize::from(answer.device == TABLET)]);
            }
        }
    }

    #[test]
    fn the_same_event_again_changes_nothing_more((binding, story) in story()) {
        let mut life = Life::new(binding);
        for (wait, event) in &story {
            let guess = is_guess(&life.ceremony, event);
            life.step(*wait, event);
            if guess {
                continue;
            }
            let before = json(&life.ceremony);
            let Transition { facts, effect, .. } = life.step(0, event);
            prop_assert!(facts.is_empty(), "{:?}", event);
            prop_assert_eq!(json(&life.ceremony), before);
            let completes = matches!(effect, Some(Effect::Complete { .. }));
            prop_assert!(!completes);
        }
    }

    #[test]
    fn a_step_tells_facts_exactly_if_it_changed_the_record_and_the_record_keeps_them(
        (binding, story) in story()
    ) {
        let mut life = Life::new(binding);
        for (wait, event) in &story {
            let (before, mut history) = (json(&life.ceremony), life.ceremony.history.clone());
            let facts = life.step(*wait, event).facts;
            prop_assert_eq!(!facts.is_empty(), json(&life.ceremony) != before, "{:?}", event);
            history.extend(facts);
            prop_assert_eq!(&history, &life.ceremony.history);
            prop_assert!(history.len() <= MOST_FACTS);
        }
    }

    #[test]
    fn every_step_is_noted_once_and_in_order_of_time(
        (binding, story) in story(), skew in vec(-2_000..2_000_i64, 40)
    ) {
        let mut life = Life::new(binding);
        for ((wait, event), skew) in story.iter().zip(skew) {
            // Another node, another clock.
            life.now = UnixMillis(life.now.0.saturating_add_signed(skew));
            life.step(*wait, event);
        }
        let history = &life.ceremony.history;
        prop_assert!(history.is_sorted_by_key(|fact| fact.at), "{:?}", history);
        let progress: Vec<_> = life.ceremony.progress().collect();
        prop_assert_eq!(progress[0].step, Step::Opened);
        for (index, entry) in progress.iter().enumerate() {
            prop_assert!(progress[..index].iter().all(|earlier| earlier.step != entry.step));
        }
        let closed = history.last().is_some_and(|last| last.kind.step() == Some(Step::Closed));
        prop_assert_eq!(closed, life.ceremony.closed().is_some(), "nothing comes after the end");
    }

    #[test]
    fn a_record_that_was_stored_and_loaded_is_the_same_and_behaves_the_same(
        (binding, story) in story()
    ) {
        let mut life = Life::new(binding);
        let mut stored = Life::new(binding);
        for (wait, event) in &story {
            let text = json(&stored.ceremony);
            stored.ceremony = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(json(&stored.ceremony), text);
            let (one, other) = (life.step(*wait, event), stored.step(*wait, event));
            prop_assert_eq!(format!("{one:?}"), format!("{other:?}"));
            prop_assert_eq!(json(&life.ceremony), json(&stored.ceremony));
        }
    }

    #[test]
    fn a_closed_record_keeps_no_secret_and_no_record_prints_one((binding, story) in story()) {
        let mut life = Life::new(binding);
        for (wait, event) in &story {
            let transition = life.step(*wait, event);
            let printed = format!("{event:?} {transition:?} {:?}", life.ceremony);
            for canary in CANARIES {
                prop_assert!(!printed.contains(canary), "{} in {}", canary, printed);
            }
            if life.ceremony.closed().is_some() {
                let kept = json(&life.ceremony);
                for canary in CANARIES {
                    prop_assert!(!kept.contains(canary), "{} in {}", canary, kept);
                }
            }
        }
    }

    #[test]
    fn what_the_card_signed_and_what_the_server_asked_is_kept_byte_for_byte(
        (binding, story) in story()
    ) {
        let mut life = Life::new(binding);
        for (wait, event) in &story {
            life.step(*wait, event);
            life.ceremony = serde_json::from_str(&json(&life.ceremony)).unwrap();
            match &life.ceremony.state {
                State::Verifying { answer, challenge, digest, .. } => {
                    let credential = answer.credential.get();
                    prop_assert!(credential == SIGNED || credential == FORGED);
                    prop_assert_eq!(usize::from(digest[0]), credential.len());
                    prop_assert_eq!(challenge.public_key.get(), OPTIONS);
                }
                State::Challenged(challenge) => {
                    prop_assert_eq!(challenge.public_key.get(), OPTIONS);
                }
                State::Offered { .. } | State::Preparing { .. } | State::Closed(_) => {}
            }
        }
    }
}
