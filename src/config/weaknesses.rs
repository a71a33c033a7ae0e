//! Settings that are allowed but weak, each with a remedy. A setting that is too dangerous to leave
//! to the operator is an error instead, reported where the keys are read. Pure over a [`Config`]:
//! checks of the machine (permissions of the data directory) are the command line's. `SECURITY.md`
//! lists the same texts, held by a test.

use std::net::IpAddr;

use ipnet::IpNet;
use url::Url;

use super::limit::{Limit, Weakness};
use super::{AttestationKind, Config, Limits, ListenerLimits, Prompts, RateLimits, Upstream};

/// A weakness and its condition.
struct Rule {
    weakness: Weakness,
    applies: fn(&Config) -> bool,
}

const fn rule(
    key: &'static str,
    text: &'static str,
    remedy: &'static str,
    applies: fn(&Config) -> bool,
) -> Rule {
    Rule { weakness: Weakness { key, text, remedy }, applies }
}

const RULES: &[Rule] = &[
    rule(
        "allow_plaintext",
        "other machines reach this relay without https: codes, tickets and keys can be read on \
         the way",
        "an https public_url",
        Config::is_plain_off_loopback,
    ),
    rule(
        "listen",
        "other machines reach this address past the proxy and without TLS",
        "tls.cert_file, or proxy.trusted, or a loopback address behind a proxy on this machine",
        |config| {
            let open = !config.listen.ip().is_loopback() && config.tls.is_none();
            open && config.proxy.trusted.is_empty() && !config.is_plain_off_loopback()
        },
    ),
    rule(
        "proxy.trusted",
        "a network of many machines, each of which may claim to be any client",
        "the addresses of your proxies",
        |config| config.proxy.trusted.iter().any(is_wide),
    ),
    rule(
        "admin.listen",
        "other machines read this relay's metrics, without a credential and without TLS",
        "a loopback address, with the collector of metrics on this machine",
        |config| config.admin.listen.is_some_and(|address| !address.ip().is_loopback()),
    ),
    rule(
        "upstream.url",
        "the FIDO2 server is called over the network without https: a machine in between decides \
         who is signed in",
        "https, or the same machine",
        |config| matches!(&config.upstream, Upstream::Http(http) if !is_protected(&http.url)),
    ),
    rule(
        "upstream.origin",
        "cards sign for a page without https, which anyone on the way can change",
        "an https origin",
        |config| {
            let Upstream::Http(http) = &config.upstream else { return false };
            http.origin.as_deref().is_some_and(is_plain_origin)
        },
    ),
    rule(
        "client_direct",
        "/fidoapi/… is served without any credential to every machine that reaches this relay",
        "client_direct = false, or authentication in front of /fidoapi/",
        |config| config.client_direct && !config.is_for_this_machine(),
    ),
    rule(
        "allow_uv_weaken",
        "programs at /fidoapi/… may register and use cards without a PIN",
        "allow_uv_weaken = false",
        |config| config.allow_uv_weaken,
    ),
    rule(
        "device_origins",
        "pages of these origins may open device sockets; phones send no Origin and need no entry",
        "an empty list, unless the app runs in a web view",
        |config| !config.device_origins.is_empty(),
    ),
    rule(
        "device_origins",
        "an origin without https: a machine on the way to its pages can open device sockets",
        "https origins",
        |config| config.device_origins.iter().any(|origin| is_plain_origin(origin)),
    ),
    rule(
        "tenant.rp_id",
        "cards are registered for localhost, which is every machine's name for itself",
        "the domain of your pages",
        |config| config.tenant.rp_id == "localhost" && !config.is_for_this_machine(),
    ),
    rule(
        "attestation.accept",
        "a registration with no statement, or one signed by itself, may come from any program: \
         that it is a card is not shown",
        "attestation.trust or attestation.roots_file, where only your cards may register",
        |config| {
            let shows_card = config.attestation.accept == [AttestationKind::Certified];
            is_builtin(config) && !config.is_for_this_machine() && !shows_card
        },
    ),
    rule(
        "attestation.roots_file",
        "cards must have a certificate, but of any authority",
        "a file with your card maker's roots, or attestation.trust",
        |config| {
            let wants = config.attestation.accept == [AttestationKind::Certified];
            let any = wants && !config.attestation.knows_roots();
            is_builtin(config) && !config.is_for_this_machine() && any
        },
    ),
    rule(
        "webhooks.allowed_networks",
        "an initiator that registers an endpoint can have the relay call into these networks",
        "an empty list, or the endpoints' own addresses",
        |config| !config.webhooks.allowed_networks.is_empty(),
    ),
    rule(
        "webhooks.allow_loopback_http",
        "webhooks may go to any port of this machine, and without TLS",
        "false, outside of development",
        |config| config.webhooks.allow_loopback_http,
    ),
    rule(
        "push.webpush.allow_loopback_http",
        "a device can have the relay call any port of this machine, and without TLS",
        "false, outside of development",
        |config| config.push.webpush.as_ref().is_some_and(|webpush| webpush.allow_loopback_http),
    ),
    rule(
        "log.level",
        "debug and trace log every connection, with what libraries log of it, and fill disks",
        "info, or debug for one module and an hour",
        |config| !config.is_for_this_machine() && is_verbose(&config.log.level),
    ),
    rule(
        "audit.enabled",
        "there is no record of who asked, who answered and how it ended",
        "true",
        |config| !config.audit.enabled && !config.is_for_this_machine(),
    ),
    rule(
        "log.level",
        "nothing is logged, so there is no trace of what happened",
        "info, or at least warn",
        |config| config.log.level.trim().eq_ignore_ascii_case("off"),
    ),
];

