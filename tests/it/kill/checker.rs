//! Judges a history after the fact: which promises it breaks. It knows nothing of how the history
//! came about, and its own tests show it histories that are bad.

use std::collections::BTreeSet;

use fido_relay::fault_point::Point;
use fido_relay_proto::http::Status;
use fido_relay_proto::{AttemptId, CeremonyId, Outcome};

use super::history::Seen;
use crate::watch::roads::{Road, Told};

/// Every ending that is stored.
pub(super) fn outcomes(history: &[Seen]) -> Vec<Outcome> {
    let ending = |seen: &Seen| match seen {
        Seen::Stored { outcome, .. } => *outcome,
        _ => None,
    };
    history.iter().filter_map(ending).collect()
}

/// Every promise that the history breaks, in a sentence each.
pub(super) fn broken(history: &[Seen]) -> Vec<String> {
    let mut broken = Vec::new();
    let ids: BTreeSet<CeremonyId> = history.iter().filter_map(id_of).collect();
    if ids.len() > 1 {
        broken.push(format!("one order made {} ceremonies", ids.len()));
    }
    for id in ids {
        one_end_that_stays(history, id, &mut broken);
        findable_once_answered(history, id, &mut broken);
        no_challenge_before_the_code(history, id, &mut broken);
        succeeded_only_if_the_server_said_so(history, id, &mut broken);
        an_accepted_answer_is_never_lost(history, id, &mut broken);
    }
    every_road_tells_the_same(history, &mut broken);
    a_code_that_died_is_repeated(history, &mut broken);
    completed_at_most_once(history, &mut broken);
    indeterminate_only_between_intent_and_verdict(history, &mut broken);
    broken
}

fn id_of(seen: &Seen) -> Option<CeremonyId> {
    match seen {
        Seen::Opened(id)
        | Seen::Read(id, _)
        | Seen::Offered(id)
        | Seen::Claimed(id)
        | Seen::Challenged { id, .. }
        | Seen::Answered { id, .. }
        | Seen::Accepted { id, .. }
        | Seen::ToldEnd { id, .. }
        | Seen::Stored { id, .. } => Some(*id),
        Seen::Begun { .. }
        | Seen::Completed { .. }
        | Seen::Watched(..)
        | Seen::Killed(_)
        | Seen::Restarted => None,
    }
}

/// I1, I10: whoever is told an end is told the same one, nobody hears "pending" after it, and in
/// the end it is what is stored.
fn one_end_that_stays(history: &[Seen], of: CeremonyId, broken: &mut Vec<String>) {
    let mut ends = Vec::new();
    let mut initiator_knows = false;
    let mut stored = false;
    for seen in history {
        match seen {
            Seen::Read(id, Some(Status::Ended(outcome))) if *id == of => {
                initiator_knows = true;
                ends.push(*outcome);
            }
            Seen::Read(id, Some(Status::Pending)) if *id == of && initiator_knows => {
                broken.push("I1: the initiator was told an end, and then that it is open".into());
            }
            Seen::ToldEnd { id, outcome } if *id == of => ends.push(*outcome),
            Seen::Stored { id, outcome, .. } if *id == of => {
                stored = true;
                match outcome {
                    Some(outcome) => ends.push(*outcome),
                    None => broken.push("I10: it is stored without an end".into()),
                }
            }
            _ => {}
        }
    }
    if !stored {
        broken.push("I6: it is not stored".into());
    }
    if ends.windows(2).any(|two| two[0] != two[1]) {
        broken.push(format!("I1: more than one end: {ends:?}"));
    }
}

/// I2: the FIDO2 server gets one completion call at most, for a challenge that it made in that
/// session.
fn completed_at_most_once(history: &[Seen], broken: &mut Vec<String>) {
    let mut calls = 0;
    for seen in history {
        let Seen::Completed { session, challenge, .. } = seen else { continue };
        calls += 1;
        let begun = Seen::Begun { session: session.clone(), challenge: challenge.clone() };
        if !history.contains(&begun) {
            broken.push("I2: a completion call mixes sessions and challenges".into());
        }
    }
    if calls > 1 {
        broken.push(format!("I2: {calls} completion calls"));
    }
}

