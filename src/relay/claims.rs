//! Codes that people type. A phone rings for one ceremony at a time, so the code, and not the
//! prompt that it is typed into, says which one is meant: whoever got an attacker's prompt onto the
//! phone first gains nothing from the code of the page that the person is looking at.
//!
//! A user's claims are looked at one after the other on a node, and a wrong code is counted before
//! anybody learns that it was wrong: guessing in parallel buys no further guess.

use std::sync::atomic::Ordering;

use fido_relay_proto::AttemptId;

use super::connection::Connection;
use super::{CeremonyKey, DriveError, Driven, Relay};
use crate::app::devices::UserKey;
use crate::ceremony::{Ceremony, Event, State};
use crate::ports::StoreError;
use crate::security::random;

/// Why a code was not looked at.
#[derive(Debug)]
pub(super) enum ClaimError {
    /// This user's phones have typed too many wrong ones today.
    Spent,
    /// It could not be stored.
    Drive(DriveError),
}

impl From<StoreError> for ClaimError {
    fn from(error: StoreError) -> Self {
        Self::Drive(DriveError::Unavailable(error.to_string()))
    }
}

impl Relay {
    /// A code was typed into the prompt of `named`, which is one of this phone's. What came of it
    /// is of the ceremony that it was meant for.
    pub(super) async fn claim(
        &self,
        connection: &Connection,
        named: &CeremonyKey,
        code: String,
    ) -> Result<Driven, ClaimError> {
        let owner = connection.owner();
        let user = UserKey::new(&owner.tenant, &owner.username);
        let _turn = self.node.claims.take(user.as_str()).await;
        if !self.takes_codes(&user).await? {
            return Err(ClaimError::Spent);
        }
        let meant = self.meant(connection, &user, named, &code).await?;
        if meant.is_none() && !self.spend_try(&user, owner).await? {
            return Err(ClaimError::Spent);
        }
        let key = meant.clone().unwrap_or_else(|| named.clone());
        let attempt = AttemptId::from_bytes(random::bytes());
        let event = Event::Claim { device: owner.device, attempt, code };
        // While the store refuses, a wrong code is answered by `unavailable` and not counted: silence
        // would say that a code is right.
        let may_wait = !self.node.is_refused.load(Ordering::Relaxed);
        let driven = if key == *named && may_wait {
            self.drive_soon(&key, event).await
        } else {
            // It gets an answer, `other_ceremony`, so the code must not be lost.
            self.drive(&key, event).await
        };
        driven.map_err(ClaimError::Drive)
    }

    /// Which ceremony a code is for; `None`: it is wrong. Where nothing can be guessed, or there is
    /// nothing to be guessed, that is the one that was named.
    async fn meant(
        &self,
        connection: &Connection,
        user: &UserKey,
        named: &CeremonyKey,
        code: &str,
    ) -> Result<Option<CeremonyKey>, StoreError> {
        let device = connection.owner().device;
        let open_to = |ceremony: &Ceremony| {
            !ceremony.silent && ceremony.request.device_id.is_none_or(|only| only == device)
        };
        let ceremony = self.known(named).await?;
        let is_wrong = ceremony.is_some_and(|ceremony| match &ceremony.latest().state {
            State::Offered { code: right, .. } => !right.matches(code),
            State::Preparing { .. }
            | State::Challenged(_)
            | State::Verifying { .. }
            | State::Closed(_) => false,
        });
        if !is_wrong {
            return Ok(Some(named.clone()));
        }
        for key in self.node.live.of(user).into_iter().filter(|key| key != named) {
            let Some(ceremony) = self.known(&key).await? else { continue };
            let ceremony = ceremony.latest();
            let State::Offered { code: right, .. } = &ceremony.state else { continue };
            if open_to(ceremony) && right.matches(code) {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }
}
