//! Which ceremonies are open of a user: so that a phone that returns gets them again, which of
//! them it rings for, and which a typed code finds. A cache of what the store says: built at the
//! start, kept by every look.

use std::collections::HashMap;

use dashmap::DashMap;
use fido_relay_proto::limits::CODE_DIGITS;
use fido_relay_proto::{DeviceId, UnixMillis};

use crate::app::ceremonies::network::Network;
use crate::app::ceremonies::record::CeremonyKey;
use crate::app::devices::UserKey;
use crate::core::ceremony::{Ceremony, Code, State};
use crate::core::prompt_limits::Lane;
use crate::security::random;

/// Ceremonies that do not ring and that a code finds all the same: of a browser, of a client that
/// vouches for the user, and of a network of strangers, the newest.
const CLAIMABLE: usize = 3;
/// Those of strangers together.
const CLAIMABLE_STRANGERS: usize = 256;
/// How often a code is drawn anew that is too near another: each of at most 300 excludes about 60 of
/// a million, so not even one draw in fifty.
const DRAWS: usize = 1_000;

/// User → open ceremonies.
#[derive(Debug, Default)]
pub(crate) struct OpenCeremonies {
    users: DashMap<UserKey, Vec<Open>>,
}

#[derive(Debug)]
struct Open {
    key: CeremonyKey,
    silent: bool,
    /// The one phone that it is for, if it is for one.
    device: Option<DeviceId>,
    lane: Lane,
    network: Network,
    opened_at: UnixMillis,
    /// Whether a phone has yet to take it up.
    waits: bool,
    /// Its code, until a phone has taken it up.
    code: Option<Code>,
    /// Whether the code no longer finds it: newer ones came.
    hidden: bool,
    /// Whether the code finds it without its id.
    code_alone: bool,
}

/// A ceremony that a code finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Match {
    pub key: CeremonyKey,
    /// The one phone that it is for, if it is for one.
    pub device: Option<DeviceId>,
    /// Whether the code no longer finds it.
    pub hidden: bool,
}

impl OpenCeremonies {
    /// Notes an open ceremony. Gives whether a device has taken it up since: another may ring then.
    pub(crate) fn insert(&self, user: UserKey, ceremony: &Ceremony) -> bool {
        let request = &ceremony.request;
        let key = CeremonyKey::from(ceremony);
        let mut open = self.users.entry(user).or_default();
        let (silent, waits) = (ceremony.silent, ceremony.is_unclaimed());
        if let Some(entry) = open.iter_mut().find(|entry| entry.key == key) {
            let was_waiting = std::mem::replace(&mut entry.waits, waits);
            if !waits {
                entry.code = None;
            }
            return was_waiting && !waits;
        }
        let code = match &ceremony.state {
            State::Offered { code, .. } => Some(code.clone()),
            State::Preparing { .. }
            | State::Challenged(_)
            | State::Verifying { .. }
            | State::Closed(_) => None,
        };
        let (lane, opened_at) = (request.lane.clone(), request.opened_at);
        let network = Network::of(request.context.as_ref());
        let (device, code_alone) = (request.device_id, request.code_alone);
        open.push(Open {
            key,
            silent,
            device,
            lane: lane.clone(),
            network,
            opened_at,
            waits,
            code,
            hidden: false,
            code_alone,
        });
        if silent {
            keep_newest(&mut open, &lane, network);
        }
        false
    }

    /// A code that no slip of one digit and no swap of two neighbours turns into that of another
    /// ceremony of this user that a code finds.
    pub(crate) fn draw_code(&self, user: &UserKey) -> Code {
        let open = self.users.get(user);
        let is_free = |drawn: &Code| {
            let open = open.as_deref().map_or(&[][..], Vec::as_slice);
            open.iter().filter_map(|entry| entry.code.as_ref()).all(|code| !is_near(code, drawn))
        };
        let mut drawn = Code(random::code(CODE_DIGITS));
        for _ in 0..DRAWS {
            if is_free(&drawn) {
                break;
            }
            drawn = Code(random::code(CODE_DIGITS));
        }
        drawn
    }

    /// The user's ceremonies that have this code and may be found without an id, hidden ones too.
    pub(crate) fn matches(&self, user: &UserKey, typed: &str) -> Vec<Match> {
        let Some(open) = self.users.get(user) else { return Vec::new() };
        let found = |entry: &&Open| {
            // Each is compared, so that the time does not tell which.
            let is_right = entry.code.as_ref().is_some_and(|code| code.matches(typed));
            is_right && entry.code_alone
        };
        let found = open.iter().filter(found);
        found
            .map(|entry| Match {
                key: entry.key.clone(),
                device: entry.device,
                hidden: entry.hidden,
            })
            .collect()
    }