/// I3: an end as `succeeded` stands on the FIDO2 server's word on the very challenge that the
/// accepted answer answers.
fn succeeded_only_if_the_server_said_so(
    history: &[Seen],
    of: CeremonyId,
    broken: &mut Vec<String>,
) {
    for seen in history {
        let accepted = match seen {
            Seen::Stored { id, outcome: Some(Outcome::Succeeded), accepted } if *id == of => {
                accepted
            }
            _ => continue,
        };
        let shown = |challenge: &str| {
            history.iter().any(|seen| {
                matches!(seen, Seen::Challenged { id, attempt, challenge: shown }
                    if *id == of && Some(*attempt) == *accepted && shown == challenge)
            })
        };
        let said = history.iter().any(|seen| {
            matches!(seen, Seen::Completed { challenge, said_ok: true, .. } if shown(challenge))
        });
        if !said {
            broken.push("I3: succeeded without the server's word on that challenge".into());
        }
    }
}

/// I6: after its 201 a ceremony is found by its initiator.
fn findable_once_answered(history: &[Seen], of: CeremonyId, broken: &mut Vec<String>) {
    let mut opened = false;
    for seen in history {
        match seen {
            Seen::Opened(id) if *id == of => opened = true,
            Seen::Read(id, None) if *id == of && opened => {
                broken.push("I6: opened with 201, and then not found".into());
            }
            _ => {}
        }
    }
}

/// I8: the phone gets no challenge before it has sent the right code.
fn no_challenge_before_the_code(history: &[Seen], of: CeremonyId, broken: &mut Vec<String>) {
    let place = |fits: fn(&Seen) -> Option<CeremonyId>| {
        history.iter().position(|seen| fits(seen) == Some(of))
    };
    let claimed = place(|seen| match seen {
        Seen::Claimed(id) => Some(*id),
        _ => None,
    });
    let challenged = place(|seen| match seen {
        Seen::Challenged { id, .. } => Some(*id),
        _ => None,
    });
    match (claimed, challenged) {
        (Some(claimed), Some(challenged)) if claimed > challenged => {
            broken.push("I8: a challenge before the code".into());
        }
        (None, Some(_)) => broken.push("I8: a challenge without a code".into()),
        _ => {}
    }
}

/// Watchers on every road get the same events, each once and in order, up to the stored end.
fn every_road_tells_the_same(history: &[Seen], broken: &mut Vec<String>) {
    let on = |road| {
        let told = history.iter().filter_map(move |seen| match seen {
            Seen::Watched(on, told) if *on == road => Some(told),
            _ => None,
        });
        told.collect::<Vec<_>>()
    };
    let [poll, events, socket] = Road::ALL.map(on);
    if poll != events || events != socket {
        broken.push(format!("the roads differ: {poll:?}, {events:?}, {socket:?}"));
    }
    // Not by number: a phone that sleeps is woken (12) before it is sent the offer (11).
    let is_after =
        |(seq, _, time, _): &Told, earlier: &Told| *seq != earlier.0 && *time >= earlier.2;
    let is_in_order = |at: usize| poll[..at].iter().all(|earlier| is_after(poll[at], earlier));
    if !(0..poll.len()).all(is_in_order) {
        broken.push(format!("an event came twice or late: {poll:?}"));
    }
    let ends = poll.iter().filter_map(|(.., end)| end.map(|(status, _)| status));
    let stored = outcomes(history).into_iter().map(Status::Ended);
    if !ends.eq(stored) {
        broken.push(format!("watchers were not told the one end: {poll:?}"));
    }
}

/// At [`Point::Claimed`] the code is taken and nothing of it is stored: the phone sends it again.
fn a_code_that_died_is_repeated(history: &[Seen], broken: &mut Vec<String>) {
    let claims = history.iter().filter(|seen| matches!(seen, Seen::Claimed(_))).count();
    if history.contains(&Seen::Killed(Some(Point::Claimed))) && claims < 2 {
        broken.push("a code was stored before the relay was killed with it".into());
    }
}

/// What the phone was told is accepted is the answer that the ceremony ends with: verified or
/// refused, or of unknown fate, but never as if there had been none.
fn an_accepted_answer_is_never_lost(history: &[Seen], of: CeremonyId, broken: &mut Vec<String>) {
    let told: Vec<AttemptId> = history
        .iter()
        .filter_map(|seen| match seen {
            Seen::Accepted { id, attempt } if *id == of => Some(*attempt),
            _ => None,
        })
        .collect();
    if told.windows(2).any(|two| two[0] != two[1]) {
        broken.push("answers to two challenges were accepted".into());
    }
    let Some(told) = told.first() else { return };
    for seen in history {
        if let Seen::Stored { id, accepted, .. } = seen
            && *id == of
            && *accepted != Some(*told)
        {
            broken.push("an accepted answer is not the one that is stored".into());
        }
    }
}

