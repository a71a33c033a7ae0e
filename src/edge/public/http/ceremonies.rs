//! `/v1/ceremonies`: open, read with long poll, cancel.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use axum::Json;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use fido_relay_proto::http::{CeremonyView, OpenCeremony, OpenedCeremony, Requirement, Scope};
use fido_relay_proto::life::PriorAuth;
use fido_relay_proto::limits::{
    CEREMONY_DEFAULT_S, CEREMONY_MAX_S, CEREMONY_MIN_S, TRANSACTION_FIELDS, WAIT_MAX_S,
};
use fido_relay_proto::{CeremonyType, Problem, ProblemCode};
use serde::Deserialize;
use tokio::time::Instant;

use crate::app::ceremonies::{CeremonySnapshot, Initiator, OpenRequest};
use crate::app::clients::Client;
use crate::core::prompt_limits::BrowserHash;
use crate::edge::fields::QueryOf;
use crate::edge::listener::Accepted;
use crate::edge::problem_response::ProblemResponse;
use crate::edge::public::Edge;
use crate::edge::public::extract::body::JsonBody;
use crate::edge::public::extract::caller::{AuthenticatedClient, Watcher};
use crate::edge::public::watch::{WaitOutcome, WatchAccess, WatchSession, take_slots};
use crate::edge::segment::Segment;

/// `Retry-After` of a node that stops, in seconds.
const RESTART_S: u64 = 1;
/// Longest `Idempotency-Key`.
const KEY_MAX: usize = 255;

