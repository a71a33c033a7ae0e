//! Web Push (RFC 8030), which UnifiedPush uses, too. Devices name the endpoints, so they are called
//! only through the sender that checks the addresses of a URL.

use std::sync::Arc;
use std::time::Duration;

use fido_relay_proto::http::PushTarget;
use futures::future::BoxFuture;
use serde_json::json;

use super::dispatch::{DeliveryError, PushServiceClient};
use super::probe::PushProbe;
use super::settings::{PushSettingsError, WebPushSettings};
use super::vapid::Vapid;
use super::webpush_encryption::SubscriptionKeys;
use crate::ports::{
    Answered, Clock, OutgoingRequest, Registrar, Unpushable, Unsent, Wake, WebhookSender,
};

/// An undelivered wake is replaced by the next (RFC 8030 section 5.4).
const TOPIC: &str = "fido-relay";

/// Web Push: RFC 8030, 8188, 8291, 8292.
#[derive(Debug)]
pub(super) struct WebPushClient {
    sender: Arc<dyn WebhookSender>,
    clock: Arc<dyn Clock>,
    vapid: Vapid,
    text: String,
}

impl WebPushClient {
    pub(super) fn new(
        settings: &WebPushSettings,
        text: &str,
        sender: Arc<dyn WebhookSender>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, PushSettingsError> {
        let unusable = |why| PushSettingsError::File("push.webpush.key_file", why);
        let vapid = Vapid::open(&settings.key_file, &settings.contact).map_err(unusable)?;
        Ok(Self { sender, clock, vapid, text: text.to_owned() })
    }

    async fn send(&self, wake: &Wake, ttl_s: u64) -> Result<(), DeliveryError> {
        let refused = |said: &str| DeliveryError::Refused(said.to_owned());
        let endpoint = self.sender.permits(wake.target.token.as_str(), Registrar::Operator);
        let url = endpoint.map_err(|_| refused("not to be connected to"))?;
        let receiver = wake.target.keys.as_ref().and_then(SubscriptionKeys::new);
        let text = json!({ "wake": wake.id, "body": self.text }).to_string();
        let body = receiver.and_then(|receiver| receiver.encrypt(text.as_bytes()));
        let body = body.ok_or_else(|| refused("cannot be encrypted"))?;
        let origin = url.origin().ascii_serialization();
        let now = self.clock.now();
        let authorization = self.vapid.authorization(&origin, now).await;
        let authorization = authorization.ok_or_else(|| refused("cannot be signed"))?;
        let headers = vec![
            ("authorization", authorization),
            ("content-encoding", "aes128gcm".to_owned()),
            ("content-type", "application/octet-stream".to_owned()),
            ("ttl", ttl_s.to_string()),
            ("urgency", "high".to_owned()),
            ("topic", TOPIC.to_owned()),
        ];
        let letter = OutgoingRequest { url, registrar: Registrar::Operator, headers, body };
        match self.sender.send(letter).await {
            Ok(answered) => judge(answered, |answered| {
                let asked = answered.retry_after.map(|asked| asked.seconds(self.clock.now()));
                asked.map(Duration::from_secs)
            }),
            Err(Unsent::Timeout | Unsent::Unreachable) => Err(DeliveryError::Failing(None)),
            Err(Unsent::Forbidden) => Err(refused("not to be connected to")),
        }
    }
}

/// The meaning of an answer (RFC 8030 sections 5, 7.3 and 8.4).
fn judge(
    answered: Answered,
    asked: impl FnOnce(Answered) -> Option<Duration>,
) -> Result<(), DeliveryError> {
    match answered.status {
        200..=202 => Ok(()),
        404 | 410 => Err(DeliveryError::Gone),
        429 => Err(DeliveryError::Later(asked(answered))),
        408 | 500..=599 => Err(DeliveryError::Failing(asked(answered))),
        status => Err(DeliveryError::Refused(format!("status {status}"))),
    }
}

impl PushServiceClient for WebPushClient {
    fn permits(&self, target: &PushTarget) -> Result<(), Unpushable> {
        if target.app.is_some() {
            return Err(Unpushable("app does not belong to webpush"));
        }
        let keys = target.keys.as_ref().ok_or(Unpushable("webpush needs keys"))?;
        if SubscriptionKeys::new(keys).is_none() {
            return Err(Unpushable(
                "keys must be an uncompressed P-256 point (p256dh) and 16 bytes (auth), base64url",
            ));
        }
        let endpoint = self.sender.permits(target.token.as_str(), Registrar::Operator);
        endpoint.map(drop).map_err(|_| {
            Unpushable(
                "token must be the endpoint: an https URL in its normal form, on port 443 of a \
                 public host",
            )
        })
    }

    fn far_end(&self, target: &PushTarget) -> Option<String> {
        let endpoint = self.sender.permits(target.token.as_str(), Registrar::Operator);
        // An endpoint that is no longer permitted is refused by the call.
        Some(endpoint.map_or_else(|_| String::new(), |url| url.origin().ascii_serialization()))
    }

    fn call<'a>(&'a self, wake: &'a Wake, ttl_s: u64) -> BoxFuture<'a, Result<(), DeliveryError>> {
        Box::pin(self.send(wake, ttl_s))
    }

    fn probe(&self) -> BoxFuture<'_, Vec<PushProbe>> {
        Box::pin(async {
            let key = self.vapid.public_key().await;
            vec![PushProbe::good(format!(
                "the VAPID key can be used; applicationServerKey is {key}"
            ))]
        })
    }
}
