//! The history of a ceremony: what follows from it, and adding facts to it.

use fido_relay_proto::{DeviceId, UnixMillis};

use super::event::Reply;
use super::fact::{DEVICES_LIMIT, Fact, FactKind, HISTORY_LIMIT, ProgressEntry};
use super::state::Ceremony;
use super::step::{StepResult, ignored};

impl Ceremony {
    /// The public steps of the history, each at most once, in their order.
    pub fn progress(&self) -> impl Iterator<Item = ProgressEntry> + '_ {
        let first = |at: usize, step| {
            self.history.iter().take(at).all(|before| before.kind.step() != Some(step))
        };
        self.history.iter().enumerate().filter_map(move |(at, fact)| {
            let step = fact.kind.step()?;
            first(at, step).then_some(ProgressEntry { step, at: fact.at })
        })
    }

    /// Whether the device's app acknowledged the offer or challenge. No challenge goes to a device
    /// that did not.
    #[must_use]
    pub fn is_acked_by(&self, device: DeviceId) -> bool {
        self.has_of(device, FactKind::Delivered) || self.has_of(device, FactKind::Previewed)
    }

    /// Whether a push service accepted a wake for the device.
    #[must_use]
    pub fn has_woken(&self, device: DeviceId) -> bool {
        self.has_of(device, FactKind::Woken)
    }

    fn has_of(&self, device: DeviceId, kind: FactKind) -> bool {
        self.history.iter().any(|fact| fact.kind == kind && fact.device == Some(device))
    }

    /// Whether it reached a phone as a prompt. A prompt that was written to a socket which then broke
    /// without an acknowledgement did not; one for which a push service accepted a wake did.
    #[must_use]
    pub fn rang(&self) -> bool {
        let last = self.history.iter().rev().find_map(|fact| match fact.kind {
            FactKind::Sent | FactKind::Woken | FactKind::Delivered => Some(true),
            FactKind::Lost => Some(false),
            FactKind::Opened
            | FactKind::Previewed
            | FactKind::WrongCode { .. }
            | FactKind::Claimed
            | FactKind::Challenged { .. }
            | FactKind::Card { .. }
            | FactKind::Answered { .. }
            | FactKind::Suppressed { .. }
            | FactKind::Closed { .. } => None,
        });
        last.unwrap_or(false)
    }

    pub(super) fn times_lost(&self) -> usize {
        self.history.iter().filter(|fact| fact.kind == FactKind::Lost).count()
    }

    /// Records a fact that changes no state, once.
    pub(super) fn note(&mut self, now: UnixMillis, device: DeviceId, kind: FactKind) -> StepResult {
        let known = self.progress().any(|entry| Some(entry.step) == kind.step());
        if known || self.closed().is_some() {
            return ignored();
        }
        self.record(now, Some(device), kind);
        (Reply::Done, None)
    }

    /// Records a fact that changes no state, once per device.
    pub(super) fn note_per_device(
        &mut self,
        now: UnixMillis,
        device: DeviceId,
        kind: FactKind,
    ) -> StepResult {
        let mut same = self.history.iter().filter(|fact| fact.kind == kind);
        let known = same.clone().any(|fact| fact.device == Some(device));
        if known || same.nth(DEVICES_LIMIT - 1).is_some() || self.closed().is_some() {
            return ignored();
        }
        self.record(now, Some(device), kind);
        (Reply::Done, None)
    }

    /// Adds a fact and returns its time. Nodes' clocks differ a little and may be set back, so a fact
    /// is never earlier than the one before it.
    pub(super) fn record(
        &mut self,
        now: UnixMillis,
        device: Option<DeviceId>,
        kind: FactKind,
    ) -> UnixMillis {
        let at = self.history.last().map_or(now, |before| before.at.max(now));
        self.history.push(Fact { at, device, kind });
        debug_assert!(self.history.len() <= HISTORY_LIMIT, "more facts than a ceremony can have");
        at
    }
}
