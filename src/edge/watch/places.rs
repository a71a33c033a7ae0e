//! Who may wait at the same time: so many of one ceremony and so many of the node, however they
//! wait. A place is given back when it drops.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use fido_relay_proto::{CeremonyId, ProblemCode};

/// Places for those who wait.
#[derive(Debug)]
pub(in crate::edge) struct Places {
    per_ceremony: usize,
    per_node: usize,
    here: AtomicUsize,
    of: DashMap<CeremonyId, usize>,
}

/// One such place.
#[derive(Debug)]
pub(in crate::edge) struct Place {
    places: Arc<Places>,
    ceremony: CeremonyId,
}

impl Places {
    pub(in crate::edge) fn new(per_ceremony: usize, per_node: usize) -> Self {
        Self { per_ceremony, per_node, here: AtomicUsize::new(0), of: DashMap::new() }
    }

    /// A place at this ceremony. Without one it is the ceremony's watchers that are too many
    /// (429), or the node's (503).
    pub(in crate::edge) fn enter(
        self: &Arc<Self>,
        ceremony: CeremonyId,
    ) -> Result<Place, ProblemCode> {
        // Counted first and looked at second, so that two who come at once cannot both be last.
        let here = self.here.fetch_add(1, Ordering::Relaxed) + 1;
        let of = {
            let mut of = self.of.entry(ceremony).or_default();
            *of += 1;
            *of
        };
        let place = Place { places: Arc::clone(self), ceremony };
        match (of <= self.per_ceremony, here <= self.per_node) {
            (true, true) => Ok(place),
            (false, _) => Err(ProblemCode::TooManyRequests),
            (true, false) => Err(ProblemCode::Unavailable),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.here.fetch_sub(1, Ordering::Relaxed);
        if let Entry::Occupied(mut entry) = self.places.of.entry(self.ceremony) {
            if *entry.get() <= 1 {
                entry.remove();
            } else {
                *entry.get_mut() -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_come_back() {
        let places = Arc::new(Places::new(2, 3));
        let [near, far] = [[1; 16], [2; 16]].map(CeremonyId::from_bytes);
        let first = places.enter(near);
        let _second = places.enter(near);
        assert!(first.is_ok());
        assert_eq!(places.enter(near).unwrap_err(), ProblemCode::TooManyRequests);
        let third = places.enter(far);
        assert!(third.is_ok());
        assert_eq!(places.enter(far).unwrap_err(), ProblemCode::Unavailable);
        drop(first);
        assert!(places.enter(near).is_ok());
        drop(third);
        assert_eq!(places.of.len(), 1, "nothing is kept of those who left");
    }
}
