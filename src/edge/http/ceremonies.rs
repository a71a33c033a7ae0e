//! `/v1/ceremonies`: open, read with long poll, cancel.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use axum::Json;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use fido_relay_proto::http::{CeremonyView, OpenCeremony, OpenedCeremony, ProgressEntry, Scope};
use fido_relay_proto::limits::{
    CEREMONY_DEFAULT_S, CEREMONY_MAX_S, CEREMONY_MIN_S, TRANSACTION_FIELDS, WAIT_MAX_S,
};
use fido_relay_proto::{CeremonyType, Problem, ProblemCode, UnixMillis};
use serde::Deserialize;
use tokio::time::Instant;

use super::body::JsonBody;
use super::caller::{Initiator, Watcher};
use super::origin;
use super::refusal::Refusal;
use super::rfc3339;
use super::segment::Segment;
use crate::edge::Edge;
use crate::relay::{Asker, CeremonyKey, OpenOrder, View};
use crate::security::clients::Client;
use crate::security::ticket;

/// Seconds until a restarted relay is worth asking.
const RESTART_S: u64 = 1;
/// Longest `Idempotency-Key`.
const KEY_MAX: usize = 255;

/// `POST /v1/ceremonies`.
pub(super) async fn open(
    State(edge): State<Edge>,
    caller: Initiator,
    headers: HeaderMap,
    JsonBody { value, bytes }: JsonBody<OpenCeremony>,
) -> Result<Response, Refusal> {
    caller.require(match value.ceremony_type {
        CeremonyType::Registration => Scope::CeremonyReg,
        CeremonyType::Authentication => Scope::CeremonyAuth,
        CeremonyType::Approval => Scope::CeremonyApprove,
    })?;
    if !caller.0.may_bind(value.binding) {
        return Err(ProblemCode::BindingNotAllowed.into());
    }
    check(&edge, &value)?;
    let idempotency = idempotency_key(&headers)?.map(|key| {
        let mut body = [0; 32];
        body.copy_from_slice(digest(&SHA256, &bytes).as_ref());
        (key, body)
    });
    let now = edge.relay().world().clock.now();
    let Client { tenant, id, name, .. } = caller.0;
    let rp_id = edge.settings().rp_id.clone();
    let mut order = OpenOrder::new(Asker { tenant, id, name }, value, rp_id, now);
    order.idempotency = idempotency;
    let view = opened(&edge, &edge.relay().open(order).await?);
    let location = format!("/v1/ceremonies/{}", view.id);
    let mut response = (StatusCode::CREATED, Json(view)).into_response();
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// What the types alone do not say.
fn check(edge: &Edge, order: &OpenCeremony) -> Result<(), Refusal> {
    let unprocessable =
        |detail: &str| Err(Problem::new(ProblemCode::Unprocessable).with_detail(detail).into());
    let timeout = order.timeout_s.unwrap_or(CEREMONY_DEFAULT_S);
    if !(CEREMONY_MIN_S..=CEREMONY_MAX_S).contains(&timeout) {
        return unprocessable("timeout_s must be from 30 to 600");
    }
    match (&order.transaction, order.ceremony_type) {
        (None, CeremonyType::Approval) => return unprocessable("an approval needs a transaction"),
        (Some(_), CeremonyType::Registration | CeremonyType::Authentication) => {
            return unprocessable("only an approval has a transaction");
        }
        (Some(transaction), CeremonyType::Approval)
            if !(1..=TRANSACTION_FIELDS).contains(&transaction.fields.len()) =>
        {
            return unprocessable("a transaction has 1 to 16 fields");
        }
        (Some(_), CeremonyType::Approval)
        | (None, CeremonyType::Registration | CeremonyType::Authentication) => {}
    }
    match &order.options.rp_id {
        Some(rp_id) if rp_id.as_str() != edge.settings().rp_id => {
            unprocessable("this rpId is not served here")
        }
        Some(_) | None => Ok(()),
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    match value.to_str() {
        Ok(key) if (1..=KEY_MAX).contains(&key.len()) && values.next().is_none() => {
            Ok(Some(key.to_owned()))
        }
        Ok(_) | Err(_) => Err(Problem::new(ProblemCode::InvalidRequest)
            .with_detail("there must be one Idempotency-Key of 1 to 255 visible characters")
            .into()),
    }
}

fn opened(edge: &Edge, view: &View) -> OpenedCeremony {
    OpenedCeremony {
        id: view.id,
        status: view.status(),
        phase: view.phase,
        code: view.code.as_ref().map(|code| code.0.clone()),
        ticket: edge.inner.tickets.issue(&view.tenant, view.id),
        expires_in: view.expires_in(edge.relay().world().clock.now()),
    }
}

/// The query of a read.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wait {
    /// Seconds to hold the answer for something new.
    #[serde(default)]
    wait: u64,
    /// The `seq` that the caller knows.
    since: Option<u32>,
}

/// `GET /v1/ceremonies/{id}`.
pub(super) async fn read(
    State(edge): State<Edge>,
    watcher: Watcher,
    Segment(id): Segment,
    query: Result<Query<Wait>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(query) = query.map_err(|_| ProblemCode::InvalidRequest)?;
    let key = watched_key(&watcher, &id)?;
    let until = Instant::now() + Duration::from_secs(query.wait.min(WAIT_MAX_S));
    let stopping = edge.relay().world().tasks.stopping().clone();
    // Subscribe, look, wait, look again: no change falls between.
    let watch = edge.relay().watch(&key);
    let mut first = None;
    loop {
        let changed = watch.changed();
        let ceremony = edge.relay().view(&key).await?.ok_or(ProblemCode::NotFound)?;
        may_see(&edge, &watcher, &ceremony).await?;
        let since = *first.get_or_insert(query.since.unwrap_or(ceremony.seq()));
        if ceremony.seq() > since || ceremony.end.is_some() {
            return Ok(Json(view(&edge, &watcher, &ceremony)).into_response());
        }
        tokio::select! {
            () = changed => {}
            () = tokio::time::sleep_until(until) => {
                return Ok(Json(view(&edge, &watcher, &ceremony)).into_response());
            }
            () = stopping.cancelled() => {
                // What stands, and when to ask whoever comes after this process.
                let hint = [(header::RETRY_AFTER, HeaderValue::from(RESTART_S))];
                return Ok((hint, Json(view(&edge, &watcher, &ceremony))).into_response());
            }
        }
    }
}

/// `DELETE /v1/ceremonies/{id}`.
pub(super) async fn cancel(
    State(edge): State<Edge>,
    caller: Initiator,
    Segment(id): Segment,
) -> Result<Json<CeremonyView>, Refusal> {
    let watcher = Watcher::Initiator(caller);
    let key = watched_key(&watcher, &id)?;
    let ceremony = edge.relay().view(&key).await?.ok_or(ProblemCode::NotFound)?;
    may_see(&edge, &watcher, &ceremony).await?;
    let cancelled = edge.relay().cancel(&key).await?.ok_or(ProblemCode::AlreadyClosed)?;
    Ok(Json(view(&edge, &watcher, &cancelled)))
}

fn watched_key(watcher: &Watcher, id: &str) -> Result<CeremonyKey, Refusal> {
    let id = id.parse().map_err(|_| ProblemCode::NotFound)?;
    match watcher {
        Watcher::Initiator(caller) => Ok(CeremonyKey { tenant: caller.0.tenant.clone(), id }),
        Watcher::Page { tenant, ceremony, .. } if *ceremony == id => {
            Ok(CeremonyKey { tenant: tenant.clone(), id })
        }
        Watcher::Page { .. } => Err(ProblemCode::NotFound.into()),
    }
}

/// Somebody else's ceremony and one that does not exist look the same; a page must be one of the
/// client's that opened it.
async fn may_see(edge: &Edge, watcher: &Watcher, ceremony: &View) -> Result<(), Refusal> {
    match watcher {
        Watcher::Initiator(caller) => {
            if ceremony.client_id == caller.0.id {
                caller.require(Scope::CeremonyRead)
            } else {
                Err(ProblemCode::NotFound.into())
            }
        }
        Watcher::Page { tenant, origin, .. } => {
            let client = ceremony.client_id;
            origin::may_watch(edge, origin.as_deref(), tenant, client).await?;
            let now = edge.relay().world().clock.now();
            let void = |at: UnixMillis| now >= at.plus_secs(ticket::AFTER_END_S);
            match ceremony.end {
                Some(end) if void(end.at) => Err(ProblemCode::Unauthorized.into()),
                Some(_) | None => Ok(()),
            }
        }
    }
}

fn view(edge: &Edge, watcher: &Watcher, ceremony: &View) -> CeremonyView {
    let now = edge.relay().world().clock.now();
    let initiator = matches!(watcher, Watcher::Initiator(_));
    let reason = ceremony.end.and_then(|end| end.reason);
    let success = ceremony.success.as_ref().filter(|_| initiator);
    CeremonyView {
        id: ceremony.id,
        ceremony_type: ceremony.ceremony_type,
        username: initiator.then(|| ceremony.username.clone()),
        status: ceremony.status(),
        phase: ceremony.phase,
        seq: ceremony.seq(),
        progress: progress(ceremony),
        reason: reason.filter(|reason| initiator || !reason.is_about_card()),
        result: success.and_then(|success| edge.inner.results.sign(success, now)),
        expires_in: ceremony.expires_in(now),
    }
}

fn progress(ceremony: &View) -> Vec<ProgressEntry> {
    let numbered = (1..).zip(&ceremony.progress);
    numbered
        .map(|(seq, entry)| ProgressEntry { seq, step: entry.step, at: rfc3339::format(entry.at) })
        .collect()
}
