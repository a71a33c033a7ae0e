//! The wiring of the FIDO2 server, built in or external.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fido_relay_proto::TenantId;
use fido_relay_webauthn::{AttestationPolicy, Metadata, UnixTime};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::StartError;
use crate::app::App;
use crate::backends::embedded::SystemClock;
use crate::backends::fido_builtin::{self, BuiltinFido, Credentials};
use crate::backends::fido_http::{self, ClientCert, FidoHttp, UpstreamUnreachable, UsernameForm};
use crate::config::{
    Attestation, AttestationKind, AttestationTrust, Config, HttpUpstream, Upstream, UpstreamPaths,
    UpstreamUsernames,
};
use crate::ports::{Cards, Certify, Clock, Fido, Store};
use crate::security::keys::Keys;

/// Why a FIDO2 server that can be reached may not work as intended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum UpstreamWarning {
    /// The FIDO metadata of the built-in server is outdated.
    Metadata(&'static str),
    /// An external server answers with a status by which a gateway may refuse every call.
    Status(u16),
}

/// Checks whether the configured FIDO2 server can be used. Leaves nothing running.
///
/// # Errors
/// [`UpstreamUnreachable`].
pub(crate) async fn probe_upstream(
    config: &Config,
) -> Result<Option<UpstreamWarning>, UpstreamUnreachable> {
    let unusable = |error: StartError| UpstreamUnreachable { says: error.to_string(), tls: None };
    match &config.upstream {
        Upstream::Builtin => attestation(&config.attestation, &SystemClock)
            .map(|policy| metadata_warning(&policy, &SystemClock).map(UpstreamWarning::Metadata))
            .map_err(unusable),
        Upstream::Http(http) => {
            let server = FidoHttp::new(http_settings(http), Arc::new(SystemClock));
            let status = server.map_err(|error| unusable(error.into()))?.reach().await?;
            Ok(matches!(status, 400 | 401 | 403).then_some(UpstreamWarning::Status(status)))
        }
    }
}

/// The cards of the built-in server in this store; `None`: an external server keeps its own.
pub(crate) fn cards(config: &Config, store: Arc<dyn Store>) -> Option<Arc<dyn Cards>> {
    match &config.upstream {
        Upstream::Builtin => Some(Arc::new(Credentials::new(store, TenantId::default()))),
        Upstream::Http(_) => None,
    }
}

pub(super) type Upstreams = (Arc<dyn Fido>, Option<Arc<dyn Certify>>);

/// The configured FIDO2 server, for ceremonies and for client-direct calls.
pub(super) fn upstream(config: &Config, app: &App, keys: &Keys) -> Result<Upstreams, StartError> {
    let (store, clock) = (Arc::clone(&app.store), Arc::clone(&app.clock));
    match &config.upstream {
        Upstream::Builtin => {
            let tenant = &config.tenant;
            let attestation = attestation(&config.attestation, clock.as_ref())?;
            if let Some(warning) = metadata_warning(&attestation, clock.as_ref()) {
                tracing::warn!("{warning}");
            }
            let settings = fido_builtin::BuiltinFidoSettings {
                tenant: TenantId::default(),
                rp_id: tenant.rp_id.clone(),
                rp_name: tenant.rp_name.clone(),
                origins: tenant.origins.clone(),
                attestation,
                uv_weaken: config.allow_uv_weaken,
                post_quantum: config.post_quantum,
                secure_cookies: config.public_url.scheme() == "https",
                receipts: config.receipts,
                user_handle_key: keys.user_handle(),
                username_as_user_handle: tenant.username_as_user_handle,
                events: Some(Arc::new(app.clone())),
            };
            let server = Arc::new(BuiltinFido::new(store, clock, settings));
            Ok((Arc::clone(&server) as Arc<dyn Fido>, Some(server)))
        }
        Upstream::Http(http) => {
            let settings = fido_http::FidoHttpSettings {
                receipts: config.receipts,
                secure_cookies: config.public_url.scheme() == "https",
                ..http_settings(http)
            };
            let server = Arc::new(FidoHttp::new(settings, clock)?);
            Ok((Arc::clone(&server) as Arc<dyn Fido>, Some(server)))
        }
    }
}

