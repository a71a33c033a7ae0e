//! The wiring of webhooks: where they may go by the configuration.

use std::sync::Arc;

use crate::app::webhooks::Webhooks;
use crate::backends::webhook_http::{self, WebhookHttp, WebhookHttpSettingsError};
use crate::config::Config;
use crate::ports::{Clock, Store};
use crate::security::encryption::Encryptor;

/// The endpoints of a store, to be managed and, if somebody starts them, sent to.
pub(crate) fn of_store(
    config: &Config,
    store: Arc<dyn Store>,
    sealer: Encryptor,
    clock: Arc<dyn Clock>,
) -> Result<Webhooks, WebhookHttpSettingsError> {
    let given = config.webhooks.clone();
    let settings = webhook_http::WebhookHttpSettings {
        allowed_hosts: given.allowed_hosts,
        allowed_ports: given.allowed_ports,
        allowed_networks: given.allowed_networks,
        ca_file: given.ca_file,
        allow_loopback_http: given.allow_loopback_http,
    };
    let sender = Arc::new(WebhookHttp::new(settings)?);
    Ok(Webhooks::at_rest(store, sealer, clock, sender))
}
