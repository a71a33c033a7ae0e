//! The wiring for acts on a store that no relay has open.

use std::sync::Arc;

use super::{DataDirectory, REVOCATIONS_FILE, SEAL_KEY_FILE, StartError};
use super::{base, cards, prompt_policy, webhooks};
use crate::app::App;
use crate::app::webhooks::Webhooks;
use crate::backends::embedded::{FileStore, LocalBus, RevocationList, SystemClock};
use crate::config::Config;
use crate::ports::{Clock, Store};
use crate::security::encryption::Encryptor;
use crate::tasks::Tasks;

/// The acts, and what encrypts in this store.
///
/// # Errors
/// The sealing key's, the settings' of webhooks, the list's of revocations.
pub(crate) fn app_at_rest(
    config: &Config,
    directory: &DataDirectory,
    store: FileStore,
) -> Result<(App, Encryptor), StartError> {
    let (store, clock): (Arc<dyn Store>, Arc<dyn Clock>) = (Arc::new(store), Arc::new(SystemClock));
    let sealer = Encryptor::load(&directory.path().join(SEAL_KEY_FILE))?;
    let sender = webhooks::sender(config)?;
    let webhooks =
        Webhooks::at_rest(Arc::clone(&store), sealer.clone(), Arc::clone(&clock), sender);
    let list = RevocationList::open(&directory.path().join(REVOCATIONS_FILE))?;
    let app = App {
        cards: cards(config, Arc::clone(&store)),
        store,
        clock,
        // No node is running: devices are notified when they connect.
        bus: Arc::new(LocalBus::with_room(1)),
        revocations: Arc::new(list),
        push: None,
        webhooks: Some(webhooks),
        prompts: prompt_policy(&config.prompts),
        public_url: base(&config.public_url),
        tasks: Tasks::default(),
    };
    Ok((app, sealer))
}
