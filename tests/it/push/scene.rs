//! Push services with keys of the test's own, a clock that the test sets, and far ends beside them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fido_relay::backends::push::{
    ApnsSettings, DispatchLimits, FcmSettings, PushServices, PushSettings, WebPushSettings,
};
use fido_relay::backends::webhook_http::{self, WebhookHttp};
use fido_relay::config::{Config, push};
use fido_relay::ports::{Clock, Push as _, PushFailure, Wake};
use fido_relay_proto::http::{PushService, PushTarget, WebPushKeys};
use fido_relay_proto::{PlainText, UnixMillis};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use rcgen::{KeyPair, PKCS_RSA_SHA256, PublicKeyData as _, RsaKeySize};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::far::Far;
use crate::support::authority::{Authority, put};

pub(crate) const START: u64 = 1_800_000_000;
pub(crate) const TEXT: &str = "Open the app to continue.";
pub(crate) const TOPIC: &str = "com.example.bank";
pub(crate) const PROJECT: &str = "example-bank";
pub(crate) const WAKE: &str = "0123456789abcdefghij-_";
/// Of a device of Apple's.
pub(crate) const DEVICE: &str = "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0";

/// A clock that shows what the test sets.
#[derive(Debug)]
pub(crate) struct SetClock(AtomicU64);

impl SetClock {
    pub(crate) fn forward(&self, seconds: u64) {
        self.0.fetch_add(seconds * 1_000, Ordering::SeqCst);
    }
}

impl Clock for SetClock {
    fn now(&self) -> UnixMillis {
        UnixMillis(self.0.load(Ordering::SeqCst))
    }
}

/// Quick enough for a test, and with the same order of things.
pub(crate) fn quick() -> DispatchLimits {
    DispatchLimits {
        call_limit: Duration::from_millis(1_500),
        first_retry: Duration::from_millis(20),
        breaker_pause: Duration::from_millis(400),
        ..DispatchLimits::default()
    }
}

pub(crate) struct Scene {
    pub(crate) directory: TempDir,
    pub(crate) authority: Authority,
    pub(crate) clock: Arc<SetClock>,
    pub(crate) ec: KeyPair,
    pub(crate) rsa: KeyPair,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let (directory, authority) = (tempfile::tempdir().unwrap(), Authority::new());
        put(directory.path(), "ca.pem", &authority.certificate.pem());
        let rsa = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        let clock = Arc::new(SetClock(AtomicU64::new(START * 1_000)));
        let scene = Self { directory, authority, clock, ec: KeyPair::generate().unwrap(), rsa };
        put(scene.path(), "key.p8", &scene.ec.serialize_pem());
        scene
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Puts the file of a service account, whose tokens come from this far end.
    pub(crate) fn put_account(&self, name: &str, far: &Far, project: &str, key: &KeyPair) {
        let account = json!({
            "type": "service_account",
            "project_id": project,
            "private_key_id": "key-1",
            "private_key": key.serialize_pem(),
            "client_email": format!("relay@{project}.iam.gserviceaccount.com"),
            "token_uri": format!("{}/token", far.url),
        });
        put(self.path(), name, &account.to_string());
    }

    pub(crate) fn apns(&self, far: &Far) -> ApnsSettings {
        ApnsSettings {
            key_file: self.path().join("key.p8"),
            key_id: "KEY4567890".to_owned(),
            team_id: "TEAM567890".to_owned(),
            topics: vec![TOPIC.to_owned(), "com.example.other".to_owned()],
            url: far.url.parse().unwrap(),
        }
    }

    pub(crate) fn fcm(&self, far: &Far) -> FcmSettings {
        self.put_account("account.json", far, PROJECT, &self.rsa);
        FcmSettings {
            service_accounts: vec![self.path().join("account.json")],
            channel: "sign-in".to_owned(),
            url: far.url.parse().unwrap(),
        }
    }

    pub(crate) fn webpush(&self) -> WebPushSettings {
        let contact = "mailto:ops@example.com".to_owned();
        WebPushSettings { key_file: self.path().join("key.p8"), contact }
    }

