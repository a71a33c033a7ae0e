//! The Apple Push Notification service: HTTP/2, with a provider token that is made anew well before
//! Apple calls it old, and not more often than Apple allows.

use std::sync::Arc;

use fido_relay_proto::UnixMillis;
use fido_relay_proto::http::PushTarget;
use futures::future::BoxFuture;
use reqwest::Client;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::call::{Lost, Reply, client, exchange};
use super::credential::Credential;
use super::dispatch::{Service, Setback};
use super::jws::SigningKey;
use super::probe::{Fault, Probe};
use super::settings::{ApnsSettings, Settings, SettingsError};
use crate::ports::{Clock, Unpushable, Wake};

/// A notification takes the place of the one before.
const COLLAPSE_ID: &str = "fido-relay";
/// Seconds for which a token is used. Apple refuses one of more than an hour,
/// and a new one within 20 minutes.
const TOKEN_S: u64 = 50 * 60;
/// Characters of a device token. Apple's have 64, and more are announced.
const TOKEN_MAX: usize = 200;
/// A device token that Apple gave to no device.
const MADE_UP: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The Apple Push Notification service.
#[derive(Debug)]
pub(super) struct Apns {
    client: Client,
    clock: Arc<dyn Clock>,
    base: String,
    key: Credential<SigningKey>,
    key_id: String,
    team_id: String,
    topics: Vec<String>,
    text: String,
    token: Mutex<Option<Token>>,
}

struct Token {
    key: Arc<SigningKey>,
    jws: Arc<str>,
    made: u64,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").field("made", &self.made).finish_non_exhaustive()
    }
}

/// The body of an answer that is no success.
#[derive(Deserialize)]
struct Failed {
    reason: String,
}

/// What a reason means for a wake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// The address will never work. A token of the other environment and one of another app are among
    /// these: the app sets another once it hears that its own was forgotten, while a relay that kept
    /// it would fail for that device in silence. Where the relay's own settings are
    /// wrong, that is so for every device, and `doctor` says it.
    Gone,
    /// Another provider token may help.
    OldToken,
    Later,
    Failing,
    Refused,
}

/// Every reason that Apple documents ("Handling notification responses from APNs").
const REASONS: [(&str, Meaning); 32] = [
    ("BadCollapseId", Meaning::Refused),
    ("BadDeviceToken", Meaning::Gone),
    ("BadExpirationDate", Meaning::Refused),
    ("BadMessageId", Meaning::Refused),
    ("BadPriority", Meaning::Refused),
    ("BadTopic", Meaning::Refused),
    ("DeviceTokenNotForTopic", Meaning::Gone),
    ("DuplicateHeaders", Meaning::Refused),
    ("IdleTimeout", Meaning::Failing),
    ("InvalidPushType", Meaning::Refused),
    ("MissingDeviceToken", Meaning::Refused),
    ("MissingTopic", Meaning::Refused),
    ("PayloadEmpty", Meaning::Refused),
    ("TopicDisallowed", Meaning::Refused),
    ("BadCertificate", Meaning::Refused),
    ("BadCertificateEnvironment", Meaning::Refused),
    ("BadEnvironmentKeyIdInToken", Meaning::Refused),
    ("ExpiredProviderToken", Meaning::OldToken),
    ("Forbidden", Meaning::Refused),
    ("InvalidProviderToken", Meaning::Refused),
    ("MissingProviderToken", Meaning::Refused),
    ("UnrelatedKeyIdInToken", Meaning::Refused),
    ("BadPath", Meaning::Refused),
    ("MethodNotAllowed", Meaning::Refused),
    ("ExpiredToken", Meaning::Gone),
    ("Unregistered", Meaning::Gone),
    ("PayloadTooLarge", Meaning::Refused),
    ("TooManyProviderTokenUpdates", Meaning::Later),
    ("TooManyRequests", Meaning::Later),
    ("InternalServerError", Meaning::Failing),
    ("ServiceUnavailable", Meaning::Failing),
    ("Shutdown", Meaning::Failing),
];

