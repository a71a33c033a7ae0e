//! A service account of Google Cloud and its access tokens, by the JWT grant of OAuth 2 (RFC 7523).
//! All calls of a project share one token until shortly before it expires.

use std::sync::Arc;
use std::time::Duration;

use fido_relay_proto::UnixMillis;
use reqwest::Client;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Mutex;
use url::Url;

use super::super::outbound;
use super::call::exchange;
use super::credential_file::CredentialFile;
use crate::security::signing_key::PrivateSigningKey;

const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// Seconds that an assertion is valid, the most that Google accepts.
const ASSERTION_S: u64 = 3_600;
/// Seconds before its expiry after which a token is no longer used.
const MARGIN_S: u64 = 300;

/// The used members of a service account's file.
#[derive(Deserialize)]
struct ServiceAccountJson {
    #[serde(rename = "type")]
    kind: String,
    project_id: String,
    #[serde(default)]
    private_key_id: String,
    private_key: String,
    client_email: String,
    token_uri: Url,
}

/// A parsed service account.
#[derive(Debug)]
pub(super) struct ServiceAccount {
    pub(super) project: String,
    email: String,
    key_id: String,
    key: PrivateSigningKey,
    token_uri: Url,
}

impl ServiceAccount {
    /// Parses a file's content.
    ///
    /// # Errors
    /// A description of the error that repeats nothing of the file.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let file: ServiceAccountJson = serde_json::from_slice(bytes)
            .map_err(|_| "is not the JSON file of a service account".to_owned())?;
        if file.kind != "service_account" {
            return Err("is not of type service_account".to_owned());
        }
        let in_a_path = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
        if file.project_id.is_empty() || !file.project_id.chars().all(in_a_path) {
            return Err("has no project_id that a URL can hold".to_owned());
        }
        if !is_safe(&file.token_uri) {
            return Err("has a token_uri without https".to_owned());
        }
        Ok(Self {
            project: file.project_id,
            email: file.client_email,
            key_id: file.private_key_id,
            key: PrivateSigningKey::rsa(file.private_key.as_bytes())?,
            token_uri: file.token_uri,
        })
    }

    fn assertion(&self, now: UnixMillis) -> Option<String> {
        let now = now.as_secs();
        let claims = json!({
            "iss": self.email,
            "scope": SCOPE,
            "aud": self.token_uri.as_str(),
            "iat": now,
            "exp": now + ASSERTION_S,
        });
        self.key.sign(json!({ "typ": "JWT", "kid": self.key_id }), &claims)
    }
}

/// Whether calls to this URL are confidential: by https, or on this machine.
fn is_safe(url: &Url) -> bool {
    let is_loopback = url.host().is_some_and(|host| outbound::is_loopback(&host));
    url.scheme() == "https" || (url.scheme() == "http" && is_loopback)
}

/// Why there is no access token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AccessTokenError {
    /// Google refuses one for this account; the text is of a closed list.
    Refused(String),
    /// The token endpoint does not work or was not reached.
    Failing(Option<Duration>, String),
}

/// A project with its account and its current access token.
#[derive(Debug)]
pub(super) struct FcmProject {
    pub(super) id: String,
    account: CredentialFile<ServiceAccount>,
    token: Mutex<Option<AccessToken>>,
}

struct AccessToken {
    account: Arc<ServiceAccount>,
    access: Arc<str>,
    made: u64,
    /// Seconds from `made` for which it is used.
    use_s: u64,
}

impl std::fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessToken").field("made", &self.made).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct TokenGrant {
    access_token: String,
    #[serde(default)]
    expires_in: u64,
}

#[derive(Deserialize)]
struct TokenGrantError {
    error: String,
}

impl FcmProject {
    /// The project of this account. Later content of the file must be of the same project.
    pub(super) async fn of(account: CredentialFile<ServiceAccount>) -> Self {
        let id = account.get().await.project.clone();
        Self { id, account, token: Mutex::default() }
    }

    /// A valid access token. If `refused` is the current one, the file is read again and another
    /// token requested.
    pub(super) async fn token(
        &self,
        client: &Client,
        now: UnixMillis,
        refused: Option<&str>,
    ) -> Result<Arc<str>, AccessTokenError> {
        let mut held = self.token.lock().await;
        let is_refused = held.as_ref().is_some_and(|held| refused == Some(&*held.access));
        let account = match is_refused {
            true => self.account.again().await,
            false => self.account.get().await,
        };
        if let Some(token) = &*held
            && !is_refused
            && Arc::ptr_eq(&token.account, &account)
            && (token.made..token.made + token.use_s).contains(&now.as_secs())
        {
            return Ok(Arc::clone(&token.access));
        }
        *held = None;
        let token = grant(client, account, now).await?;
        let access = Arc::clone(&token.access);
        *held = Some(token);
        Ok(access)
    }
}

async fn grant(
    client: &Client,
    account: Arc<ServiceAccount>,
    now: UnixMillis,
) -> Result<AccessToken, AccessTokenError> {
    let refused = |said: &str| AccessTokenError::Refused(said.to_owned());
    let assertion = account.assertion(now).ok_or_else(|| refused("cannot be signed"))?;
    let form = [("grant_type", GRANT), ("assertion", &assertion)];
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let request = client
        .post(account.token_uri.clone())
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body);
    let reply = exchange(request, now).await;
    let reply = reply.map_err(|lost| AccessTokenError::Failing(None, lost.says))?;
    match reply.status {
        200 => {
            let granted: Option<TokenGrant> = reply.json();
            let granted = granted.ok_or_else(|| refused("an answer without an access token"))?;
            let life = granted.expires_in;
            Ok(AccessToken {
                account,
                access: granted.access_token.into(),
                made: now.as_secs(),
                use_s: life.saturating_sub(MARGIN_S.min(life / 2)),
            })
        }
        429 | 500..=599 => {
            let says = format!("its token endpoint answers {}", reply.status);
            Err(AccessTokenError::Failing(reply.retry_after, says))
        }
        status => {
            let said = reply.json::<TokenGrantError>().and_then(|said| known(&said.error));
            Err(AccessTokenError::Refused(
                said.map_or_else(|| format!("status {status}"), str::to_owned),
            ))
        }
    }
}

/// One of the codes of RFC 6749 section 5.2, so that no other text reaches the log.
fn known(error: &str) -> Option<&'static str> {
    const KNOWN: [&str; 6] = [
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
    ];
    KNOWN.into_iter().find(|known| *known == error)
}
