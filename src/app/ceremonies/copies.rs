//! This node's copies of open ceremonies: what it opened, advanced or looked at need not be read and
//! parsed again.
//!
//! A copy is a record that was committed, at its revision, with the *pending* steps that followed on
//! this node and are not committed yet. Its revision never goes back. Only the task that holds the
//! ceremony's turn adds pending steps or commits them; a newer record replaces an older one,
//! and the pending steps are applied again to it.
//!
//! A copy decides nothing by itself where others write too: a commit does, by compare-and-set. Where
//! this process alone writes, it is exact.

use std::collections::VecDeque;
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use fido_relay_proto::{DeviceId, UnixMillis};

use super::CeremonyKey;
use crate::core::ceremony::{Ceremony, Event, Fact, Prompt, Transition};
use crate::ports::Revision;

/// Most ended ceremonies that are kept until their end was shown; of more, the oldest is read again.
const ENDS: usize = 1_024;

/// Keys whose hashes fall together share a count of ends; more would only cost memory.
const STRIPES: usize = 256;

/// A committed record, and the steps that followed it.
#[derive(Clone, Debug)]
pub(crate) struct CeremonyCopy {
    /// As it is stored: what watchers, initiators and devices may see.
    pub(crate) stored: Arc<Ceremony>,
    pub(crate) revision: Revision,
    pending: Vec<PendingStep>,
}

/// A step that changed the ceremony and is not stored.
#[derive(Clone, Debug)]
struct PendingStep {
    at: UnixMillis,
    event: Event,
    /// The ceremony after it.
    after: Arc<Ceremony>,
}

impl CeremonyCopy {
    pub(super) fn new(stored: Arc<Ceremony>, revision: Revision) -> Self {
        Self { stored, revision, pending: Vec::new() }
    }

    /// The ceremony after its last step.
    pub(crate) fn latest(&self) -> &Arc<Ceremony> {
        self.pending.last().map_or(&self.stored, |step| &step.after)
    }

    /// What a device may see: the ceremony as it is stored; but while the device's own claim or
    /// answer waits for its commit, the ceremony after it, which shows nothing. As stored, it would
    /// ask for the code again.
    pub(crate) fn for_device(&self, device: DeviceId) -> &Arc<Ceremony> {
        let latest = self.latest();
        if matches!(latest.prompt_for(device), Prompt::Wait) { latest } else { &self.stored }
    }

    /// Whether it has steps that are not stored.
    pub(super) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// What happened since the stored revision.
    pub(super) fn facts(&self) -> &[Fact] {
        self.latest().history.get(self.stored.history.len()..).unwrap_or_default()
    }

    pub(super) fn step(&mut self, at: UnixMillis, event: Event) -> Transition {
        let mut after = Ceremony::clone(self.latest());
        let transition = after.step(at, event.clone());
        if !transition.facts.is_empty() {
            self.pending.push(PendingStep { at, event, after: Arc::new(after) });
        }
        transition
    }

    /// Its pending steps applied again to a newer record. A step that this record has already, or that
    /// came too late for it, is dropped.
    fn onto(&self, stored: Arc<Ceremony>, revision: Revision) -> Self {
        let mut copy = Self::new(stored, revision);
        for PendingStep { at, event, .. } in &self.pending {
            copy.step(*at, event.clone());
        }
        copy
    }
}

/// How many ends were counted before a record was read. The read can take so long that its ceremony
/// has ended meanwhile, and no copy shows it any more.
#[derive(Clone, Copy, Debug)]
pub(super) struct EndsBefore(u64);

/// The copies of a node: as many as it knows open ceremonies, and ends that were not shown yet.
#[derive(Debug)]
pub(super) struct CeremonyCopies {
    open: DashMap<CeremonyKey, CeremonyCopy>,
    /// How many ends were committed here, by the hash of their keys. Changed and compared under the
    /// lock of an entry of `open`.
    ends: [AtomicU64; STRIPES],
    /// Locked after an entry of `open`, never before; the oldest first. A look removes the end that it shows,
    /// so there are few.
    ended: Mutex<VecDeque<(CeremonyKey, CeremonyCopy)>>,
}

impl Default for CeremonyCopies {
    fn default() -> Self {
        let ends = std::array::from_fn(|_| AtomicU64::new(0));
        Self { open: DashMap::new(), ends, ended: Mutex::default() }
    }
}

impl CeremonyCopies {
    fn ends(&self, key: &CeremonyKey) -> &AtomicU64 {
        let hash = self.open.hasher().hash_one(key);
        &self.ends[usize::try_from(hash % STRIPES as u64).unwrap_or_default()]
    }

