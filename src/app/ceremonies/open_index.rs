//! The open ceremonies of each user: which of them a returning device is shown, which it rings for,
//! and which a typed code finds. A cache of what the store says: built at the start, updated by every
//! look.

use std::collections::HashMap;

use dashmap::DashMap;
use fido_relay_proto::limits::CODE_DIGITS;
use fido_relay_proto::{DeviceId, UnixMillis};

use super::CeremonyKey;
use super::network::Network;
use crate::app::devices::UserKey;
use crate::core::ceremony::{Ceremony, Code};
use crate::core::prompt_limits::Lane;
use crate::security::random;

/// Suppressed ceremonies that a code finds all the same: the newest of a browser, of a client that
/// vouches for the user, and of a network of strangers.
const CLAIMABLE: usize = 3;
/// The same for all networks of strangers together.
const CLAIMABLE_STRANGERS: usize = 256;
/// Draws of a code that is not too near another. Each of at most 300 codes excludes about 60 of a
/// million, so fewer than one draw in fifty is lost.
const DRAWS: usize = 1_000;

/// Open ceremonies by user.
#[derive(Debug, Default)]
pub(super) struct OpenIndex {
    users: DashMap<UserKey, Vec<OpenEntry>>,
}

#[derive(Debug)]
struct OpenEntry {
    key: CeremonyKey,
    suppressed: bool,
    /// The one device that it is for; none: all of the user's.
    device: Option<DeviceId>,
    lane: Lane,
    network: Network,
    opened_at: UnixMillis,
    unclaimed: bool,
    /// Its code, until a device has claimed it.
    code: Option<Code>,
    /// Whether the code no longer finds it because newer ones came.
    hidden: bool,
    /// Whether the code finds it without its id.
    code_alone: bool,
}

/// A ceremony that a code finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CodeMatch {
    pub key: CeremonyKey,
    /// The one device that it is for; none: all of the user's.
    pub device: Option<DeviceId>,
    /// Whether the code no longer finds it because newer ones came.
    pub hidden: bool,
}

impl OpenIndex {
    /// Notes an open ceremony; `true` if a device has claimed it since: another may ring then.
    pub(super) fn insert(&self, user: &UserKey, ceremony: &Ceremony) -> bool {
        let request = &ceremony.request;
        let key = CeremonyKey::from(ceremony);
        let mut open = self.users.entry(user.clone()).or_default();
        let (suppressed, unclaimed) = (ceremony.suppressed, ceremony.is_unclaimed());
        if let Some(entry) = open.iter_mut().find(|entry| entry.key == key) {
            let was_unclaimed = std::mem::replace(&mut entry.unclaimed, unclaimed);
            if !unclaimed {
                entry.code = None;
            }
            return was_unclaimed && !unclaimed;
        }
        let code = ceremony.code().cloned();
        let (lane, opened_at) = (request.lane.clone(), request.opened_at);
        let network = Network::of(request.context.as_ref());
        let (device, code_alone) = (request.device_id, request.code_alone);
        open.push(OpenEntry {
            key,
            suppressed,
            device,
            lane: lane.clone(),
            network,
            opened_at,
            unclaimed,
            code,
            hidden: false,
            code_alone,
        });
        if suppressed {
            keep_newest(&mut open, &lane, network);
        }
        false
    }

