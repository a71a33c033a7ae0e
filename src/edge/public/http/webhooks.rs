//! `/v1/webhooks`: an initiator's own endpoints, and undelivered events. Another client's endpoint
//! is not found, like one that does not exist.

use std::future::Future;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use fido_relay_proto::webhook::{
    ChangeWebhook, CreateWebhook, CreatedWebhook, DeliveryList, RotateWebhook, TestedWebhook,
    WebhookList, WebhookView,
};
use fido_relay_proto::{EventId, ProblemCode};

use crate::app::webhooks::{Endpoint, Webhooks};
use crate::edge::fields::QueryOf;
use crate::edge::problem_response::ProblemResponse;
use crate::edge::public::Edge;
use crate::edge::public::extract::body::JsonBody;
use crate::edge::public::extract::caller::AuthenticatedClient;
use crate::edge::segment::Segment;
use crate::edge::views::{self, DeliveryQuery};
use crate::ports::Registrar;

/// `POST /v1/webhooks`.
pub(in crate::edge) async fn register(
    State(edge): State<Edge>,
    caller: AuthenticatedClient,
    JsonBody { value, .. }: JsonBody<CreateWebhook>,
) -> Result<(StatusCode, Json<CreatedWebhook>), ProblemResponse> {
    caller.require_route_scope()?;
    caller.client.may_hear(&value.events)?;
    let webhooks = webhooks(&edge)?.clone();
    let (tenant, client) = (caller.client.tenant.clone(), caller.client.id);
    let made =
        finish(&edge, async move { webhooks.register((&tenant, client), value, None).await });
    let (endpoint, secret) = made.await??;
    tracing::info!(webhook = %endpoint.id, %client, "webhook registered");
    Ok((StatusCode::CREATED, Json(CreatedWebhook { webhook: views::webhook(&endpoint), secret })))
}

/// `GET /v1/webhooks`.
pub(in crate::edge) async fn list(
    State(edge): State<Edge>,
    caller: AuthenticatedClient,
) -> Result<Json<WebhookList>, ProblemResponse> {
    caller.require_route_scope()?;
    let endpoints = webhooks(&edge)?.list(&caller.client.tenant, caller.client.id).await?;
    Ok(Json(WebhookList { webhooks: endpoints.iter().map(views::webhook).collect() }))
}

/// `GET /v1/webhooks/{id}`.
pub(in crate::edge) async fn read(
    State(edge): State<Edge>,
    caller: AuthenticatedClient,
    Segment(id): Segment,
) -> Result<Json<WebhookView>, ProblemResponse> {
    Ok(Json(views::webhook(&own(&edge, &caller, &id).await?)))
}

/// `PATCH /v1/webhooks/{id}`.
pub(in crate::edge) async fn change(
    State(edge): State<Edge>,
    caller: AuthenticatedClient,
    Segment(id): Segment,
    JsonBody { value, .. }: JsonBody<ChangeWebhook>,
) -> Result<Json<WebhookView>, ProblemResponse> {
    let endpoint = own(&edge, &caller, &id).await?;
    caller.client.may_hear(value.events.as_deref().unwrap_or_default())?;
    let webhooks = webhooks(&edge)?.clone();
    let changed =
        finish(&edge, async move { webhooks.change(&endpoint, value, Registrar::Client).await });
    let changed = changed.await??;
    tracing::info!(webhook = id, "webhook changed");
    Ok(Json(views::webhook(&changed)))
}

