//! What an initiator learns of its own prompts.

use fido_relay_proto::life::PriorAuth;
use fido_relay_proto::{CeremonyId, Outcome, Reason};

use super::*;

const NOON: UnixMillis = UnixMillis(1_800_000_000_000);
const SHOP: ClientId = ClientId::from_bytes([1; 16]);
const BANK: ClientId = ClientId::from_bytes([2; 16]);

fn ask(nth: u128, client: ClientId, prior_auth: PriorAuth, now: UnixMillis) -> PromptRequest {
    let until = now.plus_secs(120);
    let ceremony = CeremonyId::from_bytes(nth.to_be_bytes());
    PromptRequest { ceremony, client, prior_auth, browser: None, until }
}

/// Asks once, and is cancelled after it reached a phone or did not.
fn asks(
    prompt_state: &mut UserPromptState,
    ask: &PromptRequest,
    rang: bool,
    now: UnixMillis,
    ends: Ends,
) {
    let admission = prompt_state.admit(&Policy::default(), now, ask);
    let (outcome, reason) = ends;
    // As the relay does: what was held back and cancelled changes nothing.
    if admission.suppression.is_some() && !matches!(outcome, Outcome::Succeeded | Outcome::Denied) {
        return;
    }
    let end = EndedPrompt {
        ceremony: ask.ceremony,
        client: ask.client,
        lane: admission.lane,
        browser: None,
        rang: rang && admission.suppression.is_none(),
        outcome,
        reason,
        at: now,
    };
    prompt_state.ended(&Policy::default(), &end);
}

type Ends = (Outcome, Option<Reason>);
const CANCELLED: Ends = (Outcome::Cancelled, None);

fn own(prompt_state: &UserPromptState, now: UnixMillis) -> [Option<Suppression>; 2] {
    let policy = Policy::default();
    [Lane::Stranger, Lane::Vouched(SHOP)]
        .map(|lane| prompt_state.own_suppression(&policy, now, &lane, SHOP))
}

#[test]
fn an_initiator_is_told_the_same_of_a_phone_that_rings_and_of_a_name_that_no_user_has() {
    let (mut nobody, mut user) = (UserPromptState::default(), UserPromptState::default());
    let (mut held, mut apart) = (0, 0);
    for minute in 0..240_u64 {
        let now = NOON.plus_secs(minute * 60);
        let nth = u128::from(minute) * 10;
        if minute % 3 == 0 {
            let known = if minute % 2 == 0 { PriorAuth::None } else { PriorAuth::Session };
            let ask = ask(nth, SHOP, known, now);
            asks(&mut nobody, &ask, false, now, CANCELLED);
            asks(&mut user, &ask, true, now, CANCELLED);
        }
        // Of the user there is more: what others ask, and what the person answers to it.
        let others = ask(nth + 1, BANK, PriorAuth::None, now);
        let ends = match minute % 50 {
            7 => (Outcome::Denied, Some(Reason::NotMe)),
            23 => (Outcome::Denied, Some(Reason::Declined)),
            40 => (Outcome::Succeeded, None),
            _ => CANCELLED,
        };
        asks(&mut user, &others, true, now, ends);
        assert_eq!(own(&user, now), own(&nobody, now), "minute {minute}");
        held += usize::from(own(&user, now)[0].is_some());
        let real = |prompt_state: &UserPromptState| {
            prompt_state.next_suppression(&Policy::default(), now, &Lane::Stranger, SHOP)
        };
        apart += usize::from(real(&user) != real(&nobody));
    }
    assert!(held > 50 && apart > 50, "the two do differ: {held}, {apart}");
}

#[test]
fn what_is_told_follows_the_initiators_own_outcomes_and_unlocking() {
    let (mut prompt_state, policy) = (UserPromptState::default(), Policy::default());
    let asked = |prompt_state: &mut UserPromptState, nth, ends| {
        asks(prompt_state, &ask(nth, SHOP, PriorAuth::None, NOON), false, NOON, ends);
    };
    let why = |prompt_state: &UserPromptState| {
        own(prompt_state, NOON)[0].map(|suppression| suppression.reason)
    };
    for nth in 0..3 {
        assert_eq!(why(&prompt_state), None);
        asked(&mut prompt_state, nth, CANCELLED);
    }
    assert_eq!(why(&prompt_state), Some(SuppressionReason::Wait));
    assert_eq!(prompt_state.unlocks_left(NOON, SHOP), 3);
    prompt_state.unlock(&policy, NOON, SHOP).unwrap();
    assert_eq!((why(&prompt_state), prompt_state.unlocks_left(NOON, SHOP)), (None, 2));
    asked(&mut prompt_state, 3, (Outcome::Denied, Some(Reason::Declined)));
    assert_eq!(why(&prompt_state), Some(SuppressionReason::Quiet));
    asked(&mut prompt_state, 4, (Outcome::Succeeded, None));
    let later = NOON.plus_secs(61);
    assert_eq!(own(&prompt_state, later), [None; 2]);
    asked(&mut prompt_state, 5, (Outcome::Denied, Some(Reason::NotMe)));
    prompt_state.unlock(&policy, NOON, SHOP).unwrap();
    assert_eq!(why(&prompt_state), Some(SuppressionReason::Muted), "no initiator lifts it");
}

#[test]
fn however_many_initiators_ask_for_a_name_its_record_stays_small() {
    let mut prompt_state = UserPromptState::default();
    for nth in 1..=100_u8 {
        let now = NOON.plus_secs(u64::from(nth));
        let client = ClientId::from_bytes([nth; 16]);
        let ask = ask(u128::from(nth), client, PriorAuth::None, now);
        asks(&mut prompt_state, &ask, false, now, CANCELLED);
    }
    assert_eq!(prompt_state.own.len(), INITIATORS);
    assert!(prompt_state.own.iter().any(|(client, _)| *client == ClientId::from_bytes([100; 16])));
    let asked = |at: u64| ask(200 + u128::from(at), SHOP, PriorAuth::None, NOON.plus_secs(at));
    let (day, later) = (NOON.plus_millis(DAY_MS), 100_000);
    assert!(NOON.plus_secs(later) > day.plus_secs(100));
    prompt_state.admit(&Policy::default(), NOON.plus_secs(later), &asked(later));
    assert_eq!(prompt_state.own.len(), 1, "who has not asked for a day is forgotten");
}