/// `indeterminate` is for a kill between the stored intent and the stored verdict, and needs an
/// answer of the phone to be about.
fn indeterminate_only_between_intent_and_verdict(history: &[Seen], broken: &mut Vec<String>) {
    if !outcomes(history).contains(&Outcome::Indeterminate) {
        return;
    }
    let between = |seen: &Seen| match seen {
        Seen::Killed(Some(at)) => matches!(
            at,
            Point::AnswerStored
                | Point::CompletionIntentStored
                | Point::CompletionInFlight
                | Point::UpstreamAnswered
        ),
        // A moment of chance may lie there.
        Seen::Killed(None) => true,
        _ => false,
    };
    // The last kill that can have done it.
    let killed = history.iter().rposition(between);
    let answered = history.iter().position(|seen| matches!(seen, Seen::Answered { .. }));
    match (answered, killed) {
        (Some(answered), Some(killed)) if answered < killed => {}
        _ => broken.push("indeterminate, though the call's fate could be known".into()),
    }
}

#[cfg(test)]
mod tests {
    use fido_relay_proto::Step;

    use super::*;

    const ID: CeremonyId = CeremonyId::from_bytes([1; 16]);
    const ATTEMPT: AttemptId = AttemptId::from_bytes([2; 16]);

    fn challenged(challenge: &str) -> Seen {
        Seen::Challenged { id: ID, attempt: ATTEMPT, challenge: challenge.to_owned() }
    }

    fn begun(session: &str, challenge: &str) -> Seen {
        Seen::Begun { session: session.to_owned(), challenge: challenge.to_owned() }
    }

    fn completed(session: &str, challenge: &str, said_ok: bool) -> Seen {
        let (session, challenge) = (session.to_owned(), challenge.to_owned());
        Seen::Completed { session, challenge, said_ok }
    }

    fn stored(outcome: Option<Outcome>) -> Seen {
        Seen::Stored { id: ID, outcome, accepted: Some(ATTEMPT) }
    }

    /// A ceremony that was killed at a step and ended well.
    fn good() -> Vec<Seen> {
        vec![
            Seen::Opened(ID),
            Seen::Offered(ID),
            Seen::Read(ID, Some(Status::Pending)),
            Seen::Claimed(ID),
            begun("s1", "c1"),
            Seen::Killed(Some(Point::Begun)),
            Seen::Restarted,
            begun("s2", "c2"),
            challenged("c2"),
            Seen::Answered { id: ID, attempt: ATTEMPT },
            Seen::Accepted { id: ID, attempt: ATTEMPT },
            completed("s2", "c2", true),
            Seen::ToldEnd { id: ID, outcome: Outcome::Succeeded },
            Seen::Read(ID, Some(Status::Ended(Outcome::Succeeded))),
            stored(Some(Outcome::Succeeded)),
        ]
        .into_iter()
        .chain(watched(Outcome::Succeeded))
        .collect()
    }

    fn event(road: Road, seq: u32, outcome: Option<Outcome>) -> Seen {
        let step = if outcome.is_some() { Step::Closed } else { Step::Opened };
        let end = outcome.map(|outcome| (Status::Ended(outcome), None));
        Seen::Watched(road, (seq, step, String::new(), end))
    }

    /// Beginning and end on every road.
    fn watched(outcome: Outcome) -> impl Iterator<Item = Seen> {
        let of = move |road| [event(road, 10, None), event(road, 60, Some(outcome))];
        Road::ALL.into_iter().flat_map(of)
    }

    /// The good history with one entry replaced by others.
    fn with(replaced: &Seen, by: &[Seen]) -> Vec<Seen> {
        let mut history = good();
        let at = history.iter().position(|seen| seen == replaced).unwrap();
        history.splice(at..=at, by.iter().cloned());
        history
    }

    #[track_caller]
    fn breaks(history: &[Seen], expected: &str) {
        let broken = broken(history);
        assert!(broken.iter().any(|promise| promise.contains(expected)), "{broken:?}");
    }

    #[test]
    fn a_good_history_breaks_nothing() {
        assert_eq!(broken(&good()), [""; 0]);
    }

    #[test]
    fn a_second_end_is_seen_whoever_was_told_it() {
        let denied = Seen::ToldEnd { id: ID, outcome: Outcome::Denied };
        let told = Seen::ToldEnd { id: ID, outcome: Outcome::Succeeded };
        breaks(&with(&told, &[denied]), "I1: more than one end");
        let read = Seen::Read(ID, Some(Status::Ended(Outcome::Succeeded)));
        let failed = Seen::Read(ID, Some(Status::Ended(Outcome::Failed)));
        breaks(&with(&read, &[failed]), "I1: more than one end");
        let pending = Seen::Read(ID, Some(Status::Pending));
        breaks(&with(&read, &[read.clone(), pending]), "I1: the initiator was told an end");
    }

