//! Plays: who does what, in order, and how it ends.

use super::*;

/// A ceremony on a stage with a clock.
struct Play {
    ceremony: Ceremony,
    now: UnixMillis,
}

impl Play {
    fn opens(binding: Binding) -> Self {
        Self::of(open(binding))
    }

    fn of(ceremony: Ceremony) -> Self {
        Self { ceremony, now: OPENED }
    }

    /// Up to the moment when the phone has the challenge.
    fn with_the_challenge(binding: Binding) -> Self {
        let mut play = Self::opens(binding);
        if binding == Binding::Code {
            play.hears(claim(PHONE, FIRST, CODE));
        }
        play.hears(begun(FIRST));
        assert_eq!(play.ceremony.phase(), Phase::Challenged);
        play
    }

    /// Up to the moment when the FIDO2 server is asked.
    fn with_the_answer(binding: Binding) -> Self {
        let mut play = Self::with_the_challenge(binding);
        play.hears(answer(PHONE, FIRST, SIGNED));
        assert_eq!(play.ceremony.phase(), Phase::Verifying);
        play
    }

    fn waits(&mut self, millis: u64) {
        self.now = self.now.plus_millis(millis);
    }

    /// A second later, something happens.
    fn hears(&mut self, event: Event) -> (Reply, Option<Effect>) {
        self.waits(1000);
        let Transition { reply, effect, .. } = self.ceremony.step(self.now, event);
        (reply, effect)
    }

    fn shows(&self, device: DeviceId) -> &'static str {
        match self.ceremony.prompt_for(device) {
            Prompt::Nothing => "nothing",
            Prompt::Wait => "wait",
            Prompt::Offer => "offer",
            Prompt::Challenge(_) => "challenge",
            Prompt::Elsewhere => "elsewhere",
            Prompt::Closed(_) => "closed",
        }
    }

    fn steps(&self) -> Vec<Step> {
        self.ceremony.progress().map(|entry| entry.step).collect()
    }

    #[track_caller]
    fn ends(&self, outcome: Outcome, reason: Option<Reason>) {
        let closed = self.ceremony.closed().unwrap();
        assert_eq!((closed.outcome, closed.reason), (outcome, reason));
        assert_eq!(closed.at, self.now);
        let succeeded = outcome == Outcome::Succeeded;
        assert_eq!(closed.approval.is_some(), succeeded);
        let approval = self.ceremony.request.transaction.is_some();
        assert_eq!(closed.tx_binding.is_some(), succeeded && approval);
        assert_eq!(self.ceremony.wakes_at(), None);
        assert_eq!((self.shows(PHONE), self.shows(TABLET)), ("closed", "closed"));
    }
}

const BOTH: [Binding; 2] = [Binding::Code, Binding::None];
const DONE: Reply = Reply::Done;

#[test]
fn with_a_code_the_phone_that_knows_it_gets_the_challenge_and_succeeds() {
    let mut play = Play::opens(Binding::Code);
    assert_eq!(play.ceremony.pending_effect(), None, "the FIDO2 server hears nothing yet");
    assert_eq!((play.shows(PHONE), play.shows(TABLET)), ("offer", "offer"));

    assert_eq!(play.hears(Event::Sent { device: PHONE }), (DONE, None));
    assert_eq!(play.hears(Event::Acked { device: PHONE, of: AckOf::Offer }), (DONE, None));
    let asked = play.hears(claim(PHONE, FIRST, CODE));
    assert_eq!(asked, (DONE, Some(Effect::Begin { attempt: FIRST })));
    assert_eq!((play.shows(PHONE), play.shows(TABLET)), ("wait", "elsewhere"));

    assert_eq!(play.hears(begun(FIRST)), (DONE, None));
    assert_eq!((play.shows(PHONE), play.shows(TABLET)), ("challenge", "elsewhere"));

    assert_eq!(play.hears(card(PHONE, None)), (DONE, None));
    let stored = play.hears(answer(PHONE, FIRST, SIGNED));
    let accepted = Reply::Accepted { attempt: FIRST };
    assert_eq!(stored, (accepted, Some(Effect::Complete { attempt: FIRST })));
    assert_eq!((play.shows(PHONE), play.shows(TABLET)), ("wait", "elsewhere"));

    assert_eq!(play.hears(completed(FIRST, Verdict::Approved(approval()))), (DONE, None));
    play.ends(Outcome::Succeeded, None);
    let closed = play.ceremony.closed().unwrap();
    assert_eq!(closed.approval, Some(approval()));
    assert_eq!(closed.tx_binding, Some(TxBinding::Card), "what was begun vouches for the words");
    assert_eq!(
        play.steps(),
        [
            Step::Opened,
            Step::Sent,
            Step::Delivered,
            Step::Claimed,
            Step::Challenged,
            Step::Card,
            Step::Verifying,
            Step::Closed
        ]
    );
}

