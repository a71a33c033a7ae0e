//! Users as the operator manages them: what suppresses their prompts, lifting that, and removing a
//! user so that the name can be given to another person.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use fido_relay_proto::http::Platform;
use fido_relay_proto::{ClientId, DeviceId, PlainText, UnixMillis};
use serde::{Deserialize, Serialize};

use super::devices::UserQuery;
use super::{Admin, Operator};
use crate::app::devices::Device;
use crate::app::users::{self, LaneState};
use crate::core::prompt_limits::{AttemptsExhausted, Lane, Policy, SuppressionReason};
use crate::edge::fields::QueryOf;
use crate::edge::problem_response::ProblemResponse;
use crate::rfc3339;

/// A user as the operator sees them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserEntry {
    /// Prompts that wait for each other and for no others.
    pub lanes: Vec<LaneEntry>,
    /// Browsers in which the user has succeeded.
    pub known_browsers: usize,
    /// The user's phones, oldest first.
    pub devices: Vec<PhoneEntry>,
    /// How many cards the user has; none where the FIDO2 server keeps them.
    pub cards: Option<usize>,
}

/// The prompts that a lane counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LaneKind {
    /// Of all initiators that know no more than the name.
    Stranger,
    /// Of one browser in which the user has succeeded.
    KnownBrowser,
    /// Of one initiator that vouches for the user.
    Vouched,
}

/// A lane, and what holds back its next prompt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneEntry {
    /// What is known of the openings that are counted in this lane.
    pub lane: LaneKind,
    /// Of this initiator alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<ClientId>,
    /// Whether the next prompt rings.
    pub rings: bool,
    /// The rule that holds it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<SuppressionReason>,
    /// The key of the configuration that sets the rule's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setting: Option<String>,
    /// Until when (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

impl From<LaneState> for LaneEntry {
    fn from(LaneState { lane, client, hold }: LaneState) -> Self {
        Self {
            lane: match lane {
                Lane::Stranger => LaneKind::Stranger,
                Lane::Known(_) => LaneKind::KnownBrowser,
                Lane::Vouched(_) => LaneKind::Vouched,
            },
            client_id: client,
            rings: hold.is_none(),
            why: hold.map(|suppression| suppression.reason),
            setting: hold.and_then(|suppression| suppression.reason.setting()).map(str::to_owned),
            until: hold.map(|suppression| rfc3339::format(suppression.until)),
        }
    }
}

/// Why the codes of a phone are not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CodesBlocked {
    /// Too many wrong ones today.
    Today,
    /// Too many wrong ones in a row: until the operator unlocks it.
    Locked,
}

/// A phone and its wrong codes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhoneEntry {
    /// The id that it got when it was paired.
    pub device_id: DeviceId,
    /// Its name, if it has one.
    pub name: Option<PlainText<64>>,
    /// What it runs on.
    pub platform: Platform,
    /// Wrong codes within the last day.
    pub wrong_codes_today: usize,
    /// How many a day may have.
    pub wrong_codes_per_day: usize,
    /// Why its codes are not accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked: Option<CodesBlocked>,
}

impl PhoneEntry {
    fn of(device: Device, policy: &Policy, now: UnixMillis) -> Self {
        let per_day = policy.wrong_codes_per_day;
        Self {
            device_id: device.id,
            name: device.name,
            platform: device.platform,
            wrong_codes_today: per_day.saturating_sub(device.tries.left_today(policy, now)),
            wrong_codes_per_day: per_day,
            blocked: device.tries.exhausted(policy, now).map(|blocked| match blocked {
                AttemptsExhausted::Today => CodesBlocked::Today,
                AttemptsExhausted::Locked => CodesBlocked::Locked,
            }),
        }
    }
}

/// `GET /users?username=…`: alike for a name that no user has.
pub(super) async fn show(
    State(admin): State<Arc<Admin>>,
    QueryOf(UserQuery { username }): QueryOf<UserQuery>,
) -> Result<Json<UserEntry>, ProblemResponse> {
    let state = users::show(&admin.app, &admin.tenant, &username).await?;
    let (policy, now) = (&admin.app.prompts, admin.app.clock.now());
    let known = |lane: &&LaneState| matches!(lane.lane, Lane::Known(_));
    Ok(Json(UserEntry {
        known_browsers: state.lanes.iter().filter(known).count(),
        lanes: state.lanes.into_iter().map(LaneEntry::from).collect(),
        devices: state.devices.into_iter().map(|one| PhoneEntry::of(one, policy, now)).collect(),
        cards: state.cards,
    }))
}

/// `DELETE /users/prompts?username=…`: lifts every pause and the locks of the user's phones.
pub(super) async fn unlock(
    State(admin): State<Arc<Admin>>,
    Operator(actor): Operator,
    QueryOf(UserQuery { username }): QueryOf<UserQuery>,
) -> Result<StatusCode, ProblemResponse> {
    users::unlock(&admin.app, &actor, &username).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /users?username=…`: open ceremonies and all that [`users::remove`] removes. Interrupted,
/// it is to be repeated.
pub(super) async fn remove(
    State(admin): State<Arc<Admin>>,
    Operator(actor): Operator,
    QueryOf(UserQuery { username }): QueryOf<UserQuery>,
) -> Result<StatusCode, ProblemResponse> {
    if let Some(relay) = &admin.relay {
        relay.ceremonies.cancel_all_of(&admin.tenant, &username).await?;
    }
    users::remove(&admin.app, &actor, &username).await?;
    Ok(StatusCode::NO_CONTENT)
}
