//! Firebase Cloud Messaging by its HTTP v1 API, with one project per service account.

use std::sync::Arc;
use std::time::Duration;

use fido_relay_proto::http::PushTarget;
use futures::future::BoxFuture;
use reqwest::Client;
use serde::Deserialize;
use serde_json::{Value, json};

use super::call::{HttpReply, NoReply, client, exchange};
use super::credential_file::CredentialFile;
use super::dispatch::{DeliveryError, PushServiceClient};
use super::fcm_account::{AccessTokenError, FcmProject, ServiceAccount};
use super::probe::{ProbeFault, PushProbe};
use super::settings::{FcmSettings, PushSettings, PushSettingsError};
use crate::ports::{Clock, Unpushable, Wake};

/// A notification replaces the previous one.
const COLLAPSE_KEY: &str = "fido-relay";
/// The pause after an exceeded quota, if FCM names none.
const QUOTA_PAUSE: Duration = Duration::from_secs(60);
/// A registration token of no app, for probes.
const MADE_UP: &str = "fido-relay-doctor-made-up-token";
const KEY: &str = "push.fcm.service_accounts";

#[derive(Debug)]
pub(super) struct FcmClient {
    client: Client,
    clock: Arc<dyn Clock>,
    base: String,
    projects: Vec<FcmProject>,
    channel: String,
    text: String,
}

/// The body of an error response.
#[derive(Deserialize)]
struct FcmErrorBody {
    error: FcmError,
}

#[derive(Deserialize)]
struct FcmError {
    #[serde(default)]
    details: Vec<FcmErrorDetail>,
}

#[derive(Deserialize)]
struct FcmErrorDetail {
    #[serde(default, rename = "errorCode")]
    error_code: Option<String>,
}

/// What an error code means for a wake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FcmDisposition {
    Gone,
    Refused,
    Quota,
    Failing,
}

/// `google.firebase.fcm.v1.ErrorCode`. An invalid argument may be a malformed address, but also a
/// fault of the relay, which must not remove addresses.
const CODES: [(&str, FcmDisposition); 7] = [
    ("UNREGISTERED", FcmDisposition::Gone),
    ("INVALID_ARGUMENT", FcmDisposition::Refused),
    ("SENDER_ID_MISMATCH", FcmDisposition::Refused),
    ("THIRD_PARTY_AUTH_ERROR", FcmDisposition::Refused),
    ("QUOTA_EXCEEDED", FcmDisposition::Quota),
    ("UNAVAILABLE", FcmDisposition::Failing),
    ("INTERNAL", FcmDisposition::Failing),
];

fn code(reply: &HttpReply) -> Option<(&'static str, FcmDisposition)> {
    let failed: FcmErrorBody = reply.json()?;
    let said = failed.error.details.into_iter().find_map(|detail| detail.error_code)?;
    CODES.into_iter().find(|(code, _)| *code == said)
}

fn judge(reply: &HttpReply) -> Result<(), DeliveryError> {
    let asked = reply.retry_after;
    if reply.status == 200 {
        return Ok(());
    }
    match (code(reply), reply.status) {
        (Some((_, FcmDisposition::Gone)), _) => Err(DeliveryError::Gone),
        (Some((code, FcmDisposition::Refused)), _) => Err(DeliveryError::Refused(code.to_owned())),
        (Some((_, FcmDisposition::Quota)), _) | (None, 429) => {
            Err(DeliveryError::Later(Some(asked.unwrap_or(QUOTA_PAUSE))))
        }
        (Some((_, FcmDisposition::Failing)), _) | (None, 408 | 500..=599) => {
            Err(DeliveryError::Failing(asked))
        }
        // A 404 without a code is about the URL or the project, not about the address.
        (None, status) => Err(DeliveryError::Refused(format!("status {status}"))),
    }
}

/// Whether the access token was refused.
fn is_unauthorized(reply: &HttpReply) -> bool {
    reply.status == 401 && code(reply).is_none()
}

