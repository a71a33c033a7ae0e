//! `fido-relay serve`: runs the relay until a signal stops it.

use clap::Args;
use fido_relay_kit::signals::Signals;

use super::{ConfigFile, Failure, doctor, log};
use crate::config::{Config, Upstream};
use crate::serve::{self, DataDirectory, RunningServer, StartError};
use crate::tasks::Tasks;
use crate::trust;

/// Without configuration it serves only this machine: on 127.0.0.1:8080, with its store under
/// ./data and the built-in FIDO2 server for the relying party `localhost`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  fido-relay serve
  FIDO_RELAY_UPSTREAM__URL=https://fido.example.com fido-relay serve
  fido-relay --config /etc/fido-relay.toml serve

SIGTERM or SIGINT (Ctrl-C) stops it: phones are asked to reconnect, and running work is completed. A
second signal stops it at once. SIGHUP reloads the TLS certificate. Log lines go to standard error.")]
pub(super) struct ServeArguments {}

pub(super) fn run(file: &ConfigFile, _arguments: &ServeArguments) -> Result<(), Failure> {
    let config = file.config()?;
    log::install(&config.log)?;
    log_start(&config);
    for weakness in config.weaknesses() {
        tracing::warn!("{weakness}");
    }
    if trust::system_roots() == 0 && config.webhooks.ca_file.is_none() {
        tracing::warn!(
            "this machine trusts no certificate authority, so no webhook can be delivered: {}",
            trust::REMEDY,
        );
    }
    for path in doctor::open_to_others(&config.data_dir) {
        tracing::warn!(path = %path.display(), "other users can access this path, which holds secrets");
    }
    #[cfg(unix)]
    raise_open_files();
    let runtime = tokio::runtime::Runtime::new().map_err(Failure::failed)?;
    runtime.block_on(serve_until_stopped(config))
}

/// Logs the main settings before anything can fail.
fn log_start(config: &Config) {
    let directory = DataDirectory::of(config);
    let fido2_server = match &config.upstream {
        Upstream::Builtin => "built-in",
        Upstream::Http(http) => http.url.as_str(),
    };
    tracing::info!(
        listener = %config.listen,
        fido2_server,
        store = %directory.store_file().display(),
        data_dir = %directory.path().display(),
        "fido-relay {} starts",
        env!("CARGO_PKG_VERSION"),
    );
}

/// Raises the limit of open files to what the system allows: the usual limit of 1,024 is meant for
/// programs that use `select`.
#[cfg(unix)]
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::debug!(%error, "the limit of open files could not be raised");
    }
}

/// Installs a handler of SIGXFSZ, so that a write beyond the limit of file size fails as on a full
/// disk instead of ending the process. The handler stays when the returned stream is dropped.
#[cfg(unix)]
fn handle_file_size_signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};

    signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())).map(drop)
}

async fn serve_until_stopped(config: Config) -> Result<(), Failure> {
    // Before any work that a signal could interrupt.
    let mut signals = Signals::new().map_err(Failure::failed)?;
    #[cfg(unix)]
    handle_file_size_signal().map_err(Failure::failed)?;
    let running = start(config).await?;
    until(running.tasks(), signals.next()).await;
    tokio::select! {
        ended = stop(running) => ended,
        _ = signals.next() => Err(Failure::failed("stopped at once by a second signal")),
    }
}

/// Waits for a signal, or until the node has failed.
async fn until<T>(tasks: &Tasks, signal: impl Future<Output = T>) {
    tokio::select! {
        _ = signal => tracing::info!("stopping"),
        () = tasks.failed().cancelled() => tracing::error!("stopping: a vital task ended"),
    }
}

/// Stops in order. A failed node is a failure of the command, so that a service manager starts it
/// afresh.
async fn stop(running: RunningServer) -> Result<(), Failure> {
    let tasks = running.tasks().clone();
    let damage = running.store_damage();
    let ended = running.stop().await;
    if let Some(damage) = damage {
        return Err(Failure::failed(damage));
    }
    match (tasks.first_failed_task(), ended) {
        (Some(task), _) => Err(Failure::failed(format!("the task \"{task}\" ended by itself"))),
        (None, true) => Ok(()),
        (None, false) => Err(Failure::failed("stopped before all running work was completed")),
    }
}