    /// To be called before a record is read or made of which a copy is then kept.
    pub(super) fn ends_before(&self, key: &CeremonyKey) -> EndsBefore {
        EndsBefore(self.ends(key).load(Ordering::SeqCst))
    }

    fn is_late(&self, key: &CeremonyKey, before: EndsBefore) -> bool {
        self.ends(key).load(Ordering::SeqCst) != before.0
    }

    pub(super) fn get(&self, key: &CeremonyKey) -> Option<CeremonyCopy> {
        let open = self.open.get(key).map(|copy| copy.clone());
        open.or_else(|| self.end_of(key))
    }

    fn end_of(&self, key: &CeremonyKey) -> Option<CeremonyCopy> {
        self.ended().iter().find(|(ended, _)| ended == key).map(|(_, copy)| copy.clone())
    }

    fn ended(&self) -> MutexGuard<'_, VecDeque<(CeremonyKey, CeremonyCopy)>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a record that was read, if it is open and newer than the copy; gives the newest.
    pub(super) fn read(
        &self,
        key: &CeremonyKey,
        stored: Arc<Ceremony>,
        revision: Revision,
        before: EndsBefore,
    ) -> CeremonyCopy {
        let has_ended = stored.closed().is_some();
        match self.open.entry(key.clone()) {
            Entry::Occupied(known) if known.get().revision >= revision => known.get().clone(),
            Entry::Occupied(known) if has_ended => {
                known.remove();
                CeremonyCopy::new(stored, revision)
            }
            Entry::Occupied(mut known) => {
                let newer = known.get().onto(stored, revision);
                known.insert(newer.clone());
                newer
            }
            Entry::Vacant(_) if has_ended => CeremonyCopy::new(stored, revision),
            Entry::Vacant(_) if self.is_late(key, before) => {
                self.end_of(key).unwrap_or_else(|| CeremonyCopy::new(stored, revision))
            }
            Entry::Vacant(vacant) => match self.end_of(key) {
                Some(end) => end,
                None => vacant.insert(CeremonyCopy::new(stored, revision)).clone(),
            },
        }
    }

    /// Notes what this node has opened.
    pub(super) fn opened(&self, key: &CeremonyKey, copy: CeremonyCopy, before: EndsBefore) {
        if let Entry::Vacant(vacant) = self.open.entry(key.clone())
            && !self.is_late(key, before)
        {
            vacant.insert(copy);
        }
    }

    /// Notes what this node has committed. If copies are `exact`, an end is kept until it was shown:
    /// showing it would read the record otherwise.
    pub(super) fn committed(&self, key: &CeremonyKey, copy: CeremonyCopy, exact: bool) {
        let entry = self.open.entry(key.clone());
        if matches!(&entry, Entry::Occupied(known) if known.get().revision > copy.revision) {
            return;
        }
        if copy.stored.closed().is_none() {
            entry.insert(copy);
            return;
        }
        self.ends(key).fetch_add(1, Ordering::SeqCst);
        if exact {
            let mut ended = self.ended();
            ended.push_back((key.clone(), copy));
            if ended.len() > ENDS {
                ended.pop_front();
            }
        }
        if let Entry::Occupied(known) = entry {
            known.remove();
        }
    }

    /// Keeps a copy's steps until they are committed; `false`: a newer record has come meanwhile.
    pub(super) fn keep(&self, key: &CeremonyKey, copy: &CeremonyCopy) -> bool {
        let entry = self.open.entry(key.clone());
        if matches!(&entry, Entry::Occupied(known) if known.get().revision > copy.revision) {
            return false;
        }
        entry.insert(copy.clone());
        true
    }

    /// Whether steps wait for the ceremony's next commit.
    pub(super) fn have_pending(&self, key: &CeremonyKey) -> bool {
        self.open.get(key).is_some_and(|copy| !copy.pending.is_empty())
    }

    pub(super) fn forget(&self, key: &CeremonyKey) {
        self.open.remove(key);
        self.ended().retain(|(ended, _)| ended != key);
    }

    /// How many are of open ceremonies.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }
}

#[cfg(test)]
mod tests {
    use fido_relay_proto::device::AckOf;
    use fido_relay_proto::{AttemptId, Binding};

    use super::*;
    use crate::core::ceremony::{self, FactKind};

    const PHONE: DeviceId = DeviceId::from_bytes([1; 16]);
    const SENT: Event = Event::Sent { device: PHONE };
    const ACKED: Event = Event::Acked { device: PHONE, of: AckOf::Offer };

    fn key() -> CeremonyKey {
        CeremonyKey::from(&ceremony::open(Binding::Code))
    }

