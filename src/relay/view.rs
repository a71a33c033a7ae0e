//! A ceremony as an edge sees it: where it stands and whose it is, without the record that the
//! rules work on. What of this which caller may see is the edge's to decide.

use fido_relay_proto::http::Status;
use fido_relay_proto::{
    Binding, CeremonyId, CeremonyType, ClientId, Outcome, Phase, Reason, Step, TenantId,
    UnixMillis, Username,
};

use super::ceremonies::CeremonyKey;
use crate::ceremony::{Ceremony, Code, ProgressEntry, State, Success};

/// A ceremony as it stood when it was looked at.
#[derive(Clone, Debug)]
pub struct View {
    /// The ceremony.
    pub id: CeremonyId,
    /// Its relying party.
    pub tenant: TenantId,
    /// Who opened it.
    pub client_id: ClientId,
    /// What it is for.
    pub ceremony_type: CeremonyType,
    /// Whose card.
    pub username: Username,
    /// When it expires.
    pub deadline: UnixMillis,
    /// What the page shows, while it is waited for.
    pub code: Option<Code>,
    /// Where it stands.
    pub phase: Phase,
    /// The public steps, each at most once, in the order in which they were made.
    pub progress: Vec<Moment>,
    /// The end, if there is one.
    pub end: Option<End>,
    /// What may be signed, if it succeeded.
    pub success: Option<Box<Success>>,
}

/// How a ceremony ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Exactly one per ceremony.
    pub outcome: Outcome,
    /// What the outcome alone does not say.
    pub reason: Option<Reason>,
    /// When.
    pub at: UnixMillis,
}

/// One step, and where the ceremony stood when it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The number of its kind: see [`Step::number`].
    pub seq: u32,
    /// What happened.
    pub step: Step,
    /// When.
    pub at: UnixMillis,
    /// Where the ceremony stood after it.
    pub phase: Phase,
}

impl View {
    /// `pending`, or the outcome.
    #[must_use]
    pub fn status(&self) -> Status {
        self.end.map_or(Status::Pending, |end| Status::Ended(end.outcome))
    }

    /// The number of the last step.
    #[must_use]
    pub fn seq(&self) -> u32 {
        self.progress.last().map_or(0, |last| last.seq)
    }

    /// The steps that follow the one with number `since`, in the order in which they were made;
    /// for 0, all. After a number that the ceremony does not have, such as that of a step that a
    /// restored backup undid, only the end follows: a watcher has not seen that, whatever it has
    /// seen.
    #[must_use]
    pub fn after(&self, since: u32) -> &[Moment] {
        let known = self.progress.iter().position(|moment| moment.seq == since);
        let start = match known {
            _ if since == 0 => 0,
            Some(at) => at + 1,
            None => self.progress.len() - usize::from(self.end.is_some()),
        };
        self.progress.get(start..).unwrap_or_default()
    }

    /// The number that a watcher goes on after if it says that it has `since`: one that the
    /// ceremony has.
    #[must_use]
    pub fn resume_after(&self, since: u32) -> u32 {
        let left = self.after(since).len();
        let known = self.progress.len().checked_sub(left + 1);
        known.and_then(|at| self.progress.get(at)).map_or(0, |moment| moment.seq)
    }

    /// Seconds left; 0 when closed.
    #[must_use]
    pub fn expires_in(&self, now: UnixMillis) -> u64 {
        if self.end.is_some() { 0 } else { self.deadline.secs_left(now) }
    }
}

/// Every public step with the phase that it led to. It depends on the history alone and not on when
/// it is read, so that all watchers see the same.
fn moments(ceremony: &Ceremony) -> Vec<Moment> {
    let mut phase = match ceremony.request.binding {
        Binding::Code => Phase::Offered,
        Binding::None => Phase::Preparing,
    };
    let moment = |ProgressEntry { step, at }| {
        phase = match step {
            Step::Opened | Step::Sent | Step::Delivered | Step::Card => phase,
            Step::Claimed => Phase::Preparing,
            Step::Challenged => Phase::Challenged,
            Step::Verifying => Phase::Verifying,
            Step::Closed => Phase::Closed,
        };
        Moment { seq: step.number(), step, at, phase }
    };
    ceremony.progress().map(moment).collect()
}

impl From<&Ceremony> for View {
    fn from(ceremony: &Ceremony) -> Self {
        let request = &ceremony.request;
        let code = match &ceremony.state {
            State::Offered { code, .. } => Some(code.clone()),
            State::Preparing { .. }
            | State::Challenged(_)
            | State::Verifying { .. }
            | State::Closed(_) => None,
        };
        let end = ceremony.closed().map(|closed| End {
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
            deadline: request.deadline,
            code,
            phase: ceremony.phase(),
            progress: moments(ceremony),
            end,
            success: ceremony.success().map(Box::new),
        }
    }
}

impl From<&View> for CeremonyKey {
    fn from(view: &View) -> Self {
        Self { tenant: view.tenant.clone(), id: view.id }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ceremony::with_every_kind;

    fn numbers(view: &View, since: u32) -> Vec<u32> {
        view.after(since).iter().map(|moment| moment.seq).collect()
    }

    #[test]
    fn what_follows_a_number_is_a_matter_of_order_and_internal_facts_have_none() {
        let ceremony = with_every_kind();
        let mut view = View::from(&ceremony);
        assert_eq!(numbers(&view, 0), [10, 11, 13, 20, 30, 40, 50, 60]);
        // As with binding `none`.
        view.progress.swap(1, 4);
        assert_eq!(numbers(&view, 0), [10, 30, 13, 20, 11, 40, 50, 60]);
        assert_eq!(numbers(&view, 11), [40, 50, 60]);
        assert_eq!(numbers(&view, 30), [13, 20, 11, 40, 50, 60]);
        assert_eq!(numbers(&view, 60), Vec::<u32>::new());
        assert_eq!((view.seq(), view.resume_after(11), view.resume_after(0)), (60, 11, 0));
    }

    #[test]
    fn after_a_number_that_it_does_not_have_only_the_end_follows() {
        let mut view = View::from(&with_every_kind());
        for unknown in [1, 12, 61, u32::MAX] {
            assert_eq!((numbers(&view, unknown), view.resume_after(unknown)), (vec![60], 50));
        }
        view.progress.pop();
        view.end = None;
        for unknown in [1, 12, 60, 61, u32::MAX] {
            assert_eq!((numbers(&view, unknown), view.resume_after(unknown)), (vec![], 50));
        }
        view.progress.truncate(1);
        assert_eq!((view.seq(), view.resume_after(60)), (10, 10));
    }
}
