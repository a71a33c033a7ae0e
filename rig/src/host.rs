//! What the rig asks of the relay's program, which implements it: a relay in this process, and a
//! full store. Everything else goes through the published interfaces or the command line.

use std::fmt;
use std::path::Path;

use fido_relay_proto::http::Scope;
use fido_relay_proto::{ClientId, PlainText};
use futures::future::BoxFuture;
use secrecy::SecretString;

/// The program that the rig is built into.
pub trait RelayHost: fmt::Debug + Send + Sync {
    /// Starts a relay in this process from `FIDO_RELAY_*` settings alone.
    fn start<'a>(
        &'a self,
        settings: &'a [(&'a str, &'a str)],
    ) -> BoxFuture<'a, Result<Box<dyn HostedRelay>, HostError>>;

    /// Writes ended ceremonies into the store of a data directory that no relay has open. `written`
    /// hears how many there are so far.
    fn store_ended_ceremonies<'a>(
        &'a self,
        data_dir: &'a Path,
        count: usize,
        written: &'a (dyn Fn(usize) + Sync),
    ) -> BoxFuture<'a, Result<(), HostError>>;
}

/// A relay that runs in this process.
pub trait HostedRelay: fmt::Debug + Send + Sync {
    /// Its public URL, which is also its issuer name.
    fn url(&self) -> String;

    /// Makes a client whose ceremonies need a code, and its API key.
    fn create_client(
        &self,
        name: PlainText<64>,
        scopes: Vec<Scope>,
    ) -> BoxFuture<'_, Result<(ClientId, SecretString), HostError>>;

    /// Stops the relay, and returns whether everything ended in time.
    fn stop(self: Box<Self>) -> BoxFuture<'static, bool>;
}

/// Why the host could not do it.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The settings are not a valid configuration.
    #[error("the demo's settings do not hold: {0}")]
    Settings(String),
    /// The relay does not start, with what can be done about it.
    #[error("the relay does not start: {0}")]
    Start(String, Option<String>),
    /// The client was not made.
    #[error("the bank gets no API key: {0}")]
    Client(String),
    /// The store cannot be written.
    #[error("{0}")]
    Store(String),
}
