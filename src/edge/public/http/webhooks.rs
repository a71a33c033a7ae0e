//! `/v1/webhooks`: an initiator's own endpoints, and what has not reached them. Another client's
//! endpoint is not found, as one that never was.

use std::future::Future;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use fido_relay_proto::http::Scope;
use fido_relay_proto::webhook::{
    ChangeWebhook, CreateWebhook, CreatedWebhook, DeliveryList, DeliveryState, DeliveryView,
    RotateWebhook, TestedWebhook, WebhookEvent, WebhookKeyView, WebhookList, WebhookView,
};
use fido_relay_proto::{EventId, ProblemCode};
use serde::Deserialize;

use super::body::JsonBody;
use super::caller::AuthenticatedClient;
use crate::app::webhooks::{Endpoint, Undelivered, WebhookError, Webhooks};
use crate::edge::Edge;
use crate::edge::fields::QueryOf;
use crate::edge::refusal::Refusal;
use crate::edge::segment::Segment;
use crate::ports::{Registrar, StoreError};
use crate::rfc3339;

impl From<WebhookError> for Refusal {
    fn from(error: WebhookError) -> Self {
        match error {
            // The same bytes whatever was not found.
            WebhookError::NotFound => ProblemCode::NotFound.into(),
            WebhookError::Store(error) => error.into(),
            WebhookError::Keys => ProblemCode::Internal.into(),
            told @ (WebhookError::Url(_)
            | WebhookError::Lists
            | WebhookError::TooMany
            | WebhookError::TooManyKeys
            | WebhookError::OldKeys
            | WebhookError::Unchanged
            | WebhookError::Gone) => Self::unprocessable(told.to_string()),
        }
    }
}

/// What `GET …/deliveries` may be asked.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::edge) struct Which {
    pub(in crate::edge) state: Option<DeliveryState>,
    pub(in crate::edge) after: Option<EventId>,
}

/// `POST /v1/webhooks`.
pub(super) async fn register(
    State(edge): State<Edge>,
    caller: AuthenticatedClient,
    JsonBody { value, .. }: JsonBody<CreateWebhook>,
) -> Result<(StatusCode, Json<CreatedWebhook>), Refusal> {
    caller.require(Scope::WebhookAdmin)?;
    may_hear(&caller, &value.events)?;
    let webhooks = webhooks(&edge)?.clone();
    let (tenant, client) = (caller.0.tenant.clone(), caller.0.id);
    let made =
        finish(&edge, async move { webhooks.register((&tenant, client), value, None).await });
    let (endpoint, secret) = made.await??;
    tracing::info!(webhook = %endpoint.id, %client, "webhook registered");
    Ok((StatusCode::CREATED, Json(CreatedWebhook { webhook: view(&endpoint), secret })))
}

/// `GET /v1/webhooks`.
pub(super) async fn list(
    State(edge): State<Edge>,
    caller: AuthenticatedClient,
) -> Result<Json<WebhookList>, Refusal> {
    caller.require(Scope::WebhookAdmin)?;
    let endpoints = webhooks(&edge)?.list(&caller.0.tenant, caller.0.id).await?;
    Ok(Json(WebhookList { webhooks: endpoints.iter().map(view).collect() }))
}

/// `GET /v1/webhooks/{id}`.
pub(super) async fn read(
    State(edge): State<Edge>,
    caller: AuthenticatedClient,
    Segment(id): Segment,
) -> Result<Json<WebhookView>, Refusal> {
    Ok(Json(view(&own(&edge, &caller, &id).await?)))
}

/// `PATCH /v1/webhooks/{id}`.
pub(super) async fn change(
    State(edge): State<Edge>,
    caller: AuthenticatedClient,
    Segment(id): Segment,
    JsonBody { value, .. }: JsonBody<ChangeWebhook>,
) -> Result<Json<WebhookView>, Refusal> {
    let endpoint = own(&edge, &caller, &id).await?;
    may_hear(&caller, value.events.as_deref().unwrap_or_default())?;
    let webhooks = webhooks(&edge)?.clone();
    let changed =
        finish(&edge, async move { webhooks.change(&endpoint, value, Registrar::Client).await });
    let changed = changed.await??;
    tracing::info!(webhook = id, "webhook changed");
    Ok(Json(view(&changed)))
}

/// Events about every user's devices and cards need the scope that lists them.
fn may_hear(caller: &AuthenticatedClient, events: &[WebhookEvent]) -> Result<(), Refusal> {
    for event in events {
        match event {
            WebhookEvent::DevicePaired | WebhookEvent::DeviceRevoked => {
                caller.require(Scope::DevicePair)?;
            }
            WebhookEvent::CardRegistered
            | WebhookEvent::CardRemoved
            | WebhookEvent::CardCloneSuspected => {
                caller.require(Scope::CardRead)?;
            }
            WebhookEvent::CeremonyClosed | WebhookEvent::UserNotMe => {}
        }
    }
    Ok(())
}

