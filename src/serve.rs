//! The wiring: from a configuration to a running relay. The one place that knows every room, and
//! the only one that chooses backends.

pub(crate) mod audit;
mod data_directory;
pub(crate) mod listening;
mod pace;
pub(crate) mod push;
mod settings;
mod upstream;
pub(crate) mod webhooks;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fido_relay_proto::TenantId;
use tokio::net::TcpListener;
use tokio::sync::watch;
use url::Url;

use crate::app::audit::Audit;
use crate::app::ceremonies;
use crate::app::webhooks::Webhooks;
use crate::app::{App, pairings};
use crate::backends::embedded::{LocalBus, RevocationList, RevocationsError, SystemClock};
use crate::backends::fido_http;
use crate::config::Config;
use crate::edge::listener::{self, Listener};
#[cfg(unix)]
use crate::edge::operator::socket::AdminSocket;
use crate::edge::operator::{self, Admin};
use crate::edge::{self, Edge};
use crate::journal;
use crate::metrics::Metrics;
use crate::node::{Dependencies, Relay, RelayLimits};
use crate::ports::{Ability, Bus, Clock, DueRule, Push, Store, StoreError};
use crate::security::encryption::{EncryptError, Encryptor};
use crate::security::keys::Keys;
use crate::security::refusals::Refusals;
use crate::security::{client_assertion, event_ticket};
use crate::tasks::Tasks;

pub use audit::audit_dir;
pub use data_directory::{Contents, DataDirectory, FIRST_START, Incomplete};
pub(crate) use settings::prompt_policy;
pub(crate) use upstream::{Doubt, cards, probe_upstream};