impl FcmClient {
    pub(super) async fn new(
        settings: &FcmSettings,
        all: &PushSettings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, PushSettingsError> {
        let mut projects: Vec<FcmProject> = Vec::new();
        for file in &settings.service_accounts {
            let account = CredentialFile::open(file, Box::new(ServiceAccount::read));
            let account = account.map_err(|why| PushSettingsError::File(KEY, why))?;
            let project = FcmProject::of(account).await;
            if projects.iter().any(|other| other.id == project.id) {
                let says = format!("{}: another file has the same project", file.display());
                return Err(PushSettingsError::File(KEY, says));
            }
            projects.push(project);
        }
        Ok(Self {
            client: client(all.ca_file.as_deref(), |builder| builder)?,
            clock,
            base: settings.url.as_str().trim_end_matches('/').to_owned(),
            projects,
            channel: settings.channel.clone(),
            text: all.text.clone(),
        })
    }

    fn project(&self, target: &PushTarget) -> Option<&FcmProject> {
        match &target.app {
            Some(app) => self.projects.iter().find(|project| project.id == app.as_str()),
            None => self.projects.first(),
        }
    }

    async fn send(&self, wake: &Wake, ttl_s: u64) -> Result<(), DeliveryError> {
        let Some(project) = self.project(&wake.target) else {
            return Err(DeliveryError::Refused("no such project".to_owned()));
        };
        let body = json!({ "message": {
            "token": wake.target.token,
            "notification": { "body": self.text },
            "data": { "wake": wake.id },
            "android": {
                "priority": "HIGH",
                "ttl": format!("{ttl_s}s"),
                "collapse_key": COLLAPSE_KEY,
                "notification": { "channel_id": self.channel },
            },
        } });
        let token = self.token(project, None).await?;
        let mut reply = self.post(project, &token, &body).await.map_err(|_| LOST)?;
        if is_unauthorized(&reply) {
            let token = self.token(project, Some(&token)).await?;
            reply = self.post(project, &token, &body).await.map_err(|_| LOST)?;
        }
        judge(&reply)
    }

    async fn token(
        &self,
        project: &FcmProject,
        refused: Option<&str>,
    ) -> Result<Arc<str>, DeliveryError> {
        let token = project.token(&self.client, self.clock.now(), refused).await;
        token.map_err(|no| match no {
            AccessTokenError::Refused(said) => {
                DeliveryError::Refused(format!("no access token: {said}"))
            }
            AccessTokenError::Failing(asked, _) => DeliveryError::Failing(asked),
        })
    }

    async fn post(
        &self,
        project: &FcmProject,
        token: &str,
        body: &Value,
    ) -> Result<HttpReply, NoReply> {
        let url = format!("{}/v1/projects/{}/messages:send", self.base, project.id);
        let request = self.client.post(url).bearer_auth(token).json(body);
        exchange(request, self.clock.now()).await
    }

    /// Has FCM validate a message to a token that does not exist.
    async fn probe_one(&self, project: &FcmProject) -> PushProbe {
        let id = &project.id;
        let token = match project.token(&self.client, self.clock.now(), None).await {
            Ok(token) => token,
            Err(AccessTokenError::Refused(said)) => {
                let says = format!("Google gives no access token for project {id}: {said}");
                return PushProbe::wrong(ProbeFault::FcmAccount, says);
            }
            Err(AccessTokenError::Failing(_, said)) => {
                let says = format!("no access token for project {id}: {said}");
                return PushProbe::wrong(ProbeFault::Reach, says);
            }
        };
        let message = json!({ "token": MADE_UP, "data": { "wake": "" } });
        let body = json!({ "validate_only": true, "message": message });
        let reply = match self.post(project, &token, &body).await {
            Ok(reply) => reply,
            Err(lost) => return PushProbe::wrong(ProbeFault::Reach, format!("FCM: {}", lost.says)),
        };
        let said = match (code(&reply), reply.status) {
            // FCM looks at the token only after it has accepted the credential.
            (Some(("INVALID_ARGUMENT" | "UNREGISTERED" | "SENDER_ID_MISMATCH", _)), _)
            | (None, 200 | 400) => {
                return PushProbe::good(format!("FCM takes the service account of project {id}"));
            }
            (Some((code, _)), _) => code.to_owned(),
            (None, status) => format!("status {status}"),
        };
        let fault = match reply.status {
            401 | 403 | 404 => ProbeFault::FcmPermission,
            429 | 500..=599 => ProbeFault::Reach,
            _ => ProbeFault::Unexpected,
        };
        PushProbe::wrong(fault, format!("FCM does not let project {id} send: {said}"))
    }
}

/// The notification may have arrived: then the next one replaces it.
const LOST: DeliveryError = DeliveryError::Failing(None);

impl PushServiceClient for FcmClient {
    fn permits(&self, target: &PushTarget) -> Result<(), Unpushable> {
        if target.keys.is_some() {
            return Err(Unpushable("keys belong to webpush"));
        }
        if !target.token.as_str().bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Unpushable("token must be the registration token of FCM"));
        }
        self.project(target).map(drop).ok_or(Unpushable("app must be a project of this relay"))
    }

    fn far_end(&self, target: &PushTarget) -> Option<String> {
        self.project(target).map(|project| project.id.clone())
    }

    fn call<'a>(&'a self, wake: &'a Wake, ttl_s: u64) -> BoxFuture<'a, Result<(), DeliveryError>> {
        Box::pin(self.send(wake, ttl_s))
    }

    fn probe(&self) -> BoxFuture<'_, Vec<PushProbe>> {
        Box::pin(async {
            let mut probes = Vec::new();
            for project in &self.projects {
                probes.push(self.probe_one(project).await);
            }
            probes
        })
    }
}