async fn start(config: Config) -> Result<RunningServer, Failure> {
    let listener = serve::bind(&config).map_err(failure)?;
    let prepared = serve::prepare(config, listener).await.map_err(failure)?;
    // Before the first connection, so that a ready node can be administered.
    #[cfg(unix)]
    if let Err(error) = prepared.running().serve_admin() {
        tracing::warn!(
            %error,
            "no admin socket: administration commands work only while the relay is stopped"
        );
    }
    let running = prepared.open().map_err(failure)?;
    let config = running.config();
    tracing::info!(
        listen = %config.listen,
        public_url = running.url(),
        data_dir = %DataDirectory::of(config).path().display(),
        "fido-relay {} serves",
        env!("CARGO_PKG_VERSION"),
    );
    Ok(running)
}

/// Errors of the configuration have exit code 2, those of the machine 1.
fn failure(error: StartError) -> Failure {
    match error {
        StartError::Attestation(..)
        | StartError::Upstream(_)
        | StartError::Tls(_)
        | StartError::Webhooks(_)
        | StartError::Push(_) => Failure::usage(error),
        StartError::Listen(..)
        | StartError::Incomplete(_)
        | StartError::Open(_)
        | StartError::Store(_)
        | StartError::Seal(_)
        | StartError::Audit(_)
        | StartError::Revocations(_) => Failure::unstarted(&error),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::backends::embedded::{MemoryStore, SystemClock};
    use crate::ports::{Batch, BoxFuture, Bucket, Revision, Store, StoreError, Stored};
    use crate::serve::ServerDependencies;

    #[tokio::test]
    async fn a_relay_that_lost_a_vital_task_stops_in_order_and_fails() {
        let directory = tempfile::tempdir().unwrap();
        let listen = [("FIDO_RELAY_LISTEN", "127.0.0.1:0")];
        let mut config = crate::config::from_texts(None, &listen).unwrap().config;
        config.data_dir = directory.path().to_path_buf();
        let listener = serve::bind(&config).unwrap();
        let running = serve::start(config, listener).await.unwrap();
        let tasks = running.tasks().clone();
        tasks.spawn_vital("heart", async { panic!("on purpose") });
        until(&tasks, std::future::pending::<()>()).await;
        let failure = stop(running).await.unwrap_err();
        assert!(failure.text.contains("\"heart\""), "{failure:?}");
        assert_ne!(failure.code, 0);
        assert!(tasks.stopping().is_cancelled());
    }

    /// A store that reports damage and works otherwise.
    #[derive(Debug, Default)]
    struct DamagedStore(MemoryStore);

    impl Store for DamagedStore {
        fn load<'a>(
            &'a self,
            bucket: Bucket,
            key: &'a str,
        ) -> BoxFuture<'a, Result<Option<Stored>, StoreError>> {
            self.0.load(bucket, key)
        }

        fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Revision, StoreError>> {
            self.0.commit(batch)
        }

        fn list<'a>(
            &'a self,
            bucket: Bucket,
            prefix: &'a str,
        ) -> BoxFuture<'a, Result<Vec<(String, Stored)>, StoreError>> {
            self.0.list(bucket, prefix)
        }

        fn damaged(&self) -> BoxFuture<'_, String> {
            Box::pin(std::future::ready("it is damaged. To go on, restore it".to_owned()))
        }
    }

    #[tokio::test]
    async fn a_relay_whose_store_is_damaged_stops_and_says_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let listen = [("FIDO_RELAY_LISTEN", "127.0.0.1:0")];
        let mut config = crate::config::from_texts(None, &listen).unwrap().config;
        config.data_dir = directory.path().to_path_buf();
        let listener = serve::bind(&config).unwrap();
        let store = Arc::new(DamagedStore::default());
        let dependencies = ServerDependencies::new(store, Arc::new(SystemClock));
        let running = serve::start_on(dependencies, config, listener).await.unwrap();
        until(&running.tasks().clone(), std::future::pending::<()>()).await;
        let failure = stop(running).await.unwrap_err();
        assert_eq!(failure.text, "it is damaged. To go on, restore it");
        assert_eq!(failure.code, 1);
    }
}