/// The store's file within the data directory.
pub const STORE_FILE: &str = "relay.redb";
/// The sealing key's file within the data directory.
pub const SEAL_KEY_FILE: &str = "seal.key";
/// The file of revoked devices and removed cards within the data directory.
pub const REVOCATIONS_FILE: &str = "revocations";
/// The audit log's directory within the data directory, unless another is configured.
pub const AUDIT_DIR: &str = "audit";
/// How long a stopping relay waits for what is under way.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// Why a relay did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be had.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
    /// A part of the data directory is missing without which the others are of no use.
    #[error(transparent)]
    Incomplete(#[from] Incomplete),
    /// The store's file cannot be had.
    #[error(transparent)]
    Open(#[from] crate::backends::embedded::OpenError),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no sealing key.
    #[error(transparent)]
    Seal(#[from] EncryptError),
    /// It cannot be told which devices and cards were revoked.
    #[error(transparent)]
    Revocations(#[from] RevocationsError),
    /// The audit log cannot be written.
    #[error("the audit log: {0}")]
    Audit(#[from] crate::app::audit::StartError),
    /// The external FIDO2 server's settings do not hold.
    #[error(transparent)]
    Upstream(#[from] fido_http::FidoHttpSettingsError),
    /// The certificate cannot serve.
    #[error("tls: {0}")]
    Tls(#[from] listener::CertificateError),
    /// Webhooks cannot be sent.
    #[error(transparent)]
    Webhooks(#[from] crate::backends::webhook_http::WebhookHttpSettingsError),
    /// Devices cannot be woken.
    #[error(transparent)]
    Push(#[from] crate::backends::push::PushSettingsError),
    /// The file of an attestation key cannot be used.
    #[error("{0}: {1}")]
    Attestation(&'static str, String),
}

impl StartError {
    /// What an operator can do about it, where that does not follow from the error itself.
    #[must_use]
    pub fn remedy(&self) -> Option<String> {
        if let Self::Incomplete(incomplete) = self {
            return Some(incomplete.remedy());
        }
        match self {
            Self::Open(error) => error.remedy().map(str::to_owned),
            Self::Seal(EncryptError::Malformed(_)) => Some(
                "bring that file back from the backup that belongs to relay.redb: no other key \
                 opens what the store has sealed"
                    .to_owned(),
            ),
            Self::Listen(_, error) if error.kind() == ErrorKind::AddrInUse => Some(
                "stop the program that listens there (`fido-relay health` says whether it is a \
                 relay), or choose another listen"
                    .to_owned(),
            ),
            Self::Listen(_, error) if error.kind() == ErrorKind::PermissionDenied => Some(
                "choose a port above 1023 for listen, or give this program the right to lower ones \
                 (CAP_NET_BIND_SERVICE)"
                    .to_owned(),
            ),
            Self::Listen(_, error) if error.kind() == ErrorKind::AddrNotAvailable => {
                Some("correct listen: the address must be this machine's".to_owned())
            }
            Self::Seal(EncryptError::File { source: error, .. })
            | Self::Revocations(RevocationsError::Io { source: error, .. })
            | Self::Audit(crate::app::audit::StartError::Files(error))
                if error.kind() == ErrorKind::PermissionDenied =>
            {
                Some(
                    "run this as the relay's user, and let that user read and write the file"
                        .to_owned(),
                )
            }
            Self::Listen(..)
            | Self::Incomplete(_)
            | Self::Store(_)
            | Self::Seal(_)
            | Self::Revocations(_)
            | Self::Audit(_)
            | Self::Upstream(_)
            | Self::Tls(_)
            | Self::Webhooks(_)
            | Self::Push(_)
            | Self::Attestation(..) => None,
        }
    }
}

/// What a relay stands on, where the configuration leaves no choice.
#[derive(Clone, Debug)]
pub struct ServerDependencies {
    /// Where everything is kept.
    pub store: Arc<dyn Store>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

impl ServerDependencies {
    /// This machine: a file in the data directory, and the system's clock.
    ///
    /// # Errors
    /// [`StartError::Incomplete`], [`StartError::Open`] and [`StartError::Seal`].
    pub fn of_this_machine(config: &Config) -> Result<Self, StartError> {
        let store = Arc::new(DataDirectory::of(config).open()?);
        Ok(Self { store, clock: Arc::new(SystemClock) })
    }
}

/// A relay that serves.
#[derive(Debug)]
pub struct Running {
    config: Config,
    relay: Relay,
    app: App,
    tasks: Tasks,
    audit: Option<Audit>,
    webhooks: Webhooks,
    admin_address: Option<SocketAddr>,
}

/// A listener where the configuration says.
///
/// # Errors
/// [`StartError::Listen`].
pub fn bind(config: &Config) -> Result<TcpListener, StartError> {
    listener::bind(config.listen).map_err(|error| StartError::Listen(config.listen, error))
}

/// A relay that is whole and takes no connection yet: what must answer before `/readyz` says that
/// the node is ready is served first.
#[derive(Debug)]
pub struct Prepared {
    running: Running,
    socket: TcpListener,
    edge: Edge,
    listener: Listener,
}

impl Prepared {
    /// The relay before its first connection: what must answer earlier, the admin socket, starts here.
    #[must_use]
    pub fn running(&self) -> &Running {
        &self.running
    }

    /// Takes connections from now on.
    ///
    /// # Errors
    /// [`StartError::Listen`], if the admin listener's address cannot be had.
    pub fn open(self) -> Result<Running, StartError> {
        let Self { mut running, socket, edge, listener } = self;
        let (tasks, router) = (&running.tasks, edge::router(edge.clone()));
        let serving = listener::serve(socket, router, tasks.clone(), listener);
        tasks.spawn_vital("accept", serving);
        running.admin_address =
            pace::serve_probes(&running.config, edge, running.relay.dependencies())?;
        Ok(running)
    }
}

/// Starts a relay on this listener. It serves until [`Running::stop`].
///
/// # Errors
/// [`StartError`]; then nothing runs.
pub async fn start(config: Config, listener: TcpListener) -> Result<Running, StartError> {
    prepare(config, listener).await?.open()
}

/// [`start`], up to the first connection.
///
/// # Errors
/// [`StartError`]; then nothing runs.
pub async fn prepare(config: Config, listener: TcpListener) -> Result<Prepared, StartError> {
    let ground = ServerDependencies::of_this_machine(&config)?;
    prepare_on(ground, config, listener).await
}

/// [`start`] on other ground than this machine.
///
/// # Errors
/// [`StartError`]; then nothing runs.
pub async fn start_on(
    ground: ServerDependencies,
    config: Config,
    listener: TcpListener,
) -> Result<Running, StartError> {
    prepare_on(ground, config, listener).await?.open()
}

async fn prepare_on(
    ground: ServerDependencies,
    config: Config,
    socket: TcpListener,
) -> Result<Prepared, StartError> {
    let address = socket.local_addr().map_err(|error| StartError::Listen(config.listen, error))?;
    let config = config.bound_to(address);
    let tasks = Tasks::default();
    let ServerDependencies { store, clock } = ground;
    let sealer = Encryptor::load_or_make(&config.data_dir.join(SEAL_KEY_FILE))?;
    let metrics = Metrics::new(clock.now());
    let store = metrics.store(store);
    let revocations = RevocationList::open(&config.data_dir.join(REVOCATIONS_FILE))?;
    let refusals = Arc::new(Refusals::default());
    let audit = audit::start(&config, (&store, &clock), &sealer, &refusals).await?;
    let webhooks =
        webhooks::of_store(&config, Arc::clone(&store), sealer.clone(), Arc::clone(&clock))?;
    let (webhooks, told) = webhooks.start(&tasks).await?;
    let readers = audit.iter().map(Audit::progress).chain([told]).collect();
    let shortened = journal::trim(Arc::clone(&store), readers, tasks.stopping().clone());
    tasks.spawn_vital("journal", shortened);
    let bus: Arc<dyn Bus> = Arc::new(LocalBus::new());
    let keys = Keys::load_or_make(&*store, &sealer).await?;
    let push = push::services(&config, Arc::clone(&clock)).await?;
    let app = App {
        cards: cards(&config, Arc::clone(&store)),
        store,
        clock,
        bus,
        revocations: Arc::new(revocations),
        push: push.map(|services| -> Arc<dyn Push> { Arc::new(services) }),
        webhooks: Some(webhooks.clone()),
        prompts: prompt_policy(&config.prompts),
        public_url: base(&config.public_url),
        tasks: tasks.clone(),
    };
    let (fido, certify) = upstream::upstream(&config, &app, &keys)?;
    let App { cards, store, clock, bus, revocations, push, .. } = app.clone();
    let world = Dependencies {
        cards,
        store,
        revocations,
        encryptor: sealer,
        bus,
        fido: metrics.upstream(fido),
        clock,
        journal: audit::journal(&config),
        recording: recording(audit.as_ref()),
        push,
        counts: metrics.ceremonies(),
        tasks: tasks.clone(),
    };
    let bounds = RelayLimits {
        open: pace::open_limits(&config.limits.rates),
        prompts: app.prompts.clone(),
        wake_after: config.push.after,
    };
    let relay = Relay::start(world, bounds);
    let certify = certify.filter(|_| config.client_direct);
    let listener = listening::settings(&config, metrics.clone());
    let listener = Listener::start(listener, &relay.dependencies().clock, &tasks)?;
    let settings = settings::edge(&config, metrics, refusals);
    let edge = Edge::new(relay.clone(), app.clone(), settings, listener.clone(), certify).await?;
    relay.revocations_applied().await;
    let (store, stopping) = (Arc::clone(&relay.dependencies().store), tasks.stopping().clone());
    tasks.spawn_vital("store", async move {
        stopping.run_until_cancelled(store.damaged()).await;
    });
    let running = Running { config, relay, app, tasks, audit, webhooks, admin_address: None };
    Ok(Prepared { running, socket, edge, listener })
}

impl Running {
    /// The configuration in effect, with the port that the listener got.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where the relay is reached, without a trailing slash.
    #[must_use]
    pub fn url(&self) -> String {
        base(&self.config.public_url)
    }

    /// The relay itself.
    #[must_use]
    pub fn relay(&self) -> &Relay {
        &self.relay
    }

    /// What is done to its devices, pairings, initiators and cards.
    #[must_use]
    pub fn app(&self) -> &App {
        &self.app
    }

    /// Its webhooks.
    #[must_use]
    pub fn webhooks(&self) -> &Webhooks {
        &self.webhooks
    }

    /// Where metrics and health are served for whoever watches the node, if they are.
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_address
    }

    /// Who owns its tasks.
    #[must_use]
    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// Serves the administration on the data directory's socket, for the command line.
    ///
    /// # Errors
    /// [`AdminSocket::bind`]'s.
    #[cfg(unix)]
    pub fn serve_admin(&self) -> std::io::Result<()> {
        let (app, relay) = (self.app.clone(), Some(self.relay.clone()));
        let admin = Admin { tenant: TenantId::default(), app, relay };
        AdminSocket::bind(&self.config.data_dir)?.serve(operator::router(admin), &self.tasks);
        Ok(())
    }

    /// Stops. First the node drains: it is not ready any more and phones are told to reconnect,
    /// but everything still works, for the configured time or until the last phone has left. Then
    /// it takes no more connections, closes sockets with 1012, lets calls that are under way end,
    /// and flushes. Tells whether everything ended in time.
    pub async fn stop(self) -> bool {
        self.tasks.draining().cancel();
        let drain = self.config.limits.drain;
        drop(tokio::time::timeout(drain, self.relay.delivery.registry().emptied()).await);
        let ended = self.tasks.stop(STOP_LIMIT).await;
        match self.audit {
            // Last, when nobody is left who could tell it anything.
            Some(audit) => audit.close().await && ended,
            None => ended,
        }
    }

    /// The audit log, if there is one.
    #[must_use]
    pub fn audit(&self) -> Option<&Audit> {
        self.audit.as_ref()
    }
}

/// Whether the audit log keeps up; without one nothing has to be recorded.
fn recording(audit: Option<&Audit>) -> watch::Receiver<Ability> {
    // Of a sender that is gone the value stays.
    audit.map_or_else(|| watch::channel(Ability::Well).1, Audit::ability)
}

/// What every kind of record is due for.
#[must_use]
pub fn due_rules() -> Vec<DueRule> {
    let others = [pairings::DUE, event_ticket::DUE, client_assertion::DUE];
    ceremonies::DUE.into_iter().chain(others).chain(crate::app::webhooks::DUE).collect()
}

/// A URL as others are put behind it.
pub(crate) fn base(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests;
