//! The wiring of webhooks: where they may go by the configuration, and what of them dies when.

use std::sync::Arc;

use crate::backends::webhook_http::{self, SettingsError, WebhookHttp};
use crate::config::Config;
use crate::ports::{Bucket, Clock, Store};
use crate::relay::Retention;
use crate::security::seal::Sealer;
use crate::webhooks::{self, Webhooks};

/// What of webhooks is removed when.
pub(super) const RETENTION: [Retention; 2] = [
    Retention { bucket: Bucket::Outbox, dies_at: webhooks::dead_until },
    Retention { bucket: Bucket::Delivered, dies_at: webhooks::delivered_until },
];

/// The endpoints of a store, to be managed and, if somebody starts them, sent to.
pub(crate) fn of_store(
    config: &Config,
    store: Arc<dyn Store>,
    sealer: Sealer,
    clock: Arc<dyn Clock>,
) -> Result<Webhooks, SettingsError> {
    let given = config.webhooks.clone();
    let settings = webhook_http::Settings {
        allowed_hosts: given.allowed_hosts,
        allowed_ports: given.allowed_ports,
        allowed_networks: given.allowed_networks,
        ca_file: given.ca_file,
        allow_loopback_http: given.allow_loopback_http,
    };
    let sender = Arc::new(WebhookHttp::new(settings)?);
    Ok(Webhooks::at_rest(store, sealer, clock, sender))
}
