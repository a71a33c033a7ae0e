//! The rules: one function, total over states and events, the deadline first.

use fido_relay_proto::device::{CardEvent, DeclineReason};
use fido_relay_proto::limits::CODE_ATTEMPTS;
use fido_relay_proto::{AttemptId, Binding, DeviceId, Outcome, Reason, Step, UnixMillis};

use super::event::{Begun, Effect, Event, Refusal, Reply, Transition, Verdict};
use super::policy;
use super::state::{
    Answer, Approval, Ceremony, Challenge, Closed, Code, ProgressEntry, Request, State,
};

impl Ceremony {
    /// A new ceremony. `attempt` names the begin call that binding `none` makes at once.
    #[must_use]
    pub fn open(request: Request, code: Code, attempt: AttemptId) -> Self {
        let progress = vec![ProgressEntry { step: Step::Opened, at: request.opened_at }];
        let state = match request.binding {
            Binding::Code => State::Offered { code, wrong_codes: 0 },
            Binding::None => State::Preparing { attempt, device: None },
        };
        Self { request, progress, state }
    }

    /// The call that the present state asks for, at first and after a restart. Never a completion:
    /// whether that one was made cannot be known, see [`Event::Recover`].
    #[must_use]
    pub fn pending_effect(&self) -> Option<Effect> {
        match &self.state {
            State::Preparing { attempt, .. } => Some(Effect::Begin { attempt: *attempt }),
            State::Offered { .. }
            | State::Challenged(_)
            | State::Verifying { .. }
            | State::Closed(_) => None,
        }
    }

    /// Takes one event at the time `now`.
    pub fn step(&mut self, now: UnixMillis, event: Event) -> Transition {
        if let Some(transition) = self.overdue(now, &event) {
            return transition;
        }
        match event {
            Event::Sent { .. } => self.note(now, Step::Sent),
            Event::Acked { of, .. } => self.acked(now, of),
            Event::Claim { device, attempt, code } => self.claim(now, device, attempt, &code),
            Event::Begun { attempt, begun } => self.begun(now, attempt, *begun),
            Event::BeginFailed { attempt, reason } => self.begin_failed(now, attempt, reason),
            Event::Card { device, event, code } => {
                if !self.holds_challenge(device) {
                    return refused(self.not_yours());
                }
                let closing = code.filter(|_| event == CardEvent::Error);
                match closing.and_then(policy::closes_with) {
                    Some(reason) => self.close(now, Outcome::Failed, Some(reason), None),
                    None => self.note(now, Step::Card),
                }
            }
            Event::Answer { device, attempt, credential, digest } => {
                self.answer(now, attempt, Answer { device, credential }, digest)
            }
            Event::Completed { attempt, verdict } => self.completed(now, attempt, verdict),
            Event::Decline { device, reason } => self.decline(now, device, reason),
            Event::Cancel => match &self.state {
                State::Closed(_) => refused(Refusal::AlreadyClosed),
                State::Offered { .. }
                | State::Preparing { .. }
                | State::Challenged(_)
                | State::Verifying { .. } => self.close(now, Outcome::Cancelled, None, None),
            },
            Event::Tick => ignored(),
            Event::Recover => match &self.state {
                State::Verifying { .. } => {
                    self.close(now, Outcome::Indeterminate, Some(Reason::Interrupted), None)
                }
                State::Offered { .. }
                | State::Preparing { .. }
                | State::Challenged(_)
                | State::Closed(_) => {
                    Transition { reply: Reply::Done, changed: false, effect: self.pending_effect() }
                }
            },
        }
    }

    /// Closes a ceremony whose time is up, whatever the event. A verdict still counts while its
    /// answer is under verification: the answer came in time.
    fn overdue(&mut self, now: UnixMillis, event: &Event) -> Option<Transition> {
        if self.wakes_at().is_none_or(|deadline| now < deadline) {
            return None;
        }
        let verifying = matches!(self.state, State::Verifying { .. });
        if verifying && matches!(event, Event::Completed { .. }) {
            return None;
        }
        let mut transition = if verifying {
            self.close(now, Outcome::Indeterminate, Some(Reason::UpstreamUnknown), None)
        } else {
            self.close(now, Outcome::Expired, Some(Reason::Deadline), None)
        };
        transition.reply = match event {
            Event::Claim { .. }
            | Event::Card { .. }
            | Event::Answer { .. }
            | Event::Decline { .. }
            | Event::Cancel => Reply::Refused(Refusal::AlreadyClosed),
            Event::Sent { .. }
            | Event::Acked { .. }
            | Event::Begun { .. }
            | Event::BeginFailed { .. }
            | Event::Completed { .. }
            | Event::Tick
            | Event::Recover => Reply::Ignored,
        };
        Some(transition)
    }

