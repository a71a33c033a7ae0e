//! Counts of refused credentials and proofs: a security team sees that there are attempts and from
//! where, and no number of attempts fills its log or costs a write each.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use ipnet::IpNet;
use serde::Serialize;

use crate::address_prefix::prefix;

/// Counts of one minute that name their network; those of other networks are added up by kind.
const SUMS: usize = 60;
/// Networks that are counted one by one.
const COUNTED: usize = 1_000;

/// Lengths of the address prefixes that are counted: a provider's customer, not a person.
const PREFIXES: (u8, u8) = (24, 48);

/// What kind of credential or proof was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalKind {
    /// An API key or access token that is none.
    Key,
    /// A client assertion at the token endpoint.
    Assertion,
    /// A call that the client's scopes do not allow.
    Scope,
    /// The id of something that is another client's, or of nothing.
    ForeignId,
    /// A pairing token, a typed pairing code, or the proof with it.
    Pairing,
    /// A device's proof, at its socket or of a request.
    Proof,
    /// A device's new key.
    Rotation,
}

/// How often one kind was refused within a minute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RefusalCount {
    event: &'static str,
    #[serde(rename = "what")]
    kind: RefusalKind,
    /// The address prefix that it came from; none: from networks beyond the first [`SUMS`].
    network: Option<IpNet>,
    count: u64,
}

/// Counts refusals in memory; counts that were not taken when the process ends are lost.
#[derive(Debug, Default)]
pub struct RefusalCounts(Mutex<BTreeMap<(RefusalKind, Option<IpNet>), u64>>);

impl RefusalCounts {
    /// Counts a refusal of what came from this address.
    pub fn count(&self, kind: RefusalKind, from: IpAddr) {
        let mut sums = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = (kind, Some(prefix(from, PREFIXES)));
        if sums.len() >= COUNTED && !sums.contains_key(&key) {
            key.1 = None;
        }
        let sum = sums.entry(key).or_default();
        *sum = sum.saturating_add(1);
    }

    /// Takes the counts since the last time, with the networks that have most of them.
    pub fn take(&self) -> Vec<RefusalCount> {
        let sums = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let mut sums: Vec<_> = sums.into_iter().collect();
        sums.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let others = sums.split_off(sums.len().min(SUMS));
        let mut all: BTreeMap<_, u64> = sums.into_iter().collect();
        for ((kind, _), count) in others {
            let sum = all.entry((kind, None)).or_default();
            *sum = sum.saturating_add(count);
        }
        all.into_iter()
            .map(|((kind, network), count)| RefusalCount { event: "refused", kind, network, count })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_bounded_and_nothing_is_left_out() {
        let refusals = RefusalCounts::default();
        for number in 0..5_000_u16 {
            refusals.count(
                RefusalKind::Key,
                IpAddr::from([10, (number / 250) as u8, (number % 250) as u8, 1]),
            );
            refusals.count(RefusalKind::Scope, "2001:db8::1".parse().unwrap());
        }
        let sums = refusals.take();
        assert!(sums.len() <= SUMS + 7);
        let of =
            |kind| sums.iter().filter(|sum| sum.kind == kind).map(|sum| sum.count).sum::<u64>();
        assert_eq!((of(RefusalKind::Key), of(RefusalKind::Scope)), (5_000, 5_000));
        let text = serde_json::to_string(&sums[0]).unwrap();
        assert!(text.starts_with(r#"{"event":"refused","what":"key","network":null"#), "{text}");
        assert!(refusals.take().is_empty());
    }
}
