//! HTTP and sockets: where the world comes in. Everything from outside is checked here, before it
//! becomes an event; what comes back becomes JSON. No rule of a ceremony lives here, and no
//! backend is known.

mod fields;
pub mod listener;
pub mod operator;
mod public;
mod refusal;
mod segment;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use fido_relay_proto::TenantId;
use url::Url;

pub use self::public::{WatchLimits, probes, router};

use self::listener::Listener;
use self::public::device_socket::Crowd;
use self::public::watch::Places;
use crate::app::App;
use crate::core::session;
use crate::metrics::Metrics;
use crate::node::Relay;
use crate::ports::{Certify, StoreError};
use crate::security::access_token::AccessTokens;
use crate::security::browsers::Browsers;
use crate::security::clients::Clients;
use crate::security::event_ticket::EventTickets;
use crate::security::keys::Keys;
use crate::security::limits::{Limits, Rates};
use crate::security::pull_proof::PullProofs;
use crate::security::record::RecordSigner;
use crate::security::refusals::{Refusals, Refused};
use crate::security::result_token::ResultSigner;
use crate::security::ticket::Tickets;

/// What the edge is told at the start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The relying party served here.
    pub tenant: TenantId,
    /// Its id, which a request need not name.
    pub rp_id: String,
    /// Whether result tokens tell if phone and browser were in one network.
    pub network_in_result: bool,
    /// Where initiators and apps reach this relay, without a trailing slash.
    pub public_url: String,
    /// Further spellings of `public_url` that a proof may name: on loopback, `localhost` and
    /// `127.0.0.1` are the same relay.
    pub public_aliases: Vec<String>,
    /// Origins of the pages whose ceremonies the FIDO2 server takes.
    pub tenant_origins: Vec<String>,
    /// Values of `Origin` that may open a device socket. Apps send none, browsers always do.
    pub device_origins: Vec<String>,
    /// What one device socket may cost.
    pub socket_limits: session::Limits,
    /// A phone that does not take a write within this loses its socket.
    pub socket_write: Duration,
    /// Bytes of one request's body.
    pub body_bytes: usize,
    /// Device sockets of one address that have not authenticated yet.
    pub unauthenticated_per_ip: usize,
    /// Device sockets of this node that have not authenticated yet.
    pub unauthenticated_per_node: usize,
    /// How many may wait for outcomes.
    pub watch: WatchLimits,
    /// How fast clients, addresses and devices may go on.
    pub rates: Rates,
    /// What counts answers and sockets.
    pub metrics: Metrics,
    /// What sums refusals for the audit log.
    pub refusals: Arc<Refusals>,
}

/// Everything a request handler needs. Clones are the same.
#[derive(Clone, Debug)]
pub struct Edge {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    relay: Relay,
    app: App,
    settings: Settings,
    socket_urls: Vec<String>,
    /// Hosts that a client-direct request may name.
    hosts: Vec<String>,
    socket_limits: Arc<session::Limits>,
    crowd: Arc<Crowd>,
    door: Listener,
    limits: Arc<Limits>,
    clients: Clients,
    pages: public::http::Pages,
    tickets: Tickets,
    browsers: Browsers,
    event_tickets: EventTickets,
    places: Arc<Places>,
    access_tokens: AccessTokens,
    /// What a client assertion may be for: the token endpoint or the issuer.
    token_audiences: Vec<String>,
    pull_proofs: PullProofs,
    results: ResultSigner,
    records: RecordSigner,
    certify: Option<Arc<dyn Certify>>,
}

impl Edge {
    /// The edge of this relay; `certify` answers client-direct programs, if they are served.
    ///
    /// # Errors
    /// The store's, if the relay's own keys cannot be had.
    pub async fn new(
        relay: Relay,
        app: App,
        settings: Settings,
        door: Listener,
        certify: Option<Arc<dyn Certify>>,
    ) -> Result<Self, StoreError> {
        let keys =
            Keys::load_or_make(&*relay.dependencies().store, &relay.dependencies().encryptor)
                .await?;
        let results = ResultSigner::new(&keys, &settings.public_url, settings.network_in_result)
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let records = RecordSigner::new(&keys, &settings.public_url)
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let bases = std::iter::once(&settings.public_url).chain(&settings.public_aliases);
        let inner = Inner {
            socket_urls: bases.clone().map(|base| socket_url(base)).collect(),
            hosts: bases
                .clone()
                .chain(&settings.tenant_origins)
                .filter_map(|base| Some(Url::parse(base).ok()?.host_str()?.to_owned()))
                .collect(),
            socket_limits: Arc::new(settings.socket_limits.clone()),
            crowd: Arc::new(Crowd::new(
                settings.unauthenticated_per_ip,
                settings.unauthenticated_per_node,
                door.limits().eviction_age,
            )),
            limits: Arc::new(Limits::new(settings.rates)),
            clients: Clients::new(Arc::clone(&relay.dependencies().store)),
            pages: public::http::Pages::default(),
            tickets: Tickets::new(&keys),
            browsers: Browsers::new(&keys),
            event_tickets: EventTickets::new(&keys, Arc::clone(&relay.dependencies().store)),
            places: Arc::new(Places::new(settings.watch, door.limits().connections_per_ip)),
            door,
            access_tokens: AccessTokens::new(&keys),
            token_audiences: bases
                .clone()
                .flat_map(|base| [base.clone(), format!("{base}{}", public::http::TOKEN_PATH)])
                .collect(),
            pull_proofs: PullProofs::default(),
            results,
            records,
            certify,
            app,
            relay,
            settings,
        };
        let edge = Self { inner: Arc::new(inner) };
        let tasks = &edge.relay().dependencies().tasks;
        let (limits, stopping) = (Arc::clone(&edge.inner.limits), tasks.stopping().clone());
        tasks.spawn("limits", async move {
            stopping.run_until_cancelled(limits.forget_forever()).await;
        });
        Ok(edge)
    }

    fn relay(&self) -> &Relay {
        &self.inner.relay
    }

    /// Sums a refusal of what came from this address.
    fn refused(&self, what: Refused, from: IpAddr) {
        self.inner.settings.refusals.count(what, from);
    }

    fn app(&self) -> &App {
        &self.inner.app
    }

    /// A path under every spelling of `public_url`: what a device's proof may name.
    fn at_every_base(&self, path: &str) -> Vec<String> {
        let settings = self.settings();
        let bases = std::iter::once(&settings.public_url).chain(&settings.public_aliases);
        bases.map(|base| format!("{base}{path}")).collect()
    }

    fn settings(&self) -> &Settings {
        &self.inner.settings
    }
}

/// The device socket under a base URL: `https` becomes `wss`.
fn socket_url(base: &str) -> String {
    format!("{}/v1/device/socket", base.replacen("http", "ws", 1))
}