    /// Opened, and then these.
    fn after(events: &[Event]) -> Arc<Ceremony> {
        let mut ceremony = ceremony::open(Binding::Code);
        let opened_at = ceremony.request.opened_at;
        for (nth, event) in (1..).zip(events) {
            ceremony.step(opened_at.plus_secs(nth), event.clone());
        }
        Arc::new(ceremony)
    }

    #[test]
    fn steps_follow_a_newer_record_and_what_it_knows_falls_away() {
        let copies = CeremonyCopies::default();
        let mut copy = copies.read(&key(), after(&[]), Revision(1), copies.ends_before(&key()));
        let at = copy.stored.request.opened_at.plus_secs(3);
        copy.step(at, SENT);
        copy.step(at, ACKED);
        assert!(copies.keep(&key(), &copy));
        assert_eq!(copies.get(&key()).unwrap().facts().len(), 2);

        let newer = copies.read(&key(), after(&[SENT]), Revision(2), copies.ends_before(&key()));
        let facts: Vec<_> = newer.facts().iter().map(|fact| (fact.kind, fact.at)).collect();
        assert_eq!(facts, [(FactKind::Delivered, at)]);
        assert_eq!(newer.pending.len(), 1);
        assert!(!copies.keep(&key(), &copy), "its record is older");
    }

    #[test]
    fn a_device_whose_claim_waits_for_its_commit_sees_no_prompt() {
        let mut copy = CeremonyCopy::new(after(&[SENT, ACKED]), Revision(2));
        let code = copy.stored.code().unwrap().0.clone();
        let attempt = AttemptId::from_bytes([2; 16]);
        let claim = Event::Claim { device: PHONE, attempt, code, same_network: None };
        copy.step(copy.stored.request.opened_at.plus_secs(3), claim);
        let prompt = |device| copy.for_device(device).prompt_for(device);
        assert!(matches!(prompt(PHONE), Prompt::Wait));
        assert!(matches!(prompt(DeviceId::from_bytes([3; 16])), Prompt::Offer));
    }

    #[test]
    fn a_copy_never_goes_back_and_is_dropped_with_its_end() {
        let copies = CeremonyCopies::default();
        copies.committed(&key(), CeremonyCopy::new(after(&[SENT]), Revision(2)), true);
        assert_eq!(
            copies.read(&key(), after(&[]), Revision(1), copies.ends_before(&key())).revision,
            Revision(2)
        );
        let ended = after(&[SENT, Event::Cancel]);
        assert_eq!(
            copies.read(&key(), ended, Revision(3), copies.ends_before(&key())).revision,
            Revision(3)
        );
        assert_eq!(copies.len(), 0);
        copies.read(&key(), after(&[Event::Cancel]), Revision(3), copies.ends_before(&key()));
        assert_eq!(copies.len(), 0, "an end that was read is not kept");
    }

    #[test]
    fn what_comes_late_is_no_copy_once_its_end_was_shown() {
        let copies = CeremonyCopies::default();
        let before = copies.ends_before(&key());
        let ended = CeremonyCopy::new(after(&[Event::Cancel]), Revision(2));
        copies.committed(&key(), ended, true);
        copies.forget(&key());
        copies.read(&key(), after(&[]), Revision(1), before);
        copies.opened(&key(), CeremonyCopy::new(after(&[]), Revision(1)), before);
        assert_eq!(copies.len(), 0);
        copies.opened(
            &key(),
            CeremonyCopy::new(after(&[]), Revision(1)),
            copies.ends_before(&key()),
        );
        assert_eq!(copies.len(), 1);
    }

    #[test]
    fn an_end_is_kept_until_it_was_shown_and_of_many_the_newest() {
        let copies = CeremonyCopies::default();
        let ended = after(&[Event::Cancel]);
        let keys: Vec<_> = (0..ENDS + 5)
            .map(|nth| {
                let mut id = [0; 16];
                id[..8].copy_from_slice(&nth.to_be_bytes());
                CeremonyKey { id: fido_relay_proto::CeremonyId::from_bytes(id), ..key() }
            })
            .collect();
        for key in &keys {
            copies.committed(key, CeremonyCopy::new(Arc::clone(&ended), Revision(2)), true);
        }
        assert_eq!(keys.iter().filter(|key| copies.get(key).is_some()).count(), ENDS);
        let last = keys.last().unwrap();
        assert_eq!(
            copies.read(last, after(&[]), Revision(1), copies.ends_before(last)).revision,
            Revision(2)
        );
        copies.forget(last);
        assert!(copies.get(last).is_none());
        copies.committed(last, CeremonyCopy::new(ended, Revision(2)), false);
        assert!(copies.get(last).is_none(), "where others write, the store says how it ended");
        assert_eq!(copies.len(), 0);
    }
}
