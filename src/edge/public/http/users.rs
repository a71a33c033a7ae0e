//! A user's prompts: why they do not ring, and lifting that.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use fido_relay_proto::http::{HeldBy, PromptLane, UserPrompts};
use fido_relay_proto::{ProblemCode, UnixMillis, Username};

use crate::app::users::{self, UnlockError};
use crate::core::prompt_limits::{Suppression, SuppressionReason};
use crate::edge::problem_response::ProblemResponse;
use crate::edge::public::Edge;
use crate::edge::public::extract::caller::AuthenticatedClient;
use crate::edge::segment::Segment;
use crate::security::limits::TooFast;

/// `GET /v1/users/{username}/prompts`.
pub(in crate::edge) async fn prompts(
    State(edge): State<Edge>,
    caller: AuthenticatedClient,
    Segment(username): Segment,
) -> Result<Json<UserPrompts>, ProblemResponse> {
    caller.require_route_scope()?;
    let username = Username::new(&username).map_err(|_| ProblemCode::NotFound)?;
    let (app, now) = (edge.app(), edge.app().clock.now());
    let own = users::own_prompts(app, &caller.client, &username).await?;
    Ok(Json(UserPrompts {
        stranger: lane(own.stranger, now),
        vouched: caller.client.is_believed().then(|| lane(own.vouched, now)),
        unlocks_left: u32::try_from(own.unlocks_left).unwrap_or(u32::MAX),
    }))
}

/// `DELETE /v1/users/{username}/prompts`. It uses the rate of openings: both make a record for a
/// name that may have no user.
pub(in crate::edge) async fn unlock(
    State(edge): State<Edge>,
    caller: AuthenticatedClient,
    Segment(username): Segment,
) -> Result<StatusCode, ProblemResponse> {
    caller.require_route_scope()?;
    let username = Username::new(&username).map_err(|_| ProblemCode::NotFound)?;
    edge.inner.limits.open(caller.client.id)?;
    users::unlock_own(edge.app(), &caller.client, &username).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn lane(hold: Option<Suppression>, now: UnixMillis) -> PromptLane {
    PromptLane {
        rings: hold.is_none(),
        why: hold.map(|suppression| held_by(suppression.reason)),
        rings_in_s: hold.map(|suppression| suppression.until.millis_since(now).div_ceil(1000)),
    }
}

const fn held_by(why: SuppressionReason) -> HeldBy {
    match why {
        SuppressionReason::Muted => HeldBy::Muted,
        SuppressionReason::Quiet => HeldBy::Quiet,
        SuppressionReason::Hour => HeldBy::Hour,
        SuppressionReason::Live => HeldBy::Live,
        // The last two no longer hold anything back.
        SuppressionReason::Wait | SuppressionReason::CodesSpent | SuppressionReason::Displaced => {
            HeldBy::Wait
        }
    }
}

impl From<UnlockError> for ProblemResponse {
    fn from(error: UnlockError) -> Self {
        match error {
            UnlockError::TooOften { retry_after_s } => TooFast { retry_after_s }.into(),
            UnlockError::Store(error) => error.into(),
        }
    }
}
