//! An initiator's own prompts: what holds them back, and lifting that.
//!
//! What an initiator may learn of its own prompts without learning anything of others: the same
//! rules, over its own openings and their outcomes alone, as if each prompt that may ring did reach
//! a phone. So it is the same for a name that no user has, and for a user whose phones are away.
//!
//! How many are open at a time is left out: the end of one that others' prompts held back is not
//! counted, and whether there was such a one must not show.

use fido_relay_proto::{ClientId, UnixMillis};

use super::{Ask, DAY_MS, End, Hold, Lane, Policy, UNLOCKS_PER_DAY, UserPromptState, Why, nth_end};

/// Initiators that are reckoned for; the one that has not asked for longest is forgotten.
const INITIATORS: usize = 8;

impl UserPromptState {
    /// What holds back an initiator's next prompt of this lane, by its own openings and their
    /// outcomes alone.
    #[must_use]
    pub fn own_hold(
        &self,
        policy: &Policy,
        now: UnixMillis,
        lane: &Lane,
        client: ClientId,
    ) -> Option<Hold> {
        let (_, own) = self.own.iter().find(|(of, _)| *of == client)?;
        own.next_hold(policy, now, lane, client)
    }

    /// What holds back an initiator's next prompt of this lane.
    #[must_use]
    pub fn next_hold(
        &self,
        policy: &Policy,
        now: UnixMillis,
        lane: &Lane,
        client: ClientId,
    ) -> Option<Hold> {
        let hold = self.hold(policy, now, lane, Some(client))?;
        (!self.may_pass(lane, client, hold)).then_some(hold)
    }

    /// Lifts the pauses of one initiator's own prompts, on its word: it is no longer quiet, what it
    /// vouches for is free, and its next prompt rings whatever strangers have used up. "Not me"
    /// stays.
    ///
    /// # Errors
    /// It has done so as often as a day allows, until this time.
    pub fn unlock(
        &mut self,
        policy: &Policy,
        now: UnixMillis,
        client: ClientId,
    ) -> Result<(), UnixMillis> {
        self.forget_what_is_over(policy, now);
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

    /// How often an initiator may still lift the pauses of its own prompts today.
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

    /// Whether an initiator has lifted what holds this prompt back.
    pub(super) fn may_pass(&self, lane: &Lane, client: ClientId, hold: Hold) -> bool {
        *lane == Lane::Stranger && hold.why != Why::Muted && self.passes.contains(&client)
    }

    pub(super) fn admit_own(&mut self, policy: &Policy, now: UnixMillis, ask: &Ask) {
        // Of a known browser its initiator knows already that the user succeeded there, and such
        // prompts take nothing from the lanes that are reckoned here.
        if !matches!(self.lane_of(ask), Lane::Known(_)) {
            let ask = Ask { browser: None, ..ask.clone() };
            let own = self.own_mut(ask.client);
            own.decide(policy, now, &ask);
            own.live.clear();
            (own.held, own.held_noticed) = (None, None);
        }
    }

    pub(super) fn ended_own(&mut self, policy: &Policy, end: &End) {
        if !matches!(end.lane, Lane::Known(_)) {
            let own = End { rang: true, browser: None, ..end.clone() };
            self.own_mut(end.client).settle(policy, &own);
        }
    }

    pub(super) fn forget_own(&mut self, now: UnixMillis) {
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
