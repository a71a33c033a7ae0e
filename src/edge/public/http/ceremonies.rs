//! `/v1/ceremonies`: open, read with long poll, cancel.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use axum::Json;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use fido_relay_proto::ProblemCode;
use fido_relay_proto::http::{CeremonyView, OpenCeremony, OpenedCeremony};
use fido_relay_proto::limits::WAIT_MAX_S;
use serde::Deserialize;
use tokio::time::Instant;

use crate::app::ceremonies::{CeremonySnapshot, may_open};
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
    JsonBody { value, bytes }: JsonBody<OpenCeremony>,
) -> Result<Response, ProblemResponse> {
    let client = &*caller.client;
    may_open(client, &value)?;
    edge.inner.limits.open(client.id)?;
    let secret = value.context.as_ref().and_then(|context| context.browser.as_ref());
    let browser = secret.map(|secret| BrowserHash(edge.inner.browsers.name(client.id, secret)));
    let ceremonies = &edge.relay().ceremonies;
    let mut order = ceremonies.request(client, value, browser, &edge.settings().rp_id)?;
    order.idempotency = idempotency_key(&headers)?.map(|key| {
        let mut body = [0; 32];
        body.copy_from_slice(digest(&SHA256, &bytes).as_ref());
        (key, body)
    });
    let view = opened(&edge, &ceremonies.open(order).await?);
    let location = format!("/v1/ceremonies/{}", view.id);
    let mut response = (StatusCode::CREATED, Json(view)).into_response();
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
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
        expires_in: view.expires_in(edge.app().clock.now()),
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
