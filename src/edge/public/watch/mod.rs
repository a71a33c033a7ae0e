//! The room of those who watch a ceremony. There is one way to wait, and three roads out of it:
//!
//! ```text
//!                                      ┌─▶ GET …/{id}?wait=    what stands, once
//!        subscribe → look → wait ──────┼─▶ GET …/{id}/events   server-sent events
//!    (delivery::watchers)(sight)       └─▶ GET …/{id}/socket   text frames
//! ```
//! An event's number is that of its kind of step, and what follows it is a matter of the stored
//! history, so a watcher may leave one road at any event and go on by another, at another node, or
//! after a restart. What is told is what is stored: nothing is kept for a watcher but the number
//! that it has.

pub(super) mod events;
pub(super) mod exchange;
mod places;
mod sight;
pub(super) mod socket;

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::request::Parts;
use fido_relay_proto::ProblemCode;
use serde::Deserialize;
use tokio::time::Instant;

use self::places::Place;
pub(in crate::edge) use self::places::Places;
pub(super) use self::sight::Sight;
use crate::app::ceremonies::CeremonySnapshot;
use crate::delivery::Watch;
use crate::edge::Edge;
use crate::edge::fields;
use crate::edge::listener::Accepted;
use crate::edge::refusal::Refusal;

/// Between two signs of life to a watcher that stays (proxies close what is silent for a minute),
/// and two looks at whether it may.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How many may watch.
#[derive(Clone, Copy, Debug)]
pub struct WatchLimits {
    /// One ceremony.
    pub per_ceremony: usize,
    /// On this node.
    pub per_node: usize,
}

/// What a wait came to, with what stood at its end.
#[derive(Debug)]
pub(super) enum Found {
    /// There is a step that was not known, or nothing more to come.
    News(Arc<CeremonySnapshot>),
    /// Time is up.
    Quiet(Arc<CeremonySnapshot>),
    /// The relay stops: somebody else is to be asked.
    Stopping(Arc<CeremonySnapshot>),
}

/// A watcher that waits, from its first look on.
#[derive(Debug)]
pub(super) struct Waiting {
    edge: Edge,
    sight: Sight,
    watch: Watch,
    /// What was seen last; none after a time without news.
    seen: Option<Arc<CeremonySnapshot>>,
}

impl Waiting {
    /// Begins, and only then looks, so that no change falls between.
    ///
    /// # Errors
    /// As [`Sight::look`].
    pub(super) async fn begin(
        edge: &Edge,
        sight: Sight,
    ) -> Result<(Self, Arc<CeremonySnapshot>), Refusal> {
        let watch = edge.relay().delivery.watch(sight.key());
        let view = Arc::new(sight.look(edge).await?);
        let seen = Some(Arc::clone(&view));
        Ok((Self { edge: edge.clone(), sight, watch, seen }, view))
    }

    pub(super) fn sight(&self) -> &Sight {
        &self.sight
    }

    /// Whether there is something for this watcher: a step that it does not see is not.
    fn is_news(&self, view: &CeremonySnapshot, since: u32) -> bool {
        view.end.is_some() || self.sight.steps(view).has_after(since)
    }

    /// Waits for a step that follows number `since`, or for the end, until `until`. Reads the
    /// ceremony only if there was no news for as long as it waited: each change comes with what was
    /// seen of it. A call that is dropped early loses none.
    ///
    /// # Errors
    /// As [`Sight::look_again`].
    pub(super) async fn news(&mut self, since: u32, until: Instant) -> Result<Found, Refusal> {
        let mut view = match &self.seen {
            Some(seen) => Arc::clone(seen),
            None => {
                let view = Arc::new(self.sight.look_again(&self.edge).await?);
                self.seen = Some(Arc::clone(&view));
                if self.is_news(&view, since) {
                    return Ok(Found::News(view));
                }
                view
            }
        };
        let stopping = self.edge.relay().dependencies().tasks.stopping();
        while !self.is_news(&view, since) {
            let seen = tokio::select! {
                seen = self.watch.changed() => seen,
                () = tokio::time::sleep_until(until) => {
                    self.seen = None;
                    return Ok(Found::Quiet(view));
                }
                () = stopping.cancelled() => return Ok(Found::Stopping(view)),
            };
            // What is given may be older than the watcher's own look, which is never taken back.
            if self.is_news(&seen, since) && seen.tenant == view.tenant {
                self.seen = Some(Arc::clone(&seen));
                view = seen;
            }
        }
        self.sight.may_still_see(&self.edge, &view).await?;
        Ok(Found::News(view))
    }
}

/// A place for a watcher. A ticket does not authenticate its address: pages are bounded by address.
pub(super) fn take_place(
    edge: &Edge,
    sight: &Sight,
    accepted: Option<&Accepted>,
) -> Result<Place, ProblemCode> {
    let page = accepted.map(|accepted| accepted.client).filter(|_| !sight.is_initiator());
    edge.inner.places.enter(sight.key().id, page)
}

/// The query of a road that stays open.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Resume {
    /// The `seq` that the watcher has.
    since: Option<u32>,
    /// In place of an `Authorization` header, where the road takes one.
    ticket: Option<String>,
}

impl Resume {
    fn of(parts: &Parts) -> Result<Self, Refusal> {
        fields::from_query(&parts.uri)
    }

    /// Where to go on: after the last event that the watcher says it has. What a browser sends
    /// when it reconnects is newer than the URL that it was given at first.
    fn after(&self, headers: &HeaderMap) -> Result<u32, Refusal> {
        let Some(last) = headers.get("last-event-id") else { return Ok(self.since.unwrap_or(0)) };
        let number = last.to_str().ok().and_then(|last| last.parse().ok());
        number.ok_or_else(|| Refusal::invalid("header Last-Event-ID: the number of an event"))
    }
}
