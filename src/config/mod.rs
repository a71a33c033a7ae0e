//! Configuration: one TOML file and `FIDO_RELAY_*` variables, merged and validated; every error is
//! reported at once.
//!
//! ```text
//!   defaults ◀ file (fido-relay.toml) ◀ variables (FIDO_RELAY_LISTEN, FIDO_RELAY_UPSTREAM__URL)
//!                     └── sources ──┘         a variable wins over the file
//!                             │ reader: each key is read once, by type and bounds;
//!                             ▼ a key that is not read is unknown
//!                  Config  +  the settings in effect  |  errors
//! ```
//! No key holds a secret: the relay's keys are in its store, and a URL with a password is refused.
//! Errors never repeat a value, since it may be a secret in the wrong place.
//!
//! Knows the bounds of the wire types, and no module that it configures.

mod audit;
mod effective;
mod error;
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

pub use audit::AuditConfig;
pub use error::{ConfigError, ConfigErrors, Source};
pub use limit::Weakness;
pub use limits::{Limits, ListenerLimits, RateLimits};
pub use listener::{AdminListener, ForwardedHeader, Proxy, TlsConfig};
pub use prompts::Prompts;
pub use push::PushConfig;
pub use reader::Setting;
pub(crate) use weaknesses::is_loopback;
pub use webhooks::WebhooksConfig;

/// The file that is read when none is named, if it exists in the working directory.
pub const DEFAULT_FILE: &str = "fido-relay.toml";

/// A valid configuration. `docs/configuration.md` has the keys and bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Address of HTTP and device sockets.
    pub listen: SocketAddr,
    /// URL that apps and initiators dial: scheme, host, port, no path.
    pub public_url: Url,
    /// Serve off loopback without https.
    pub allow_plaintext: bool,
    /// Directory of the store and the admin socket.
    pub data_dir: PathBuf,
    /// TLS on the relay's own listener; `None`: it speaks plain HTTP.
    pub tls: Option<TlsConfig>,
    pub proxy: Proxy,
    /// Listener of metrics and health.
    pub admin: AdminListener,
    pub log: LogConfig,
    pub tenant: Tenant,
    pub upstream: Upstream,
    /// Whether the FIDO2 server's own paths (`/fidoapi/…`) are served.
    pub client_direct: bool,
    /// Whether `client_direct` is allowed for the built-in server off loopback, where anyone may
    /// register a card for any user.
    pub allow_open_registration: bool,
    /// Whether client-direct calls of the built-in server may ask for less than user verification.
    pub allow_uv_weaken: bool,
    /// Which cards the built-in server accepts.
    pub attestation: Attestation,
    /// Whether the built-in server offers ML-DSA (FIPS 204).
    pub post_quantum: bool,
    /// `Origin` values that the device socket accepts; apps send none.
    pub device_origins: Vec<String>,
    pub webhooks: WebhooksConfig,
    pub push: PushConfig,
    pub prompts: Prompts,
    pub limits: Limits,
    /// Whether the card's signed answer is kept for a receipt.
    pub receipts: bool,
    pub audit: AuditConfig,
}

/// Format and level of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    pub format: LogFormat,
    /// A level, or levels by module: `info`, `warn,fido_relay=debug`.
    pub level: String,
}

/// The format of a log line.
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
    /// Its display name on cards and phones.
    pub rp_name: String,
    /// Origins that the built-in server accepts; never empty. Challenges carry the first.
    pub origins: Vec<String>,
    /// Whether a card may return the username as its user handle.
    pub username_as_user_handle: bool,
    /// Whether result tokens carry `same_network`.
    pub network_in_result: bool,
}

/// The FIDO2 server that makes challenges and verifies answers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "a process has one")]
pub enum Upstream {
    Builtin,
    /// An external server over HTTP.
    Http(HttpUpstream),
}

/// An external FIDO2 server over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpUpstream {
    /// Base URL, without `/fidoapi`.
    pub url: Url,
    /// Origin in `clientDataJSON`; `None`: that of the URL.
    pub origin: Option<String>,
    /// Which of the server's two sets of paths is called.
    pub paths: UpstreamPaths,
    /// Limit of one begin call.
    pub begin_timeout: Duration,
    /// Limit of the completion call.
    pub complete_timeout: Duration,
    /// PEM file of certificate authorities, trusted in addition to the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM files of the client certificate and of its key.
    pub client_cert: Option<(PathBuf, PathBuf)>,
    /// File of headers that are sent with every call.
    pub headers_file: Option<PathBuf>,
    pub usernames: UpstreamUsernames,
}

