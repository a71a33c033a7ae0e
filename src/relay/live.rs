//! Which ceremonies of a user are open, so that a phone that returns gets them again. A cache of
//! what the store says: built at the start, kept by every look.

use dashmap::DashMap;

use super::ceremonies::CeremonyKey;
use super::devices::UserKey;

/// User → open ceremonies.
#[derive(Debug, Default)]
pub(super) struct Live {
    users: DashMap<UserKey, Vec<CeremonyKey>>,
}

impl Live {
    /// Notes an open ceremony.
    pub(super) fn insert(&self, user: UserKey, ceremony: &CeremonyKey) {
        let mut open = self.users.entry(user).or_default();
        if !open.contains(ceremony) {
            open.push(ceremony.clone());
        }
    }

    /// Forgets a closed one.
    pub(super) fn remove(&self, user: &UserKey, ceremony: &CeremonyKey) {
        self.users.remove_if_mut(user, |_, open| {
            open.retain(|listed| listed != ceremony);
            open.is_empty()
        });
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.users.iter().map(|open| open.len()).sum()
    }

    /// The user's open ceremonies, oldest first.
    #[must_use]
    pub(super) fn of(&self, user: &UserKey) -> Vec<CeremonyKey> {
        self.users.get(user).map(|open| open.clone()).unwrap_or_default()
    }
}
