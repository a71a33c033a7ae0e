//! Who may see a ceremony, and what of it: the same for every kind of answer.

use fido_relay_proto::http::Scope;
use fido_relay_proto::{ProblemCode, Reason, SameNetwork, UnixMillis, Username};

use super::{CeremonySnapshot, VisibleSteps};
use crate::app::clients::{Client, MissingScope};
use crate::core::ceremony::Success;
use crate::security::ticket;

/// Who looks at a ceremony.
#[derive(Clone, Copy, Debug)]
pub enum Viewer<'a> {
    /// An initiator, by its credential.
    Client(&'a Client),
    /// The holder of the ceremony's ticket.
    Page,
}

/// Why a viewer does not see a ceremony.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ViewRefusal {
    /// Another client's ceremony is refused like one that does not exist.
    #[error("no such ceremony")]
    NotFound,
    #[error(transparent)]
    Scope(#[from] MissingScope),
    /// The ceremony ended some time ago.
    #[error("the ticket is void")]
    TicketVoid,
}

impl ViewRefusal {
    #[must_use]
    pub const fn code(&self) -> ProblemCode {
        match self {
            Self::NotFound => ProblemCode::NotFound,
            Self::Scope(_) => ProblemCode::ScopeMissing,
            Self::TicketVoid => ProblemCode::Unauthorized,
        }
    }
}

/// What a viewer sees of a ceremony beside what every viewer does.
#[derive(Clone, Copy, Debug)]
pub struct VisibleParts<'a> {
    pub steps: VisibleSteps<'a>,
    pub username: Option<&'a Username>,
    /// A page sees no reason that is about the card, nor why the person declined.
    pub reason: Option<Reason>,
    pub same_network: Option<SameNetwork>,
    /// What a result token says.
    pub success: Option<&'a Success>,
}

impl Viewer<'_> {
    pub fn may_see(self, ceremony: &CeremonySnapshot, now: UnixMillis) -> Result<(), ViewRefusal> {
        match self {
            Self::Client(client) if ceremony.client_id != client.id => Err(ViewRefusal::NotFound),
            Self::Client(client) => Ok(client.require(Scope::CeremonyRead)?),
            Self::Page => match ceremony.end {
                Some(end) if now >= end.at.plus_secs(ticket::AFTER_END_S) => {
                    Err(ViewRefusal::TicketVoid)
                }
                Some(_) | None => Ok(()),
            },
        }
    }

    #[must_use]
    pub fn sees(self, ceremony: &CeremonySnapshot) -> VisibleParts<'_> {
        let (is_initiator, presence) = match self {
            Self::Client(client) => (true, client.has(Scope::PresenceRead)),
            Self::Page => (false, ceremony.show_delivery == Some(true)),
        };
        let reason = ceremony.end.and_then(|end| end.reason);
        VisibleParts {
            steps: ceremony.steps(presence),
            username: Some(&ceremony.username).filter(|_| is_initiator),
            reason: reason.filter(|reason| is_initiator || !reason.is_hidden_from_pages()),
            same_network: ceremony.same_network.filter(|_| is_initiator),
            success: ceremony.success.as_deref().filter(|_| is_initiator),
        }
    }
}

#[cfg(test)]
mod tests {
    use fido_relay_proto::{Binding, ClientId, PlainText, TenantId};

    use super::*;
    use crate::app::clients::NewClient;
    use crate::core::ceremony::with_every_kind;

    fn client(id: ClientId, scopes: &[Scope]) -> Client {
        let (name, scopes) = (PlainText::new("Example Bank").unwrap(), scopes.to_vec());
        let (tenant, bindings) = (TenantId::default(), vec![Binding::Code]);
        let new = NewClient { tenant, name, scopes, bindings };
        Client { id, ..Client::new(new, UnixMillis(0)) }
    }

    #[test]
    fn the_initiator_sees_all_with_its_scopes_and_a_page_until_its_ticket_is_void() {
        let view = CeremonySnapshot::from(&with_every_kind());
        let (end, id) = (view.end.unwrap().at, view.client_id);
        let reads = [Scope::CeremonyRead, Scope::PresenceRead];
        let [initiator, other] = [id, ClientId::from_bytes([9; 16])].map(|id| client(id, &reads));
        let (blind, now) = (client(id, &reads[1..]), end.plus_secs(ticket::AFTER_END_S));
        let may_see = |viewer: Viewer<'_>, now| viewer.may_see(&view, now).map_err(|it| it.code());
        assert_eq!(may_see(Viewer::Client(&initiator), now), Ok(()));
        assert_eq!(may_see(Viewer::Client(&other), now), Err(ProblemCode::NotFound));
        assert_eq!(may_see(Viewer::Client(&blind), now), Err(ProblemCode::ScopeMissing));
        assert_eq!(may_see(Viewer::Page, now), Err(ProblemCode::Unauthorized));
        assert_eq!(may_see(Viewer::Page, UnixMillis(now.0 - 1)), Ok(()));

        let (all, page) = (Viewer::Client(&initiator).sees(&view), Viewer::Page.sees(&view));
        assert_eq!((all.username, all.reason), (Some(&view.username), Some(Reason::NotMe)));
        assert_eq!((page.username, page.reason, page.same_network), (None, None, None));
        assert!(page.steps.iter().count() < all.steps.iter().count(), "presence is private");
    }
}
