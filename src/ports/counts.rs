//! Counting in the process that does it. Implementations return at once.

use crate::core::ceremony::{Ceremony, Event, Fact, Reply};

/// Hears of every change of a ceremony that this process committed, once each.
pub trait Counts: Send + Sync + std::fmt::Debug {
    /// These facts were committed; the ceremony's history ends with them.
    fn committed(&self, ceremony: &Ceremony, facts: &[Fact]);

    /// A ceremony was open already when this process met it.
    fn taken_up(&self);

    /// An event was taken to its end, also where nothing changed.
    fn answered(&self, event: &Event, reply: Reply);

    /// A typed code came to this: `claimed`, `preview`, or the name of its refusal.
    fn claim(&self, came_to: &str);

    /// A wake came to this: `taken`, `moot`, or the name of its failure.
    fn wake(&self, service: &'static str, came_to: &'static str);
}

#[cfg(feature = "test-support")]
#[derive(Clone, Copy, Debug)]
pub struct NoCounts;

#[cfg(feature = "test-support")]
impl Counts for NoCounts {
    fn committed(&self, _: &Ceremony, _: &[Fact]) {}

    fn taken_up(&self) {}

    fn answered(&self, _: &Event, _: Reply) {}

    fn claim(&self, _: &str) {}

    fn wake(&self, _: &'static str, _: &'static str) {}
}
