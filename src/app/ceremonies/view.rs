//! A ceremony as edges see it, without the record that the rules work on. What of it a caller may see
//! is the edge's to decide.

use fido_relay_proto::http::Status;
use fido_relay_proto::life::PriorAuth;
use fido_relay_proto::{
    Binding, CeremonyId, CeremonyType, ClientId, Outcome, Phase, Reason, SameNetwork, Step,
    TenantId, UnixMillis, Username,
};

use super::CeremonyKey;
use crate::core::ceremony::{Ceremony, Code, ProgressEntry, Success};

/// A ceremony as it stood when it was looked at.
#[derive(Clone, Debug)]
pub struct CeremonySnapshot {
    pub id: CeremonyId,
    pub tenant: TenantId,
    /// The initiator that opened it.
    pub client_id: ClientId,
    pub ceremony_type: CeremonyType,
    pub username: Username,
    /// How the user was authenticated before, as far as the initiator is believed.
    pub prior_auth: PriorAuth,
    pub binding: Binding,
    /// Whether pages see presence. Ceremonies of earlier versions have none: there all pages did.
    pub show_delivery: Option<bool>,
    /// Whether device and browser were in one network, where that is compared.
    pub same_network: Option<SameNetwork>,
    pub deadline: UnixMillis,
    /// What the page shows until a device has claimed the ceremony.
    pub code: Option<Code>,
    pub phase: Phase,
    /// The public steps, each at most once, in the order in which they were made.
    pub progress: Vec<ProgressEvent>,
    pub end: Option<CeremonyEnd>,
    /// What may be signed, if it succeeded.
    pub success: Option<Box<Success>>,
}

/// How a ceremony ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CeremonyEnd {
    pub outcome: Outcome,
    pub reason: Option<Reason>,
    pub at: UnixMillis,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgressEvent {
    /// The number of its kind: see [`Step::number`].
    pub seq: u32,
    pub step: Step,
    pub at: UnixMillis,
    /// The ceremony's phase after it.
    pub phase: Phase,
}

impl CeremonySnapshot {
    /// `pending`, or the outcome.
    #[must_use]
    pub fn status(&self) -> Status {
        self.end.map_or(Status::Pending, |end| Status::Ended(end.outcome))
    }

    /// The steps that a watcher sees, with a right to presence or without. With binding `none`
    /// every watcher sees all: presence is not private there.
    #[must_use]
    pub fn steps(&self, with_presence: bool) -> VisibleSteps<'_> {
        let shows_all = match self.binding {
            Binding::Code => with_presence,
            Binding::None => true,
        };
        VisibleSteps { view: self, shows_all }
    }

    /// Seconds left; 0 when closed.
    #[must_use]
    pub fn expires_in(&self, now: UnixMillis) -> u64 {
        if self.end.is_some() { 0 } else { self.deadline.secs_left(now) }
    }
}

/// The steps of a [`CeremonySnapshot`] that one watcher sees.
#[derive(Clone, Copy, Debug)]
pub struct VisibleSteps<'a> {
    view: &'a CeremonySnapshot,
    shows_all: bool,
}

impl<'a> VisibleSteps<'a> {
    pub fn iter(self) -> impl DoubleEndedIterator<Item = &'a ProgressEvent> {
        self.from(0)
    }

    /// The number of the last one.
    #[must_use]
    pub fn seq(self) -> u32 {
        self.iter().next_back().map_or(0, |last| last.seq)
    }

    /// Those that follow the one with number `since`, in the order in which they were made; for 0,
    /// all. After a number that the ceremony does not have, such as that of a step that a restored
    /// backup undid, only the end follows: a watcher has not seen that, whatever it has seen.
    pub fn after(self, since: u32) -> impl DoubleEndedIterator<Item = &'a ProgressEvent> {
        self.from(self.position_after(since))
    }

    /// Whether a watcher that has this number has something to come.
    #[must_use]
    pub fn has_after(self, since: u32) -> bool {
        self.after(since).next().is_some()
    }

    /// The number that a watcher goes on after if it says that it has `since`: one that it sees.
    #[must_use]
    pub fn resume_after(self, since: u32) -> u32 {
        let known = self.view.progress.iter().take(self.position_after(since));
        known.rev().find(|event| self.shows(event.step)).map_or(0, |event| event.seq)
    }

    fn from(self, position: usize) -> impl DoubleEndedIterator<Item = &'a ProgressEvent> {
        let events = self.view.progress.get(position..).unwrap_or_default();
        events.iter().filter(move |event| self.shows(event.step))
    }

    fn shows(self, step: Step) -> bool {
        self.shows_all || !step.tells_presence()
    }

    /// The number of a hidden step means the same whether that step was made or not, or else it
    /// could be asked for: all that is seen after `opened` follows. In a ceremony of an earlier
    /// version a watcher may have seen the step, and goes on where that is.
    fn position_after(self, since: u32) -> usize {
        let hidden = |step: &Step| step.number() == since && !self.shows(*step);
        let since = match self.view.show_delivery {
            Some(_) if Step::ALL.iter().any(hidden) => Step::Opened.number(),
            Some(_) | None => since,
        };
        let progress = &self.view.progress;
        match progress.iter().position(|event| event.seq == since) {
            _ if since == 0 => 0,
            Some(at) => at + 1,
            None => progress.len() - usize::from(self.view.end.is_some()),
        }
    }
}

