//! The sessions of the demo's bank, one for each browser that a card has signed in.
//!
//! A session is a random token in a cookie, valid for a quarter of an hour. Knows nothing of
//! ceremonies; the bank begins a session when a sign-in is proven.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use fido_relay_proto::UnixMillis;
use secrecy::{ExposeSecret as _, SecretString};

use fido_relay_kit::clock::Clock;
use fido_relay_kit::random;

/// As short as a bank's sessions, whose page may be left open.
pub const LIFETIME_S: u64 = 15 * 60;
/// Concurrent sessions, far more than a person has browsers; the oldest is dropped.
const AT_MOST: usize = 64;

/// The secret of a session's cookie, which `Debug` does not print.
#[derive(Clone, Debug)]
pub struct SessionToken(SecretString);

impl SessionToken {
    /// A token as a browser sent it, unchecked.
    #[must_use]
    pub fn sent(text: &str) -> Self {
        Self(text.into())
    }

    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Compares in constant time.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        let (ours, theirs) = (self.expose().as_bytes(), other.expose().as_bytes());
        aws_lc_rs::constant_time::verify_slices_are_equal(ours, theirs).is_ok()
    }
}

struct Session {
    token: SessionToken,
    until: UnixMillis,
    approved: bool,
}

/// The open sessions. Clones share them.
#[derive(Clone)]
pub struct Sessions {
    clock: Arc<dyn Clock>,
    open: Arc<Mutex<VecDeque<Session>>>,
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

impl Sessions {
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, open: Arc::default() }
    }

    #[must_use]
    pub fn begin(&self) -> SessionToken {
        let token = SessionToken(random::token().into());
        let until = self.clock.now().plus_millis(LIFETIME_S * 1000);
        let session = Session { token: token.clone(), until, approved: false };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() == AT_MOST {
            open.pop_front();
        }
        open.push_back(session);
        token
    }

    #[must_use]
    pub fn is_open(&self, token: &SessionToken) -> bool {
        self.with(token, |_| ()).is_some()
    }

    #[must_use]
    pub fn has_approved(&self, token: &SessionToken) -> bool {
        self.with(token, |session| session.approved).unwrap_or_default()
    }

    /// Marks the payment as approved. Returns whether it was before; `None` if the session is over.
    pub fn approve(&self, token: &SessionToken) -> Option<bool> {
        self.with(token, |session| std::mem::replace(&mut session.approved, true))
    }

    pub fn end(&self, token: &SessionToken) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|session| !session.token.is(token));
    }

    fn with<T>(&self, token: &SessionToken, read: impl FnOnce(&mut Session) -> T) -> Option<T> {
        let now = self.clock.now();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|session| now < session.until);
        open.iter_mut().find(|session| session.token.is(token)).map(read)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[derive(Debug, Default)]
    struct HandClock(AtomicU64);

    impl Clock for HandClock {
        fn now(&self) -> UnixMillis {
            UnixMillis(self.0.load(Ordering::Relaxed))
        }
    }

    #[test]
    fn a_session_lasts_until_its_time_or_its_end() {
        let clock = Arc::new(HandClock::default());
        let sessions = Sessions::new(clock.clone());
        let (one, other) = (sessions.begin(), sessions.begin());
        clock.0.store(LIFETIME_S * 1000 - 1, Ordering::Relaxed);
        assert!(sessions.is_open(&one) && sessions.is_open(&other));
        sessions.end(&one);
        assert!(!sessions.is_open(&one) && sessions.is_open(&other));
        clock.0.store(LIFETIME_S * 1000, Ordering::Relaxed);
        assert!(!sessions.is_open(&other));
    }

    #[test]
    fn what_was_approved_in_one_session_waits_in_another() {
        let sessions = Sessions::new(Arc::new(HandClock::default()));
        let (one, other) = (sessions.begin(), sessions.begin());
        assert_eq!(sessions.approve(&one), Some(false));
        assert_eq!(sessions.approve(&one), Some(true));
        assert!(sessions.has_approved(&one) && !sessions.has_approved(&other));
        assert!(!sessions.has_approved(&SessionToken::sent("")));
    }

    #[test]
    fn a_token_prints_as_nothing() {
        let token = Sessions::new(Arc::new(HandClock::default())).begin();
        assert!(!format!("{token:?}").contains(token.expose()));
    }
}
