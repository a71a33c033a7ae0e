//! The wiring: from a configuration to a running relay. The only module that uses every other one
//! and that chooses backends.

mod at_rest;
pub(crate) mod audit;
mod data_directory;
pub(crate) mod listening;
pub(crate) mod push;
mod settings;
mod upstream;
pub(crate) mod webhooks;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fido_relay_proto::TenantId;
use futures::FutureExt as _;
use tokio::net::TcpListener;
use tokio::sync::watch;
use url::Url;

use crate::app::audit::Audit;
use crate::app::audit::refusals::RefusalCounts;
use crate::app::ceremonies;
use crate::app::webhooks::Webhooks;
use crate::app::{App, clients, event_tickets, keys, pairings};
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
use crate::ports::{Bus, Clock, DueRule, ExportHealth, Push, Store, StoreError, WebhookSender};
use crate::security::encryption::{EncryptError, Encryptor};
use crate::tasks::Tasks;

pub(crate) use at_rest::app_at_rest;
pub use audit::audit_dir;
pub use data_directory::{Contents, DataDirectory, FIRST_START, IncompleteDirectory};
pub(crate) use settings::prompt_policy;
pub(crate) use upstream::{UpstreamWarning, cards, probe_upstream};

/// File of the store in the data directory.
pub const STORE_FILE: &str = "relay.redb";
/// File of the sealing key in the data directory.
pub const SEAL_KEY_FILE: &str = "seal.key";
/// File of revoked devices and removed cards in the data directory.
pub const REVOCATIONS_FILE: &str = "revocations";
/// Directory of the audit log in the data directory, unless `audit.dir` is set.
pub const AUDIT_DIR: &str = "audit";
/// Limit for work under way when the relay stops.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// Why a relay did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
    /// A part of the data directory is missing that the others need.
    #[error(transparent)]
    Incomplete(#[from] IncompleteDirectory),
    #[error(transparent)]
    Open(#[from] crate::backends::embedded::StoreOpenError),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The sealing key cannot be read or made.
    #[error(transparent)]
    Seal(#[from] EncryptError),
    /// The list of revoked devices and cards cannot be read.
    #[error(transparent)]
    Revocations(#[from] RevocationsError),
    #[error("the audit log: {0}")]
    Audit(#[from] crate::app::audit::AuditStartError),
    /// The settings of the external FIDO2 server are invalid.
    #[error(transparent)]
    Upstream(#[from] fido_http::FidoHttpSettingsError),
    /// The certificate or its key cannot be used.
    #[error("tls: {0}")]
    Tls(#[from] listener::CertificateError),
    /// The settings of webhooks are invalid.
    #[error(transparent)]
    Webhooks(#[from] crate::backends::webhook_http::WebhookHttpSettingsError),
    /// The settings of push services are invalid.
    #[error(transparent)]
    Push(#[from] crate::backends::push::PushSettingsError),
    /// The file of this key of the configuration cannot be used.
    #[error("{0}: {1}")]
    Attestation(&'static str, String),
}

impl StartError {
    /// A remedy, where it does not follow from the error itself.
    #[must_use]
    pub fn remedy(&self) -> Option<String> {
        if let Self::Incomplete(incomplete) = self {
            return Some(incomplete.remedy());
        }
        match self {
            Self::Open(error) => error.remedy().map(str::to_owned),
            Self::Seal(EncryptError::Malformed(_)) => Some(
                "restore that file from the same backup as relay.redb: no other key decrypts this \
                 store"
                    .to_owned(),
            ),
            Self::Listen(_, error) if error.kind() == ErrorKind::AddrInUse => Some(
                "stop the program that listens there (`fido-relay health` says whether it is a \
                 relay), or choose another listen"
                    .to_owned(),
            ),
            Self::Listen(_, error) if error.kind() == ErrorKind::PermissionDenied => Some(
                "choose a port above 1023 for listen, or grant this program CAP_NET_BIND_SERVICE"
                    .to_owned(),
            ),
            Self::Listen(_, error) if error.kind() == ErrorKind::AddrNotAvailable => {
                Some("correct listen: this machine does not have that address".to_owned())
            }
            Self::Seal(EncryptError::File { source: error, .. })
            | Self::Revocations(RevocationsError::Io { source: error, .. })
            | Self::Audit(crate::app::audit::AuditStartError::Files(error))
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

/// The parts of a relay that are not chosen by the configuration, or can be replaced.
#[derive(Clone, Debug)]
pub struct ServerDependencies {
    pub store: Arc<dyn Store>,
    pub clock: Arc<dyn Clock>,
    pub bus: Arc<dyn Bus>,
    /// `None`: the configured push services.
    pub push: Option<Arc<dyn Push>>,
    /// `None`: webhooks are sent over HTTP.
    pub webhook_sender: Option<Arc<dyn WebhookSender>>,
}

impl ServerDependencies {
    /// A relay of one node on this store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock, bus: Arc::new(LocalBus::new()), push: None, webhook_sender: None }
    }

    /// The store in the data directory and the system clock.
    fn of_this_machine(config: &Config) -> Result<Self, StartError> {
        let store = Arc::new(DataDirectory::of(config).open()?);
        Ok(Self::new(store, Arc::new(SystemClock)))
    }
}

/// A relay that takes connections.
#[derive(Debug)]
pub struct RunningServer {
    config: Config,
    relay: Relay,
    app: App,
    tasks: Tasks,
    audit: Option<Audit>,
    admin_address: Option<SocketAddr>,
}

/// Binds the address of `listen`.
///
/// # Errors
/// [`StartError::Listen`].
pub fn bind(config: &Config) -> Result<TcpListener, StartError> {
    listener::bind(config.listen).map_err(|error| StartError::Listen(config.listen, error))
}

/// A relay that is wired and takes no connections yet. What must answer before `/readyz` reports
/// the node as ready is started in between.
#[derive(Debug)]
pub struct PreparedServer {
    running: RunningServer,
    listener: TcpListener,
    edge: Edge,
    accept: Listener,
}

impl PreparedServer {
    /// The relay before its first connection, to start the admin socket.
    #[must_use]
    pub fn running(&self) -> &RunningServer {
        &self.running
    }

    /// Starts taking connections.
    ///
    /// # Errors
    /// [`StartError::Listen`] for the admin listener.
    pub fn open(self) -> Result<RunningServer, StartError> {
        let Self { mut running, listener, edge, accept } = self;
        let (tasks, router) = (&running.tasks, edge::router(edge.clone()));
        tasks.spawn_vital("accept", listener::serve(listener, router, tasks.clone(), accept));
        running.admin_address =
            listening::serve_probes(&running.config, edge, running.relay.dependencies())?;
        Ok(running)
    }
}

/// Starts a relay on this listener. It serves until [`RunningServer::stop`].
///
/// # Errors
/// [`StartError`]; then nothing runs.
#[cfg(any(feature = "rig", feature = "test-support"))]
pub async fn start(config: Config, listener: TcpListener) -> Result<RunningServer, StartError> {
    prepare(config, listener).await?.open()
}

/// [`start`] without taking connections.
///
/// # Errors
/// [`StartError`]; then nothing runs.
pub async fn prepare(config: Config, listener: TcpListener) -> Result<PreparedServer, StartError> {
    let dependencies = ServerDependencies::of_this_machine(&config)?;
    prepare_with(dependencies, config, listener).await
}

/// [`start`] with other dependencies than this machine's.
///
/// # Errors
/// [`StartError`]; then nothing runs.
#[cfg(feature = "test-support")]
pub async fn start_on(
    dependencies: ServerDependencies,
    config: Config,
    listener: TcpListener,
) -> Result<RunningServer, StartError> {
    prepare_with(dependencies, config, listener).await?.open()
}

async fn prepare_with(
    dependencies: ServerDependencies,
    config: Config,
    listener: TcpListener,
) -> Result<PreparedServer, StartError> {
    let address =
        listener.local_addr().map_err(|error| StartError::Listen(config.listen, error))?;
    let config = config.bound_to(address);
    let tasks = Tasks::default();
    let ServerDependencies { store, clock, bus, push, webhook_sender } = dependencies;
    let sealer = Encryptor::load_or_make(&config.data_dir.join(SEAL_KEY_FILE))?;
    let metrics = Metrics::new(clock.now());
    let store = metrics.store(store);
    let revocations = RevocationList::open(&config.data_dir.join(REVOCATIONS_FILE))?;
    let refusals = Arc::new(RefusalCounts::default());
    let audit = audit::start(&config, (&store, &clock), &sealer, &refusals).await?;
    let webhook_sender = webhook_sender.map_or_else(|| webhooks::sender(&config), Ok)?;
    let webhooks =
        Webhooks::at_rest(Arc::clone(&store), sealer.clone(), Arc::clone(&clock), webhook_sender);
    let (webhooks, fan_out) = webhooks.start(&tasks).await?;
    let readers = audit.iter().map(Audit::progress).chain([fan_out]).collect();
    let trimming = journal::trim(Arc::clone(&store), readers, tasks.stopping().clone());
    tasks.spawn_vital("journal", trimming);
    let keys = keys::load_or_make(&*store, &sealer).await?;
    let push = match push {
        Some(push) => Some(push),
        None => push::port(&config, Arc::clone(&clock)).await?,
    };
    let app = App {
        cards: cards(&config, Arc::clone(&store)),
        store,
        clock,
        bus,
        revocations: Arc::new(revocations),
        push,
        webhooks: Some(webhooks.clone()),
        prompts: prompt_policy(&config.prompts),
        public_url: base(&config.public_url),
        tasks: tasks.clone(),
    };
    let (fido, certify) = upstream::upstream(&config, &app, &keys)?;
    let App { cards, store, clock, bus, revocations, push, .. } = app.clone();
    let dependencies = Dependencies {
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
        open: settings::open_limits(&config.limits.rates),
        prompts: app.prompts.clone(),
        wake_after: config.push.after,
    };
    let relay = Relay::start(dependencies, bounds);
    let certify = certify.filter(|_| config.client_direct);
    let listener_settings = listening::settings(&config, metrics.clone());
    let accept = Listener::start(listener_settings, &relay.dependencies().clock, &tasks)?;
    let settings = settings::edge(&config, metrics, refusals);
    let edge = Edge::new(relay.clone(), app.clone(), &keys, settings, accept.clone(), certify)?;
    relay.revocations_applied().await;
    let (store, stopping) = (Arc::clone(&relay.dependencies().store), tasks.stopping().clone());
    tasks.spawn_vital("store", async move {
        stopping.run_until_cancelled(store.damaged()).await;
    });
    let running = RunningServer { config, relay, app, tasks, audit, admin_address: None };
    Ok(PreparedServer { running, listener, edge, accept })
}

impl RunningServer {
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

    #[cfg(feature = "test-support")]
    #[must_use]
    pub fn relay(&self) -> &Relay {
        &self.relay
    }

    /// The use cases for devices, pairings, initiators and cards.
    #[cfg(any(feature = "rig", feature = "test-support"))]
    #[must_use]
    pub fn app(&self) -> &App {
        &self.app
    }

    /// What was found damaged in the store, if anything, and what an operator can do.
    pub(crate) fn store_damage(&self) -> Option<String> {
        self.app.store.damaged().now_or_never()
    }

    /// Address of the admin listener, if there is one.
    #[cfg(feature = "test-support")]
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_address
    }

    #[must_use]
    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// Serves the operator API on the admin socket of the data directory, for the command line.
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

    /// Stops in order and returns whether everything ended in time. First the node drains: it is no
    /// longer ready and sends `goaway` to devices, but still works, for the configured time or
    /// until the last device has left. Then it takes no more connections, closes sockets with 1012,
    /// waits for calls under way, and flushes.
    pub async fn stop(self) -> bool {
        self.tasks.draining().cancel();
        let drain = self.config.limits.drain;
        drop(tokio::time::timeout(drain, self.relay.delivery.registry().emptied()).await);
        let ended = self.tasks.stop(STOP_LIMIT).await;
        match self.audit {
            // Last, when no task is left that adds entries.
            Some(audit) => audit.close().await && ended,
            None => ended,
        }
    }

    #[cfg(feature = "test-support")]
    #[must_use]
    pub fn audit(&self) -> Option<&Audit> {
        self.audit.as_ref()
    }
}

/// Whether the audit log keeps up; without one nothing is recorded.
fn recording(audit: Option<&Audit>) -> watch::Receiver<ExportHealth> {
    // A receiver keeps the last value of a dropped sender.
    audit.map_or_else(|| watch::channel(ExportHealth::Healthy).1, Audit::health)
}

/// The duties of every kind of record.
#[must_use]
pub fn due_rules() -> Vec<DueRule> {
    let others = [pairings::DUE, event_tickets::USED_TICKETS, clients::USED_ASSERTIONS];
    ceremonies::DUE.into_iter().chain(others).chain(crate::app::webhooks::DUE).collect()
}

/// A URL without its trailing slash, to append paths to.
pub(crate) fn base(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests;