#[test]
fn without_a_code_both_devices_get_the_challenge_and_the_first_answer_wins() {
    let mut play = Play::opens(Binding::None);
    assert_eq!(play.ceremony.pending_effect(), Some(Effect::Begin { attempt: FIRST }));
    assert_eq!((play.shows(PHONE), play.shows(TABLET)), ("nothing", "nothing"));
    play.hears(begun(FIRST));
    assert_eq!((play.shows(PHONE), play.shows(TABLET)), ("challenge", "challenge"));
    play.hears(card(PHONE, None));

    play.hears(answer(TABLET, FIRST, SIGNED));
    assert_eq!((play.shows(PHONE), play.shows(TABLET)), ("elsewhere", "wait"));
    let beaten = play.hears(answer(PHONE, FIRST, SIGNED));
    assert_eq!(beaten, (Reply::Refused(Refusal::AlreadyAnswered), None));

    play.hears(completed(FIRST, Verdict::Approved(approval())));
    play.ends(Outcome::Succeeded, None);
}

#[test]
fn only_an_approval_has_words_to_vouch_for() {
    let mut play = Play::opens(Binding::None);
    play.ceremony.request.transaction = None;
    play.hears(begun(FIRST));
    play.hears(answer(PHONE, FIRST, SIGNED));
    play.hears(completed(FIRST, Verdict::Approved(approval())));
    play.ends(Outcome::Succeeded, None);
    assert_eq!(play.ceremony.closed().unwrap().tx_binding, None);
}

#[test]
fn the_person_says_no() {
    for (said, reason) in
        [(DeclineReason::Declined, Reason::Declined), (DeclineReason::NotMe, Reason::NotMe)]
    {
        for binding in BOTH {
            for mut play in [
                Play::opens(binding),
                Play::with_the_challenge(binding),
                Play::with_the_answer(binding),
            ] {
                assert_eq!(play.hears(decline(PHONE, said)), (DONE, None));
                play.ends(Outcome::Denied, Some(reason));
            }
        }
    }
}

#[test]
fn the_fido_server_says_no() {
    for binding in BOTH {
        let mut play = Play::with_the_answer(binding);
        play.hears(completed(FIRST, Verdict::Rejected(Reason::UpstreamRejected)));
        play.ends(Outcome::Rejected, Some(Reason::UpstreamRejected));
    }
}

#[test]
fn the_fido_server_cannot() {
    for binding in BOTH {
        let mut play = Play::opens(binding);
        play.hears(claim(PHONE, FIRST, CODE));
        play.hears(Event::BeginFailed { attempt: FIRST, reason: Reason::UpstreamFull });
        play.ends(Outcome::Failed, Some(Reason::UpstreamFull));

        for (verdict, reason) in [
            (Verdict::Full, Reason::UpstreamFull),
            (Verdict::NotAsked, Reason::UpstreamUnavailable),
        ] {
            let mut play = Play::with_the_answer(binding);
            play.hears(completed(FIRST, verdict));
            play.ends(Outcome::Failed, Some(reason));
        }
    }
}

#[test]
fn the_card_cannot() {
    let ends = [
        (602, Reason::NoCredential),
        (603, Reason::NoCredential),
        (605, Reason::Card(605)),
        (606, Reason::CardFull),
        (608, Reason::PinFailed),
        (609, Reason::Card(609)),
        (617, Reason::Card(617)),
    ];
    for binding in BOTH {
        for (number, reason) in ends {
            let mut play = Play::with_the_challenge(binding);
            play.hears(card(PHONE, Some(number)));
            play.ends(Outcome::Failed, Some(reason));
        }
    }
}

