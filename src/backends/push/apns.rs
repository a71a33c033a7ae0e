//! The Apple Push Notification service: HTTP/2 with a provider token, which is renewed well before
//! it expires and not more often than Apple allows.

use std::sync::Arc;

use fido_relay_proto::UnixMillis;
use fido_relay_proto::http::PushTarget;
use futures::future::BoxFuture;
use reqwest::Client;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::call::{HttpReply, NoReply, client, exchange};
use super::credential_file::CredentialFile;
use super::dispatch::{DeliveryError, PushServiceClient};
use super::probe::{ProbeFault, PushProbe};
use super::settings::{ApnsSettings, PushSettings, PushSettingsError};
use crate::ports::{Clock, Unpushable, Wake};
use crate::security::signing_key::PrivateSigningKey;

/// A notification replaces the previous one.
const COLLAPSE_ID: &str = "fido-relay";
/// Seconds for which a token is used. Apple refuses a token older than an hour, and a new one within
/// 20 minutes.
const TOKEN_S: u64 = 50 * 60;
/// Longest device token. Apple's have 64 characters, and longer ones are announced.
const TOKEN_MAX: usize = 200;
/// A device token of no device, for probes.
const MADE_UP: &str = "0000000000000000000000000000000000000000000000000000000000000000";

#[derive(Debug)]
pub(super) struct ApnsClient {
    client: Client,
    clock: Arc<dyn Clock>,
    base: String,
    key: CredentialFile<PrivateSigningKey>,
    key_id: String,
    team_id: String,
    topics: Vec<String>,
    text: String,
    token: Mutex<Option<ProviderToken>>,
}

struct ProviderToken {
    key: Arc<PrivateSigningKey>,
    jws: Arc<str>,
    made: u64,
}

impl std::fmt::Debug for ProviderToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProviderToken").field("made", &self.made).finish_non_exhaustive()
    }
}

/// The body of an error response.
#[derive(Deserialize)]
struct ApnsErrorBody {
    reason: String,
}

/// What a reason means for a wake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ApnsDisposition {
    /// The address will never work; the relay removes it. So are tokens of the other environment and
    /// of another app: an app whose address was removed sets another, while a kept address would
    /// fail silently. If the relay's settings are wrong, that affects every device, and `doctor`
    /// reports it.
    Gone,
    /// The provider token is too old.
    OldToken,
    Later,
    Failing,
    Refused,
}

/// Every reason that Apple documents ("Handling notification responses from APNs").
const REASONS: [(&str, ApnsDisposition); 32] = [
    ("BadCollapseId", ApnsDisposition::Refused),
    ("BadDeviceToken", ApnsDisposition::Gone),
    ("BadExpirationDate", ApnsDisposition::Refused),
    ("BadMessageId", ApnsDisposition::Refused),
    ("BadPriority", ApnsDisposition::Refused),
    ("BadTopic", ApnsDisposition::Refused),
    ("DeviceTokenNotForTopic", ApnsDisposition::Gone),
    ("DuplicateHeaders", ApnsDisposition::Refused),
    ("IdleTimeout", ApnsDisposition::Failing),
    ("InvalidPushType", ApnsDisposition::Refused),
    ("MissingDeviceToken", ApnsDisposition::Refused),
    ("MissingTopic", ApnsDisposition::Refused),
    ("PayloadEmpty", ApnsDisposition::Refused),
    ("TopicDisallowed", ApnsDisposition::Refused),
    ("BadCertificate", ApnsDisposition::Refused),
    ("BadCertificateEnvironment", ApnsDisposition::Refused),
    ("BadEnvironmentKeyIdInToken", ApnsDisposition::Refused),
    ("ExpiredProviderToken", ApnsDisposition::OldToken),
    ("Forbidden", ApnsDisposition::Refused),
    ("InvalidProviderToken", ApnsDisposition::Refused),
    ("MissingProviderToken", ApnsDisposition::Refused),
    ("UnrelatedKeyIdInToken", ApnsDisposition::Refused),
    ("BadPath", ApnsDisposition::Refused),
    ("MethodNotAllowed", ApnsDisposition::Refused),
    ("ExpiredToken", ApnsDisposition::Gone),
    ("Unregistered", ApnsDisposition::Gone),
    ("PayloadTooLarge", ApnsDisposition::Refused),
    ("TooManyProviderTokenUpdates", ApnsDisposition::Later),
    ("TooManyRequests", ApnsDisposition::Later),
    ("InternalServerError", ApnsDisposition::Failing),
    ("ServiceUnavailable", ApnsDisposition::Failing),
    ("Shutdown", ApnsDisposition::Failing),
];

