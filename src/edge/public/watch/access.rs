//! What one watcher may see of its ceremony, by every kind of answer.

use axum::extract::FromRequestParts as _;
use axum::http::request::Parts;
use axum::http::{Request, header};
use fido_relay_proto::http::{CeremonyView, ProgressEntry, Status};
use fido_relay_proto::watch::WatchEvent;
use fido_relay_proto::{ProblemCode, Step};

use crate::app::ceremonies::{
    CeremonyKey, CeremonySnapshot, ProgressEvent, Viewer, VisibleParts, VisibleSteps,
};
use crate::edge::listener::Accepted;
use crate::edge::problem_response::ProblemResponse;
use crate::edge::public::Edge;
use crate::edge::public::extract::caller::{AuthenticatedClient, Watcher};
use crate::rfc3339;

/// A watcher and its ceremony.
#[derive(Debug)]
pub(in crate::edge) struct WatchAccess {
    watcher: Watcher,
    key: CeremonyKey,
    /// The credential of an initiator that stays, to be verified again while it watches.
    credential: Option<Box<Parts>>,
}

impl WatchAccess {
    /// Access to the ceremony that a path names. A malformed id is not found, and neither is the
    /// ceremony of another ticket.
    ///
    /// # Errors
    /// 404.
    pub(in crate::edge) fn new(watcher: Watcher, id: &str) -> Result<Self, ProblemResponse> {
        let id = id.parse().map_err(|_| ProblemCode::NotFound)?;
        let tenant = match &watcher {
            Watcher::AuthenticatedClient(caller) => caller.client.tenant.clone(),
            Watcher::Page { tenant, ceremony, .. } if *ceremony == id => tenant.clone(),
            Watcher::Page { .. } => return Err(ProblemCode::NotFound.into()),
        };
        Ok(Self { watcher, key: CeremonyKey { tenant, id }, credential: None })
    }

    /// The same for a watcher that stays: an initiator's credential is verified again before each
    /// look at the ceremony.
    pub(in crate::edge) fn kept_verified(mut self, asked: &Parts) -> Self {
        if matches!(self.watcher, Watcher::AuthenticatedClient(_)) {
            // The credential and nothing else of a request that may be large.
            let (mut kept, ()) = Request::new(()).into_parts();
            for name in [header::AUTHORIZATION, header::ORIGIN] {
                for value in asked.headers.get_all(&name) {
                    kept.headers.append(name.clone(), value.clone());
                }
            }
            if let Some(accepted) = asked.extensions.get::<Accepted>() {
                kept.extensions.insert(accepted.clone());
            }
            self.credential = Some(Box::new(kept));
        }
        self
    }

    pub(in crate::edge) fn key(&self) -> &CeremonyKey {
        &self.key
    }

    /// The ceremony, if the watcher may see it.
    ///
    /// # Errors
    /// 404 for a ceremony that does not exist and for another client's, 401 for an expired ticket,
    /// 403 without the scope; the store's.
    pub(in crate::edge) async fn look(
        &self,
        edge: &Edge,
    ) -> Result<CeremonySnapshot, ProblemResponse> {
        let view = edge.relay().ceremonies.view(&self.key).await?.ok_or(ProblemCode::NotFound)?;
        self.may_see(edge, &view).await?;
        Ok(view)
    }

    /// The same for a watcher that stays.
    ///
    /// # Errors
    /// As [`WatchAccess::look`], and 401.
    pub(in crate::edge) async fn look_again(
        &mut self,
        edge: &Edge,
    ) -> Result<CeremonySnapshot, ProblemResponse> {
        self.verify_again(edge).await?;
        self.look(edge).await
    }

    /// Checks by the same rules whether a view that another watcher read may be shown to this one.
    ///
    /// # Errors
    /// As [`WatchAccess::look_again`].
    pub(in crate::edge) async fn may_still_see(
        &mut self,
        edge: &Edge,
        seen: &CeremonySnapshot,
    ) -> Result<(), ProblemResponse> {
        self.verify_again(edge).await?;
        self.may_see(edge, seen).await
    }

    async fn verify_again(&mut self, edge: &Edge) -> Result<(), ProblemResponse> {
        if let Some(credential) = &mut self.credential {
            let caller = AuthenticatedClient::from_request_parts(credential, edge).await?;
            self.watcher = Watcher::AuthenticatedClient(caller);
        }
        Ok(())
    }

    /// Another client's ceremony is answered like one that does not exist; a page must be listed by
    /// the client that opened it.
    async fn may_see(
        &self,
        edge: &Edge,
        ceremony: &CeremonySnapshot,
    ) -> Result<(), ProblemResponse> {
        if let Watcher::Page { tenant, origin: Some(origin), .. } = &self.watcher
            && !edge.inner.clients.has_page(tenant, ceremony.client_id, origin).await?
        {
            return Err(ProblemCode::OriginNotAllowed.into());
        }
        Ok(self.viewer().may_see(ceremony, edge.app().clock.now())?)
    }

    fn viewer(&self) -> Viewer<'_> {
        match &self.watcher {
            Watcher::AuthenticatedClient(caller) => Viewer::Client(&caller.client),
            Watcher::Page { .. } => Viewer::Page,
        }
    }

    pub(super) fn is_initiator(&self) -> bool {
        matches!(self.viewer(), Viewer::Client(_))
    }

    /// The steps that the watcher sees.
    pub(in crate::edge) fn steps<'a>(&self, ceremony: &'a CeremonySnapshot) -> VisibleSteps<'a> {
        self.viewer().sees(ceremony).steps
    }

    /// The body of a read.
    pub(in crate::edge) fn body(&self, edge: &Edge, ceremony: &CeremonySnapshot) -> CeremonyView {
        let now = edge.app().clock.now();
        let VisibleParts { steps, username, reason, same_network, success } =
            self.viewer().sees(ceremony);
        let entry = |event: &ProgressEvent| ProgressEntry {
            seq: event.seq,
            step: event.step,
            at: rfc3339::format(event.at),
        };
        CeremonyView {
            id: ceremony.id,
            ceremony_type: ceremony.ceremony_type,
            username: username.cloned(),
            status: ceremony.status(),
            phase: ceremony.phase,
            seq: steps.seq(),
            progress: steps.iter().map(entry).collect(),
            reason,
            same_network,
            result: success.and_then(|success| edge.inner.results.sign(success, now)),
            expires_in: ceremony.expires_in(now),
        }
    }

    /// The events that follow number `since`.
    pub(in crate::edge) fn events<'a>(
        &'a self,
        ceremony: &'a CeremonySnapshot,
        since: u32,
    ) -> impl Iterator<Item = WatchEvent> + 'a {
        let VisibleParts { steps, reason, .. } = self.viewer().sees(ceremony);
        steps.after(since).map(move |moment| {
            let closed = moment.step == Step::Closed;
            WatchEvent {
                seq: moment.seq,
                step: moment.step,
                at: rfc3339::format(moment.at),
                status: if closed { ceremony.status() } else { Status::Pending },
                phase: moment.phase,
                reason: reason.filter(|_| closed),
            }
        })
    }
}