    /// A code that no slip of one digit and no swap of two neighbours turns into that of another
    /// ceremony of this user that a code finds.
    pub(super) fn draw_code(&self, user: &UserKey) -> Code {
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
    pub(super) fn matches(&self, user: &UserKey, typed: &str) -> Vec<CodeMatch> {
        let Some(open) = self.users.get(user) else { return Vec::new() };
        let found = |entry: &&OpenEntry| {
            // Each is compared, so that response time does not reveal which matched.
            let is_right = entry.code.as_ref().is_some_and(|code| code.matches(typed));
            is_right && entry.code_alone
        };
        let found = open.iter().filter(found);
        found
            .map(|entry| CodeMatch {
                key: entry.key.clone(),
                device: entry.device,
                hidden: entry.hidden,
            })
            .collect()
    }

    pub(super) fn remove(&self, user: &UserKey, ceremony: &CeremonyKey) {
        self.users.remove_if_mut(user, |_, open| {
            open.retain(|entry| entry.key != *ceremony);
            open.is_empty()
        });
    }

    /// The user's open ceremonies that devices may know of, oldest first.
    pub(super) fn known_to_devices(&self, user: &UserKey) -> Vec<CeremonyKey> {
        let Some(open) = self.users.get(user) else { return Vec::new() };
        // A suppressed one becomes a device's once its person has typed the code there.
        let known = open.iter().filter(|entry| !entry.suppressed || !entry.unclaimed);
        known.map(|entry| entry.key.clone()).collect()
    }

    /// The user's open ceremonies, suppressed ones too.
    pub(super) fn all_of(&self, user: &UserKey) -> Vec<CeremonyKey> {
        let Some(open) = self.users.get(user) else { return Vec::new() };
        open.iter().map(|entry| entry.key.clone()).collect()
    }

    /// The ceremonies that this device rings for: the first unclaimed ones of each lane.
    pub(super) fn ringing(
        &self,
        user: &UserKey,
        device: DeviceId,
        most: usize,
    ) -> Vec<CeremonyKey> {
        let Some(open) = self.users.get(user) else { return Vec::new() };
        let for_it = |entry: &&OpenEntry| entry.device.is_none_or(|only| only == device);
        let mut waiting: Vec<_> = open
            .iter()
            .filter(|entry| entry.unclaimed && !entry.suppressed)
            .filter(for_it)
            .collect();
        // Stable: of one millisecond, the first that was noted comes first.
        waiting.sort_by_key(|entry| (&entry.lane, entry.opened_at));
        let lanes = waiting.chunk_by(|one, other| one.lane == other.lane);
        lanes.flat_map(|lane| lane.iter().take(most)).map(|entry| entry.key.clone()).collect()
    }
}

/// Of suppressed ceremonies, lets codes find the newest alone.
fn keep_newest(open: &mut [OpenEntry], lane: &Lane, network: Network) {
    let found = |entry: &OpenEntry| {
        entry.suppressed && entry.lane == *lane && entry.code.is_some() && !entry.hidden
    };
    let of_network = |entry: &OpenEntry| found(entry) && entry.network == network;
    match lane {
        Lane::Known(_) | Lane::Vouched(_) => hide_oldest(open, CLAIMABLE, found),
        Lane::Stranger => {
            hide_oldest(open, CLAIMABLE, of_network);
            hide_of_the_crowd(open, found);
        }
    }
}

/// Of too many strangers, hides the oldest of the most crowded network, never the one that was inserted
/// last.
fn hide_of_the_crowd(open: &mut [OpenEntry], found: impl Fn(&OpenEntry) -> bool) {
    let mut crowds: HashMap<Network, usize> = HashMap::new();
    for entry in open.iter().filter(|entry| found(entry)) {
        *crowds.entry(entry.network).or_default() += 1;
    }
    let Some((_, earlier)) = open.split_last_mut() else { return };
    if crowds.values().sum::<usize>() <= CLAIMABLE_STRANGERS {
        return;
    }
    let crowd = |entry: &OpenEntry| crowds.get(&entry.network).copied().unwrap_or(0);
    let those = earlier.iter_mut().filter(|entry| found(entry));
    let oldest = those.min_by_key(|entry| (std::cmp::Reverse(crowd(entry)), entry.opened_at));
    if let Some(oldest) = oldest {
        oldest.hidden = true;
    }
}

/// Hides the oldest of these from their codes, but for `most`. They stay pending to their deadline:
/// an early end would reveal the suppression.
fn hide_oldest(open: &mut [OpenEntry], most: usize, which: impl Fn(&OpenEntry) -> bool) {
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
