//! Configuration: one TOML file and `FIDO_RELAY_*` variables, merged, validated, every mistake
//! told at once.
//!
//! ```text
//!   defaults ◀ file (fido-relay.toml) ◀ variables (FIDO_RELAY_LISTEN, FIDO_RELAY_UPSTREAM__URL)
//!                     └── sources ──┘         a variable wins over the file
//!                             │ reader: each key is taken once, by type and bounds;
//!                             ▼ what nobody takes is unknown
//!                  Config  +  the settings in effect  |  mistakes
//! ```
//! No key holds a secret: what the relay signs with lies in its store, and a URL with a password
//! is refused. Mistakes never repeat a value, since somebody may have put one in the wrong place.
//!
//! Knows the wire's bounds and nothing of the modules that it configures.

mod audit;
mod effective;
mod keys;
mod limit;
mod limits;
mod listener;
mod nearest;
mod prompts;
pub mod push;
mod reader;
mod sources;
#[cfg(test)]
mod tests;
mod values;
mod weaknesses;
mod webhooks;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

pub use audit::Audit;
pub use limits::{Limits, ListenerLimits, RateLimits};
pub use listener::{AdminListener, ForwardedHeader, Proxy, Tls};
pub use prompts::Prompts;
pub use push::Push;
pub use reader::{Mistake, Mistakes, Setting, Source};
pub use weaknesses::Weakness;
pub(crate) use weaknesses::is_loopback;
pub use webhooks::Webhooks;

/// The file that is read when none is named, if it exists in the working directory.
pub const DEFAULT_FILE: &str = "fido-relay.toml";

/// Everything that an operator can choose. See `docs/configuration.md` for keys and bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where HTTP and device sockets are served.
    pub listen: SocketAddr,
    /// What apps and initiators dial: scheme, host, port, no path.
    pub public_url: Url,
    /// Serve off loopback without https.
    pub allow_plaintext: bool,
    /// Where the store and the admin socket lie.
    pub data_dir: PathBuf,
    /// TLS on the relay's own listener; `None`: it speaks plain HTTP.
    pub tls: Option<Tls>,
    /// Proxies in front.
    pub proxy: Proxy,
    /// Where metrics and health are served for whoever watches the node.
    pub admin: AdminListener,
    /// What is logged and how.
    pub log: Log,
    /// The relying party.
    pub tenant: Tenant,
    /// The FIDO2 server.
    pub upstream: Upstream,
    /// Whether the FIDO2 server's own paths are served.
    pub client_direct: bool,
    /// Serve them for the built-in server off this machine, where anybody may register a card for
    /// any user.
    pub allow_open_registration: bool,
    /// Whether client-direct calls of the built-in server may ask for less than user verification.
    pub allow_uv_weaken: bool,
    /// Which cards the built-in server takes.
    pub attestation: Attestation,
    /// Whether the built-in server offers ML-DSA, the signatures of FIPS 204.
    pub post_quantum: bool,
    /// `Origin` values that the device socket accepts; apps send none.
    pub device_origins: Vec<String>,
    /// Where webhooks may go.
    pub webhooks: Webhooks,
    /// By what devices are woken.
    pub push: Push,
    /// How much of a person's attention may be asked for.
    pub prompts: Prompts,
    /// What one connection may cost.
    pub limits: Limits,
    /// Whether what a card signed is kept for a receipt.
    pub receipts: bool,
    /// The audit log.
    pub audit: Audit,
}

/// What is logged and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// For people or for machines.
    pub format: LogFormat,
    /// A level, or levels by module: `info`, `warn,fido_relay=debug`.
    pub level: String,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The relying party.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// The WebAuthn relying party id, a domain.
    pub rp_id: String,
    /// Its name as cards and phones show it.
    pub rp_name: String,
    /// Origins whose ceremonies the built-in server accepts; never empty. The first is the one
    /// that it puts into challenges.
    pub origins: Vec<String>,
    /// Whether a card may return the username as its user handle.
    pub username_as_user_handle: bool,
    /// Whether result tokens tell if phone and browser were in one network.
    pub network_in_result: bool,
}

/// The FIDO2 server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "a process has one")]
pub enum Upstream {
    /// The one inside the relay.
    Builtin,
    /// Another, over HTTP.
    Http(HttpUpstream),
}

/// A FIDO2 server over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpUpstream {
    /// Its base, without `/fidoapi`.
    pub url: Url,
    /// What cards put into `clientDataJSON`; `None`: the URL's own origin.
    pub origin: Option<String>,
    /// Which of its two sets of paths is called.
    pub paths: UpstreamPaths,
    /// The longest that beginning may take.
    pub begin_timeout: Duration,
    /// The longest that completing may take.
    pub complete_timeout: Duration,
    /// PEM file of authorities that are trusted beside the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM files of the certificate that the server is shown, and of its key.
    pub client_cert: Option<(PathBuf, PathBuf)>,
    /// File of headers that go with every call.
    pub headers_file: Option<PathBuf>,
    /// Which usernames the server accepts.
    pub usernames: UpstreamUsernames,
}

