//! The wiring of the FIDO2 server: the built-in one or another over HTTP, by the configuration.

use std::sync::Arc;

use fido_relay_proto::TenantId;
use fido_relay_webauthn::AttestationPolicy;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::StartError;
use crate::backends::embedded::SystemClock;
use crate::backends::fido_builtin::{self, BuiltinFido};
use crate::backends::fido_http::{self, ClientCert, FidoHttp, Unreachable, UsernameForm};
use crate::config::{
    Attestation, AttestationKind, Config, HttpUpstream, Upstream, UpstreamPaths, UpstreamUsernames,
};
use crate::ports::{Certify, Clock, Fido, Store};

/// Whether the configured FIDO2 server can be used, and the HTTP status by which another than the
/// built-in one shows that it is there. Nothing is left running.
///
/// # Errors
/// What is wrong with it.
pub(crate) async fn probe_upstream(config: &Config) -> Result<Option<u16>, Unreachable> {
    let told = |error: StartError| Unreachable { says: error.to_string(), tls: None };
    match &config.upstream {
        Upstream::Builtin => attestation(&config.attestation).map(|_| None).map_err(told),
        Upstream::Http(http) => {
            let server = FidoHttp::new(http_settings(http), Arc::new(SystemClock));
            server.map_err(|error| told(error.into()))?.reach().await.map(Some)
        }
    }
}

pub(super) type Upstreams = (Arc<dyn Fido>, Option<Arc<dyn Certify>>);

/// The configured FIDO2 server, as ceremonies and as client-direct programs call it.
pub(super) fn upstream(
    config: &Config,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
) -> Result<Upstreams, StartError> {
    match &config.upstream {
        Upstream::Builtin => {
            let tenant = &config.tenant;
            let settings = fido_builtin::Settings {
                tenant: TenantId::default(),
                rp_id: tenant.rp_id.clone(),
                rp_name: tenant.rp_name.clone(),
                other_rp_ids: Vec::new(),
                origins: tenant.origins.clone(),
                top_origins: Vec::new(),
                attestation: attestation(&config.attestation)?,
                uv_weaken: config.allow_uv_weaken,
                secure_cookies: config.public_url.scheme() == "https",
                receipts: config.receipts,
            };
            let server = Arc::new(BuiltinFido::new(store, clock, settings));
            Ok((Arc::clone(&server) as Arc<dyn Fido>, Some(server)))
        }
        Upstream::Http(http) => {
            let settings = fido_http::Settings {
                receipts: config.receipts,
                secure_cookies: config.public_url.scheme() == "https",
                ..http_settings(http)
            };
            let server = Arc::new(FidoHttp::new(settings, clock)?);
            Ok((Arc::clone(&server) as Arc<dyn Fido>, Some(server)))
        }
    }
}

fn http_settings(http: &HttpUpstream) -> fido_http::Settings {
    fido_http::Settings {
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
        ..fido_http::Settings::new(http.url.clone())
    }
}

fn attestation(config: &Attestation) -> Result<AttestationPolicy, StartError> {
    let accepts = |kind| config.accept.contains(&kind);
    let mut policy = AttestationPolicy::default();
    policy.none = accepts(AttestationKind::None);
    policy.self_signed = accepts(AttestationKind::SelfSigned);
    policy.certified = accepts(AttestationKind::Certified);
    let Some(file) = &config.roots_file else { return Ok(policy) };
    let unreadable = |error: &dyn std::fmt::Display| StartError::Roots(error.to_string());
    let mut roots = Vec::new();
    for root in CertificateDer::pem_file_iter(file).map_err(|error| unreadable(&error))? {
        roots.push(root.map_err(|error| unreadable(&error))?.to_vec());
    }
    policy.with_roots(roots).map_err(|error| unreadable(&error))
}