    /// The configuration of a relay that wakes by this far end, as the operator would write it.
    pub(crate) fn configure_webpush(&self, config: &mut Config, _: &Far) {
        let WebPushSettings { key_file, contact } = self.webpush();
        config.push.webpush = Some(push::WebPush { key_file, contact, allow_loopback_http: true });
    }

    pub(crate) fn configure_fcm(&self, config: &mut Config, far: &Far) {
        let FcmSettings { service_accounts, channel, url } = self.fcm(far);
        config.push.fcm = Some(push::Fcm { service_accounts, channel, url });
        config.push.ca_file = Some(self.path().join("ca.pem"));
    }

    pub(crate) fn configure_apns(&self, config: &mut Config, far: &Far) {
        let ApnsSettings { key_file, key_id, team_id, topics, url } = self.apns(far);
        config.push.apns = Some(push::Apns { key_file, key_id, team_id, topics, url });
        config.push.ca_file = Some(self.path().join("ca.pem"));
    }

    pub(crate) fn settings(&self) -> PushSettings {
        PushSettings {
            text: TEXT.to_owned(),
            ca_file: Some(self.path().join("ca.pem")),
            limits: quick(),
            ..PushSettings::default()
        }
    }

    pub(crate) async fn services(&self, settings: PushSettings) -> PushServices {
        let guard = webhook_http::WebhookHttpSettings {
            allow_loopback_http: true,
            ..webhook_http::WebhookHttpSettings::default()
        };
        let sender = Arc::new(WebhookHttp::new(guard).unwrap());
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        PushServices::new(&settings, sender, clock).await.unwrap()
    }

    pub(crate) async fn with_apns(&self, far: &Far) -> PushServices {
        self.services(PushSettings { apns: Some(self.apns(far)), ..self.settings() }).await
    }

    pub(crate) async fn with_fcm(&self, far: &Far) -> PushServices {
        self.services(PushSettings { fcm: Some(self.fcm(far)), ..self.settings() }).await
    }

    pub(crate) async fn with_webpush(&self) -> PushServices {
        self.services(PushSettings { webpush: Some(self.webpush()), ..self.settings() }).await
    }
}

/// The claims and the header of a token, by a library that is not the relay's.
pub(crate) fn claims(jws: &str, algorithm: Algorithm, key: &KeyPair) -> (Value, Value) {
    let key = match algorithm {
        // The uncompressed point, and RFC 8017's form, are what the library takes.
        Algorithm::ES256 => DecodingKey::from_ec_der(key.der_bytes()),
        _ => DecodingKey::from_rsa_der(key.der_bytes()),
    };
    let mut rules = Validation::new(algorithm);
    rules.validate_aud = false;
    rules.validate_exp = false;
    rules.required_spec_claims.clear();
    let token = jsonwebtoken::decode::<Value>(jws, &key, &rules).unwrap();
    (token.claims, serde_json::to_value(token.header).unwrap())
}

pub(crate) fn apns_target() -> PushTarget {
    target(PushService::Apns, DEVICE, None, None)
}

pub(crate) fn fcm_target() -> PushTarget {
    target(PushService::Fcm, "registration:token_1", None, None)
}

pub(crate) fn target(
    service: PushService,
    token: &str,
    app: Option<&str>,
    keys: Option<(&str, &str)>,
) -> PushTarget {
    PushTarget {
        service,
        token: PlainText::new(token).unwrap(),
        app: app.map(|app| PlainText::new(app).unwrap()),
        keys: keys.map(|(point, auth)| WebPushKeys {
            p256dh: PlainText::new(point).unwrap(),
            auth: PlainText::new(auth).unwrap(),
        }),
    }
}

pub(crate) fn wake(target: PushTarget, ttl_s: u64) -> Wake {
    Wake { target, id: WAKE.to_owned(), ttl_s }
}

pub(crate) async fn sent(
    services: &PushServices,
    target: PushTarget,
    ttl_s: u64,
) -> Result<(), PushFailure> {
    services.wake(wake(target, ttl_s)).await
}
