//! The public router: each operation of the table with its handler, and what all answers share.

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{MethodFilter, MethodRouter, on};
use fido_relay_proto::ProblemCode;

use super::extract::authority;
use super::http::{
    cards, ceremonies, certify, device_keys, devices, documents, pairings, pull, pull_call,
    receipts, status, token, users, webhooks,
};
use super::{Edge, cors, count_answers, device_socket, watch};
use crate::edge::problem_response::ProblemResponse;
use crate::schema::operations::{Method, Operation, ROUTES, Route};

/// Operations that begin something, which a node under pressure refuses. Device sockets do too, and
/// ask the listener themselves.
const BEGINNINGS: [Operation; 7] = [
    Operation::OpenCeremony,
    Operation::OpenPairing,
    Operation::PairDevice,
    Operation::BeginRegistration,
    Operation::BeginRegistrationAlias,
    Operation::BeginAuthentication,
    Operation::BeginAuthenticationAlias,
];

/// For a year, and for this host alone: subdomains are not the relay's (RFC 6797 section 6.1). Not
/// sent where TLS ends at a proxy: the policy is then the proxy's.
const YEAR: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// The router of the public listener.
pub fn router(edge: Edge) -> Router {
    let body_bytes = edge.settings().body_bytes;
    let under_pressure = middleware::from_fn_with_state(edge.clone(), refuse_under_pressure);
    let tls = edge.inner.listener.speaks_tls();
    let strict = middleware::map_response(move |mut response: Response| async move {
        if tls {
            response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, YEAR);
        }
        response
    });
    ROUTES
        .iter()
        .fold(Router::new(), |router, route| router.route(route.path, handler(route)))
        .route_layer(under_pressure)
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(body_bytes))
        .layer(middleware::from_fn_with_state(edge.clone(), pull_call::answers))
        .layer(middleware::from_fn_with_state(edge.clone(), cors::cors))
        .layer(middleware::from_fn(authority::well_formed))
        .layer(middleware::from_fn_with_state(edge.clone(), certify::in_own_form))
        .layer(middleware::from_fn(plain_answers))
        .layer(strict)
        .layer(middleware::from_fn_with_state(edge.clone(), count_answers::counted))
        .with_state(edge)
}

fn handler(route: &Route) -> MethodRouter<Edge> {
    let method = match route.method {
        Method::Get => MethodFilter::GET,
        Method::Post => MethodFilter::POST,
        Method::Put => MethodFilter::PUT,
        Method::Patch => MethodFilter::PATCH,
        Method::Delete => MethodFilter::DELETE,
    };
    match route.operation {
        Operation::OpenCeremony => on(method, ceremonies::open),
        Operation::ReadCeremony => on(method, ceremonies::read),
        Operation::CancelCeremony => on(method, ceremonies::cancel),
        Operation::ReadReceipt => on(method, receipts::read),
        Operation::WatchCeremony => on(method, watch::events::stream),
        Operation::ExchangeTicket => on(method, watch::exchange::exchange),
        Operation::OpenWatchSocket => on(method, watch::socket::upgrade),
        Operation::OpenPairing => on(method, pairings::open),
        Operation::VoidPairings => on(method, pairings::void),
        Operation::PairDevice => on(method, devices::pair),
        Operation::ListDevices => on(method, devices::list),
        Operation::RenameDevice => on(method, devices::rename),
        Operation::RevokeDevice => on(method, devices::revoke),
        Operation::RotateDeviceKey => on(method, device_keys::rotate),
        Operation::OpenDeviceSocket => on(method, device_socket::upgrade),
        Operation::PullCeremonies => on(method, pull::look),
        Operation::ActOnCeremony => on(method, pull::act),
        Operation::ClaimByCode => on(method, pull::claim),
        Operation::DeclineHeld => on(method, pull::decline),
        Operation::SetPushAddress => on(method, pull::set_push),
        Operation::ListCards => on(method, cards::list),
        Operation::RemoveCard => on(method, cards::remove),
        Operation::ReadPrompts => on(method, users::prompts),
        Operation::UnlockPrompts => on(method, users::unlock),
        Operation::CreateWebhook => on(method, webhooks::register),
        Operation::ListWebhooks => on(method, webhooks::list),
        Operation::ReadWebhook => on(method, webhooks::read),
        Operation::ChangeWebhook => on(method, webhooks::change),
        Operation::RemoveWebhook => on(method, webhooks::remove),
        Operation::RotateWebhookKey => on(method, webhooks::rotate),
        Operation::EnableWebhook => on(method, webhooks::enable),
        Operation::TestWebhook => on(method, webhooks::test),
        Operation::ListDeliveries => on(method, webhooks::deliveries),
        Operation::ResendDelivery => on(method, webhooks::resend),
        Operation::ReadClient => on(method, status::who_am_i),
        Operation::IssueToken => on(method, token::issue),
        Operation::ReadServerMetadata => on(method, token::metadata),
        Operation::ReadKeys => on(method, status::jwks),
        Operation::BeginRegistration | Operation::BeginRegistrationAlias => {
            on(method, certify::attestation_options)
        }
        Operation::CompleteRegistration | Operation::CompleteRegistrationAlias => {
            on(method, certify::attestation_result)
        }
        Operation::BeginAuthentication | Operation::BeginAuthenticationAlias => {
            on(method, certify::assertion_options)
        }
        Operation::CompleteAuthentication | Operation::CompleteAuthenticationAlias => {
            on(method, certify::assertion_result)
        }
        Operation::IsAlive => on(method, status::healthz),
        Operation::IsReady => on(method, status::readyz),
        Operation::FindDocs => on(method, documents::root),
        Operation::ReadOpenApi => on(method, documents::openapi),
        Operation::ReadAsyncApi => on(method, documents::asyncapi),
        Operation::ReadDocs => on(method, documents::docs),
    }
}

pub(super) async fn not_found() -> ProblemResponse {
    ProblemCode::NotFound.into()
}

pub(super) async fn method_not_allowed() -> ProblemResponse {
    ProblemCode::MethodNotAllowed.into()
}

/// Refuses [`BEGINNINGS`] while the node is under pressure.
async fn refuse_under_pressure(
    State(edge): State<Edge>,
    request: Request,
    next: Next,
) -> Result<Response, ProblemResponse> {
    let route = request.extensions().get::<&'static Route>();
    let begins = route.is_some_and(|route| BEGINNINGS.contains(&route.operation));
    if begins && let Some(refused) = edge.inner.listener.pressure().refuses() {
        return Err(refused.into());
    }
    Ok(next.run(request).await)
}

/// Forbids caching, unless the handler allows it, and guessing the type of an answer.
pub(super) async fn plain_answers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
