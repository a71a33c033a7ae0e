//! Webhooks as the operator manages them: endpoints of any client, on any host that the address
//! rules allow.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use fido_relay_proto::webhook::{
    ChangeWebhook, CreateWebhook, CreatedWebhook, DeliveryList, RotateWebhook, TestedWebhook,
    WebhookView,
};
use fido_relay_proto::{ClientId, EventId, Problem, ProblemCode, WebhookId};
use serde::{Deserialize, Serialize};

use super::{Admin, ClientPath, Operator, Order};
use crate::app::webhooks::{Endpoint, Webhooks};
use crate::edge::fields::QueryOf;
use crate::edge::problem_response::ProblemResponse;
use crate::edge::views::{self, DeliveryQuery};
use crate::ports::Registrar;

/// An endpoint as the operator sees it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WebhookEntry {
    pub client_id: ClientId,
    /// Whether the operator registered it.
    pub by_operator: bool,
    #[serde(flatten)]
    pub webhook: WebhookView,
}

pub(super) fn router() -> Router<Arc<Admin>> {
    Router::new()
        .route("/webhooks", get(list))
        .route("/clients/{id}/webhooks", post(register))
        .route("/webhooks/{id}", delete(remove).patch(change))
        .route("/webhooks/{id}/secrets", post(rotate))
        .route("/webhooks/{id}/enable", post(enable))
        .route("/webhooks/{id}/test", post(test))
        .route("/webhooks/{id}/deliveries", get(deliveries))
        .route("/webhooks/{id}/deliveries/{delivery}/resend", post(resend))
}

async fn list(State(admin): State<Arc<Admin>>) -> Result<Json<Vec<WebhookEntry>>, ProblemResponse> {
    let endpoints = webhooks(&admin)?.list_all(&admin.tenant).await?;
    let entry = |endpoint: &Endpoint| WebhookEntry {
        client_id: endpoint.client,
        by_operator: endpoint.by_operator,
        webhook: views::webhook(endpoint),
    };
    Ok(Json(endpoints.iter().map(entry).collect()))
}

async fn register(
    State(admin): State<Arc<Admin>>,
    Operator(actor): Operator,
    ClientPath(client): ClientPath,
    Order(order): Order<CreateWebhook>,
) -> Result<(StatusCode, Json<CreatedWebhook>), ProblemResponse> {
    let (whose, operator) = ((&admin.tenant, client), actor.operator_name());
    let (endpoint, secret) = webhooks(&admin)?.register(whose, order, operator).await?;
    tracing::info!(webhook = %endpoint.id, %client, "webhook registered by the operator");
    Ok((StatusCode::CREATED, Json(CreatedWebhook { webhook: views::webhook(&endpoint), secret })))
}

async fn change(
    State(admin): State<Arc<Admin>>,
    Path(id): Path<String>,
    Order(order): Order<ChangeWebhook>,
) -> Result<Json<WebhookView>, ProblemResponse> {
    let endpoint = find(&admin, &id).await?;
    let changed = webhooks(&admin)?.change(&endpoint, order, Registrar::Operator).await?;
    Ok(Json(views::webhook(&changed)))
}

async fn remove(
    State(admin): State<Arc<Admin>>,
    Operator(actor): Operator,
    Path(id): Path<String>,
) -> Result<StatusCode, ProblemResponse> {
    let endpoint = find(&admin, &id).await?;
    webhooks(&admin)?.remove(&endpoint, actor.operator_name()).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn rotate(
    State(admin): State<Arc<Admin>>,
    Path(id): Path<String>,
    Order(order): Order<RotateWebhook>,
) -> Result<(StatusCode, Json<CreatedWebhook>), ProblemResponse> {
    let rotated = webhooks(&admin)?.rotate(&find(&admin, &id).await?, order).await?;
    let (endpoint, secret) = rotated;
    Ok((StatusCode::CREATED, Json(CreatedWebhook { webhook: views::webhook(&endpoint), secret })))
}

async fn enable(
    State(admin): State<Arc<Admin>>,
    Path(id): Path<String>,
) -> Result<Json<WebhookView>, ProblemResponse> {
    let enabled = webhooks(&admin)?.enable(&find(&admin, &id).await?).await?;
    Ok(Json(views::webhook(&enabled)))
}

async fn test(
    State(admin): State<Arc<Admin>>,
    Path(id): Path<String>,
) -> Result<Json<TestedWebhook>, ProblemResponse> {
    Ok(Json(webhooks(&admin)?.test(&find(&admin, &id).await?).await))
}

async fn deliveries(
    State(admin): State<Arc<Admin>>,
    Path(id): Path<String>,
    QueryOf(query): QueryOf<DeliveryQuery>,
) -> Result<Json<DeliveryList>, ProblemResponse> {
    let endpoint = find(&admin, &id).await?;
    Ok(Json(views::undelivered(webhooks(&admin)?, &endpoint, query).await?))
}

async fn resend(
    State(admin): State<Arc<Admin>>,
    Path((id, event)): Path<(String, String)>,
) -> Result<StatusCode, ProblemResponse> {
    let endpoint = find(&admin, &id).await?;
    let event: EventId = event.parse().map_err(|_| not_found("there is no such delivery"))?;
    webhooks(&admin)?.resend(&endpoint, event).await?;
    Ok(StatusCode::ACCEPTED)
}

async fn find(admin: &Admin, id: &str) -> Result<Endpoint, ProblemResponse> {
    let none = || not_found("there is no such webhook");
    let id: WebhookId = id.parse().map_err(|_| none())?;
    let all = webhooks(admin)?.list_all(&admin.tenant).await?;
    all.into_iter().find(|endpoint| endpoint.id == id).ok_or_else(none)
}

fn webhooks(admin: &Admin) -> Result<&Webhooks, ProblemResponse> {
    admin.app.webhooks.as_ref().ok_or_else(|| not_found("webhooks are not served here"))
}

fn not_found(detail: &'static str) -> ProblemResponse {
    Problem::new(ProblemCode::NotFound).with_detail(detail).into()
}
