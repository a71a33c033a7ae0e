//! Calls the operator API: over the admin socket of the relay that runs on the data directory, or,
//! when none runs, by opening the store and calling the same router in this process.

use std::path::Path;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Method, Request, StatusCode, header};
use fido_relay_proto::{Problem, TenantId, Username};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tower::ServiceExt as _;

use super::{Failure, note};
use crate::app::App;
use crate::app::audit::Offline;
use crate::backends::embedded::StoreOpenError;
use crate::config::Config;
use crate::edge::operator::{self, Admin, OPERATOR};
use crate::security::encryption::Encryptor;
use crate::serve::{self, Contents, DataDirectory, StartError};

/// Access to the operator API.
#[derive(Debug)]
pub(super) enum Administration {
    /// Of a running relay.
    Socket(reqwest::Client),
    /// Of a store that no relay has open.
    Store(Box<OfflineAdministration>),
}

/// The operator API of a store that no relay has open, with what its audit log needs.
#[derive(Debug)]
pub(super) struct OfflineAdministration {
    router: Router,
    config: Config,
    app: App,
    sealer: Encryptor,
}

impl OfflineAdministration {
    /// Opens the audit log before a change: with `audit.required` nothing is changed unrecorded.
    async fn audit_log(&self, method: &Method) -> Result<Option<Offline>, Failure> {
        if *method == Method::GET {
            return Ok(None);
        }
        match serve::audit::offline(&self.config, &self.app, &self.sealer).await {
            Ok(Some(log)) => Ok(Some(log)),
            Ok(None) => {
                if self.config.audit.enabled {
                    note("the next start of the relay writes this change to its audit log");
                }
                Ok(None)
            }
            Err(error) if self.config.audit.required => Err(Failure::unstarted(&error)),
            Err(error) => {
                note(&format!(
                    "{error}: the next start of the relay writes this change to its audit log"
                ));
                Ok(None)
            }
        }
    }
}

impl Administration {
    /// Connects to the relay or opens the store. Fails if there is neither.
    pub(super) fn reach(config: &Config) -> Result<Self, Failure> {
        Self::reach_or_make(config, false)
    }

    /// [`Self::reach`], which makes a missing store if `new_store` is set. Prints the directory to
    /// standard error, so that a command in the wrong one is noticed.
    pub(super) fn reach_or_make(config: &Config, new_store: bool) -> Result<Self, Failure> {
        let directory = DataDirectory::of(config);
        let path = directory.path().display();
        if let Some(client) = socket_client(directory.path())? {
            note(&format!("works on {path}, where a relay runs"));
            return Ok(Self::Socket(client));
        }
        let contents = directory.contents();
        let contents = contents.map_err(|error| Failure::unstarted(&error.into()))?;
        if contents == Contents::Fresh && !new_store {
            return Err(Failure::failed(format!(
                "there is no store in {path}, and no relay runs on it. Start the relay first \
                 (fido-relay serve), or select the data directory of the running relay (data_dir, \
                 FIDO_RELAY_DATA_DIR, --config, or the working directory). \
                 client create and pairing create make a store with --new-store"
            )));
        }
        let store = directory.open().map_err(|error| {
            if !matches!(error, StartError::Open(StoreOpenError::InUse { .. })) {
                return Failure::unstarted(&error);
            }
            Failure::failed(format!(
                "{error}\nA relay or another command has it open, but no relay answers at its \
                 admin socket yet: try again"
            ))
        })?;
        note(&format!("works on {path}, where no relay runs"));
        let at_rest = serve::app_at_rest(config, &directory, store);
        let (app, sealer) = at_rest.map_err(Failure::failed)?;
        let admin = Admin { tenant: TenantId::default(), app: app.clone(), relay: None };
        let (router, config) = (operator::router(admin), config.clone());
        Ok(Self::Store(Box::new(OfflineAdministration { router, config, app, sealer })))
    }

