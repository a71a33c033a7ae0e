//! A device's HTTP request with a proof (RFC 9449), and the nonce for the next one that every
//! answer to such a request has.

use std::net::IpAddr;

use axum::body::Bytes;
use axum::extract::{FromRequest, MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::Response;
use fido_relay_proto::ProblemCode;
use fido_relay_proto::http::P256Jwk;

use crate::app::audit::refusals;
use crate::app::ceremonies::DeviceIdentity;
use crate::app::devices::{self, Unproven};
use crate::edge::listener::Accepted;
use crate::edge::problem_response::ProblemResponse;
use crate::edge::public::Edge;
use crate::edge::public::extract::{body, caller, origin};
use crate::schema::operations::{Access, Route};
use crate::security::pull_proof::{self, PullProofError, SignedRequest};

/// RFC 9449 section 8.1.
const NONCE: HeaderName = HeaderName::from_static("dpop-nonce");
/// RFC 9449 section 9.
const CHALLENGE: HeaderValue = HeaderValue::from_static(r#"DPoP error="use_dpop_nonce""#);

/// A request of a device that proved itself, with the whole body.
#[derive(Debug)]
pub(in crate::edge) struct PullCall {
    pub(super) owner: DeviceIdentity,
    /// The device's.
    pub(super) address: IpAddr,
    pub(super) uri: Uri,
    pub(super) body: Bytes,
}

impl FromRequest<Edge> for PullCall {
    type Rejection = ProblemResponse;

    /// Every wrong proof is answered by the same 401. A proof that is good but for its nonce uses
    /// no more of the rates than a good one, because every app begins with one.
    async fn from_request(request: Request, edge: &Edge) -> Result<Self, ProblemResponse> {
        let (parts, body) = request.into_parts();
        origin::of_device(edge, &parts.headers)?;
        let network = caller::network(parts.extensions.get());
        // Counted after the proof was verified: many phones share an address, and a guesser among
        // them must not block the others.
        let bad = |edge: &Edge| {
            edge.refused(refusals::RefusalKind::Proof, network);
            match edge.inner.limits.refused(network) {
                Ok(()) => ProblemCode::ProofRefused.into(),
                Err(too_fast) => ProblemResponse::from(too_fast),
            }
        };
        let Some(proof) = proof(&parts.headers).map(str::to_owned) else { return Err(bad(edge)) };
        if parts.method == Method::POST || parts.method == Method::PUT {
            body::hold_to_type(&parts.headers, "application/json")?;
        }
        let body = body::up_to(edge.inner.socket_limits.frame_after_auth, body).await?;
        let Ok(claimed) = pull_proof::claimed(&proof) else { return Err(bad(edge)) };
        let (proofs, bases) = (&edge.inner.pull_proofs, edge.at_every_base(""));
        let asked = SignedRequest {
            method: parts.method.as_str(),
            bases: &bases,
            path: parts.uri.path(),
            body: &body,
        };
        let verify = |key: &P256Jwk| proofs.verify(&proof, (claimed, key), asked);
        let tenant = &edge.settings().tenant;
        let device = match devices::authenticate(edge.app(), tenant, claimed, verify).await {
            Ok((device, proven)) => {
                edge.inner.limits.call(device.id)?;
                proofs.use_up(proven).map(|()| device).map_err(Unproven::Proof)
            }
            Err(unproven) => Err(unproven),
        };
        let device = device.map_err(|unproven| match unproven {
            Unproven::Proof(PullProofError::Nonce) => ProblemCode::ProofRefused.into(),
            Unproven::Proof(PullProofError::Proof) | Unproven::NotPaired => bad(edge),
            Unproven::Store(error) => error.into(),
        })?;
        if let Some(accepted) = parts.extensions.get::<Accepted>() {
            accepted.handle().authenticated();
        }
        let owner =
            DeviceIdentity { device: device.id, tenant: device.tenant, username: device.username };
        Ok(Self { owner, address: network, uri: parts.uri, body })
    }
}

/// The proof of a request that has exactly one.
fn proof(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).into_iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    let (scheme, proof) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("DPoP").then_some(proof)
}

/// Gives every answer of these routes a nonce for the next proof, and names the scheme of a 401.
pub(in crate::edge) async fn answers(
    State(edge): State<Edge>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let is_proven = Route::at(path).any(|route| route.access == Access::Device);
    let mut response = next.run(request).await;
    if is_proven {
        if let Ok(nonce) = HeaderValue::from_str(&edge.inner.pull_proofs.nonce()) {
            response.headers_mut().insert(NONCE, nonce);
        }
        if response.status() == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, CHALLENGE);
        }
    }
    response
}
