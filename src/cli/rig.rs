//! The rig's subcommands, and what the rig asks of this program: a relay in this process, and a
//! store with ended ceremonies in it.

use std::path::Path;

use fido_relay_proto::http::Scope;
use fido_relay_proto::{Binding, ClientId, PlainText, TenantId, UnixMillis, Username};
use fido_relay_rig::{Failure as RigFailure, HostError, HostedRelay, RelayHost, SecretString};
use futures::future::BoxFuture;

use super::Failure;
use crate::app::Actor;
use crate::app::ceremonies;
use crate::app::clients::{self, Client, ClientChange, Credential, NewClient};
use crate::backends::embedded::SystemClock;
use crate::config;
use crate::core::ceremony::{Ceremony, Event};
use crate::ports::Clock as _;
use crate::security::random;
use crate::serve::{self, DataDirectory, RunningServer, StartError};

/// Ceremonies of one batch.
const BATCH: usize = 32;

impl From<RigFailure> for Failure {
    fn from(failure: RigFailure) -> Self {
        Self { text: failure.text, code: failure.exit_code }
    }
}

/// This program, for the rig.
#[derive(Clone, Copy, Debug)]
pub struct Host;

impl RelayHost for Host {
    fn start<'a>(
        &'a self,
        settings: &'a [(&'a str, &'a str)],
    ) -> BoxFuture<'a, Result<Box<dyn HostedRelay>, HostError>> {
        Box::pin(async {
            let loaded = config::from_texts(None, settings);
            let config = loaded.map_err(|error| HostError::Settings(error.to_string()))?.config;
            let listener = serve::bind(&config).map_err(not_started)?;
            let running = serve::start(config, listener).await.map_err(not_started)?;
            Ok(Box::new(running) as Box<dyn HostedRelay>)
        })
    }

    fn store_ended_ceremonies<'a>(
        &'a self,
        data_dir: &'a Path,
        count: usize,
        written: &'a (dyn Fn(usize) + Sync),
    ) -> BoxFuture<'a, Result<(), HostError>> {
        Box::pin(async move {
            let store = DataDirectory::at(data_dir).open();
            let store = store.map_err(|error| HostError::Store(Failure::unstarted(&error).text))?;
            let mut left = count;
            while left > 0 {
                let ended = (0..left.min(BATCH)).map(|_| ended(SystemClock.now()));
                let ended = ended.collect::<Result<Vec<_>, _>>()?;
                ceremonies::store_all(&store, &ended).await.map_err(not_stored)?;
                left -= left.min(BATCH);
                written(count - left);
            }
            Ok(())
        })
    }
}

impl HostedRelay for RunningServer {
    fn url(&self) -> String {
        Self::url(self)
    }

    fn create_client(
        &self,
        name: PlainText<64>,
        scopes: Vec<Scope>,
    ) -> BoxFuture<'_, Result<(ClientId, SecretString), HostError>> {
        Box::pin(async {
            let new = new_client(name, scopes);
            let operator = Actor::operator(TenantId::default(), "demo");
            let (bounds, credential) = (ClientChange::default(), Credential::ApiKey(None));
            let made = clients::create(self.app(), &operator, new, &bounds, credential).await;
            let (id, key) = made.map_err(|error| HostError::Client(error.to_string()))?;
            Ok((id, key.as_ref().map_or("", |key| key.expose()).into()))
        })
    }

    fn stop(self: Box<Self>) -> BoxFuture<'static, bool> {
        Box::pin(Self::stop(*self))
    }
}

fn not_started(error: StartError) -> HostError {
    HostError::Start(error.to_string(), error.remedy())
}

fn not_stored(error: impl std::fmt::Display) -> HostError {
    HostError::Store(error.to_string())
}

/// A ceremony that was opened, by an initiator of its own, and cancelled.
fn ended(now: UnixMillis) -> Result<Ceremony, HostError> {
    let username = format!("user-{:012x}", random::below(1 << 48));
    let username = Username::try_from(username).map_err(not_stored)?;
    let name = PlainText::new("Bench").map_err(not_stored)?;
    let client = Client::new(new_client(name, Vec::new()), now);
    let mut ceremony = ceremonies::plain_sign_in(&client, username, "localhost", now);
    ceremony.step(now, Event::Cancel);
    Ok(ceremony)
}

fn new_client(name: PlainText<64>, scopes: Vec<Scope>) -> NewClient {
    NewClient { tenant: TenantId::default(), name, scopes, bindings: vec![Binding::Code] }
}
