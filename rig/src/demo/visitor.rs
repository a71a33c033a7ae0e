//! A visitor of the bank's page without a browser: makes the calls of the page's script in the same
//! order.

use std::time::Duration;

use fido_relay_proto::http::{CeremonyView, OpenedCeremony, Status};
use reqwest::{Method, StatusCode, header};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

use super::request::Action;

pub const VISITOR: &str = "fido-relay demo";
const WAIT_S: u64 = 25;
const CALL_LIMIT: Duration = Duration::from_secs(WAIT_S + 10);

/// The bank's answer about an outcome, as far as the visitor reads it.
#[derive(Debug, Deserialize)]
pub struct OutcomeReply {
    /// `approved` or `refused`.
    pub verdict: String,
    pub words: Option<ReplyText>,
}

#[derive(Debug, Deserialize)]
pub struct ReplyText {
    pub headline: String,
    pub detail: String,
    pub advice: String,
}

/// Why a visit failed.
#[derive(Debug, thiserror::Error)]
pub enum VisitError {
    /// No connection to the bank, or an unreadable answer.
    #[error("the bank cannot be reached")]
    Unreachable(#[from] reqwest::Error),
    #[error("the bank answers HTTP {status}: {headline}")]
    Refused { status: StatusCode, headline: String },
}

/// A visitor whose session lasts from one action to the next.
#[derive(Debug)]
pub struct Visitor {
    http: reqwest::Client,
    bank: Url,
    cookie: Option<SecretString>,
}

impl Visitor {
    /// A visitor without a session.
    ///
    /// # Errors
    /// [`VisitError::Unreachable`] if the HTTP client cannot be made.
    pub fn new(bank: Url) -> Result<Self, VisitError> {
        let http = fido_relay_kit::trust::http_client()
            .no_proxy()
            .timeout(CALL_LIMIT)
            .user_agent(VISITOR)
            .build()?;
        Ok(Self { http, bank, cookie: None })
    }

    /// Opens a ceremony, watches it with the ticket until its outcome, and asks the bank for the
    /// result.
    ///
    /// # Errors
    /// [`VisitError`].
    pub async fn run_action(&mut self, action: Action) -> Result<OutcomeReply, VisitError> {
        let opened: OpenedCeremony =
            self.call(Method::POST, &format!("api/{}", action.name()), None).await?;
        let OpenedCeremony { id, ticket, .. } = opened;
        let mut since = 0;
        loop {
            let path = format!("api/ceremonies/{id}?wait={WAIT_S}&since={since}");
            let view: CeremonyView = self.call(Method::GET, &path, Some(&ticket)).await?;
            since = view.seq;
            if view.status != Status::Pending {
                break;
            }
        }
        let path = format!("api/ceremonies/{id}/outcome");
        self.call(Method::POST, &path, Some(&ticket)).await
    }

    async fn call<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        ticket: Option<&str>,
    ) -> Result<T, VisitError> {
        let mut request = self.http.request(method, format!("{}{path}", self.bank));
        if let Some(ticket) = ticket {
            request = request.bearer_auth(ticket);
        }
        if let Some(cookie) = &self.cookie {
            request = request.header(header::COOKIE, cookie.expose_secret());
        }
        let response = request.send().await?;
        if let Some(set) = response.headers().get(header::SET_COOKIE) {
            let pair = set.to_str().ok().and_then(|set| set.split(';').next());
            self.cookie = pair.map(SecretString::from);
        }
        let status = response.status();
        if status.is_success() {
            return Ok(response.json().await?);
        }
        let reply: Option<ReplyText> = response.json().await.ok();
        let headline = reply.map_or_else(|| "no reason given".to_owned(), |reply| reply.headline);
        Err(VisitError::Refused { status, headline })
    }
}
