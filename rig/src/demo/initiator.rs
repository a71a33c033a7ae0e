//! A client of the initiator API, with an API key or with a page's ticket. Knows HTTP and the wire
//! types alone.

use std::time::Duration;

use fido_relay_proto::http::{
    CeremonyView, OpenCeremony, OpenPairing, OpenedCeremony, OpenedPairing,
};
use fido_relay_proto::limits::WAIT_MAX_S;
use fido_relay_proto::webhook::{CreateWebhook, CreatedWebhook};
use fido_relay_proto::{CeremonyId, Problem, ProblemCode, Username};
use jsonwebtoken::jwk::JwkSet;
use reqwest::{Method, RequestBuilder, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;

/// Limit of a call beyond the time that the relay may hold it.
const CALL_LIMIT: Duration = Duration::from_secs(10);

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No connection, or a broken one.
    #[error("the relay cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    #[error("{} ({})", .0.title, .0.status)]
    Refused(Problem),
    /// An answer that is not of this API.
    #[error("the relay's answer makes no sense (HTTP {0})")]
    Unreadable(u16),
}

impl CallError {
    /// The HTTP status for this backend's own caller.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Unreachable(_) | Self::Unreadable(_) => 502,
            Self::Refused(problem) => problem.status,
        }
    }

    /// The relay's problem code.
    #[must_use]
    pub fn code(&self) -> Option<ProblemCode> {
        match self {
            Self::Unreachable(_) | Self::Unreadable(_) => None,
            Self::Refused(problem) => Some(problem.code),
        }
    }
}

/// The query of a long poll.
#[derive(Clone, Copy, Debug, Default)]
pub struct LongPoll {
    /// At most [`WAIT_MAX_S`].
    pub seconds: u64,
    /// The last known step; 0 for none.
    pub since: u32,
}

/// An initiator with one API key. Clones share connections.
#[derive(Clone, Debug)]
pub struct Initiator {
    http: reqwest::Client,
    base: Url,
    api_key: SecretString,
}

impl Initiator {
    /// A client of the relay at `base`, such as `http://127.0.0.1:8080/`.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub fn new(base: Url, api_key: SecretString) -> Result<Self, CallError> {
        // Both programs run on one machine: no proxy of the environment.
        let http = fido_relay_kit::trust::http_client()
            .no_proxy()
            .build()
            .map_err(CallError::Unreachable)?;
        Ok(Self { http, base, api_key })
    }

    #[must_use]
    pub fn base(&self) -> &Url {
        &self.base
    }

    /// Opens a ceremony. The idempotency key makes a repetition safe.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn open(
        &self,
        body: &OpenCeremony,
        idempotency_key: &str,
    ) -> Result<OpenedCeremony, CallError> {
        let request = self.post("v1/ceremonies", body).header("Idempotency-Key", idempotency_key);
        call(request).await
    }

    /// The ceremony as its initiator sees it, with the result token once it has succeeded.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn view(&self, id: CeremonyId, wait: LongPoll) -> Result<CeremonyView, CallError> {
        self.view_as(id, self.api_key.expose_secret(), wait).await
    }

    /// The ceremony as a page's ticket shows it.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn view_with_ticket(
        &self,
        id: CeremonyId,
        ticket: &str,
        wait: LongPoll,
    ) -> Result<CeremonyView, CallError> {
        self.view_as(id, ticket, wait).await
    }

    /// Cancels a ceremony.
    ///
    /// # Errors
    /// [`CallError`]; refused with `already_closed` when it has its outcome.
    pub async fn cancel(&self, id: CeremonyId) -> Result<(), CallError> {
        let request = self.request(Method::DELETE, &format!("v1/ceremonies/{id}"));
        let request = request.bearer_auth(self.api_key.expose_secret());
        let response = request.send().await.map_err(CallError::Unreachable)?;
        if response.status().is_success() { Ok(()) } else { Err(refusal(response).await) }
    }

    /// Registers a webhook endpoint.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn register_webhook(
        &self,
        webhook: &CreateWebhook,
    ) -> Result<CreatedWebhook, CallError> {
        call(self.post("v1/webhooks", webhook)).await
    }

    /// A one-time pairing token for a phone of this user.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn open_pairing(&self, username: Username) -> Result<OpenedPairing, CallError> {
        call(self.post("v1/pairings", &OpenPairing { username })).await
    }

    /// The public keys of result tokens.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn keys(&self) -> Result<JwkSet, CallError> {
        call(self.request(Method::GET, ".well-known/jwks.json")).await
    }

    async fn view_as(
        &self,
        id: CeremonyId,
        bearer: &str,
        wait: LongPoll,
    ) -> Result<CeremonyView, CallError> {
        let seconds = wait.seconds.min(WAIT_MAX_S);
        let path = format!("v1/ceremonies/{id}?wait={seconds}&since={}", wait.since);
        let limit = CALL_LIMIT + Duration::from_secs(seconds);
        call(self.request(Method::GET, &path).bearer_auth(bearer).timeout(limit)).await
    }

    fn post(&self, path: &str, body: &impl Serialize) -> RequestBuilder {
        self.request(Method::POST, path).bearer_auth(self.api_key.expose_secret()).json(body)
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base)).timeout(CALL_LIMIT)
    }
}

async fn call<T: DeserializeOwned>(request: RequestBuilder) -> Result<T, CallError> {
    let response = request.send().await.map_err(CallError::Unreachable)?;
    let status = response.status();
    if !matches!(status, StatusCode::OK | StatusCode::CREATED) {
        return Err(refusal(response).await);
    }
    response.json().await.map_err(|_| CallError::Unreadable(status.as_u16()))
}

async fn refusal(response: reqwest::Response) -> CallError {
    let status = response.status().as_u16();
    match response.json().await {
        Ok(problem) => CallError::Refused(problem),
        Err(_) => CallError::Unreadable(status),
    }
}
