//! The wiring of push services.

use std::sync::Arc;

use crate::backends::push::{
    ApnsSettings, DispatchLimits, FcmSettings, PushServices, PushSettings, PushSettingsError,
    WebPushSettings,
};
use crate::backends::webhook_http::{self, WebhookHttp};
use crate::config::Config;
use crate::ports::{Clock, Push};

/// The configured services as the port of the relay.
pub(super) async fn port(
    config: &Config,
    clock: Arc<dyn Clock>,
) -> Result<Option<Arc<dyn Push>>, PushSettingsError> {
    let services = services(config, clock).await?;
    Ok(services.map(|services| -> Arc<dyn Push> { Arc::new(services) }))
}

/// The configured services; `None`: none is configured.
pub(crate) async fn services(
    config: &Config,
    clock: Arc<dyn Clock>,
) -> Result<Option<PushServices>, PushSettingsError> {
    let given = config.push.clone();
    if !given.is_configured() {
        return Ok(None);
    }
    // A device names its endpoint, so it may be any public host on port 443, and nothing else.
    let guard = webhook_http::WebhookHttpSettings {
        ca_file: given.ca_file.clone(),
        allow_loopback_http: given.webpush.as_ref().is_some_and(|web| web.allow_loopback_http),
        ..webhook_http::WebhookHttpSettings::default()
    };
    let sender = WebhookHttp::new(guard).map_err(|error| match error {
        webhook_http::WebhookHttpSettingsError::CaFile(says) => {
            PushSettingsError::File("push.ca_file", says)
        }
        webhook_http::WebhookHttpSettingsError::Client(says) => PushSettingsError::Client(says),
    })?;
    let settings = PushSettings {
        text: given.text,
        ca_file: given.ca_file,
        webpush: given
            .webpush
            .map(|web| WebPushSettings { key_file: web.key_file, contact: web.contact }),
        fcm: given.fcm.map(|fcm| FcmSettings {
            service_accounts: fcm.service_accounts,
            channel: fcm.channel,
            url: fcm.url,
        }),
        apns: given.apns.map(|apns| ApnsSettings {
            key_file: apns.key_file,
            key_id: apns.key_id,
            team_id: apns.team_id,
            topics: apns.topics,
            url: apns.url,
        }),
        limits: DispatchLimits::default(),
    };
    PushServices::new(&settings, Arc::new(sender), clock).await.map(Some)
}
