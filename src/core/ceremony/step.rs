//! The rules: one function, total over states and events, the deadline first.

use fido_relay_proto::device::{AckOf, CardEvent, DeclineReason};
use fido_relay_proto::limits::CODE_ATTEMPTS;
use fido_relay_proto::{AttemptId, Binding, DeviceId, NodeId, Outcome, Reason, UnixMillis};

use super::event::{Begun, Effect, Event, Refusal, Reply, Transition, Verdict};
use super::fact::{Fact, FactKind, LOST_LIMIT};
use super::policy;
use super::state::{Answer, Ceremony, Challenge, Closed, Code, Request, State, VerifiedAnswer};
use crate::core::prompt_limits::SuppressionReason;

pub(super) type StepResult = (Reply, Option<Effect>);

impl Ceremony {
    /// A new ceremony. `attempt` is the id of the begin call that binding `none` makes at once;
    /// `suppressed` is the rule by which no device rings.
    #[must_use]
    pub fn open(
        request: Request,
        code: Code,
        attempt: AttemptId,
        suppressed: Option<SuppressionReason>,
    ) -> Self {
        let (at, device) = (request.opened_at, request.device_id);
        let mut history = vec![Fact { at, device, kind: FactKind::Opened }];
        if let Some(why) = suppressed {
            history.push(Fact { at, device: None, kind: FactKind::Suppressed { why: Some(why) } });
        }
        let state = match request.binding {
            Binding::Code => State::Offered { code, wrong_codes: 0 },
            Binding::None => State::Preparing { attempt, device: None },
        };
        Self { request, suppressed: suppressed.is_some(), same_network: None, history, state }
    }

    /// The call that the current state needs, at first and after a restart. Never a completion:
    /// whether that call was made is unknown after a restart, see [`Event::Recover`].
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

    /// Takes one event at the time `now`. The deadline comes first: an event that arrives after it
    /// meets a closed ceremony.
    pub fn step(&mut self, now: UnixMillis, event: Event) -> Transition {
        let known = self.history.len();
        self.expire(now, &event);
        let (reply, effect) = self.apply(now, event);
        Transition { reply, facts: self.history[known..].to_vec(), effect }
    }