impl HttpUpstream {
    /// A server at this URL, with everything else at its default.
    #[must_use]
    pub fn new(url: Url) -> Self {
        Self {
            url,
            origin: None,
            paths: UpstreamPaths::Certify,
            begin_timeout: Duration::from_secs(5),
            complete_timeout: Duration::from_secs(10),
            ca_file: None,
            client_cert: None,
            headers_file: None,
            usernames: UpstreamUsernames::AsIs,
        }
    }
}

/// Which usernames an external server accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamUsernames {
    /// All that the relay takes.
    AsIs,
    /// Of letters A to Z, digits, `.`, `_` and `-`.
    Restricted,
}

/// The vendor's server knows each call by two paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamPaths {
    /// `/fidoapi/certify/attestation/options` and its like.
    Certify,
    /// `/fidoapi/register/begin` and its like.
    Short,
}

/// Which cards the built-in server takes at registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attestation {
    /// The kinds of attestation it takes; never empty.
    pub accept: Vec<AttestationKind>,
    /// PEM file of certificates that statements may lead to.
    pub roots_file: Option<PathBuf>,
    /// A card maker whose roots statements may lead to.
    pub trust: Option<AttestationTrust>,
    /// FIDO metadata, whose roots statements may lead to.
    pub metadata_file: Option<PathBuf>,
    /// PEM file of the root that the metadata's signature leads to; `None`: the FIDO Alliance's.
    pub metadata_root_file: Option<PathBuf>,
    /// The only models that may register; empty: any.
    pub aaguids: Vec<Aaguid>,
}

impl Attestation {
    /// Whether statements must lead to a root.
    #[must_use]
    pub fn knows_roots(&self) -> bool {
        self.roots_file.is_some() || self.trust.is_some() || self.metadata_file.is_some()
    }
}

/// A card maker whose roots are built in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttestationTrust {
    /// Arculus, by CompoSecure.
    Arculus,
}

/// A model of authenticators, by the text form of its AAGUID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aaguid {
    pub bytes: [u8; 16],
    text: String,
}

/// What a card may say of itself at registration (WebAuthn section 6.5.4, attestation types).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttestationKind {
    /// Nothing.
    None,
    /// A statement signed by the new credential itself.
    SelfSigned,
    /// A statement signed under a certificate.
    Certified,
}

/// A valid configuration, and where each value of it came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Every key in its documented order.
    pub settings: Vec<Setting>,
}

impl Default for Config {
    /// With nothing configured: everything on this machine.
    fn default() -> Self {
        keys::read(sources::Given::default()).0
    }
}

impl Config {
    /// What is spoken at `listen`: `https` with a certificate, or `http`.
    #[must_use]
    pub fn listen_scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// Puts the port that the listener got where the configuration asked for any (port 0).
    #[must_use]
    pub fn bound_to(mut self, bound: SocketAddr) -> Self {
        if self.listen.port() == 0 {
            if self.public_url.port() == Some(0) {
                let _ = self.public_url.set_port(Some(bound.port()));
            }
            for origin in &mut self.tenant.origins {
                if let Some(before) = origin.strip_suffix(":0") {
                    *origin = format!("{before}:{}", bound.port());
                }
            }
        }
        self.listen = bound;
        self
    }
}

/// Reads the named file (or [`DEFAULT_FILE`] if it exists) and the process's variables.
///
/// # Errors
/// Every mistake in them.
pub fn load(file: Option<&Path>) -> Result<Loaded, Mistakes> {
    let mut given = sources::Given::default();
    let path = file.unwrap_or(Path::new(DEFAULT_FILE));
    match std::fs::read_to_string(path) {
        Ok(text) => given.add_file(path, &text),
        Err(error) if file.is_none() && error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => given.add_unreadable(path, &error),
    }
    given.add_variables(std::env::vars_os());
    finish(given)
}

/// Reads a file's text and variables that the caller has at hand.
///
/// # Errors
/// Every mistake in them.
pub fn from_texts(
    file: Option<(&Path, &str)>,
    variables: &[(&str, &str)],
) -> Result<Loaded, Mistakes> {
    let mut given = sources::Given::default();
    if let Some((path, text)) = file {
        given.add_file(path, text);
    }
    given.add_variables(variables.iter().map(|(name, value)| (name.into(), value.into())));
    finish(given)
}

fn finish(given: sources::Given) -> Result<Loaded, Mistakes> {
    let (config, settings, mistakes) = keys::read(given);
    if mistakes.is_empty() { Ok(Loaded { config, settings }) } else { Err(Mistakes(mistakes)) }
}
