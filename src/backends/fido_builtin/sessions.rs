//! Sessions of client-direct calls, in memory: they last two minutes and belong to one HTTP client,
//! which begins again after a restart as after any other 408.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use fido_relay_proto::UnixMillis;

use super::options::FidoSession;
use crate::security::random;

/// Life of a session, in milliseconds.
pub(super) const SESSION_MS: u64 = 120_000;
/// Sessions at a time: at about 2 KiB each, 20 MiB.
const SESSIONS: usize = 10_000;

/// Sessions by cookie, each with its expiry.
#[derive(Default)]
pub(super) struct FidoSessions(Mutex<SessionTable>);

#[derive(Default)]
struct SessionTable {
    by_token: HashMap<String, (UnixMillis, FidoSession)>,
    /// Tokens in the order of their expiry.
    by_expiry: VecDeque<(UnixMillis, String)>,
}

impl std::fmt::Debug for FidoSessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FidoSessions(hidden)")
    }
}

impl FidoSessions {
    /// Stores a session and returns its token; `None` if there is no room.
    pub(super) fn keep(&self, session: FidoSession, now: UnixMillis) -> Option<String> {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while table.by_expiry.front().is_some_and(|(end, _)| *end <= now) {
            if let Some((_, token)) = table.by_expiry.pop_front() {
                table.by_token.remove(&token);
            }
        }
        if table.by_expiry.len() >= SESSIONS {
            // Sessions that were taken are still in the queue.
            let SessionTable { by_token, by_expiry } = &mut *table;
            by_expiry.retain(|(_, token)| by_token.contains_key(token));
        }
        if table.by_expiry.len() >= SESSIONS {
            return None;
        }
        let token = random::token();
        let end = now.plus_millis(SESSION_MS);
        table.by_token.insert(token.clone(), (end, session));
        table.by_expiry.push_back((end, token.clone()));
        Some(token)
    }

    /// Removes a session; `None` if the token is unknown or expired.
    pub(super) fn take(&self, token: &str, now: UnixMillis) -> Option<FidoSession> {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (end, session) = table.by_token.remove(token)?;
        (now < end).then_some(session)
    }
}