    fn acked(&mut self, now: UnixMillis, of: fido_relay_proto::device::AckOf) -> Transition {
        use fido_relay_proto::device::AckOf;
        match of {
            AckOf::Offer | AckOf::Challenge => self.note(now, Step::Delivered),
            AckOf::Closed => ignored(),
        }
    }

    fn claim(
        &mut self,
        now: UnixMillis,
        device: DeviceId,
        attempt: AttemptId,
        typed: &str,
    ) -> Transition {
        match &mut self.state {
            State::Offered { code, wrong_codes } => {
                if code.matches(typed) {
                    self.state = State::Preparing { attempt, device: Some(device) };
                    self.record(now, Step::Claimed);
                    return changed(Reply::Done, Some(Effect::Begin { attempt }));
                }
                *wrong_codes += 1;
                let left = CODE_ATTEMPTS.saturating_sub(*wrong_codes);
                let mut transition = if left == 0 {
                    self.close(now, Outcome::Failed, Some(Reason::WrongCode), None)
                } else {
                    changed(Reply::Done, None)
                };
                transition.reply = Reply::Refused(Refusal::WrongCode { left });
                transition
            }
            // The claimer's app may send its claim again after a reconnect.
            State::Preparing { device: holder, .. } if *holder == Some(device) => ignored(),
            State::Challenged(challenge) if challenge.device == Some(device) => ignored(),
            State::Preparing { .. } | State::Challenged(_) | State::Verifying { .. } => {
                refused(Refusal::ClaimedElsewhere)
            }
            State::Closed(_) => refused(Refusal::AlreadyClosed),
        }
    }

    fn begun(&mut self, now: UnixMillis, attempt: AttemptId, begun: Begun) -> Transition {
        match &self.state {
            State::Preparing { attempt: current, device } if *current == attempt => {
                let device = *device;
                let Begun { session, challenge, origin, public_key, tx_binding } = begun;
                self.state = State::Challenged(Box::new(Challenge {
                    attempt,
                    device,
                    session,
                    challenge,
                    origin,
                    public_key,
                    tx_binding,
                }));
                self.record(now, Step::Challenged);
                changed(Reply::Done, None)
            }
            State::Offered { .. }
            | State::Preparing { .. }
            | State::Challenged(_)
            | State::Verifying { .. }
            | State::Closed(_) => ignored(),
        }
    }

    fn begin_failed(&mut self, now: UnixMillis, attempt: AttemptId, reason: Reason) -> Transition {
        match &self.state {
            State::Preparing { attempt: current, .. } if *current == attempt => {
                self.close(now, Outcome::Failed, Some(reason), None)
            }
            State::Offered { .. }
            | State::Preparing { .. }
            | State::Challenged(_)
            | State::Verifying { .. }
            | State::Closed(_) => ignored(),
        }
    }

    fn answer(
        &mut self,
        now: UnixMillis,
        attempt: AttemptId,
        answer: Answer,
        digest: [u8; 32],
    ) -> Transition {
        match &self.state {
            State::Challenged(challenge)
                if challenge.attempt == attempt
                    && challenge.device.is_none_or(|device| device == answer.device) =>
            {
                let challenge = challenge.clone();
                self.state = State::Verifying { challenge, answer, digest, since: now };
                self.record(now, Step::Verifying);
                changed(Reply::Accepted { attempt }, Some(Effect::Complete { attempt }))
            }
            State::Verifying { challenge, answer: stored, digest: known, .. } => same_or_refused(
                (challenge.attempt, stored.device, *known),
                (attempt, answer.device, digest),
                Refusal::AlreadyAnswered,
            ),
            State::Closed(closed) => match closed.accepted {
                Some(accepted) => same_or_refused(
                    accepted,
                    (attempt, answer.device, digest),
                    Refusal::AlreadyClosed,
                ),
                None => refused(Refusal::AlreadyClosed),
            },
            State::Offered { .. } | State::Preparing { .. } | State::Challenged(_) => {
                refused(self.not_yours())
            }
        }
    }

    fn completed(&mut self, now: UnixMillis, attempt: AttemptId, verdict: Verdict) -> Transition {
        match &self.state {
            State::Verifying { challenge, .. } if challenge.attempt == attempt => {}
            State::Offered { .. }
            | State::Preparing { .. }
            | State::Challenged(_)
            | State::Verifying { .. }
            | State::Closed(_) => return ignored(),
        }
        match verdict {
            Verdict::Approved(approval) => {
                self.close(now, Outcome::Succeeded, None, Some(approval))
            }
            Verdict::Rejected => {
                self.close(now, Outcome::Rejected, Some(Reason::UpstreamRejected), None)
            }
            Verdict::SessionLost => {
                self.close(now, Outcome::Expired, Some(Reason::SessionExpired), None)
            }
            Verdict::Full => self.close(now, Outcome::Failed, Some(Reason::UpstreamFull), None),
            Verdict::NotAsked => {
                self.close(now, Outcome::Failed, Some(Reason::UpstreamUnavailable), None)
            }
            Verdict::Unknown => {
                self.close(now, Outcome::Indeterminate, Some(Reason::UpstreamUnknown), None)
            }
        }
    }