impl HttpUpstream {
    /// A server at this URL, with defaults for the rest.
    #[cfg(feature = "test-support")]
    #[must_use]
    pub fn new(url: Url) -> Self {
        Self {
            url,
            origin: None,
            paths: UpstreamPaths::Certify,
            begin_timeout: keys::BEGIN_TIMEOUT.default_value(),
            complete_timeout: keys::COMPLETE_TIMEOUT.default_value(),
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
    /// All that the relay accepts.
    AsIs,
    /// Of letters A to Z, digits, `.`, `_` and `-`.
    Restricted,
}

/// Which paths are called: the vendor's server has two for each call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamPaths {
    /// `/fidoapi/certify/attestation/options`, …
    Certify,
    /// `/fidoapi/register/begin`, …
    Short,
}

/// Which cards the built-in server accepts at registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attestation {
    /// Accepted kinds of attestation; never empty.
    pub accept: Vec<AttestationKind>,
    /// PEM file of root certificates for attestation statements.
    pub roots_file: Option<PathBuf>,
    /// A card maker whose root certificates are trusted.
    pub trust: Option<AttestationTrust>,
    /// FIDO metadata, whose root certificates are trusted.
    pub metadata_file: Option<PathBuf>,
    /// PEM file of the root of the metadata's signature; `None`: the FIDO Alliance's.
    pub metadata_root_file: Option<PathBuf>,
    /// Models that may register; empty: any.
    pub aaguids: Vec<Aaguid>,
}

impl Attestation {
    /// Whether attestation statements must chain to a root.
    #[must_use]
    pub fn knows_roots(&self) -> bool {
        self.roots_file.is_some() || self.trust.is_some() || self.metadata_file.is_some()
    }
}

/// A card maker whose root certificates are built in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttestationTrust {
    /// Arculus, by CompoSecure.
    Arculus,
}

/// A model of authenticators by its AAGUID, with the text that was configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aaguid {
    pub bytes: [u8; 16],
    text: String,
}

/// Attestation types (WebAuthn section 6.5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttestationKind {
    None,
    /// Self attestation: a statement signed by the new credential.
    SelfSigned,
    /// A statement signed by a key with a certificate.
    Certified,
}

/// A valid configuration and the source of each value.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    /// Every key in the order in which it is read.
    pub settings: Vec<Setting>,
}

impl Default for Config {
    /// Without any configuration: a relay for this machine alone.
    fn default() -> Self {
        keys::read(sources::RawConfig::default()).0
    }
}

impl Config {
    /// The scheme at `listen`: `https` with a certificate, else `http`.
    #[must_use]
    pub fn listen_scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// Replaces port 0 with the port that the listener got.
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

/// Reads the named file (or [`DEFAULT_FILE`] if it exists) and the environment.
///
/// # Errors
/// Every error in them.
pub fn load(file: Option<&Path>) -> Result<Loaded, ConfigErrors> {
    let mut raw = sources::RawConfig::default();
    let path = file.unwrap_or(Path::new(DEFAULT_FILE));
    match std::fs::read_to_string(path) {
        Ok(text) => raw.add_file(path, &text),
        Err(error) if file.is_none() && error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => raw.add_unreadable(path, &error),
    }
    raw.add_variables(std::env::vars_os());
    finish(raw)
}

/// Reads the text of a file and the given variables.
///
/// # Errors
/// Every error in them.
#[cfg(any(feature = "rig", feature = "test-support"))]
pub fn from_texts(
    file: Option<(&Path, &str)>,
    variables: &[(&str, &str)],
) -> Result<Loaded, ConfigErrors> {
    let mut raw = sources::RawConfig::default();
    if let Some((path, text)) = file {
        raw.add_file(path, text);
    }
    raw.add_variables(variables.iter().map(|(name, value)| (name.into(), value.into())));
    finish(raw)
}

fn finish(raw: sources::RawConfig) -> Result<Loaded, ConfigErrors> {
    let (config, settings, errors) = keys::read(raw);
    if errors.is_empty() { Ok(Loaded { config, settings }) } else { Err(ConfigErrors(errors)) }
}
