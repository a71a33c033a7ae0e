//! The HTTP interface: the route table, and one file per noun.

mod authority;
mod body;
mod caller;
pub(in crate::edge) mod cards;
mod ceremonies;
mod certify;
mod device_keys;
mod devices;
mod documents;
pub(super) mod origin;
mod pairings;
mod probes;
mod pull;
mod pull_call;
mod receipts;
mod status;
mod token;
mod users;
pub(in crate::edge) mod webhooks;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{delete, get, post, put};
use fido_relay_proto::{Problem, ProblemCode};

pub(in crate::edge) use self::caller::{AuthenticatedClient, Watcher, wrong};
pub(in crate::edge) use self::origin::Pages;
pub use self::probes::probes;

pub(in crate::edge) use self::token::PATH as TOKEN_PATH;
use super::{device_socket, watch};
use crate::edge::Edge;
use crate::edge::refusal::Refusal;

/// Posts that begin something. Device sockets begin something too, and look for themselves.
const NEW: [&str; 7] = [
    "/v1/ceremonies",
    "/v1/pairings",
    "/v1/devices",
    "/fidoapi/certify/attestation/options",
    "/fidoapi/certify/assertion/options",
    "/fidoapi/register/begin",
    "/fidoapi/authenticate/begin",
];

/// For a year, and for this host alone: others of the domain are not the relay's to bind (RFC 6797
/// section 6.1). Not sent where TLS ends at a proxy: the policy is then the proxy's.
const YEAR: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// Every route of the public listener.
pub fn router(edge: Edge) -> Router {
    let body_bytes = edge.settings().body_bytes;
    let calm = middleware::from_fn_with_state(edge.clone(), in_calm);
    let tls = edge.inner.door.speaks_tls();
    let strict = middleware::map_response(move |mut response: Response| async move {
        if tls {
            response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, YEAR);
        }
        response
    });
    Router::new()
        .route("/v1/ceremonies", post(ceremonies::open))
        .route("/v1/ceremonies/{id}", get(ceremonies::read).delete(ceremonies::cancel))
        .route("/v1/ceremonies/{id}/receipt", get(receipts::read))
        .route("/v1/ceremonies/{id}/events", get(watch::events::stream))
        .route("/v1/ceremonies/{id}/events/ticket", post(watch::exchange::exchange))
        .route("/v1/ceremonies/{id}/socket", get(watch::socket::upgrade))
        .route("/v1/pairings", post(pairings::open))
        .route("/v1/devices", post(devices::pair))
        .route("/v1/devices/{id}", delete(devices::revoke).patch(devices::rename))
        .route("/v1/device/key", post(device_keys::rotate))
        .route("/v1/device/ceremonies", get(pull::look))
        .route("/v1/device/ceremonies/{id}/{act}", post(pull::act))
        .route("/v1/device/claim", post(pull::claim))
        .route("/v1/device/decline", post(pull::decline))
        .route("/v1/device/push", put(pull::set_push))
        .route("/v1/users/{username}/devices", get(devices::list))
        .route("/v1/users/{username}/pairings", delete(pairings::void))
        .route("/v1/users/{username}/prompts", get(users::prompts).delete(users::unlock))
        .route("/v1/users/{username}/cards", get(cards::list))
        .route("/v1/users/{username}/cards/{id}", delete(cards::remove))
        .route("/v1/webhooks", get(webhooks::list).post(webhooks::register))
        .route(
            "/v1/webhooks/{id}",
            get(webhooks::read).patch(webhooks::change).delete(webhooks::remove),
        )
        .route("/v1/webhooks/{id}/secrets", post(webhooks::rotate))
        .route("/v1/webhooks/{id}/enable", post(webhooks::enable))
        .route("/v1/webhooks/{id}/test", post(webhooks::test))
        .route("/v1/webhooks/{id}/deliveries", get(webhooks::deliveries))
        .route("/v1/webhooks/{id}/deliveries/{delivery}/resend", post(webhooks::resend))
        .route("/v1/clients/self", get(status::who_am_i))
        .route("/v1/device/socket", get(device_socket::upgrade))
        .route("/fidoapi/certify/attestation/options", post(certify::attestation_options))
        .route("/fidoapi/certify/attestation/result", post(certify::attestation_result))
        .route("/fidoapi/certify/assertion/options", post(certify::assertion_options))
        .route("/fidoapi/certify/assertion/result", post(certify::assertion_result))
        .route("/fidoapi/register/begin", post(certify::attestation_options))
        .route("/fidoapi/register/complete", post(certify::attestation_result))
        .route("/fidoapi/authenticate/begin", post(certify::assertion_options))
        .route("/fidoapi/authenticate/complete", post(certify::assertion_result))
        .route("/oauth/token", post(token::issue))
        .route("/.well-known/oauth-authorization-server", get(token::metadata))
        .route("/.well-known/jwks.json", get(status::jwks))
        .route("/openapi.json", get(documents::openapi))
        .route("/asyncapi.json", get(documents::asyncapi))
        .route("/docs", get(documents::docs))
        .route("/", get(documents::root))
        .route("/healthz", get(status::healthz))
        .route("/readyz", get(status::readyz))
        .route_layer(calm)
        .fallback(nothing_here)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(body_bytes))
        .layer(middleware::from_fn_with_state(edge.clone(), pull_call::answers))
        .layer(middleware::from_fn_with_state(edge.clone(), origin::cors))
        .layer(middleware::from_fn(authority::well_formed))
        .layer(middleware::from_fn_with_state(edge.clone(), certify::in_own_form))
        .layer(middleware::from_fn(plain_answers))
        .layer(strict)
        .layer(middleware::from_fn_with_state(edge.clone(), probes::counted))
        .with_state(edge)
}

async fn nothing_here() -> Refusal {
    Problem::new(ProblemCode::NotFound).into()
}

async fn wrong_method() -> Refusal {
    Problem::new(ProblemCode::MethodNotAllowed).into()
}

/// Begins something new only where there is room for it.
async fn in_calm(
    State(edge): State<Edge>,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let begins = request.method() == Method::POST && path.is_some_and(|path| NEW.contains(&path));
    if begins && let Some(refused) = edge.inner.door.pressure().refuses() {
        return Err(refused.into());
    }
    Ok(next.run(request).await)
}

/// No answer of ours is to be cached, guessed at or framed.
async fn plain_answers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
