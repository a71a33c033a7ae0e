//! Watching a ceremony. There is one way to wait, and three kinds of answers that use it:
//!
//! ```text
//!                                      ┌─▶ GET …/{id}?wait=    one answer
//!        subscribe → look → wait ──────┼─▶ GET …/{id}/events   server-sent events
//!    (relay::watchers)  (access)       └─▶ GET …/{id}/socket   text frames
//! ```
//! An event's number is that of its kind of step, and what follows it is read from the stored
//! history, so a watcher may change from one kind of answer to another after any event, also at
//! another node, or after a restart. The only state kept for a watcher is the number that it has.

mod access;
pub(super) mod events;
pub(super) mod exchange;
pub(super) mod socket;

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::request::Parts;
use fido_relay_proto::{CeremonyId, ProblemCode};
use ipnet::IpNet;
use serde::Deserialize;
use tokio::time::Instant;

pub(super) use self::access::WatchAccess;
use crate::address_prefix::subscriber;
use crate::app::ceremonies::CeremonySnapshot;
use crate::delivery::Watch;
use crate::edge::concurrency::{ConcurrencySlot, LimitReached};
use crate::edge::fields;
use crate::edge::listener::Accepted;
use crate::edge::problem_response::ProblemResponse;
use crate::edge::public::Edge;

/// Between two signs of life to a watcher that stays (proxies close connections that are silent for
/// a minute), and between two checks of its credential.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How a wait ended, with the ceremony as it was then.
#[derive(Debug)]
pub(super) enum WaitOutcome {
    /// There is a step that the watcher did not know, or there will be no more.
    News(Arc<CeremonySnapshot>),
    TimedOut(Arc<CeremonySnapshot>),
    /// The relay stops: the watcher has to ask another node.
    Stopping(Arc<CeremonySnapshot>),
}

/// A watcher that waits, from its first look at the ceremony on.
#[derive(Debug)]
pub(super) struct WatchSession {
    edge: Edge,
    access: WatchAccess,
    watch: Watch,
    /// The last view; none after a wait that timed out.
    seen: Option<Arc<CeremonySnapshot>>,
}

impl WatchSession {
    /// Subscribes and only then looks, so that no change is missed between.
    ///
    /// # Errors
    /// As [`WatchAccess::look`].
    pub(super) async fn begin(
        edge: &Edge,
        access: WatchAccess,
    ) -> Result<(Self, Arc<CeremonySnapshot>), ProblemResponse> {
        let watch = edge.relay().delivery.watch(access.key());
        let view = Arc::new(access.look(edge).await?);
        let seen = Some(Arc::clone(&view));
        Ok((Self { edge: edge.clone(), access, watch, seen }, view))
    }

    pub(super) fn access(&self) -> &WatchAccess {
        &self.access
    }

    /// Whether there is a step that this watcher sees, or the end.
    fn is_change(&self, view: &CeremonySnapshot, since: u32) -> bool {
        view.end.is_some() || self.access.steps(view).has_after(since)
    }

    /// Waits for a step that follows number `since`, or for the end, until `until`. It reads the
    /// ceremony only after a wait that timed out: each change comes with a view of it. It is
    /// cancellation safe.
    ///
    /// # Errors
    /// As [`WatchAccess::look_again`].
    pub(super) async fn next_change(
        &mut self,
        since: u32,
        until: Instant,
    ) -> Result<WaitOutcome, ProblemResponse> {
        let mut view = match &self.seen {
            Some(seen) => Arc::clone(seen),
            None => {
                let view = Arc::new(self.access.look_again(&self.edge).await?);
                self.seen = Some(Arc::clone(&view));
                if self.is_change(&view, since) {
                    return Ok(WaitOutcome::News(view));
                }
                view
            }
        };
        let stopping = self.edge.app().tasks.stopping();
        while !self.is_change(&view, since) {
            let seen = tokio::select! {
                seen = self.watch.changed() => seen,
                () = tokio::time::sleep_until(until) => {
                    self.seen = None;
                    return Ok(WaitOutcome::TimedOut(view));
                }
                () = stopping.cancelled() => return Ok(WaitOutcome::Stopping(view)),
            };
            // A published view may be older than the watcher's own look, and never replaces it.
            if self.is_change(&seen, since) && seen.tenant == view.tenant {
                self.seen = Some(Arc::clone(&seen));
                view = seen;
            }
        }
        self.access.may_still_see(&self.edge, &view).await?;
        Ok(WaitOutcome::News(view))
    }
}

/// What a watcher takes of the node's concurrency limits while it waits.
pub(super) type WatchSlots = (Option<ConcurrencySlot<IpNet>>, ConcurrencySlot<CeremonyId>);

/// Takes the slots of a watcher. A ticket does not authenticate its address, so pages are bounded
/// by address as well.
///
/// # Errors
/// 429 for too many of this ceremony or address, 503 for too many of this node.
pub(super) fn take_slots(
    edge: &Edge,
    access: &WatchAccess,
    accepted: Option<&Accepted>,
) -> Result<WatchSlots, ProblemCode> {
    let page = accepted.map(|accepted| accepted.client).filter(|_| !access.is_initiator());
    let page = page.map(|ip| edge.inner.watching_pages.acquire(subscriber(ip))).transpose();
    let slot = |page| Ok((page, edge.inner.watchers.acquire(access.key().id)?));
    page.and_then(slot).map_err(|reached| match reached {
        LimitReached::PerKey => ProblemCode::TooManyRequests,
        LimitReached::Total => ProblemCode::Unavailable,
    })
}

/// The query of an answer that stays open.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ResumeQuery {
    /// The `seq` that the watcher has.
    since: Option<u32>,
    /// In place of an `Authorization` header, where the operation takes one.
    ticket: Option<String>,
}

impl ResumeQuery {
    fn of(parts: &Parts) -> Result<Self, ProblemResponse> {
        fields::from_query(&parts.uri)
    }

    /// The number of the last event that the watcher has. The header that a browser sends when it
    /// reconnects is newer than the URL of its first request.
    fn after(&self, headers: &HeaderMap) -> Result<u32, ProblemResponse> {
        let Some(last) = headers.get("last-event-id") else { return Ok(self.since.unwrap_or(0)) };
        let number = last.to_str().ok().and_then(|last| last.parse().ok());
        number
            .ok_or_else(|| ProblemResponse::invalid("header Last-Event-ID: the number of an event"))
    }
}
