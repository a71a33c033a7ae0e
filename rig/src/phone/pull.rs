//! The device's HTTP interface: the frames of a socket as requests, each signed by the device key.
//! Knows routes and proofs, and nothing of what frames mean.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fido_relay_kit::random;
use fido_relay_proto::device::{PULL_TYP, PullClaims};
use fido_relay_proto::http::{Pulled, PushTarget, SetPush};
use fido_relay_proto::{CeremonyId, DeviceFrame, Problem, RelayFrame};
use reqwest::header::{self, HeaderMap};
use reqwest::{Method, Response, StatusCode};

use super::key::{KeyError, phone_clock_s};
use super::pairing::{Paired, PairingClient};

/// Limit of a call beyond the time that the relay may hold it.
const CALL_LIMIT: Duration = Duration::from_secs(15);
/// Ceremonies that one request may name.
const SHOWN: usize = 16;
/// The header of the relay's nonce (RFC 9449 section 8).
const NONCE: &str = "dpop-nonce";

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PullError {
    #[error("the relay refused (HTTP {status}): {title}")]
    Refused {
        /// The status of a problem; an `error` frame is an answer and no refusal.
        status: u16,
        /// The problem's title and detail.
        title: String,
        /// `Retry-After` in seconds.
        retry_after_s: Option<u64>,
    },
    /// No connection, or a broken one.
    #[error("the relay could not be asked: {0}")]
    Unreachable(String),
    /// An answer that is not of this protocol.
    #[error("the relay's answer makes no sense (HTTP {0})")]
    Unreadable(u16),
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// The query of a pull.
#[derive(Clone, Debug, Default)]
pub struct PullRequest {
    /// Seconds that the relay may hold the request until its state changes.
    pub wait_s: u64,
    /// The state of the last answer.
    pub since: Option<String>,
    pub shown: Vec<CeremonyId>,
}

/// Calls a relay for devices over kept-alive connections. Clones share the nonce.
#[derive(Clone, Debug)]
pub struct PullClient {
    http: reqwest::Client,
    /// The relay's last nonce; empty before there was one.
    nonce: Arc<Mutex<String>>,
}

impl From<&PairingClient> for PullClient {
    fn from(client: &PairingClient) -> Self {
        Self { http: client.http().clone(), nonce: Arc::default() }
    }
}

impl PullClient {
    /// The frames that the relay has for this device.
    ///
    /// # Errors
    /// [`PullError`].
    pub async fn pull(&self, device: &Paired, request: PullRequest) -> Result<Pulled, PullError> {
        let PullRequest { wait_s, since, shown } = request;
        let mut query = vec![format!("wait={wait_s}")];
        query.extend(since.map(|since| format!("since={since}")));
        if !shown.is_empty() {
            let shown: Vec<_> = shown.iter().take(SHOWN).map(ToString::to_string).collect();
            query.push(format!("shown={}", shown.join(",")));
        }
        let call = PullCall {
            method: Method::GET,
            path: "/v1/device/ceremonies".to_owned(),
            query: query.join("&"),
            body: String::new(),
            limit: CALL_LIMIT + Duration::from_secs(wait_s),
        };
        let (status, text) = read(self.call(device, &call).await?).await?;
        Pulled::decode(&text).map_err(|_| PullError::Unreadable(status))
    }

    /// Sends a frame and returns the relay's answer. `auth` and `ping` belong to sockets and are not
    /// sent.
    ///
    /// # Errors
    /// [`PullError`].
    pub async fn send(
        &self,
        device: &Paired,
        frame: &DeviceFrame,
    ) -> Result<Option<RelayFrame>, PullError> {
        let Some(path) = path_of(frame) else { return Ok(None) };
        let call = PullCall::with_body(Method::POST, path, frame.encode());
        let (status, text) = read(self.call(device, &call).await?).await?;
        if text.is_empty() {
            return Ok(None);
        }
        RelayFrame::decode(&text).map(Some).map_err(|_| PullError::Unreadable(status))
    }

    /// Sets or removes the device's push address.
    ///
    /// # Errors
    /// [`PullError`].
    pub async fn set_push(
        &self,
        device: &Paired,
        push: Option<PushTarget>,
    ) -> Result<(), PullError> {
        let body = serde_json::to_string(&SetPush { push });
        let body = body.map_err(|error| PullError::Unreachable(error.to_string()))?;
        let call = PullCall::with_body(Method::PUT, "/v1/device/push".to_owned(), body);
        self.call(device, &call).await.map(drop)
    }

    /// Calls, and repeats the call once with the nonce that came with a refused proof.
    async fn call(&self, device: &Paired, call: &PullCall) -> Result<Response, PullError> {
        let signed_with = self.nonce();
        let answer = self.once(device, call, &signed_with).await?;
        let answer = if answer.status() == StatusCode::UNAUTHORIZED && self.nonce() != signed_with {
            self.once(device, call, &self.nonce()).await?
        } else {
            answer
        };
        let problem = |kind: &[u8]| kind.starts_with(b"application/problem+json");
        let kind = answer.headers().get(header::CONTENT_TYPE);
        let is_problem = kind.is_none_or(|kind| problem(kind.as_bytes()));
        // An `error` frame has an error status, and is an answer nevertheless.
        if answer.status().is_success() || !is_problem {
            Ok(answer)
        } else {
            Err(refusal(answer).await)
        }
    }

    async fn once(
        &self,
        device: &Paired,
        call: &PullCall,
        nonce: &str,
    ) -> Result<Response, PullError> {
        let base = device.base_url();
        let url = format!("{base}{}", call.path);
        let claims = PullClaims {
            aud: base,
            htm: call.method.to_string(),
            htu: url.clone(),
            device_id: device.device_id,
            iat: phone_clock_s(),
            jti: URL_SAFE_NO_PAD.encode(random::bytes::<16>()),
            nonce: nonce.to_owned(),
            body_sha256: URL_SAFE_NO_PAD.encode(digest(&SHA256, call.body.as_bytes())),
        };
        let proof = device.key.sign(PULL_TYP, &claims)?;
        let url = if call.query.is_empty() { url } else { format!("{url}?{}", call.query) };
        let mut request = self
            .http
            .request(call.method.clone(), url)
            .timeout(call.limit)
            .header(header::AUTHORIZATION, format!("DPoP {proof}"));
        if !call.body.is_empty() {
            request =
                request.header(header::CONTENT_TYPE, "application/json").body(call.body.clone());
        }
        let answer = request.send().await.map_err(unreachable)?;
        if let Some(nonce) = text(answer.headers(), NONCE) {
            nonce.clone_into(&mut self.nonce.lock().unwrap_or_else(PoisonError::into_inner));
        }
        Ok(answer)
    }

    fn nonce(&self) -> String {
        self.nonce.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A request without its proof.
struct PullCall {
    method: Method,
    path: String,
    query: String,
    body: String,
    limit: Duration,
}

impl PullCall {
    fn with_body(method: Method, path: String, body: String) -> Self {
        Self { method, path, query: String::new(), body, limit: CALL_LIMIT }
    }
}

/// The route of a frame.
fn path_of(frame: &DeviceFrame) -> Option<String> {
    let of = |id: Option<CeremonyId>, verb: &str| match id {
        Some(id) => format!("/v1/device/ceremonies/{id}/{verb}"),
        None => format!("/v1/device/{verb}"),
    };
    match frame {
        DeviceFrame::Ack(ack) => Some(of(Some(ack.ceremony_id), "ack")),
        DeviceFrame::Claim(claim) => Some(of(claim.ceremony_id, "claim")),
        DeviceFrame::Card(card) => Some(of(Some(card.ceremony_id), "card")),
        DeviceFrame::Answer(answer) => Some(of(Some(answer.ceremony_id), "answer")),
        DeviceFrame::Decline(decline) => Some(of(decline.ceremony_id, "decline")),
        DeviceFrame::Auth(_) | DeviceFrame::Ping(_) => None,
    }
}

async fn read(answer: Response) -> Result<(u16, String), PullError> {
    let status = answer.status().as_u16();
    Ok((status, answer.text().await.map_err(unreachable)?))
}

async fn refusal(answer: Response) -> PullError {
    let status = answer.status().as_u16();
    let retry_after = text(answer.headers(), header::RETRY_AFTER.as_str());
    let retry_after_s = retry_after.and_then(|seconds| seconds.trim().parse().ok());
    let title = match answer.json::<Problem>().await {
        Ok(Problem { title, detail: Some(detail), .. }) => format!("{title}: {detail}"),
        Ok(Problem { title, detail: None, .. }) => title,
        Err(_) => "no reason given".to_owned(),
    };
    PullError::Refused { status, title, retry_after_s }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Without the URL, which the caller knows.
fn unreachable(error: reqwest::Error) -> PullError {
    PullError::Unreachable(error.without_url().to_string())
}