/// The disposition of an answer, and its name for the log.
fn disposition(reply: &HttpReply) -> (ApnsDisposition, String) {
    let said = reply.json().map(|failed: ApnsErrorBody| failed.reason);
    let known = REASONS.into_iter().find(|(reason, _)| said.as_deref() == Some(*reason));
    if let Some((reason, disposition)) = known {
        return (disposition, reason.to_owned());
    }
    let disposition = match reply.status {
        410 => ApnsDisposition::Gone,
        429 => ApnsDisposition::Later,
        408 | 500..=599 => ApnsDisposition::Failing,
        _ => ApnsDisposition::Refused,
    };
    (disposition, format!("status {}", reply.status))
}

impl ApnsClient {
    pub(super) fn new(
        settings: &ApnsSettings,
        all: &PushSettings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, PushSettingsError> {
        let key = CredentialFile::open(&settings.key_file, Box::new(PrivateSigningKey::p256));
        Ok(Self {
            client: client(all.ca_file.as_deref(), reqwest::ClientBuilder::http2_prior_knowledge)?,
            clock,
            base: settings.url.as_str().trim_end_matches('/').to_owned(),
            key: key.map_err(|why| PushSettingsError::File("push.apns.key_file", why))?,
            key_id: settings.key_id.clone(),
            team_id: settings.team_id.clone(),
            topics: settings.topics.clone(),
            text: all.text.clone(),
            token: Mutex::default(),
        })
    }

    fn topic(&self, target: &PushTarget) -> Option<&str> {
        let mut topics = self.topics.iter().map(String::as_str);
        match &target.app {
            Some(app) => topics.find(|topic| *topic == app.as_str()),
            None => topics.next(),
        }
    }

    /// The provider token. A `refused` one is not given again.
    async fn token(&self, now: UnixMillis, refused: Option<&str>) -> Option<Arc<str>> {
        let mut held = self.token.lock().await;
        let (key, now) = (self.key.get().await, now.as_secs());
        if let Some(token) = &*held
            && refused != Some(&*token.jws)
            && Arc::ptr_eq(&token.key, &key)
            && (token.made..token.made + TOKEN_S).contains(&now)
        {
            return Some(Arc::clone(&token.jws));
        }
        let claims = json!({ "iss": self.team_id, "iat": now });
        let jws: Arc<str> = key.sign(json!({ "kid": self.key_id }), &claims)?.into();
        *held = Some(ProviderToken { key, jws: Arc::clone(&jws), made: now });
        Some(jws)
    }

    async fn send(&self, wake: &Wake, ttl_s: u64) -> Result<(), DeliveryError> {
        let refused = |said: &str| DeliveryError::Refused(said.to_owned());
        let topic = self.topic(&wake.target).ok_or_else(|| refused("no such topic"))?;
        let body = json!({
            "aps": {
                "alert": { "body": self.text },
                "sound": "default",
                "mutable-content": 1,
                "interruption-level": "time-sensitive",
            },
            "wake": wake.id,
        });
        let mut old: Option<Arc<str>> = None;
        loop {
            let token = self.token(self.clock.now(), old.as_deref()).await;
            let token = token.ok_or_else(|| refused("cannot be signed"))?;
            let reply = self.post(wake.target.token.as_str(), topic, ttl_s, &token, &body).await;
            // It may have arrived: then the next notification replaces it.
            let reply = reply.map_err(|_| DeliveryError::Failing(None))?;
            if reply.status == 200 {
                return Ok(());
            }
            let asked = reply.retry_after;
            match disposition(&reply) {
                (ApnsDisposition::OldToken, _) if old.is_none() => old = Some(token),
                (ApnsDisposition::OldToken | ApnsDisposition::Refused, said) => {
                    return Err(DeliveryError::Refused(said));
                }
                (ApnsDisposition::Gone, reason) => {
                    tracing::info!(service = "apns", reason, "a push address is invalid");
                    return Err(DeliveryError::Gone);
                }
                (ApnsDisposition::Later, _) => return Err(DeliveryError::Later(asked)),
                (ApnsDisposition::Failing, _) => return Err(DeliveryError::Failing(asked)),
            }
        }
    }

    async fn post(
        &self,
        device: &str,
        topic: &str,
        ttl_s: u64,
        token: &str,
        body: &Value,
    ) -> Result<HttpReply, NoReply> {
        let now = self.clock.now();
        let request = self
            .client
            .post(format!("{}/3/device/{device}", self.base))
            .header("authorization", format!("bearer {token}"))
            .header("apns-topic", topic)
            .header("apns-push-type", "alert")
            .header("apns-priority", "10")
            .header("apns-expiration", (now.as_secs() + ttl_s).to_string())
            .header("apns-collapse-id", COLLAPSE_ID)
            .json(body);
        exchange(request, now).await
    }

    /// Sends a notification to a device token that does not exist.
    async fn probe_topic(&self, topic: &str) -> PushProbe {
        let Some(token) = self.token(self.clock.now(), None).await else {
            return PushProbe::wrong(ProbeFault::ApnsKey, "no provider token could be signed");
        };
        let reply = match self.post(MADE_UP, topic, 1, &token, &json!({ "aps": {} })).await {
            Ok(reply) => reply,
            Err(lost) => {
                return PushProbe::wrong(ProbeFault::Reach, format!("APNs: {}", lost.says));
            }
        };
        let (disposition, said) = disposition(&reply);
        if disposition == ApnsDisposition::Gone || reply.status == 200 {
            return PushProbe::good(format!("APNs takes the key for the topic {topic}"));
        }
        let fault = match (reply.status, said.as_str()) {
            (_, "TopicDisallowed" | "BadTopic") => ProbeFault::ApnsTopic,
            (403, _) => ProbeFault::ApnsKey,
            (429 | 500..=599, _) => ProbeFault::Reach,
            (_, _) => ProbeFault::Unexpected,
        };
        PushProbe::wrong(fault, format!("APNs refuses the topic {topic}: {said}"))
    }
}

impl PushServiceClient for ApnsClient {
    fn permits(&self, target: &PushTarget) -> Result<(), Unpushable> {
        if target.keys.is_some() {
            return Err(Unpushable("keys belong to webpush"));
        }
        let token = target.token.as_str();
        let is_hex =
            token.len().is_multiple_of(2) && token.bytes().all(|byte| byte.is_ascii_hexdigit());
        if token.is_empty() || token.len() > TOKEN_MAX || !is_hex {
            return Err(Unpushable("token must be the device token in hexadecimal"));
        }
        self.topic(target).map(drop).ok_or(Unpushable("app must be a bundle id of this relay"))
    }

    fn far_end(&self, target: &PushTarget) -> Option<String> {
        // One connection serves every topic.
        self.topic(target).map(|_| String::new())
    }

    fn call<'a>(&'a self, wake: &'a Wake, ttl_s: u64) -> BoxFuture<'a, Result<(), DeliveryError>> {
        Box::pin(self.send(wake, ttl_s))
    }

    fn probe(&self) -> BoxFuture<'_, Vec<PushProbe>> {
        Box::pin(async {
            let mut probes = Vec::new();
            for topic in &self.topics {
                probes.push(self.probe_topic(topic).await);
            }
            probes
        })
    }
}