/// `DELETE /v1/webhooks/{id}`.
pub(in crate::edge) async fn remove(
    State(edge): State<Edge>,
    caller: AuthenticatedClient,
    Segment(id): Segment,
) -> Result<StatusCode, ProblemResponse> {
    let endpoint = own(&edge, &caller, &id).await?;
    let webhooks = webhooks(&edge)?.clone();
    finish(&edge, async move { webhooks.remove(&endpoint, None).await }).await??;
    tracing::info!(webhook = id, "webhook removed");
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v1/webhooks/{id}/secrets`.
pub(in crate::edge) async fn rotate(
    State(edge): State<Edge>,
    caller: AuthenticatedClient,
    Segment(id): Segment,
    JsonBody { value, .. }: JsonBody<RotateWebhook>,
) -> Result<(StatusCode, Json<CreatedWebhook>), ProblemResponse> {
    let endpoint = own(&edge, &caller, &id).await?;
    let webhooks = webhooks(&edge)?.clone();
    let rotated = finish(&edge, async move { webhooks.rotate(&endpoint, value).await });
    let (endpoint, secret) = rotated.await??;
    tracing::info!(webhook = %endpoint.id, "webhook key created");
    Ok((StatusCode::CREATED, Json(CreatedWebhook { webhook: views::webhook(&endpoint), secret })))
}

/// `POST /v1/webhooks/{id}/enable`.
pub(in crate::edge) async fn enable(
    State(edge): State<Edge>,
    caller: AuthenticatedClient,
    Segment(id): Segment,
) -> Result<Json<WebhookView>, ProblemResponse> {
    let endpoint = own(&edge, &caller, &id).await?;
    let webhooks = webhooks(&edge)?.clone();
    let enabled = finish(&edge, async move { webhooks.enable(&endpoint).await }).await??;
    Ok(Json(views::webhook(&enabled)))
}

/// `POST /v1/webhooks/{id}/test`.
pub(in crate::edge) async fn test(
    State(edge): State<Edge>,
    caller: AuthenticatedClient,
    Segment(id): Segment,
) -> Result<Json<TestedWebhook>, ProblemResponse> {
    let endpoint = own(&edge, &caller, &id).await?;
    Ok(Json(webhooks(&edge)?.test(&endpoint).await))
}

/// `GET /v1/webhooks/{id}/deliveries`.
pub(in crate::edge) async fn deliveries(
    State(edge): State<Edge>,
    caller: AuthenticatedClient,
    Segment(id): Segment,
    query: Result<QueryOf<DeliveryQuery>, ProblemResponse>,
) -> Result<Json<DeliveryList>, ProblemResponse> {
    let endpoint = own(&edge, &caller, &id).await?;
    let QueryOf(query) = query?;
    Ok(Json(views::undelivered(webhooks(&edge)?, &endpoint, query).await?))
}

/// `POST /v1/webhooks/{id}/deliveries/{delivery}/resend`.
pub(in crate::edge) async fn resend(
    State(edge): State<Edge>,
    caller: AuthenticatedClient,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<StatusCode, ProblemResponse> {
    caller.require_route_scope()?;
    let Path((id, event)) = path.map_err(|_| ProblemCode::NotFound)?;
    let endpoint = own(&edge, &caller, &id).await?;
    let event: EventId = event.parse().map_err(|_| ProblemCode::NotFound)?;
    let webhooks = webhooks(&edge)?.clone();
    finish(&edge, async move { webhooks.resend(&endpoint, event).await }).await??;
    Ok(StatusCode::ACCEPTED)
}

fn webhooks(edge: &Edge) -> Result<&Webhooks, ProblemResponse> {
    edge.app().webhooks.as_ref().ok_or_else(|| ProblemCode::NotFound.into())
}

async fn own(
    edge: &Edge,
    caller: &AuthenticatedClient,
    id: &str,
) -> Result<Endpoint, ProblemResponse> {
    caller.require_route_scope()?;
    let id = id.parse().map_err(|_| ProblemCode::NotFound)?;
    Ok(webhooks(edge)?.load(&caller.client.tenant, caller.client.id, id).await?)
}

/// Runs detached: a caller that hangs up must not separate what is stored from what the dispatcher
/// receives.
async fn finish<T: Send + 'static>(
    edge: &Edge,
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, ProblemResponse> {
    edge.app().tasks.run_detached(work).await.ok_or_else(|| ProblemCode::Internal.into())
}