    fn apply(&mut self, now: UnixMillis, event: Event) -> StepResult {
        // A suppressed ceremony can only be claimed by its code.
        if self.suppressed && self.is_unclaimed() && is_about_a_card(&event) {
            return refused(Refusal::AlreadyClosed);
        }
        match event {
            Event::Sent { device } => self.sent(now, device),
            Event::Lost { device } => self.lost(now, device),
            Event::Woken { device } => self.note_per_device(now, device, FactKind::Woken),
            Event::Previewed { device } => self.note_per_device(now, device, FactKind::Previewed),
            Event::Acked { device, of } => self.acked(now, device, of),
            Event::Claim { device, attempt, code, same_network } => {
                let result = self.claim(now, device, attempt, &code);
                if matches!(result, (Reply::Done, _)) {
                    self.same_network = same_network;
                }
                result
            }
            Event::Begun { attempt, begun } => self.begun(now, attempt, *begun),
            Event::BeginFailed { attempt, reason } => self.begin_failed(now, attempt, reason),
            Event::Card { device, event, code } => {
                if !self.holds_challenge(device) {
                    return self.stray_card(device);
                }
                let closing = code.filter(|_| event == CardEvent::Error);
                match closing.and_then(policy::closes_with) {
                    Some(reason) => self.fail(now, reason, Some(device)),
                    None => self.note(now, device, FactKind::Card { event, code }),
                }
            }
            Event::Answer { device, attempt, credential, digest, by } => {
                self.answer(now, attempt, Answer { device, credential }, digest, by)
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
            // A claimed ceremony is not interrupted.
            Event::Drop if self.is_unclaimed() => {
                self.close(now, Outcome::Expired, Some(Reason::Deadline), None)
            }
            Event::Drop | Event::Tick => ignored(),
            Event::Recover { by } => match &self.state {
                State::Verifying { by: holder, .. } if *holder != by => {
                    self.close(now, Outcome::Indeterminate, Some(Reason::Interrupted), None)
                }
                State::Offered { .. }
                | State::Preparing { .. }
                | State::Challenged(_)
                | State::Verifying { .. }
                | State::Closed(_) => (Reply::Done, self.pending_effect()),
            },
        }
    }

    /// Closes a ceremony whose time is up. A verdict still counts while its answer is under
    /// verification: the answer result in time.
    fn expire(&mut self, now: UnixMillis, event: &Event) {
        if self.wakes_at().is_none_or(|deadline| now < deadline) {
            return;
        }
        let (outcome, reason) = match (&self.state, event) {
            (State::Verifying { challenge, .. }, Event::Completed { attempt, .. })
                if *attempt == challenge.attempt =>
            {
                return;
            }
            (State::Verifying { .. }, _) => (Outcome::Indeterminate, Reason::UpstreamUnknown),
            (
                State::Offered { .. }
                | State::Preparing { .. }
                | State::Challenged(_)
                | State::Closed(_),
                _,
            ) => (Outcome::Expired, Reason::Deadline),
        };
        self.close(now, outcome, Some(reason), None);
    }

    fn sent(&mut self, now: UnixMillis, device: DeviceId) -> StepResult {
        let is_lost = self.closed().is_none() && !self.rang() && self.times_lost() > 0;
        if is_lost {
            self.record(now, Some(device), FactKind::Sent);
            return (Reply::Done, None);
        }
        self.note(now, device, FactKind::Sent)
    }

    fn lost(&mut self, now: UnixMillis, device: DeviceId) -> StepResult {
        let is_delivered = self.history.iter().any(|fact| fact.kind == FactKind::Delivered);
        let is_woken = self.history.iter().any(|fact| fact.kind == FactKind::Woken);
        let may_be = self.is_unclaimed() && self.rang() && !is_delivered && !is_woken;
        if !may_be || self.times_lost() >= LOST_LIMIT {
            return ignored();
        }
        self.record(now, Some(device), FactKind::Lost);
        (Reply::Done, None)
    }

    fn acked(&mut self, now: UnixMillis, device: DeviceId, of: AckOf) -> StepResult {
        match of {
            AckOf::Offer | AckOf::Challenge => {
                self.note_per_device(now, device, FactKind::Delivered)
            }
            AckOf::Closed => ignored(),
        }
    }

    fn claim(
        &mut self,
        now: UnixMillis,
        device: DeviceId,
        attempt: AttemptId,
        typed: &str,
    ) -> StepResult {
        match &mut self.state {
            State::Offered { code, wrong_codes } => {
                if code.matches(typed) {
                    self.state = State::Preparing { attempt, device: Some(device) };
                    self.record(now, Some(device), FactKind::Claimed);
                    return (Reply::Done, Some(Effect::Begin { attempt }));
                }
                *wrong_codes += 1;
                let nth = *wrong_codes;
                let left = CODE_ATTEMPTS.saturating_sub(nth);
                self.record(now, Some(device), FactKind::WrongCode { nth });
                if left == 0 {
                    self.fail(now, Reason::WrongCode, Some(device));
                }
                refused(Refusal::WrongCode { left })
            }
            State::Preparing { .. } | State::Challenged(_) | State::Verifying { .. } => {
                if self.is_elsewhere(device) {
                    refused(Refusal::ClaimedElsewhere)
                } else {
                    // The claimer's app may send its claim again after a reconnect.
                    ignored()
                }
            }
            State::Closed(_) => refused(Refusal::AlreadyClosed),
        }
    }

    fn begun(&mut self, now: UnixMillis, attempt: AttemptId, begun: Begun) -> StepResult {
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
                self.record(now, device, FactKind::Challenged { attempt: Some(attempt) });
                (Reply::Done, None)
            }
            State::Offered { .. }
            | State::Preparing { .. }
            | State::Challenged(_)
            | State::Verifying { .. }
            | State::Closed(_) => ignored(),
        }
    }

    fn begin_failed(&mut self, now: UnixMillis, attempt: AttemptId, reason: Reason) -> StepResult {
        match &self.state {
            State::Preparing { attempt: current, .. } if *current == attempt => {
                self.fail(now, reason, None)
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
        by: NodeId,
    ) -> StepResult {
        match &self.state {
            State::Challenged(challenge)
                if challenge.attempt == attempt
                    && challenge.device.is_none_or(|device| device == answer.device) =>
            {
                let (challenge, device) = (challenge.clone(), answer.device);
                self.state = State::Verifying { challenge, answer, digest, since: now, by };
                self.record(
                    now,
                    Some(device),
                    FactKind::Answered { attempt, digest, by: Some(by) },
                );
                (Reply::Accepted { attempt }, Some(Effect::Complete { attempt }))
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

    fn completed(&mut self, now: UnixMillis, attempt: AttemptId, verdict: Verdict) -> StepResult {
        match &self.state {
            State::Verifying { challenge, .. } if challenge.attempt == attempt => {}
            State::Offered { .. }
            | State::Preparing { .. }
            | State::Challenged(_)
            | State::Verifying { .. }
            | State::Closed(_) => return ignored(),
        }
        match verdict {
            Verdict::Approved(mut approval) => {
                self.complete_evidence(&mut approval);
                self.close(now, Outcome::Succeeded, None, Some(approval))
            }
            Verdict::Rejected(reason) => self.close(now, Outcome::Rejected, Some(reason), None),
            Verdict::SessionLost => {
                self.close(now, Outcome::Expired, Some(Reason::SessionExpired), None)
            }
            Verdict::Full => self.fail(now, Reason::UpstreamFull, None),
            Verdict::NotAsked => self.fail(now, Reason::UpstreamUnavailable, None),
            Verdict::Unknown => {
                self.close(now, Outcome::Indeterminate, Some(Reason::UpstreamUnknown), None)
            }
        }
    }

    /// Adds the challenge and the answer, which the closed state no longer has.
    fn complete_evidence(&self, approval: &mut VerifiedAnswer) {
        if let (Some(evidence), State::Verifying { challenge, answer, .. }) =
            (&mut approval.evidence, &self.state)
        {
            evidence.challenge.clone_from(&challenge.challenge);
            answer.credential.get().clone_into(&mut evidence.credential);
        }
    }

    fn decline(&mut self, now: UnixMillis, device: DeviceId, reason: DeclineReason) -> StepResult {
        match &self.state {
            State::Closed(_) => refused(Refusal::AlreadyClosed),
            State::Offered { .. }
            | State::Preparing { .. }
            | State::Challenged(_)
            | State::Verifying { .. } => {
                let reason = match reason {
                    // `declined` counts only from a device that may still act on the ceremony.
                    DeclineReason::Declined if self.is_elsewhere(device) => {
                        return refused(Refusal::ClaimedElsewhere);
                    }
                    DeclineReason::Declined => Reason::Declined,
                    // `not_me` counts from any of the user's devices at any time: it is an alarm.
                    DeclineReason::NotMe => Reason::NotMe,
                };
                self.close_by(now, (Outcome::Denied, Some(reason)), None, Some(device))
            }
        }
    }

    /// Whether another of the user's devices has the ceremony: gave the right code, or the answer.
    fn is_elsewhere(&self, device: DeviceId) -> bool {
        let holder = match &self.state {
            State::Preparing { device: holder, .. } => *holder,
            State::Challenged(challenge) => challenge.device,
            State::Verifying { answer, .. } => Some(answer.device),
            State::Offered { .. } | State::Closed(_) => None,
        };
        holder.is_some_and(|holder| holder != device)
    }

    /// Whether this device may answer the current challenge.
    fn holds_challenge(&self, device: DeviceId) -> bool {
        match &self.state {
            State::Challenged(challenge) => challenge.device.is_none_or(|holder| holder == device),
            State::Offered { .. }
            | State::Preparing { .. }
            | State::Verifying { .. }
            | State::Closed(_) => false,
        }
    }

    /// A card event without a challenge: late from the device whose answer is stored, invalid from
    /// any other.
    fn stray_card(&self, device: DeviceId) -> StepResult {
        match &self.state {
            State::Verifying { answer, .. } if answer.device == device => ignored(),
            State::Offered { .. }
            | State::Preparing { .. }
            | State::Challenged(_)
            | State::Verifying { .. }
            | State::Closed(_) => refused(self.not_yours()),
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

    /// Closes without a device.
    fn close(
        &mut self,
        now: UnixMillis,
        outcome: Outcome,
        reason: Option<Reason>,
        approval: Option<VerifiedAnswer>,
    ) -> StepResult {
        self.close_by(now, (outcome, reason), approval, None)
    }

    fn fail(&mut self, now: UnixMillis, reason: Reason, by: Option<DeviceId>) -> StepResult {
        self.close_by(now, (Outcome::Failed, Some(reason)), None, by)
    }

    /// The only transition to an outcome. `by` is the device that caused it.
    fn close_by(
        &mut self,
        now: UnixMillis,
        (outcome, reason): (Outcome, Option<Reason>),
        approval: Option<VerifiedAnswer>,
        by: Option<DeviceId>,
    ) -> StepResult {
        debug_assert!(outcome.allows(reason), "{outcome:?} for {reason:?} is in no document");
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
        let device = by.or(accepted.map(|(_, device, _)| device));
        let at = self.record(now, device, FactKind::Closed { outcome, reason });
        self.state =
            State::Closed(Box::new(Closed { outcome, reason, at, approval, tx_binding, accepted }));
        (Reply::Done, None)
    }
}

fn is_about_a_card(event: &Event) -> bool {
    match event {
        Event::Card { .. } | Event::Answer { .. } => true,
        Event::Claim { .. }
        | Event::Sent { .. }
        | Event::Lost { .. }
        | Event::Woken { .. }
        | Event::Previewed { .. }
        | Event::Acked { .. }
        | Event::Begun { .. }
        | Event::BeginFailed { .. }
        | Event::Completed { .. }
        | Event::Decline { .. }
        | Event::Cancel
        | Event::Drop
        | Event::Tick
        | Event::Recover { .. } => false,
    }
}

pub(super) fn ignored() -> StepResult {
    (Reply::Ignored, None)
}

fn refused(why: Refusal) -> StepResult {
    (Reply::Refused(why), None)
}

/// Accepts the same answer again and refuses any other.
fn same_or_refused(
    stored: (AttemptId, DeviceId, [u8; 32]),
    given: (AttemptId, DeviceId, [u8; 32]),
    refusal: Refusal,
) -> StepResult {
    if stored == given { (Reply::Accepted { attempt: given.0 }, None) } else { refused(refusal) }
}