/// `POST /v1/ceremonies`.
pub(in crate::edge) async fn open(
    State(edge): State<Edge>,
    caller: AuthenticatedClient,
    headers: HeaderMap,
    JsonBody { mut value, bytes }: JsonBody<OpenCeremony>,
) -> Result<Response, ProblemResponse> {
    caller.require(match value.ceremony_type {
        CeremonyType::Registration => Scope::CeremonyReg,
        CeremonyType::Authentication => Scope::CeremonyAuth,
        CeremonyType::Approval => Scope::CeremonyApprove,
    })?;
    if !caller.client.may_bind(value.binding) {
        let allowed: Vec<_> =
            caller.client.bindings.iter().map(|binding| binding.as_str()).collect();
        let detail = format!("/binding: this client may use {}", allowed.join(", "));
        return Err(Problem::new(ProblemCode::BindingNotAllowed).with_detail(detail).into());
    }
    let wish = value.options.user_verification.get_or_insert(Requirement::Required);
    if *wish != Requirement::Required {
        caller.require(Scope::UvWeaken)?;
    }
    may_show_delivery(&caller, &value)?;
    edge.inner.limits.open(caller.client.id)?;
    check(&edge, &value)?;
    let idempotency = idempotency_key(&headers)?.map(|key| {
        let mut body = [0; 32];
        body.copy_from_slice(digest(&SHA256, &bytes).as_ref());
        (key, body)
    });
    let now = edge.relay().dependencies().clock.now();
    let client = &*caller.client;
    let Client { tenant, id, name, code_alone, .. } = client;
    let (tenant, name, is_believed) = (tenant.clone(), name.clone(), client.is_believed());
    let asker = Initiator { tenant, id: *id, name, is_believed, code_alone: *code_alone };
    let secret = value.context.as_ref().and_then(|context| context.browser.as_ref());
    let browser = secret.map(|secret| BrowserHash(edge.inner.browsers.name(*id, secret)));
    let rp_id = edge.settings().rp_id.clone();
    let mut order = OpenRequest::new(asker, value, browser, rp_id, now);
    order.idempotency = idempotency;
    let view = opened(&edge, &edge.relay().ceremonies.open(order).await?);
    let location = format!("/v1/ceremonies/{}", view.id);
    let mut response = (StatusCode::CREATED, Json(view)).into_response();
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// Allows `show_delivery` only to an initiator that may see delivery, and for a user whom it knew
/// before: otherwise a page with guessed names would reveal which users exist.
fn may_show_delivery(
    caller: &AuthenticatedClient,
    order: &OpenCeremony,
) -> Result<(), ProblemResponse> {
    if !order.show_delivery {
        return Ok(());
    }
    let refused = |code, detail| Err(Problem::new(code).with_detail(detail).into());
    if !caller.has(Scope::PresenceRead) {
        let detail = "/show_delivery: needs the scope presence:read";
        return refused(ProblemCode::ScopeMissing, detail);
    }
    if !caller.client.is_believed() {
        let detail = "/show_delivery: needs the scope prior_auth:assert";
        return refused(ProblemCode::ScopeMissing, detail);
    }
    match order.prior_auth {
        PriorAuth::None => {
            let detail = "/show_delivery: needs a prior_auth other than none";
            refused(ProblemCode::PriorAuthRequired, detail)
        }
        PriorAuth::Password | PriorAuth::Session => Ok(()),
    }
}

/// Checks what the types alone do not.
fn check(edge: &Edge, order: &OpenCeremony) -> Result<(), ProblemResponse> {
    let unprocessable = |detail: &str| Err(ProblemResponse::unprocessable(detail));
    let timeout = order.timeout_s.unwrap_or(CEREMONY_DEFAULT_S);
    if !(CEREMONY_MIN_S..=CEREMONY_MAX_S).contains(&timeout) {
        return unprocessable("/timeout_s: a whole number from 30 to 600");
    }
    if !edge.relay().dependencies().fido.takes_username(&order.username) {
        return unprocessable(
            "/username: the FIDO2 server accepts only letters A to Z, digits, '.', '_' and '-'",
        );
    }
    match (&order.transaction, order.ceremony_type) {
        (None, CeremonyType::Approval) => {
            return unprocessable("/transaction: missing; an approval needs it");
        }
        (Some(_), CeremonyType::Registration | CeremonyType::Authentication) => {
            return unprocessable("/transaction: only for an approval");
        }
        (Some(transaction), CeremonyType::Approval)
            if !(1..=TRANSACTION_FIELDS).contains(&transaction.fields.len()) =>
        {
            return unprocessable("/transaction/fields: a list of 1 to 16");
        }
        (Some(_), CeremonyType::Approval)
        | (None, CeremonyType::Registration | CeremonyType::Authentication) => {}
    }
    if order.ceremony_type != CeremonyType::Authentication
        && order.options.user_verification != Some(Requirement::Required)
    {
        return unprocessable("/options/userVerification: required, but for an authentication");
    }
    match &order.options.rp_id {
        Some(rp_id) if rp_id.as_str() != edge.settings().rp_id => {
            unprocessable("/options/rpId: not served here")
        }
        Some(_) | None => Ok(()),
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ProblemResponse> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    match value.to_str() {
        Ok(key) if (1..=KEY_MAX).contains(&key.len()) && values.next().is_none() => {
            Ok(Some(key.to_owned()))
        }
        Ok(_) | Err(_) => Err(ProblemResponse::invalid(
            "header Idempotency-Key: one, of 1 to 255 visible ASCII characters",
        )),
    }
}

fn opened(edge: &Edge, view: &CeremonySnapshot) -> OpenedCeremony {
    OpenedCeremony {
        id: view.id,
        status: view.status(),
        phase: view.phase,
        code: view.code.as_ref().map(|code| code.0.clone()),
        ticket: edge.inner.tickets.issue(&view.tenant, view.id),
        prior_auth: view.prior_auth,
        expires_in: view.expires_in(edge.relay().dependencies().clock.now()),
    }
}

/// The query of a read.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::edge) struct ReadQuery {
    /// Seconds to hold the answer until there is a new step.
    #[serde(default)]
    wait: u32,
    /// The `seq` that the caller knows.
    since: Option<u32>,
}

/// `GET /v1/ceremonies/{id}`.
pub(in crate::edge) async fn read(
    State(edge): State<Edge>,
    watcher: Watcher,
    Segment(id): Segment,
    accepted: Option<Extension<Accepted>>,
    QueryOf(query): QueryOf<ReadQuery>,
) -> Result<Response, ProblemResponse> {
    let access = WatchAccess::new(watcher, &id)?;
    let until = Instant::now() + Duration::from_secs(u64::from(query.wait).min(WAIT_MAX_S));
    let (mut session, view) = WatchSession::begin(&edge, access).await?;
    let steps = session.access().steps(&view);
    let since = query.since.map_or(steps.seq(), |since| steps.resume_after(since));
    if query.wait == 0 || steps.has_after(since) || view.end.is_some() {
        return Ok(Json(session.access().body(&edge, &view)).into_response());
    }
    // Only a request that is held takes a slot.
    let _slots = take_slots(&edge, session.access(), accepted.as_deref())?;
    match session.next_change(since, until).await? {
        WaitOutcome::News(view) | WaitOutcome::TimedOut(view) => {
            Ok(Json(session.access().body(&edge, &view)).into_response())
        }
        WaitOutcome::Stopping(view) => {
            // The ceremony as it is, and when to ask the process that comes after this one.
            let hint = [(header::RETRY_AFTER, HeaderValue::from(RESTART_S))];
            Ok((hint, Json(session.access().body(&edge, &view))).into_response())
        }
    }
}

/// `DELETE /v1/ceremonies/{id}`.
pub(in crate::edge) async fn cancel(
    State(edge): State<Edge>,
    caller: AuthenticatedClient,
    Segment(id): Segment,
) -> Result<Json<CeremonyView>, ProblemResponse> {
    let access = WatchAccess::new(Watcher::AuthenticatedClient(caller), &id)?;
    access.look(&edge).await?;
    let cancelled =
        edge.relay().ceremonies.cancel(access.key()).await?.ok_or(ProblemCode::AlreadyClosed)?;
    Ok(Json(access.body(&edge, &cancelled)))
}