/// `DELETE /v1/webhooks/{id}`.
pub(super) async fn remove(
    State(edge): State<Edge>,
    caller: AuthenticatedClient,
    Segment(id): Segment,
) -> Result<StatusCode, Refusal> {
    let endpoint = own(&edge, &caller, &id).await?;
    let webhooks = webhooks(&edge)?.clone();
    finish(&edge, async move { webhooks.remove(&endpoint, None).await }).await??;
    tracing::info!(webhook = id, "webhook removed");
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v1/webhooks/{id}/secrets`.
pub(super) async fn rotate(
    State(edge): State<Edge>,
    caller: AuthenticatedClient,
    Segment(id): Segment,
    JsonBody { value, .. }: JsonBody<RotateWebhook>,
) -> Result<(StatusCode, Json<CreatedWebhook>), Refusal> {
    let endpoint = own(&edge, &caller, &id).await?;
    let webhooks = webhooks(&edge)?.clone();
    let rotated = finish(&edge, async move { webhooks.rotate(&endpoint, value).await });
    let (endpoint, secret) = rotated.await??;
    tracing::info!(webhook = %endpoint.id, "webhook key made");
    Ok((StatusCode::CREATED, Json(CreatedWebhook { webhook: view(&endpoint), secret })))
}

/// `POST /v1/webhooks/{id}/enable`.
pub(super) async fn enable(
    State(edge): State<Edge>,
    caller: AuthenticatedClient,
    Segment(id): Segment,
) -> Result<Json<WebhookView>, Refusal> {
    let endpoint = own(&edge, &caller, &id).await?;
    let webhooks = webhooks(&edge)?.clone();
    let enabled = finish(&edge, async move { webhooks.enable(&endpoint).await }).await??;
    Ok(Json(view(&enabled)))
}

/// `POST /v1/webhooks/{id}/test`.
pub(super) async fn test(
    State(edge): State<Edge>,
    caller: AuthenticatedClient,
    Segment(id): Segment,
) -> Result<Json<TestedWebhook>, Refusal> {
    let endpoint = own(&edge, &caller, &id).await?;
    Ok(Json(webhooks(&edge)?.test(&endpoint).await))
}

/// `GET /v1/webhooks/{id}/deliveries`.
pub(super) async fn deliveries(
    State(edge): State<Edge>,
    caller: AuthenticatedClient,
    Segment(id): Segment,
    which: Result<QueryOf<Which>, Refusal>,
) -> Result<Json<DeliveryList>, Refusal> {
    let endpoint = own(&edge, &caller, &id).await?;
    let QueryOf(which) = which?;
    Ok(Json(undelivered(webhooks(&edge)?, &endpoint, which).await?))
}

/// `POST /v1/webhooks/{id}/deliveries/{delivery}/resend`.
pub(super) async fn resend(
    State(edge): State<Edge>,
    caller: AuthenticatedClient,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<StatusCode, Refusal> {
    caller.require(Scope::WebhookAdmin)?;
    let Path((id, event)) = path.map_err(|_| ProblemCode::NotFound)?;
    let endpoint = own(&edge, &caller, &id).await?;
    let event: EventId = event.parse().map_err(|_| ProblemCode::NotFound)?;
    let webhooks = webhooks(&edge)?.clone();
    finish(&edge, async move { webhooks.resend(&endpoint, event).await }).await??;
    Ok(StatusCode::ACCEPTED)
}

/// A page of what has not arrived.
pub(in crate::edge) async fn undelivered(
    webhooks: &Webhooks,
    endpoint: &Endpoint,
    which: Which,
) -> Result<DeliveryList, StoreError> {
    let (found, next) = webhooks.undelivered(endpoint, which.state, which.after).await?;
    let deliveries = found.into_iter().map(delivery_view).collect();
    Ok(DeliveryList { deliveries, next })
}

fn delivery_view(found: Undelivered) -> DeliveryView {
    DeliveryView {
        id: found.id,
        event: found.event,
        at: rfc3339::format(found.at),
        state: found.state,
        attempts: found.attempts,
        failure: found.failure,
        status: found.status,
    }
}

/// An endpoint as its owner sees it.
pub(in crate::edge) fn view(endpoint: &Endpoint) -> WebhookView {
    let key = |key: &crate::app::webhooks::SigningKey| WebhookKeyView {
        scheme: key.scheme,
        public_key: key.public_key.clone(),
        created_at: rfc3339::format(key.created_at),
        ends_at: key.ends_at.map(rfc3339::format),
    };
    WebhookView {
        id: endpoint.id,
        url: endpoint.url.clone(),
        events: endpoint.events.clone(),
        state: endpoint.state,
        keys: endpoint.keys.iter().map(key).collect(),
        created_at: rfc3339::format(endpoint.created_at),
    }
}

fn webhooks(edge: &Edge) -> Result<&Webhooks, Refusal> {
    edge.app().webhooks.as_ref().ok_or_else(|| ProblemCode::NotFound.into())
}

async fn own(edge: &Edge, caller: &AuthenticatedClient, id: &str) -> Result<Endpoint, Refusal> {
    caller.require(Scope::WebhookAdmin)?;
    let id = id.parse().map_err(|_| ProblemCode::NotFound)?;
    Ok(webhooks(edge)?.load(&caller.0.tenant, caller.0.id, id).await?)
}

/// Runs in a task of its own: a caller that hangs up must not part what is stored from what the
/// dispatcher is told.
async fn finish<T: Send + 'static>(
    edge: &Edge,
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, Refusal> {
    edge.app().tasks.run_detached(work).await.ok_or_else(|| ProblemCode::Internal.into())
}
