//! Who may wait at the same time, however they wait: so many of one ceremony, so many pages of one
//! address, so many of the node. A place is given back when it drops.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use fido_relay_proto::{CeremonyId, ProblemCode};

use super::WatchLimits;
use crate::edge::listener::tally::Tally;

/// Places for those who wait.
#[derive(Debug)]
pub(in crate::edge) struct Places {
    limits: WatchLimits,
    pages_per_ip: usize,
    here: AtomicUsize,
    of: DashMap<CeremonyId, usize>,
    pages: Tally,
}

/// One such place.
#[derive(Debug)]
pub(in crate::edge) struct Place {
    places: Arc<Places>,
    /// None: a device waits for whatever comes.
    ceremony: Option<CeremonyId>,
    page: Option<IpAddr>,
}

impl Places {
    pub(in crate::edge) fn new(limits: WatchLimits, pages_per_ip: usize) -> Self {
        let (of, pages) = (DashMap::new(), Tally::default());
        Self { limits, pages_per_ip, here: AtomicUsize::new(0), of, pages }
    }

    /// A place at this ceremony, for a page with its address. Without one the watchers of the
    /// ceremony or of the address are too many (429), or the node's (503).
    pub(in crate::edge) fn enter(
        self: &Arc<Self>,
        ceremony: CeremonyId,
        page: Option<IpAddr>,
    ) -> Result<Place, ProblemCode> {
        // Counted first and looked at second, so that two who come at once cannot both be last.
        let here = self.here.fetch_add(1, Ordering::Relaxed) + 1;
        let of = {
            let mut of = self.of.entry(ceremony).or_default();
            *of += 1;
            *of
        };
        let pages = page.map_or(0, |ip| self.pages.add(ip));
        let place = Place { places: Arc::clone(self), ceremony: Some(ceremony), page };
        if of > self.limits.per_ceremony || pages > self.pages_per_ip {
            return Err(ProblemCode::TooManyRequests);
        }
        if here > self.limits.per_node {
            return Err(ProblemCode::Unavailable);
        }
        Ok(place)
    }

    /// A place for a device that waits; without one the node's are too many (503). Of a device the
    /// last request alone waits.
    pub(in crate::edge) fn enter_device(self: &Arc<Self>) -> Result<Place, ProblemCode> {
        let here = self.here.fetch_add(1, Ordering::Relaxed) + 1;
        let place = Place { places: Arc::clone(self), ceremony: None, page: None };
        if here > self.limits.per_node { Err(ProblemCode::Unavailable) } else { Ok(place) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.here.fetch_sub(1, Ordering::Relaxed);
        if let Some(ip) = self.page {
            self.places.pages.remove(ip);
        }
        if let Some(ceremony) = self.ceremony
            && let Entry::Occupied(mut entry) = self.places.of.entry(ceremony)
        {
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
        let limits = WatchLimits { per_ceremony: 2, per_node: 3 };
        let places = Arc::new(Places::new(limits, 10));
        let [near, far] = [[1; 16], [2; 16]].map(CeremonyId::from_bytes);
        let first = places.enter(near, None);
        let _second = places.enter(near, None);
        assert!(first.is_ok());
        assert_eq!(places.enter(near, None).unwrap_err(), ProblemCode::TooManyRequests);
        let third = places.enter(far, None);
        assert!(third.is_ok());
        assert_eq!(places.enter(far, None).unwrap_err(), ProblemCode::Unavailable);
        drop(first);
        assert!(places.enter(near, None).is_ok());
        let device = places.enter_device();
        assert!(device.is_ok());
        assert_eq!(places.enter_device().unwrap_err(), ProblemCode::Unavailable);
        drop((device, third));
        assert_eq!(places.of.len(), 1, "nothing is kept of those who left");
    }

    #[test]
    fn pages_of_one_address_are_bounded_over_all_ceremonies() {
        let limits = WatchLimits { per_ceremony: 16, per_node: 20_000 };
        let places = Arc::new(Places::new(limits, 200));
        let ids = (0..60).map(|number| CeremonyId::from_bytes([number; 16]));
        let (here, elsewhere) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let tries = ids.flat_map(|id| (0..16).map(move |_| id));
        let taken: Vec<_> = tries.filter_map(|id| places.enter(id, Some(here)).ok()).collect();
        assert_eq!(taken.len(), 200);
        let last = CeremonyId::from_bytes([59; 16]);
        assert!(places.enter(last, Some(elsewhere)).is_ok() && places.enter(last, None).is_ok());
        drop(taken);
        assert_eq!(places.pages.addresses(), 0);
    }
}