#[test]
fn a_card_that_slipped_may_be_held_to_the_phone_again() {
    for binding in BOTH {
        let mut play = Play::with_the_challenge(binding);
        for number in [600, 601, 604, 607] {
            let (reply, _) = play.hears(card(PHONE, Some(number)));
            assert!(matches!(reply, Reply::Done | Reply::Ignored), "{number}: {reply:?}");
            assert_eq!(play.shows(PHONE), "challenge");
        }
        play.hears(answer(PHONE, FIRST, SIGNED));
        play.hears(completed(FIRST, Verdict::Approved(approval())));
        play.ends(Outcome::Succeeded, None);
    }
}

#[test]
fn an_error_number_without_an_error_means_nothing() {
    let mut play = Play::with_the_challenge(Binding::Code);
    let code = Some(CardErrorCode::new(608).unwrap());
    play.hears(Event::Card { device: PHONE, event: CardEvent::Present, code });
    assert_eq!(play.ceremony.phase(), Phase::Challenged);
}

#[test]
fn time_runs_out() {
    for binding in BOTH {
        for mut play in [Play::opens(binding), Play::with_the_challenge(binding)] {
            play.now = OPENED.plus_millis(LIFE_MS - 1001);
            play.hears(Event::Tick);
            assert_eq!(play.ceremony.closed().map(|closed| closed.outcome), None);
            assert_eq!(play.ceremony.wakes_at(), Some(OPENED.plus_millis(LIFE_MS)));
            play.now = OPENED.plus_millis(LIFE_MS - 1000);
            play.hears(Event::Tick);
            play.ends(Outcome::Expired, Some(Reason::Deadline));
        }
        let mut play = Play::with_the_answer(binding);
        play.hears(completed(FIRST, Verdict::SessionLost));
        play.ends(Outcome::Expired, Some(Reason::SessionExpired));
    }
}

#[test]
fn an_answer_at_the_deadline_is_too_late_and_one_just_before_is_not() {
    for binding in BOTH {
        let mut play = Play::with_the_challenge(binding);
        play.now = OPENED.plus_millis(LIFE_MS - 1000);
        let late = play.hears(answer(PHONE, FIRST, SIGNED));
        assert_eq!(late, (Reply::Refused(Refusal::AlreadyClosed), None));
        play.ends(Outcome::Expired, Some(Reason::Deadline));

        let mut play = Play::with_the_challenge(binding);
        play.now = OPENED.plus_millis(LIFE_MS - 1001);
        play.hears(answer(PHONE, FIRST, SIGNED));
        play.waits(15_000);
        play.hears(completed(FIRST, Verdict::Approved(approval())));
        play.ends(Outcome::Succeeded, None);
    }
}

#[test]
fn the_initiator_takes_it_back() {
    for binding in BOTH {
        for mut play in [
            Play::opens(binding),
            Play::with_the_challenge(binding),
            Play::with_the_answer(binding),
        ] {
            assert_eq!(play.hears(Event::Cancel), (DONE, None));
            play.ends(Outcome::Cancelled, None);
            let again = play.hears(Event::Cancel).0;
            assert_eq!(again, Reply::Refused(Refusal::AlreadyClosed));
        }
    }
}

#[test]
fn nobody_learns_what_the_fido_server_said() {
    for binding in BOTH {
        let mut play = Play::with_the_answer(binding);
        play.hears(completed(FIRST, Verdict::Unknown));
        play.ends(Outcome::Indeterminate, Some(Reason::UpstreamUnknown));

        let mut play = Play::with_the_answer(binding);
        play.waits(COMPLETION_LIMIT_MS - 2000);
        play.hears(Event::Tick);
        assert_eq!(play.ceremony.phase(), Phase::Verifying, "patience lasts to its limit");
        play.hears(Event::Tick);
        play.ends(Outcome::Indeterminate, Some(Reason::UpstreamUnknown));

        let mut play = Play::with_the_answer(binding);
        assert_eq!(play.hears(Event::Recover { by: NODE }), (DONE, None));
        assert_eq!(play.ceremony.phase(), Phase::Verifying, "its own call is still out");
        let recover = Event::Recover { by: RESTARTED };
        assert_eq!(play.hears(recover), (DONE, None), "never a second completion call");
        play.ends(Outcome::Indeterminate, Some(Reason::Interrupted));
    }
}

#[test]
fn a_verdict_that_arrives_after_the_patience_but_before_its_end_still_counts() {
    let mut play = Play::with_the_answer(Binding::Code);
    play.waits(COMPLETION_LIMIT_MS * 2);
    play.hears(completed(FIRST, Verdict::Approved(approval())));
    play.ends(Outcome::Succeeded, None);
}

