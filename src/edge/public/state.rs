//! The state of the public interface, which every request handler gets.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use fido_relay_proto::{CeremonyId, TenantId};
use ipnet::IpNet;
use url::Url;

use super::page_origins::PageOrigins;
use crate::app::App;
use crate::app::audit::refusals::{RefusalCounts, RefusalKind};
use crate::app::clients::Clients;
use crate::core::session;
use crate::edge::concurrency::ConcurrencyLimit;
use crate::edge::listener::{EvictingLimit, Listener};
use crate::metrics::Metrics;
use crate::node::Relay;
use crate::ports::{Certify, StoreError};
use crate::schema::operations::Operation;
use crate::security::access_token::AccessTokens;
use crate::security::browsers::Browsers;
use crate::security::event_ticket::EventTickets;
use crate::security::keys::Keys;
use crate::security::limits::{NodeRateLimits, Rates};
use crate::security::pull_proof::PullProofs;
use crate::security::record::RecordSigner;
use crate::security::result_token::ResultSigner;
use crate::security::ticket::Tickets;

/// How many may watch at the same time.
#[derive(Clone, Copy, Debug)]
pub struct WatchLimits {
    /// Watchers of one ceremony.
    pub per_ceremony: usize,
    /// Watchers and waiting devices of this node.
    pub per_node: usize,
}

/// What the configuration says of the public interface.
#[derive(Clone, Debug)]
pub struct EdgeSettings {
    /// The relying party served here.
    pub tenant: TenantId,
    /// Its id, which a request need not name.
    pub rp_id: String,
    /// Whether result tokens say if phone and browser were in one network.
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
    pub socket_limits: session::SessionLimits,
    /// A phone that does not take a write within this loses its socket.
    pub socket_write: Duration,
    /// Bytes of one request's body.
    pub body_bytes: usize,
    /// Unauthenticated device sockets of one address.
    pub unauthenticated_per_ip: usize,
    /// Unauthenticated device sockets of this node.
    pub unauthenticated_per_node: usize,
    pub watch: WatchLimits,
    /// Rates of clients, addresses and devices.
    pub rates: Rates,
    /// Counts answers and sockets.
    pub metrics: Metrics,
    /// Sums refusals for the audit log.
    pub refusals: Arc<RefusalCounts>,
}

/// Everything a request handler needs. Clones share one state.
#[derive(Clone, Debug)]
pub struct Edge {
    pub(super) inner: Arc<EdgeState>,
}

/// What [`Edge`] shares among its clones.
#[derive(Debug)]
pub(super) struct EdgeState {
    relay: Relay,
    app: App,
    settings: EdgeSettings,
    pub(super) socket_urls: Vec<String>,
    /// Hosts that a client-direct request may name.
    pub(super) hosts: Vec<String>,
    pub(super) socket_limits: Arc<session::SessionLimits>,
    /// Device sockets that have not authenticated, by address.
    pub(super) unauthenticated: Arc<EvictingLimit>,
    pub(super) listener: Listener,
    pub(super) limits: Arc<NodeRateLimits>,
    pub(super) clients: Clients,
    pub(super) page_origins: PageOrigins,
    pub(super) tickets: Tickets,
    pub(super) browsers: Browsers,
    pub(super) event_tickets: EventTickets,
    /// Held requests and streams: those that watch by their ceremony, those of devices by none.
    pub(super) watchers: Arc<ConcurrencyLimit<CeremonyId>>,
    /// Those of them that are pages, by address.
    pub(super) watching_pages: Arc<ConcurrencyLimit<IpNet>>,
    pub(super) access_tokens: AccessTokens,
    /// What a client assertion may be for: the token endpoint or the issuer.
    pub(super) token_audiences: Vec<String>,
    pub(super) pull_proofs: PullProofs,
    pub(super) results: ResultSigner,
    pub(super) records: RecordSigner,
    pub(super) certify: Option<Arc<dyn Certify>>,
}

impl Edge {
    /// The public interface of this relay; `certify` answers client-direct programs, if they are
    /// served.
    ///
    /// # Errors
    /// A key cannot sign.
    pub fn new(
        relay: Relay,
        app: App,
        keys: &Keys,
        settings: EdgeSettings,
        listener: Listener,
        certify: Option<Arc<dyn Certify>>,
    ) -> Result<Self, StoreError> {
        let results = ResultSigner::new(keys, &settings.public_url, settings.network_in_result)
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let records = RecordSigner::new(keys, &settings.public_url)
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let bases = std::iter::once(&settings.public_url).chain(&settings.public_aliases);
        let limits = listener.limits();
        let inner = EdgeState {
            socket_urls: bases.clone().map(|base| socket_url(base)).collect(),
            hosts: bases
                .clone()
                .chain(&settings.tenant_origins)
                .filter_map(|base| Some(Url::parse(base).ok()?.host_str()?.to_owned()))
                .collect(),
            socket_limits: Arc::new(settings.socket_limits.clone()),
            unauthenticated: EvictingLimit::new(
                settings.unauthenticated_per_ip,
                settings.unauthenticated_per_node,
                limits.eviction_age,
            ),
            limits: Arc::new(NodeRateLimits::new(settings.rates)),
            clients: app.clients(),
            page_origins: PageOrigins::default(),
            tickets: Tickets::new(keys),
            browsers: Browsers::new(keys),
            event_tickets: EventTickets::new(keys),
            watchers: ConcurrencyLimit::new(settings.watch.per_ceremony, settings.watch.per_node),
            watching_pages: ConcurrencyLimit::new(limits.connections_per_ip, usize::MAX),
            listener,
            access_tokens: AccessTokens::new(keys),
            token_audiences: bases
                .clone()
                .flat_map(|base| [base.clone(), format!("{base}{}", Operation::IssueToken.path())])
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
        let tasks = &edge.app().tasks;
        let (limits, stopping) = (Arc::clone(&edge.inner.limits), tasks.stopping().clone());
        tasks.spawn("limits", async move {
            stopping.run_until_cancelled(limits.forget_forever()).await;
        });
        Ok(edge)
    }

    pub(super) fn relay(&self) -> &Relay {
        &self.inner.relay
    }

    /// Sums a refusal of what came from this address.
    pub(super) fn refused(&self, what: RefusalKind, from: IpAddr) {
        self.inner.settings.refusals.count(what, from);
    }

    pub(super) fn app(&self) -> &App {
        &self.inner.app
    }

    /// A path under every spelling of `public_url`: what a device's proof may name.
    pub(super) fn at_every_base(&self, path: &str) -> Vec<String> {
        let settings = self.settings();
        let bases = std::iter::once(&settings.public_url).chain(&settings.public_aliases);
        bases.map(|base| format!("{base}{path}")).collect()
    }

    pub(super) fn settings(&self) -> &EdgeSettings {
        &self.inner.settings
    }
}

/// The device socket under a base URL: `https` becomes `wss`.
fn socket_url(base: &str) -> String {
    base.replacen("http", "ws", 1) + Operation::OpenDeviceSocket.path()
}
