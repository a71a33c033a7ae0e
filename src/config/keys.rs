//! Reads every key, with its default and bounds, and checks keys that depend on each other. Keys
//! are shown in the order in which they are read.

mod attestation;
mod listener;
mod push;
mod upstream;
mod webhooks;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use url::Url;

pub(super) use self::upstream::{BEGIN_TIMEOUT, COMPLETE_TIMEOUT};
use super::audit;
use super::error::ConfigError;
use super::reader::{ConfigReader, Setting};
use super::sources::RawConfig;
use super::values::{LogLevel, WebAuthnOrigin};
use super::weaknesses::is_loopback;
use super::{Config, Limits, LogConfig, LogFormat, Prompts, Tenant, Upstream};

/// Reads every key. The configuration is valid only if there are no errors.
pub(super) fn read(raw: RawConfig) -> (Config, Vec<Setting>, Vec<ConfigError>) {
    let mut reader = ConfigReader::new(raw);
    let config = read_config(&mut reader);
    listener::check_tls(&mut reader, &config);
    check_reach(&mut reader, &config);
    check_client_direct(&mut reader, &config);
    check_relying_party(&mut reader, &config);
    webhooks::check(&mut reader, &config);
    push::check(&mut reader, &config);
    let (settings, errors) = reader.finish();
    (config, settings, errors)
}

fn read_config(reader: &mut ConfigReader) -> Config {
    let listen = reader.take("listen", SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)));
    let public_url = reader.optional("public_url");
    let allow_plaintext = reader.take("allow_plaintext", false);
    let data_dir = reader.take("data_dir", PathBuf::from("./data"));
    let client_direct = reader.optional("client_direct");
    let allow_open_registration = reader.take("allow_open_registration", false);
    let allow_uv_weaken = reader.take("allow_uv_weaken", false);
    let device_origins: Vec<WebAuthnOrigin> = reader.take("device_origins", Vec::new());
    let receipts = reader.take("receipts", false);
    let tls = listener::read_tls(reader);
    let proxy = listener::read_proxy(reader);
    let admin = listener::read_admin(reader);
    let log = read_log(reader);
    let scheme = if tls.is_some() { "https" } else { "http" };
    let upstream = upstream::read(reader);
    let post_quantum = reader.take("upstream.post_quantum", false);
    let tenant = read_tenant(reader, listen, scheme, &upstream);
    let attestation = attestation::read_attestation(reader);
    let builtin = matches!(upstream, Upstream::Builtin);
    let public_url = public_url.unwrap_or_else(|| {
        let url = default_public_url(scheme, listen);
        reader.derived("public_url", &url);
        url
    });
    // A proxy in front publishes a listener on loopback.
    let for_this_machine = listen.ip().is_loopback() && is_loopback(&public_url);
    Config {
        listen,
        public_url,
        allow_plaintext,
        data_dir,
        tls,
        proxy,
        admin,
        log,
        tenant,
        upstream,
        client_direct: client_direct.unwrap_or_else(|| {
            let on = builtin && for_this_machine;
            reader.derived("client_direct", &on);
            on
        }),
        allow_open_registration,
        allow_uv_weaken,
        attestation,
        post_quantum,
        device_origins: device_origins.into_iter().map(|origin| origin.0).collect(),
        webhooks: webhooks::read(reader),
        push: push::read(reader),
        prompts: Prompts::read(reader),
        limits: Limits::read(reader),
        receipts,
        audit: audit::read(reader, receipts),
    }
}

/// The URL for programs on this machine. An unspecified address (`0.0.0.0`) cannot be dialled.
fn default_public_url(scheme: &str, listen: SocketAddr) -> Url {
    let host = if listen.ip().is_unspecified() {
        "localhost".to_owned()
    } else {
        match listen.ip() {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        }
    };
    let text = format!("{scheme}://{host}:{}", listen.port());
    Url::parse(&text).unwrap_or_else(|_| unreachable!("an address and a port make a URL"))
}