    fn decline(&mut self, now: UnixMillis, device: DeviceId, reason: DeclineReason) -> Transition {
        match &self.state {
            State::Closed(_) => refused(Refusal::AlreadyClosed),
            // "Not me" counts from any of the user's phones, at any time: it is the alarm.
            // A plain "no" counts only from a phone whose turn it is.
            State::Preparing { device: Some(holder), .. }
                if *holder != device && reason == DeclineReason::Declined =>
            {
                refused(Refusal::ClaimedElsewhere)
            }
            State::Challenged(challenge) | State::Verifying { challenge, .. }
                if challenge.device.is_some_and(|holder| holder != device)
                    && reason == DeclineReason::Declined =>
            {
                refused(Refusal::ClaimedElsewhere)
            }
            State::Offered { .. }
            | State::Preparing { .. }
            | State::Challenged(_)
            | State::Verifying { .. } => {
                let reason = match reason {
                    DeclineReason::Declined => Reason::Declined,
                    DeclineReason::NotMe => Reason::NotMe,
                };
                self.close(now, Outcome::Denied, Some(reason), None)
            }
        }
    }

    /// Whether this device has, or may still have, the card at work.
    fn holds_challenge(&self, device: DeviceId) -> bool {
        match &self.state {
            State::Challenged(challenge) => challenge.device.is_none_or(|holder| holder == device),
            State::Offered { .. }
            | State::Preparing { .. }
            | State::Verifying { .. }
            | State::Closed(_) => false,
        }
    }

    /// Why a frame that needs a challenge does not count here.
    fn not_yours(&self) -> Refusal {
        match &self.state {
            State::Closed(_) => Refusal::AlreadyClosed,
            State::Verifying { .. } => Refusal::AlreadyAnswered,
            State::Offered { .. } | State::Preparing { .. } | State::Challenged(_) => {
                Refusal::NotChallenged
            }
        }
    }

    /// The only way to an outcome.
    fn close(
        &mut self,
        now: UnixMillis,
        outcome: Outcome,
        reason: Option<Reason>,
        approval: Option<Approval>,
    ) -> Transition {
        let (accepted, binding) = match &self.state {
            State::Verifying { challenge, answer, digest, .. } => {
                (Some((challenge.attempt, answer.device, *digest)), Some(challenge.tx_binding))
            }
            State::Offered { .. }
            | State::Preparing { .. }
            | State::Challenged(_)
            | State::Closed(_) => (None, None),
        };
        let tx_binding =
            binding.filter(|_| approval.is_some() && self.request.transaction.is_some());
        self.state = State::Closed(Box::new(Closed {
            outcome,
            reason,
            at: now,
            approval,
            tx_binding,
            accepted,
        }));
        self.record(now, Step::Closed);
        changed(Reply::Done, None)
    }

    /// Notes a step that changes no state, once.
    fn note(&mut self, now: UnixMillis, step: Step) -> Transition {
        if self.closed().is_some() || !self.record(now, step) {
            return ignored();
        }
        changed(Reply::Done, None)
    }

    /// Adds a step if it is new; tells whether it was.
    fn record(&mut self, now: UnixMillis, step: Step) -> bool {
        let new = self.progress.iter().all(|entry| entry.step != step);
        if new {
            self.progress.push(ProgressEntry { step, at: now });
        }
        new
    }
}

fn changed(reply: Reply, effect: Option<Effect>) -> Transition {
    Transition { reply, changed: true, effect }
}

fn ignored() -> Transition {
    Transition { reply: Reply::Ignored, changed: false, effect: None }
}

fn refused(why: Refusal) -> Transition {
    Transition { reply: Reply::Refused(why), changed: false, effect: None }
}

/// The same answer again is acknowledged again; any other is told why not.
fn same_or_refused(
    stored: (AttemptId, DeviceId, [u8; 32]),
    given: (AttemptId, DeviceId, [u8; 32]),
    refusal: Refusal,
) -> Transition {
    if stored == given {
        Transition { reply: Reply::Accepted { attempt: given.0 }, changed: false, effect: None }
    } else {
        refused(refusal)
    }
}
