//! The wiring of the audit log.

use std::path::PathBuf;
use std::sync::Arc;

use super::{AUDIT_DIR, StartError, base};
use crate::app::App;
use crate::app::audit::refusals::RefusalCounts;
use crate::app::audit::{Audit, AuditDependencies, Offline, Settings};
use crate::app::keys;
use crate::config::Config;
use crate::journal::Journal;
use crate::ports::{Clock, Store, StoreError};
use crate::security::encryption::Encryptor;
use crate::security::record::RecordSigner;

/// Directory of the audit log.
#[must_use]
pub fn audit_dir(config: &Config) -> PathBuf {
    config.audit.dir.clone().unwrap_or_else(|| config.data_dir.join(AUDIT_DIR))
}

pub(crate) fn journal(config: &Config) -> Journal {
    Journal {
        issuer: base(&config.public_url),
        receipts: config.audit.receipts,
        audited: config.audit.enabled,
    }
}

/// Starts the audit log, if it is enabled.
pub(crate) async fn start(
    config: &Config,
    (store, clock): (&Arc<dyn Store>, &Arc<dyn Clock>),
    sealer: &Encryptor,
    refusals: &Arc<RefusalCounts>,
) -> Result<Option<Audit>, StartError> {
    if !config.audit.enabled {
        crate::app::audit::pass_over(Arc::clone(store)).await?;
    }
    match dependencies(config, (store, clock), sealer, refusals).await? {
        Some((settings, dependencies)) => {
            Ok(Some(Audit::start(settings, dependencies, &journal(config)).await?))
        }
        None => Ok(None),
    }
}

/// Opens the audit log for a store that no relay has open, if it is enabled and has been started
/// before.
pub(crate) async fn offline(
    config: &Config,
    app: &App,
    sealer: &Encryptor,
) -> Result<Option<Offline>, StartError> {
    match dependencies(config, (&app.store, &app.clock), sealer, &Arc::default()).await? {
        Some((settings, dependencies)) => {
            Ok(Offline::open(settings, dependencies, &journal(config)).await?)
        }
        None => Ok(None),
    }
}

async fn dependencies(
    config: &Config,
    (store, clock): (&Arc<dyn Store>, &Arc<dyn Clock>),
    sealer: &Encryptor,
    refusals: &Arc<RefusalCounts>,
) -> Result<Option<(Settings, AuditDependencies)>, StartError> {
    if !config.audit.enabled {
        return Ok(None);
    }
    let keys = keys::load_or_make(&**store, sealer).await?;
    let signer = RecordSigner::new(&keys, &base(&config.public_url))
        .map_err(|error| StoreError::Unavailable(error.to_string()))?;
    let settings = Settings {
        required: config.audit.required,
        checkpoint_entries: config.audit.checkpoint_entries,
        checkpoint_every: config.audit.checkpoint_every,
        retention_days: config.audit.retention_days,
        anchor: config.audit.anchor.clone(),
        ..Settings::new(audit_dir(config))
    };
    let dependencies = AuditDependencies {
        store: Arc::clone(store),
        clock: Arc::clone(clock),
        signer: Arc::new(signer),
        refusals: Arc::clone(refusals),
    };
    Ok(Some((settings, dependencies)))
}
