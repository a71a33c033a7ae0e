//! The admin listener: metrics and health for the monitoring of a node. It is a separate listener,
//! so that no route of the public one leads to the metrics.

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use fido_relay_proto::UnixMillis;

use super::extract::authority;
use super::http::status;
use super::{Edge, routes};
use crate::metrics::{self, NodeGauges, WebhookGauges};
use crate::schema::operations::Operation;

/// Every route of the admin listener.
pub fn probes(edge: Edge) -> Router {
    Router::new()
        .route("/metrics", get(figures))
        .route(Operation::IsAlive.path(), get(status::healthz))
        .route(Operation::IsReady.path(), get(status::readyz))
        .fallback(routes::not_found)
        .method_not_allowed_fallback(routes::method_not_allowed)
        .layer(middleware::from_fn(authority::well_formed))
        .layer(middleware::from_fn(routes::plain_answers))
        .with_state(edge)
}

/// `GET /metrics`.
async fn figures(State(edge): State<Edge>) -> Response {
    let relay = edge.relay();
    let census = relay.occupancy();
    let standing = NodeGauges {
        ready: status::ready(&edge).await.is_ok(),
        sockets: census.sockets,
        open: census.open,
        deadlines: census.deadlines,
        watched: census.watched,
        result_tokens: edge.inner.results.signed(),
        panics: edge.app().tasks.panics(),
        webhooks: deliveries(&edge),
    };
    let rendered = edge.settings().metrics.render(standing);
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], rendered).into_response()
}

fn deliveries(edge: &Edge) -> WebhookGauges {
    let Some(webhooks) = &edge.app().webhooks else { return WebhookGauges::default() };
    let figures = webhooks.figures();
    let late = match figures.oldest_due {
        0 => 0,
        due => edge.app().clock.now().millis_since(UnixMillis(due)),
    };
    WebhookGauges {
        delivered: figures.delivered,
        failed: figures.failed,
        dead: figures.dead,
        waiting: figures.waiting,
        open_circuits: figures.open_circuits,
        overdue_s: late / 1000,
    }
}
