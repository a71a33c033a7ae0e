//! The wiring of webhooks.

use std::sync::Arc;

use crate::backends::webhook_http::{self, WebhookHttp, WebhookHttpSettingsError};
use crate::config::Config;
use crate::ports::WebhookSender;

/// Sends webhooks over HTTP to the allowed endpoints.
pub(crate) fn sender(config: &Config) -> Result<Arc<dyn WebhookSender>, WebhookHttpSettingsError> {
    let webhooks = config.webhooks.clone();
    let settings = webhook_http::WebhookHttpSettings {
        allowed_hosts: webhooks.allowed_hosts,
        allowed_ports: webhooks.allowed_ports,
        allowed_networks: webhooks.allowed_networks,
        ca_file: webhooks.ca_file,
        allow_loopback_http: webhooks.allow_loopback_http,
    };
    Ok(Arc::new(WebhookHttp::new(settings)?))
}