    /// Forgets a closed one.
    pub(crate) fn remove(&self, user: &UserKey, ceremony: &CeremonyKey) {
        self.users.remove_if_mut(user, |_, open| {
            open.retain(|entry| entry.key != *ceremony);
            open.is_empty()
        });
    }

    /// The user's open ceremonies that phones may know of, oldest first.
    #[must_use]
    pub(crate) fn of(&self, user: &UserKey) -> Vec<CeremonyKey> {
        let Some(open) = self.users.get(user) else { return Vec::new() };
        // One that rings on no phone is a phone's once its person has typed the code.
        let known = open.iter().filter(|entry| !entry.silent || !entry.waits);
        known.map(|entry| entry.key.clone()).collect()
    }

    /// The user's open ceremonies, those also that phones do not know of.
    #[must_use]
    pub(crate) fn all_of(&self, user: &UserKey) -> Vec<CeremonyKey> {
        let Some(open) = self.users.get(user) else { return Vec::new() };
        open.iter().map(|entry| entry.key.clone()).collect()
    }

    /// The first of each lane that wait to be taken up by this phone: it rings for them.
    #[must_use]
    pub(crate) fn ringing(&self, user: &UserKey, phone: DeviceId, most: usize) -> Vec<CeremonyKey> {
        let Some(open) = self.users.get(user) else { return Vec::new() };
        let for_it = |entry: &&Open| entry.device.is_none_or(|only| only == phone);
        let mut waiting: Vec<_> =
            open.iter().filter(|entry| entry.waits && !entry.silent).filter(for_it).collect();
        // Stable: of one millisecond, the first that was noted comes first.
        waiting.sort_by_key(|entry| (&entry.lane, entry.opened_at));
        let lanes = waiting.chunk_by(|one, other| one.lane == other.lane);
        lanes.flat_map(|lane| lane.iter().take(most)).map(|entry| entry.key.clone()).collect()
    }
}

/// Of the ceremonies that do not ring, lets codes find the newest alone.
fn keep_newest(open: &mut [Open], lane: &Lane, network: Network) {
    let found =
        |entry: &Open| entry.silent && entry.lane == *lane && entry.code.is_some() && !entry.hidden;
    let of_network = |entry: &Open| found(entry) && entry.network == network;
    match lane {
        Lane::Known(_) | Lane::Vouched(_) => hide_oldest(open, CLAIMABLE, found),
        Lane::Stranger => {
            hide_oldest(open, CLAIMABLE, of_network);
            hide_of_the_crowd(open, found);
        }
    }
}

/// Of too many strangers, hides the oldest of the most crowded network, never the one that came last.
fn hide_of_the_crowd(open: &mut [Open], found: impl Fn(&Open) -> bool) {
    let mut crowds: HashMap<Network, usize> = HashMap::new();
    for entry in open.iter().filter(|entry| found(entry)) {
        *crowds.entry(entry.network).or_default() += 1;
    }
    let Some((_, earlier)) = open.split_last_mut() else { return };
    if crowds.values().sum::<usize>() <= CLAIMABLE_STRANGERS {
        return;
    }
    let crowd = |entry: &Open| crowds.get(&entry.network).copied().unwrap_or(0);
    let those = earlier.iter_mut().filter(|entry| found(entry));
    let oldest = those.min_by_key(|entry| (std::cmp::Reverse(crowd(entry)), entry.opened_at));
    if let Some(oldest) = oldest {
        oldest.hidden = true;
    }
}

/// Hides the oldest of these from their codes, but for `most`. They stay pending to their
/// deadline: an early end would tell.
fn hide_oldest(open: &mut [Open], most: usize, which: impl Fn(&Open) -> bool) {
    // Of one millisecond, the last that came first.
    let mut these: Vec<_> = open.iter_mut().rev().filter(|entry| which(entry)).collect();
    these.sort_by_key(|entry| std::cmp::Reverse(entry.opened_at));
    for entry in these.into_iter().skip(most) {
        entry.hidden = true;
    }
}

/// Whether a slip of one digit, or a swap of two neighbours, makes one code of the other.
fn is_near(one: &Code, other: &Code) -> bool {
    let differs = |(at, (a, b)): (usize, (u8, u8))| (a != b).then_some(at);
    let pairs = one.0.bytes().zip(other.0.bytes()).enumerate();
    let places: Vec<_> = pairs.filter_map(differs).collect();
    match places[..] {
        [] | [_] => true,
        [first, second] if second == first + 1 => {
            let (a, b) = (one.0.as_bytes(), other.0.as_bytes());
            a.get(first) == b.get(second) && a.get(second) == b.get(first)
        }
        _ => false,
    }
}