impl Config {
    /// The weak settings, warned of at every start.
    #[must_use]
    pub fn weaknesses(&self) -> Vec<Weakness> {
        let settings = RULES.iter().filter(|rule| (rule.applies)(self)).map(|rule| rule.weakness);
        let limits = self.prompts.weaknesses().chain(self.limits.weaknesses());
        let of_listener = self.limits.listener.weaknesses().chain(self.limits.rates.weaknesses());
        settings.chain(limits).chain(of_listener).collect()
    }

    /// Whether the relay is neither bound nor published off loopback.
    pub(super) fn is_for_this_machine(&self) -> bool {
        self.listen.ip().is_loopback() && is_loopback(&self.public_url)
    }

    pub(super) fn is_plain_off_loopback(&self) -> bool {
        !self.listen.ip().is_loopback() && self.public_url.scheme() != "https"
    }
}

impl Weakness {
    /// Every possible weakness, as `SECURITY.md` lists them.
    #[cfg(feature = "test-support")]
    #[must_use]
    pub fn all() -> Vec<Self> {
        let settings = RULES.iter().map(|rule| rule.weakness);
        let limits = limits().filter_map(|limit| Some(limit.weakness?.1));
        settings.chain(limits).collect()
    }
}

/// Every limit of a table whose values may be weak.
#[cfg(feature = "test-support")]
fn limits() -> impl Iterator<Item = &'static Limit> {
    let tables = [Prompts::LIMITS, Limits::LIMITS, ListenerLimits::LIMITS, RateLimits::LIMITS];
    tables.into_iter().flatten()
}

/// Whether a network has more machines than a relay has proxies.
fn is_wide(network: &IpNet) -> bool {
    match network {
        IpNet::V4(network) => network.prefix_len() < 24,
        IpNet::V6(network) => network.prefix_len() < 64,
    }
}

fn is_builtin(config: &Config) -> bool {
    matches!(config.upstream, Upstream::Builtin)
}

/// Whether any module logs at debug or trace.
fn is_verbose(level: &str) -> bool {
    let levels = level.split(',').map(|part| part.rsplit('=').next().unwrap_or(part).trim());
    levels.map(str::to_ascii_lowercase).any(|level| level == "debug" || level == "trace")
}

/// Whether an origin is that of a web page without https, off loopback.
fn is_plain_origin(origin: &str) -> bool {
    Url::parse(origin).is_ok_and(|url| url.scheme() == "http" && !is_loopback(&url))
}

/// Whether calls to a URL cannot be read on the network.
fn is_protected(url: &Url) -> bool {
    is_loopback(url) || url.scheme() == "https"
}

/// Whether the host of a URL is a loopback address or name.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(ip)) => IpAddr::V4(ip).is_loopback(),
        Some(url::Host::Ipv6(ip)) => IpAddr::V6(ip).is_loopback(),
        Some(url::Host::Domain(domain)) => domain == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests;