    #[test]
    fn a_ceremony_that_did_not_end_or_is_not_stored_is_seen() {
        let end = stored(Some(Outcome::Succeeded));
        breaks(&with(&end, &[stored(None)]), "I10");
        breaks(&with(&end, &[]), "I6: it is not stored");
    }

    #[test]
    fn a_ceremony_that_vanished_after_its_201_is_seen() {
        breaks(&with(&Seen::Restarted, &[Seen::Restarted, Seen::Read(ID, None)]), "I6: opened");
    }

    #[test]
    fn one_order_that_opened_twice_is_seen() {
        let other = CeremonyId::from_bytes([9; 16]);
        breaks(&with(&Seen::Restarted, &[Seen::Restarted, Seen::Opened(other)]), "2 ceremonies");
    }

    #[test]
    fn a_second_completion_call_is_seen_even_if_the_first_was_never_answered() {
        let once = completed("s2", "c2", true);
        let lost = completed("s2", "c2", false);
        breaks(&with(&once, &[lost, once.clone()]), "I2: 2 completion calls");
    }

    #[test]
    fn a_completion_in_another_session_is_seen() {
        let right = completed("s2", "c2", true);
        breaks(&with(&right, &[completed("s1", "c2", true)]), "I2: a completion call mixes");
    }

    #[test]
    fn success_without_the_servers_word_on_that_challenge_is_seen() {
        let right = completed("s2", "c2", true);
        breaks(&with(&right, &[]), "I3");
        breaks(&with(&right, &[completed("s2", "c2", false)]), "I3");
        breaks(&with(&right, &[completed("s1", "c1", true)]), "I3");
    }

    #[test]
    fn a_challenge_before_or_without_the_code_is_seen() {
        breaks(&with(&Seen::Claimed(ID), &[]), "I8: a challenge without a code");
        breaks(&with(&Seen::Offered(ID), &[challenged("c2")]), "I8: a challenge before the code");
    }

    #[test]
    fn watchers_that_are_told_twice_or_otherwise_are_seen() {
        let first = event(Road::Events, 10, None);
        breaks(&with(&first, &[first.clone(), first.clone()]), "the roads differ");
        breaks(&with(&first, &[]), "the roads differ");
        let doubled = good().into_iter().flat_map(|seen| match seen {
            Seen::Watched(..) => vec![seen.clone(), seen],
            _ => vec![seen],
        });
        breaks(&doubled.collect::<Vec<_>>(), "an event came twice");
        let mut open = good();
        open.retain(|seen| !matches!(seen, Seen::Watched(_, (60, ..))));
        breaks(&open, "not told the one end");
    }

    #[test]
    fn a_code_that_was_stored_too_early_is_seen() {
        let killed = Seen::Killed(Some(Point::Begun));
        let history = with(&killed, &[Seen::Killed(Some(Point::Claimed))]);
        breaks(&history, "a code was stored before");
    }

    #[test]
    fn an_accepted_answer_that_was_lost_is_seen() {
        let end = stored(Some(Outcome::Succeeded));
        let expired = Seen::Stored { id: ID, outcome: Some(Outcome::Expired), accepted: None };
        breaks(&with(&end, &[expired]), "an accepted answer is not the one that is stored");
        let accepted = Seen::Accepted { id: ID, attempt: ATTEMPT };
        let another = Seen::Accepted { id: ID, attempt: AttemptId::from_bytes([3; 16]) };
        breaks(&with(&accepted, &[accepted.clone(), another]), "answers to two challenges");
    }

    #[test]
    fn a_fate_that_could_be_known_must_not_end_as_unknown() {
        let unknown = |killed: Point, answered_before: bool| {
            let answered = Seen::Answered { id: ID, attempt: ATTEMPT };
            let killed = Seen::Killed(Some(killed));
            let [first, second] =
                if answered_before { [answered, killed] } else { [killed, answered] };
            let end = stored(Some(Outcome::Indeterminate));
            let seen = [Seen::Opened(ID), Seen::Claimed(ID), challenged("c1"), first, second, end];
            seen.into_iter().chain(watched(Outcome::Indeterminate)).collect::<Vec<_>>()
        };
        assert_eq!(broken(&unknown(Point::CompletionInFlight, true)), [""; 0]);
        for (killed, answered_before) in
            [(Point::ChallengeSent, true), (Point::Closed, true), (Point::AnswerStored, false)]
        {
            breaks(&unknown(killed, answered_before), "the call's fate could be known");
        }
    }
}