    /// Sends a request and parses the response.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        let bytes = self.exchange(method, path, body).await?;
        serde_json::from_slice(&bytes)
            .map_err(|error| Failure::failed(format!("cannot parse the relay's answer: {error}")))
    }

    /// Sends a request whose response has no body.
    pub(super) async fn order(&self, method: Method, path: &str) -> Result<(), Failure> {
        self.order_with(method, path, &()).await
    }

    /// [`Self::order`] with a body.
    pub(super) async fn order_with(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<(), Failure> {
        self.exchange(method, path, body).await.map(drop)
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Vec<u8>, Failure> {
        let body = serde_json::to_vec(body).map_err(Failure::failed)?;
        let (status, answer) = match self {
            Self::Socket(client) => {
                let request = client
                    .request(method, format!("http://relay{path}"))
                    .header(header::CONTENT_TYPE, "application/json")
                    .header(OPERATOR, operator())
                    .body(body);
                let response = request.send().await.map_err(Failure::failed)?;
                let status = response.status();
                (status, response.bytes().await.map_err(Failure::failed)?)
            }
            Self::Store(offline) => {
                let log = offline.audit_log(&method).await?;
                let request = Request::builder()
                    .method(method)
                    .uri(path)
                    .header(OPERATOR, operator())
                    .body(Body::from(body))
                    .map_err(Failure::failed)?;
                let Ok(response) = offline.router.clone().oneshot(request).await;
                if let Some(mut log) = log
                    && !log.export().await
                {
                    note("the audit log was not written: the next start of the relay writes it");
                }
                let status = response.status();
                let body = axum::body::to_bytes(response.into_body(), usize::MAX).await;
                (status, body.map_err(Failure::failed)?)
            }
        };
        if status.is_success() { Ok(answer.to_vec()) } else { Err(refusal(status, &answer)) }
    }
}

/// The name of the operator for the audit log: the account behind `sudo`, else the login, else the
/// user id of this process.
fn operator() -> HeaderValue {
    let named = ["SUDO_USER", "LOGNAME", "USER"].into_iter().filter_map(std::env::var_os);
    let mut named = named.filter(|name| !name.is_empty());
    let name = named.next().unwrap_or_else(|| user_id().into());
    // A header takes no control characters.
    let bytes: Vec<_> = name.as_encoded_bytes().iter().filter(|b| **b >= b' ').copied().collect();
    HeaderValue::from_bytes(&bytes).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(unix)]
fn user_id() -> String {
    format!("uid {}", rustix::process::getuid().as_raw())
}

#[cfg(not(unix))]
fn user_id() -> String {
    String::new()
}

/// A path with the user as its query.
pub(super) fn of_user(path: &str, username: &Username) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("username", username.as_str());
    format!("{path}?{}", query.finish())
}

fn refusal(status: StatusCode, body: &[u8]) -> Failure {
    match serde_json::from_slice::<Problem>(body) {
        Ok(Problem { detail: Some(detail), .. }) => Failure::failed(detail),
        Ok(problem) => Failure::failed(problem.title),
        Err(_) => Failure::failed(format!("the relay answered {status}")),
    }
}

/// An HTTP client of the admin socket; `None`: no relay is running.
#[cfg(unix)]
fn socket_client(data_dir: &Path) -> Result<Option<reqwest::Client>, Failure> {
    let path = data_dir.join(crate::edge::operator::socket::SOCKET_NAME);
    match std::os::unix::net::UnixStream::connect(&path) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            let text = format!("cannot open {}: run this as the relay's user", path.display());
            return Err(Failure::failed(text));
        }
        Err(_) => return Ok(None),
    }
    let client = crate::trust::http_client()
        .unix_socket(path)
        .timeout(std::time::Duration::from_secs(30))
        .build()
        .map_err(Failure::failed)?;
    Ok(Some(client))
}

#[cfg(not(unix))]
fn socket_client(_data_dir: &Path) -> Result<Option<reqwest::Client>, Failure> {
    Ok(None)
}
