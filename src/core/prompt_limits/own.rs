//! An initiator's own prompts: what suppresses them, and lifting that.
//!
//! What an initiator may learn of its own prompts reveals nothing of others: it follows from the same
//! rules over its own openings and their outcomes alone, as if each prompt that may ring reached a
//! phone. So it is the same for a username without a user and for a user whose phones are offline.
//!
//! The limit on open ceremonies is left out: the end of a ceremony that was suppressed because of
//! other initiators is not counted, and whether there was one must not show.

use fido_relay_proto::{ClientId, UnixMillis};

use super::{
    DAY_MS, EndedPrompt, Lane, Policy, PromptRequest, Suppression, SuppressionReason,
    UNLOCKS_PER_DAY, UserPromptState, nth_end,
};

/// Initiators with counts of their own; the one with the oldest last opening is dropped.
const INITIATORS: usize = 8;

impl UserPromptState {
    /// What suppresses an initiator's next prompt of this lane, by its own openings and their
    /// outcomes alone.
    #[must_use]
    pub fn own_suppression(
        &self,
        policy: &Policy,
        now: UnixMillis,
        lane: &Lane,
        client: ClientId,
    ) -> Option<Suppression> {
        let (_, own) = self.own.iter().find(|(of, _)| *of == client)?;
        own.next_suppression(policy, now, lane, client)
    }

    /// What suppresses an initiator's next prompt of this lane.
    #[must_use]
    pub fn next_suppression(
        &self,
        policy: &Policy,
        now: UnixMillis,
        lane: &Lane,
        client: ClientId,
    ) -> Option<Suppression> {
        let rule = self.suppression(policy, now, lane, Some(client))?;
        (!self.may_pass(lane, client, rule)).then_some(rule)
    }

    /// Lifts the pauses of one initiator's own prompts at its request: it is no longer quiet, its
    /// vouched budget is cleared, and its next prompt rings even if strangers have used up theirs.
    /// "Not me" stays.
    ///
    /// # Errors
    /// Its unlocks of today are used up, until this time.
    pub fn unlock(
        &mut self,
        policy: &Policy,
        now: UnixMillis,
        client: ClientId,
    ) -> Result<(), UnixMillis> {
        self.prune(policy, now);
        let own = self.unlocks.iter().filter(|(by, _)| *by == client);
        let ends = own.map(|(_, at)| at.plus_millis(DAY_MS));
        if let Some(until) = nth_end(ends, UNLOCKS_PER_DAY) {
            return Err(until);
        }
        self.unlocks.push((client, now));
        self.lift(now, client);
        self.own_mut(client).lift(now, client);
        Ok(())
    }

    /// Unlocks of its own prompts that an initiator has left today.
    #[must_use]
    pub fn unlocks_left(&self, now: UnixMillis, client: ClientId) -> usize {
        let today =
            |(by, at): &&(ClientId, UnixMillis)| *by == client && now < at.plus_millis(DAY_MS);
        UNLOCKS_PER_DAY.saturating_sub(self.unlocks.iter().filter(today).count())
    }

    fn lift(&mut self, now: UnixMillis, client: ClientId) {
        self.quiet.retain(|(quiet, _)| *quiet != client);
        if let Some((_, budget)) = self.clients.iter_mut().find(|(of, _)| *of == client) {
            budget.clear();
        }
        if !self.passes.contains(&client) {
            self.passes.push(client);
        }
        self.touched = Some(now);
    }

    /// Whether an initiator has lifted what suppresses this prompt.
    pub(super) fn may_pass(&self, lane: &Lane, client: ClientId, suppression: Suppression) -> bool {
        *lane == Lane::Stranger
            && suppression.reason != SuppressionReason::Muted
            && self.passes.contains(&client)
    }

    pub(super) fn admit_own(&mut self, policy: &Policy, now: UnixMillis, request: &PromptRequest) {
        // The initiator of a known browser knows already that the user succeeded there, and such
        // prompts take nothing from the lanes that are counted here.
        if !matches!(self.lane_of(request), Lane::Known(_)) {
            let request = PromptRequest { browser: None, ..request.clone() };
            let own = self.own_mut(request.client);
            own.decide(policy, now, &request);
            own.live.clear();
            (own.suppressed, own.noticed) = (None, None);
        }
    }

    pub(super) fn ended_own(&mut self, policy: &Policy, end: &EndedPrompt) {
        if !matches!(end.lane, Lane::Known(_)) {
            let own = EndedPrompt { rang: true, browser: None, ..end.clone() };
            self.own_mut(end.client).settle(policy, &own);
        }
    }

    pub(super) fn prune_own(&mut self, now: UnixMillis) {
        self.own.iter_mut().for_each(|(_, own)| own.touched = own.touched.map(|at| now.min(at)));
        let is_recent = |at: UnixMillis| now < at.plus_millis(DAY_MS);
        self.own.retain(|(_, own)| own.touched.is_some_and(is_recent));
    }

    fn own_mut(&mut self, client: ClientId) -> &mut Self {
        let at = self.own.iter().position(|(of, _)| *of == client);
        let at = at.unwrap_or_else(|| {
            if self.own.len() >= INITIATORS {
                let oldest = self.own.iter().enumerate().min_by_key(|(_, (_, own))| own.touched);
                if let Some(oldest) = oldest.map(|(at, _)| at) {
                    self.own.swap_remove(oldest);
                }
            }
            self.own.push((client, Self::default()));
            self.own.len() - 1
        });
        &mut self.own[at].1
    }
}

#[cfg(test)]
mod tests;