fn read_log(reader: &mut ConfigReader) -> LogConfig {
    let format = reader.take("log.format", LogFormat::Text);
    let level = reader.take("log.level", LogLevel("info".to_owned()));
    LogConfig { format, level: level.0 }
}

fn read_tenant(
    reader: &mut ConfigReader,
    listen: SocketAddr,
    scheme: &str,
    upstream: &Upstream,
) -> Tenant {
    let default_rp_id = match upstream {
        Upstream::Builtin => None,
        Upstream::Http(http) => http.url.domain().map(str::to_owned),
    };
    let rp_id_given = reader.is_given("tenant.rp_id");
    let rp_id = reader.take("tenant.rp_id", default_rp_id.unwrap_or("localhost".to_owned()));
    let rp_name = reader.take("tenant.rp_name", "fido-relay".to_owned());
    let default_origin = match upstream {
        Upstream::Http(http) => http.url.origin().ascii_serialization(),
        Upstream::Builtin if rp_id_given && rp_id != "localhost" => format!("https://{rp_id}"),
        Upstream::Builtin => format!("{scheme}://localhost:{}", listen.port()),
    };
    let origins = reader.take("tenant.origins", vec![WebAuthnOrigin(default_origin)]);
    if origins.is_empty() {
        reader.reject("tenant.origins", "must name at least one origin");
    }
    let username_as_user_handle = reader.take("tenant.username_as_user_handle", true);
    let origins = origins.into_iter().map(|origin| origin.0).collect();
    let network_in_result = reader.take("tenant.network_in_result", false);
    Tenant { rp_id, rp_name, origins, username_as_user_handle, network_in_result }
}

/// Off loopback the relay must be reached by https, unless `allow_plaintext` is set.
fn check_reach(reader: &mut ConfigReader, config: &Config) {
    if !matches!(config.public_url.path(), "" | "/") {
        reader.reject("public_url", "must not have a path: the relay is served at the root");
    }
    if config.is_plain_off_loopback() && !config.allow_plaintext {
        let text = "must be https when listen is not a loopback address (with tls.cert_file, or with \
                    a proxy in front), or set allow_plaintext = true";
        reader.reject("public_url", text);
    }
}

/// These paths take no credential, and the built-in server registers a card for any caller. Off
/// loopback that gives every account away, so it needs a second setting.
fn check_client_direct(reader: &mut ConfigReader, config: &Config) {
    let builtin = matches!(config.upstream, Upstream::Builtin);
    let open = config.client_direct && builtin && !config.is_for_this_machine();
    if open && !config.allow_open_registration {
        let text = "would let anyone who reaches this relay register a card for any user: leave \
                    it off, or set allow_open_registration = true as well";
        reader.reject("client_direct", text);
    }
}

/// WebAuthn section 5.1.2: the rp id is the origin's domain or a suffix of it.
fn check_relying_party(reader: &mut ConfigReader, config: &Config) {
    let rp_id = &config.tenant.rp_id;
    let is_domain = rp_id.split('.').all(|label| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    });
    if !is_domain || rp_id.parse::<IpAddr>().is_ok() {
        let text =
            "must be a domain in lower case, such as \"example.com\", without scheme and port";
        reader.reject("tenant.rp_id", text);
        return;
    }
    // An external server checks origins itself.
    if !matches!(config.upstream, Upstream::Builtin) {
        return;
    }
    for origin in &config.tenant.origins {
        let Some(url) = Url::parse(origin).ok().filter(Url::has_host) else { continue };
        let within = url.domain().is_some_and(|domain| {
            domain == rp_id
                || domain.strip_suffix(rp_id.as_str()).is_some_and(|rest| rest.ends_with('.'))
        });
        if !within {
            let text = format!("each must be on {rp_id} (tenant.rp_id) or a domain below it");
            reader.reject("tenant.origins", text);
            return;
        }
        if url.scheme() != "https" && url.domain() != Some("localhost") {
            reader.reject("tenant.origins", "must be https, except on localhost");
            return;
        }
    }
}
