//! The page's road without a browser: the same calls to the bank, in the same order, that the
//! page's script makes.

use std::time::Duration;

use fido_relay_proto::http::{CeremonyView, OpenedCeremony, Status};
use reqwest::{Method, StatusCode, header};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

use super::request::Action;

/// What this visitor calls itself, in place of a browser's name.
pub const VISITOR: &str = "fido-relay demo";
/// Seconds of one long poll.
const WAIT_S: u64 = 25;
/// More than a long poll takes.
const CALL_LIMIT: Duration = Duration::from_secs(WAIT_S + 10);

/// What the bank says at the end, as far as this visitor cares.
#[derive(Debug, Deserialize)]
pub struct Told {
    /// `approved` or `refused`.
    pub verdict: String,
    /// For the person.
    pub words: Option<Said>,
}

/// The bank's words.
#[derive(Debug, Deserialize)]
pub struct Said {
    /// What happened.
    pub headline: String,
    /// The same in a sentence.
    pub detail: String,
    /// What to do now.
    pub advice: String,
}

/// Why a visit came to no end.
#[derive(Debug, thiserror::Error)]
pub enum VisitError {
    /// No connection to the bank, or an answer without sense.
    #[error("the bank cannot be reached")]
    Unreachable(#[from] reqwest::Error),
    /// The bank said no.
    #[error("the bank answers HTTP {status}: {headline}")]
    Refused {
        /// Its status.
        status: StatusCode,
        /// Its words.
        headline: String,
    },
}

/// A visitor of a bank's page, who stays signed in from one action to the next.
#[derive(Debug)]
pub struct Visitor {
    http: reqwest::Client,
    bank: Url,
    /// What the bank has had the browser remember.
    cookie: Option<SecretString>,
}

impl Visitor {
    /// A visitor of the bank at this address.
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

    /// Clicks, watches with the ticket until there is an outcome, and asks the bank what it means.
    ///
    /// # Errors
    /// [`VisitError`].
    pub async fn goes_through(&mut self, action: Action) -> Result<Told, VisitError> {
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
        let said: Option<Said> = response.json().await.ok();
        let headline = said.map_or_else(|| "no reason given".to_owned(), |said| said.headline);
        Err(VisitError::Refused { status, headline })
    }
}