fn http_settings(http: &HttpUpstream) -> fido_http::FidoHttpSettings {
    fido_http::FidoHttpSettings {
        origin: http.origin.clone(),
        paths: match http.paths {
            UpstreamPaths::Certify => fido_http::PathSet::Certify,
            UpstreamPaths::Short => fido_http::PathSet::Alias,
        },
        begin_limit: http.begin_timeout,
        complete_limit: http.complete_timeout,
        ca_file: http.ca_file.clone(),
        client_cert: http
            .client_cert
            .clone()
            .map(|(cert_file, key_file)| ClientCert { cert_file, key_file }),
        headers_file: http.headers_file.clone(),
        usernames: match http.usernames {
            UpstreamUsernames::AsIs => UsernameForm::AsIs,
            UpstreamUsernames::Restricted => UsernameForm::Restricted,
        },
        ..fido_http::FidoHttpSettings::new(http.url.clone())
    }
}

fn attestation(config: &Attestation, clock: &dyn Clock) -> Result<AttestationPolicy, StartError> {
    let accepts = |kind| config.accept.contains(&kind);
    let mut policy = AttestationPolicy::default();
    policy.none = accepts(AttestationKind::None);
    policy.self_signed = accepts(AttestationKind::SelfSigned);
    policy.certified = accepts(AttestationKind::Certified);
    policy.aaguids = config.aaguids.iter().map(|aaguid| aaguid.bytes).collect();
    if config.trust == Some(AttestationTrust::Arculus) {
        policy = policy.with_arculus_roots();
    }
    if let Some(file) = &config.roots_file {
        let key = "attestation.roots_file";
        let roots = certificates(key, file)?;
        policy = policy.with_roots(roots).map_err(|error| unreadable(key, &error))?;
    }
    if config.metadata_file.is_some() {
        policy.metadata = Some(Arc::new(metadata(config, clock)?));
    }
    Ok(policy)
}

fn metadata(config: &Attestation, clock: &dyn Clock) -> Result<Metadata, StartError> {
    let key = "attestation.metadata_file";
    let file = config.metadata_file.as_deref().unwrap_or(Path::new(""));
    let blob = std::fs::read(file).map_err(|error| unreadable(key, &error))?;
    let now = unix_time(clock);
    let metadata = match &config.metadata_root_file {
        None => Metadata::verify(&blob, now),
        Some(root) => {
            let root_key = "attestation.metadata_root_file";
            let roots = certificates(root_key, root)?;
            let root = roots.first().ok_or_else(|| unreadable(root_key, &"has no certificate"))?;
            Metadata::verify_under(root, &blob, now)
        }
    };
    metadata.map_err(|error| unreadable(key, &error))
}

fn metadata_warning(policy: &AttestationPolicy, clock: &dyn Clock) -> Option<&'static str> {
    let metadata = policy.metadata.as_ref()?;
    metadata.is_outdated(unix_time(clock)).then_some(
        "attestation.metadata_file is outdated: models that were revoked since are still taken",
    )
}

fn unix_time(clock: &dyn Clock) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_millis(clock.now().0))
}

/// The certificates of a PEM file, as DER.
fn certificates(key: &'static str, file: &Path) -> Result<Vec<Vec<u8>>, StartError> {
    let found: Vec<Vec<u8>> = CertificateDer::pem_file_iter(file)
        .and_then(|all| all.map(|one| one.map(|der| der.to_vec())).collect())
        .map_err(|error| unreadable(key, &error))?;
    if found.is_empty() {
        return Err(unreadable(key, &format_args!("{} holds no certificate", file.display())));
    }
    Ok(found)
}

fn unreadable(key: &'static str, error: &dyn std::fmt::Display) -> StartError {
    StartError::Attestation(key, error.to_string())
}

#[cfg(test)]
mod tests;