/// Every public step with the phase that it led to. This depends on the history alone and not on when
/// it is read, so that all watchers see the same.
fn progress_events(ceremony: &Ceremony) -> Vec<ProgressEvent> {
    let mut phase = match ceremony.request.binding {
        Binding::Code => Phase::Offered,
        Binding::None => Phase::Preparing,
    };
    let event = |ProgressEntry { step, at }| {
        phase = match step {
            Step::Opened | Step::Sent | Step::Woken | Step::Delivered | Step::Card => phase,
            Step::Claimed => Phase::Preparing,
            Step::Challenged => Phase::Challenged,
            Step::Verifying => Phase::Verifying,
            Step::Closed => Phase::Closed,
        };
        ProgressEvent { seq: step.number(), step, at, phase }
    };
    ceremony.progress().map(event).collect()
}

impl From<&Ceremony> for CeremonySnapshot {
    fn from(ceremony: &Ceremony) -> Self {
        let request = &ceremony.request;
        let end = ceremony.closed().map(|closed| CeremonyEnd {
            outcome: closed.outcome,
            reason: closed.reason,
            at: closed.at,
        });
        Self {
            id: request.id,
            tenant: request.tenant.clone(),
            client_id: request.client_id,
            ceremony_type: request.ceremony_type,
            username: request.username.clone(),
            prior_auth: request.prior_auth,
            binding: request.binding,
            show_delivery: request.show_delivery,
            same_network: ceremony.same_network,
            deadline: request.deadline,
            code: ceremony.code().cloned(),
            phase: ceremony.phase(),
            progress: progress_events(ceremony),
            end,
            success: ceremony.success().map(Box::new),
        }
    }
}

impl From<&CeremonySnapshot> for CeremonyKey {
    fn from(view: &CeremonySnapshot) -> Self {
        Self { tenant: view.tenant.clone(), id: view.id }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::ceremony::with_every_kind;

    fn numbers(steps: VisibleSteps<'_>, since: u32) -> Vec<u32> {
        steps.after(since).map(|event| event.seq).collect()
    }

    #[test]
    fn what_follows_a_number_is_a_matter_of_order_and_internal_facts_have_none() {
        let ceremony = with_every_kind();
        let mut view = CeremonySnapshot::from(&ceremony);
        let all = view.steps(true);
        assert_eq!(numbers(all, 0), [10, 11, 12, 13, 20, 30, 40, 50, 60]);
        // As with binding `none`.
        view.progress.swap(1, 5);
        let all = view.steps(true);
        assert_eq!(numbers(all, 0), [10, 30, 12, 13, 20, 11, 40, 50, 60]);
        assert_eq!(numbers(all, 11), [40, 50, 60]);
        assert_eq!(numbers(all, 30), [12, 13, 20, 11, 40, 50, 60]);
        assert_eq!(numbers(all, 60), Vec::<u32>::new());
        assert_eq!((all.seq(), all.resume_after(11), all.resume_after(0)), (60, 11, 0));
    }

    #[test]
    fn after_a_number_that_it_does_not_have_only_the_end_follows() {
        let mut view = CeremonySnapshot::from(&with_every_kind());
        for unknown in [1, 14, 61, u32::MAX] {
            for steps in [view.steps(true), view.steps(false)] {
                assert_eq!((numbers(steps, unknown), steps.resume_after(unknown)), (vec![60], 50));
            }
        }
        view.progress.pop();
        view.end = None;
        for unknown in [1, 14, 60, 61, u32::MAX] {
            for steps in [view.steps(true), view.steps(false)] {
                assert_eq!((numbers(steps, unknown), steps.resume_after(unknown)), (vec![], 50));
            }
        }
        view.progress.truncate(1);
        for steps in [view.steps(true), view.steps(false)] {
            assert_eq!((steps.seq(), steps.resume_after(60)), (10, 10));
        }
    }

    #[test]
    fn hidden_steps_are_in_no_list_and_their_numbers_ask_for_nothing() {
        let mut reached = CeremonySnapshot::from(&with_every_kind());
        reached.binding = Binding::Code;
        reached.show_delivery = Some(false);
        // A phone that typed the code without an offer has the challenge delivered after it.
        let mut late = reached.clone();
        late.progress[1..6].rotate_left(3);
        let seen = |view: &CeremonySnapshot, since| {
            let steps = view.steps(false);
            (numbers(steps, since), steps.resume_after(since), steps.seq())
        };
        for end in (1..=9).rev() {
            for view in [&mut reached, &mut late] {
                view.progress.truncate(end);
                if end < 9 {
                    view.end = None;
                }
                let mut unreached = view.clone();
                unreached.progress.retain(|event| !event.step.tells_presence());
                for since in 0..=61 {
                    assert_eq!(seen(view, since), seen(&unreached, since), "{end} after {since}");
                }
            }
            if end > 2 {
                assert_eq!(seen(&reached, 11), seen(&reached, 10));
            }
        }
        let shown = CeremonySnapshot {
            binding: Binding::None,
            ..CeremonySnapshot::from(&with_every_kind())
        };
        assert_eq!(numbers(shown.steps(false), 10), [11, 12, 13, 20, 30, 40, 50, 60]);
    }

    #[test]
    fn a_watcher_that_saw_hidden_steps_of_an_earlier_version_goes_on_where_they_are() {
        let mut view = CeremonySnapshot::from(&with_every_kind());
        (view.binding, view.show_delivery) = (Binding::Code, None);
        for seen in [10, 11, 12, 13] {
            assert_eq!(numbers(view.steps(false), seen), [20, 30, 40, 50, 60], "after {seen}");
            assert_eq!(view.steps(false).resume_after(seen), 10);
        }
        view.progress[1..6].rotate_left(3);
        assert_eq!(numbers(view.steps(true), 0), [10, 20, 30, 11, 12, 13, 40, 50, 60]);
        for seen in [30, 11, 12, 13] {
            assert_eq!(numbers(view.steps(false), seen), [40, 50, 60], "after {seen}");
            assert_eq!(view.steps(false).resume_after(seen), 30);
        }
    }
}
