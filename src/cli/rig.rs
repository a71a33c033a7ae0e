//! The rig's subcommands, and what the rig asks of this program: a relay in this process, and a
//! store with ended ceremonies in it.

use std::path::Path;

use fido_relay_proto::http::{Scope, UpstreamOptions};
use fido_relay_proto::life::PriorAuth;
use fido_relay_proto::{
    AttemptId, Binding, CeremonyId, CeremonyType, ClientId, PlainText, TenantId, UnixMillis,
    Username,
};
use fido_relay_rig::{Failure as RigFailure, HostError, HostedRelay, RelayHost, SecretString};
use futures::future::BoxFuture;

use super::Failure;
use crate::app::Actor;
use crate::app::ceremonies::CeremonyKey;
use crate::app::clients::{self, Credential};
use crate::app::clients::{ClientChange, NewClient};
use crate::backends::embedded::SystemClock;
use crate::config;
use crate::core::ceremony::{Ceremony, Code, Event, Request};
use crate::core::prompt_limits::Lane;
use crate::ports::{Batch, Bucket, Clock as _, Revision, Store as _, records};
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
                let mut batch = Batch::new();
                for _ in 0..left.min(BATCH) {
                    let ceremony = ended(SystemClock.now())?;
                    let key = CeremonyKey::from(&ceremony).to_string();
                    let bucket = Bucket::Ceremonies;
                    batch = records::put(batch, bucket, &key, Revision::ABSENT, &ceremony)
                        .map_err(not_stored)?;
                }
                store.commit(batch).await.map_err(not_stored)?;
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
            let new = NewClient {
                tenant: TenantId::default(),
                name,
                scopes,
                bindings: vec![Binding::Code],
            };
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

/// A ceremony that was opened and cancelled.
fn ended(now: UnixMillis) -> Result<Ceremony, HostError> {
    let username = format!("user-{:012x}", random::below(1 << 48));
    let username = Username::try_from(username).map_err(not_stored)?;
    let request = Request {
        id: CeremonyId::from_bytes(random::time_ordered(now)),
        tenant: TenantId::default(),
        client_id: ClientId::from_bytes(random::bytes()),
        client_name: "Bench".to_owned().try_into().map_err(not_stored)?,
        ceremony_type: CeremonyType::Authentication,
        display_name: username.clone().into(),
        username,
        device_id: None,
        binding: Binding::Code,
        message: None,
        transaction: None,
        context: None,
        client_nonce: None,
        prior_auth: PriorAuth::None,
        browser: None,
        lane: Lane::default(),
        code_alone: true,
        show_delivery: Some(false),
        rp_id: "localhost".to_owned(),
        options: UpstreamOptions::default(),
        opened_at: now,
        deadline: now.plus_secs(120),
    };
    let attempt = AttemptId::from_bytes(random::bytes());
    let mut ceremony = Ceremony::open(request, Code(random::code(6)), attempt, None);
    ceremony.step(now, Event::Cancel);
    Ok(ceremony)
}