/// What an answer means, and its name for the log.
fn meaning(reply: &Reply) -> (Meaning, String) {
    let said = reply.json().map(|failed: Failed| failed.reason);
    let known = REASONS.into_iter().find(|(reason, _)| said.as_deref() == Some(*reason));
    if let Some((reason, meaning)) = known {
        return (meaning, reason.to_owned());
    }
    let meaning = match reply.status {
        410 => Meaning::Gone,
        429 => Meaning::Later,
        408 | 500..=599 => Meaning::Failing,
        _ => Meaning::Refused,
    };
    (meaning, format!("status {}", reply.status))
}

impl Apns {
    pub(super) fn new(
        settings: &ApnsSettings,
        all: &Settings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SettingsError> {
        let key = Credential::open(&settings.key_file, Box::new(SigningKey::p256));
        Ok(Self {
            client: client(all.ca_file.as_deref(), reqwest::ClientBuilder::http2_prior_knowledge)?,
            clock,
            base: settings.url.as_str().trim_end_matches('/').to_owned(),
            key: key.map_err(|why| SettingsError::File("push.apns.key_file", why))?,
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

    /// The provider token. `refused`: the one that Apple called old.
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
        *held = Some(Token { key, jws: Arc::clone(&jws), made: now });
        Some(jws)
    }

    async fn send(&self, wake: &Wake, ttl_s: u64) -> Result<(), Setback> {
        let refused = |said: &str| Setback::Refused(said.to_owned());
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
            // Nothing was heard, so it may have arrived: the next takes its place.
            let reply = reply.map_err(|_| Setback::Failing(None))?;
            if reply.status == 200 {
                return Ok(());
            }
            let asked = reply.retry_after;
            match meaning(&reply) {
                (Meaning::OldToken, _) if old.is_none() => old = Some(token),
                (Meaning::OldToken | Meaning::Refused, said) => return Err(Setback::Refused(said)),
                (Meaning::Gone, said) => {
                    tracing::info!(service = "apns", said, "an address will never work");
                    return Err(Setback::Gone);
                }
                (Meaning::Later, _) => return Err(Setback::Later(asked)),
                (Meaning::Failing, _) => return Err(Setback::Failing(asked)),
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
    ) -> Result<Reply, Lost> {
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

    /// Calls Apple for a device that there is not, with each topic.
    async fn probe_topic(&self, topic: &str) -> Probe {
        let Some(token) = self.token(self.clock.now(), None).await else {
            return Probe::wrong(Fault::ApnsKey, "no provider token could be signed");
        };
        let reply = match self.post(MADE_UP, topic, 1, &token, &json!({ "aps": {} })).await {
            Ok(reply) => reply,
            Err(lost) => return Probe::wrong(Fault::Reach, format!("APNs: {}", lost.says)),
        };
        let (meaning, said) = meaning(&reply);
        if meaning == Meaning::Gone || reply.status == 200 {
            return Probe::good(format!("APNs takes the key for the topic {topic}"));
        }
        let fault = match (reply.status, said.as_str()) {
            (_, "TopicDisallowed" | "BadTopic") => Fault::ApnsTopic,
            (403, _) => Fault::ApnsKey,
            (429 | 500..=599, _) => Fault::Reach,
            (_, _) => Fault::Unexpected,
        };
        Probe::wrong(fault, format!("APNs refuses the topic {topic}: {said}"))
    }
}

impl Service for Apns {
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

    fn call<'a>(&'a self, wake: &'a Wake, ttl_s: u64) -> BoxFuture<'a, Result<(), Setback>> {
        Box::pin(self.send(wake, ttl_s))
    }

    fn probe(&self) -> BoxFuture<'_, Vec<Probe>> {
        Box::pin(async {
            let mut probes = Vec::new();
            for topic in &self.topics {
                probes.push(self.probe_topic(topic).await);
            }
            probes
        })
    }
}