#[test]
fn after_a_crash_the_node_that_takes_over_begins_again_but_never_completes_again() {
    let mut play = Play::opens(Binding::Code);
    assert_eq!(play.hears(Event::Recover { by: RESTARTED }), (DONE, None));
    play.hears(claim(PHONE, FIRST, CODE));
    assert_eq!(
        play.hears(Event::Recover { by: RESTARTED }),
        (DONE, Some(Effect::Begin { attempt: FIRST }))
    );
    play.hears(begun(FIRST));
    assert_eq!(play.hears(Event::Recover { by: RESTARTED }), (DONE, None));
    assert_eq!(play.shows(PHONE), "challenge");
}

#[test]
fn three_wrong_codes_close_it_whichever_phone_typed_them() {
    let mut play = Play::opens(Binding::Code);
    for (device, left) in [(PHONE, 2), (TABLET, 1), (PHONE, 0)] {
        let (reply, effect) = play.hears(claim(device, FIRST, "000000"));
        assert_eq!(reply, Reply::Refused(Refusal::WrongCode { left }));
        assert_eq!(effect, None, "no wrong code reaches the FIDO2 server");
    }
    play.ends(Outcome::Failed, Some(Reason::WrongCode));
}

#[test]
fn two_wrong_codes_do_no_harm_to_the_right_one() {
    let mut play = Play::opens(Binding::Code);
    for wrong in ["40291", "4029170"] {
        play.hears(claim(PHONE, FIRST, wrong));
        assert_eq!(play.shows(PHONE), "offer");
    }
    assert_eq!(play.hears(claim(TABLET, OTHER, CODE)).1, Some(Effect::Begin { attempt: OTHER }));
    play.hears(begun(OTHER));
    assert_eq!((play.shows(PHONE), play.shows(TABLET)), ("elsewhere", "challenge"));
}

#[test]
fn a_code_is_right_only_digit_by_digit() {
    let code = Code("000000".to_owned());
    assert!(code.matches("000000"));
    for wrong in ["000001", "100000", "", "00000", "0000000", "000 00", "\u{0}00000"] {
        assert!(!code.matches(wrong), "{wrong:?}");
    }
}

#[test]
fn the_phone_that_did_not_type_the_code_can_only_raise_the_alarm() {
    let mut play = Play::with_the_challenge(Binding::Code);
    let elsewhere = (Reply::Refused(Refusal::ClaimedElsewhere), None);
    assert_eq!(play.hears(claim(TABLET, OTHER, CODE)), elsewhere);
    assert_eq!(play.hears(decline(TABLET, DeclineReason::Declined)), elsewhere);
    let no_challenge = (Reply::Refused(Refusal::NotChallenged), None);
    assert_eq!(play.hears(card(TABLET, Some(608))), no_challenge);
    assert_eq!(play.hears(answer(TABLET, FIRST, SIGNED)), no_challenge);
    assert_eq!(play.shows(PHONE), "challenge");
    assert_eq!(play.hears(decline(TABLET, DeclineReason::NotMe)), (DONE, None));
    play.ends(Outcome::Denied, Some(Reason::NotMe));
}

#[test]
fn an_app_that_repeats_its_claim_after_a_reconnect_is_not_told_that_another_has_it() {
    for mut play in [
        Play::with_the_challenge(Binding::Code),
        // Once the answer was stored, the claimer itself was sent away.
        Play::with_the_answer(Binding::Code),
    ] {
        assert_eq!(play.hears(claim(PHONE, OTHER, CODE)), (Reply::Ignored, None));
        let elsewhere = Reply::Refused(Refusal::ClaimedElsewhere);
        assert_eq!(play.hears(claim(TABLET, OTHER, CODE)).0, elsewhere);
    }
}

