//! Who hears of everything that happens, beside those whom it concerns: the audit log, the metrics,
//! the webhooks. A witness changes nothing, and nothing waits for what it makes of the news.
//!
//! What is stored is the truth here too. A change is told after it was stored, so a crash between
//! the two leaves a change untold; whoever starts again tells of every ceremony that it finds
//! ([`Witness::found`]), and a witness that must miss nothing compares that with what it has. For
//! the same reason a change may be told twice.

use std::sync::Arc;

use futures::future::BoxFuture;

use super::happening::SecurityEvent;
use crate::ceremony::{Ceremony, Event, Reply};

/// Hears of everything. Its methods return quickly: a witness that has work to do queues it, and
/// waits only while its queue is full.
pub trait Witness: Send + Sync + std::fmt::Debug {
    /// A change of a ceremony was stored, by `cause`; the opening has none.
    fn changed<'a>(&'a self, ceremony: &'a Ceremony, cause: Option<&'a Event>)
    -> BoxFuture<'a, ()>;

    /// A ceremony is stored like this: told of every one when a node starts, and where it was not
    /// known whether a write stands. None of its changes is necessarily new.
    fn found<'a>(&'a self, ceremony: &'a Ceremony) -> BoxFuture<'a, ()>;

    /// What came of an event, told once for each that was taken to its end, also where nothing
    /// changed. For counting: it must not wait.
    fn answered(&self, event: &Event, reply: Reply) {
        let _ = (event, reply);
    }

    /// Something else happened.
    fn noted<'a>(&'a self, event: &'a SecurityEvent) -> BoxFuture<'a, ()>;

    /// Whether it can keep up with what it is told.
    fn ability(&self) -> Ability {
        Ability::Well
    }
}

/// How a witness is, the worst last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ability {
    /// It does its work.
    #[default]
    Well,
    /// It cannot, and ceremonies go on all the same: the node is not ready.
    Failing,
    /// It cannot, and nothing may happen unwitnessed: nothing new begins, no code and no answer
    /// is taken.
    Forbidding,
}

/// All witnesses of a node. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Witnesses(Arc<[Arc<dyn Witness>]>);

impl Witnesses {
    /// These.
    #[must_use]
    pub fn new(witnesses: Vec<Arc<dyn Witness>>) -> Self {
        Self(witnesses.into())
    }

    /// Tells all: see [`Witness::changed`].
    pub async fn changed(&self, ceremony: &Ceremony, cause: Option<&Event>) {
        for witness in self.0.iter() {
            witness.changed(ceremony, cause).await;
        }
    }

    /// Tells all: see [`Witness::found`].
    pub async fn found(&self, ceremony: &Ceremony) {
        for witness in self.0.iter() {
            witness.found(ceremony).await;
        }
    }

    /// Tells all: see [`Witness::answered`].
    pub fn answered(&self, event: &Event, reply: Reply) {
        for witness in self.0.iter() {
            witness.answered(event, reply);
        }
    }

    /// Tells all: see [`Witness::noted`].
    pub async fn noted(&self, event: &SecurityEvent) {
        for witness in self.0.iter() {
            witness.noted(event).await;
        }
    }

    /// How the worst of them is: see [`Witness::ability`].
    #[must_use]
    pub fn ability(&self) -> Ability {
        self.0.iter().map(|witness| witness.ability()).max().unwrap_or_default()
    }
}