#[test]
fn the_same_answer_is_acknowledged_again_whenever_it_comes() {
    for binding in BOTH {
        let mut play = Play::with_the_answer(binding);
        let again = (Reply::Accepted { attempt: FIRST }, None);
        assert_eq!(play.hears(answer(PHONE, FIRST, SIGNED)), again);
        let other = (Reply::Refused(Refusal::AlreadyAnswered), None);
        assert_eq!(play.hears(answer(PHONE, FIRST, FORGED)), other);

        // Also as the very event that finds the patience exhausted.
        play.waits(COMPLETION_LIMIT_MS);
        assert_eq!(play.hears(answer(PHONE, FIRST, SIGNED)), again);
        play.ends(Outcome::Indeterminate, Some(Reason::UpstreamUnknown));
        assert_eq!(play.hears(answer(PHONE, FIRST, SIGNED)), again);
        let closed = (Reply::Refused(Refusal::AlreadyClosed), None);
        assert_eq!(play.hears(answer(PHONE, FIRST, FORGED)), closed);
        assert_eq!(play.hears(answer(TABLET, FIRST, SIGNED)), closed);
        assert_eq!(play.hears(answer(PHONE, OTHER, SIGNED)), closed);
    }
}

#[test]
fn a_challenge_to_an_earlier_call_is_not_taken() {
    let mut play = Play::opens(Binding::Code);
    assert_eq!(play.hears(begun(FIRST)), (Reply::Ignored, None), "no code yet, no challenge");
    play.hears(claim(PHONE, FIRST, CODE));
    assert_eq!(play.hears(begun(OTHER)), (Reply::Ignored, None));
    let failed = Event::BeginFailed { attempt: OTHER, reason: Reason::UpstreamFull };
    assert_eq!(play.hears(failed), (Reply::Ignored, None));
    assert_eq!(play.ceremony.phase(), Phase::Preparing);
    assert_eq!(
        play.hears(completed(FIRST, Verdict::Rejected(Reason::UpstreamRejected))),
        (Reply::Ignored, None)
    );
}

#[test]
fn a_ceremony_for_one_device_shows_nothing_on_the_others() {
    let mut play = Play::opens(Binding::None);
    play.ceremony.request.device_id = Some(PHONE);
    play.hears(begun(FIRST));
    assert_eq!((play.shows(PHONE), play.shows(TABLET)), ("challenge", "nothing"));
    play.hears(Event::Cancel);
    assert_eq!((play.shows(PHONE), play.shows(TABLET)), ("closed", "nothing"));
}

#[test]
fn a_clock_that_is_set_back_leaves_the_steps_in_order() {
    let mut play = Play::with_the_challenge(Binding::Code);
    let before = play.now;
    play.now = UnixMillis(OPENED.0 - 60_000);
    play.hears(Event::Cancel);
    assert_eq!(play.ceremony.closed().map(|closed| closed.at), Some(before));
    assert!(play.ceremony.history.is_sorted_by_key(|fact| fact.at));
}

#[test]
fn a_silent_ceremony_rings_on_no_phone_and_its_code_takes_it_up_all_the_same() {
    let mut play = Play::of(open_suppressed(Binding::Code));
    assert_eq!((play.shows(PHONE), play.shows(TABLET)), ("nothing", "nothing"));
    let claimed = play.hears(claim(PHONE, OTHER, CODE));
    assert_eq!(claimed, (DONE, Some(Effect::Begin { attempt: OTHER })));
    assert_eq!((play.shows(PHONE), play.shows(TABLET)), ("wait", "elsewhere"));
    play.hears(begun(OTHER));
    assert_eq!((play.shows(PHONE), play.shows(TABLET)), ("challenge", "elsewhere"));
}

#[test]
fn a_silent_ceremony_ends_as_one_that_no_phone_answered() {
    for binding in BOTH {
        let mut play = Play::of(open_suppressed(binding));
        if binding == Binding::None {
            // The FIDO2 server's answer moves it on, so that its opener sees what it always sees.
            assert_eq!(play.hears(begun(FIRST)), (DONE, None));
            assert_eq!(play.ceremony.phase(), Phase::Challenged);
            let answered = play.hears(answer(PHONE, FIRST, SIGNED));
            assert_eq!(answered, (Reply::Refused(Refusal::AlreadyClosed), None));
        }
        play.now = play.ceremony.request.deadline;
        play.ceremony.step(play.now, Event::Tick);
        play.ends(Outcome::Expired, Some(Reason::Deadline));
    }
}

#[test]
fn what_rang_on_no_phone_can_still_raise_the_alarm() {
    let mut play = Play::of(open_suppressed(Binding::Code));
    play.hears(decline(TABLET, DeclineReason::NotMe));
    play.ends(Outcome::Denied, Some(Reason::NotMe));
}
