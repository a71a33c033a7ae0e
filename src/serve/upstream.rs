//! The wiring of the FIDO2 server: the built-in one or another over HTTP, by the configuration.

use std::sync::Arc;

use fido_relay_proto::TenantId;
use fido_relay_webauthn::AttestationPolicy;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::StartError;
use crate::backends::fido_builtin::{self, BuiltinFido};
use crate::backends::fido_http::{self, FidoHttp};
use crate::config::UpstreamPaths;
use crate::config::{Attestation, AttestationKind, Config, HttpUpstream, Upstream};
use crate::ports::{Certify, Clock, Fido, Store};

/// Whether the configured FIDO2 server can be used: a sentence if not. Nothing is left running.
///
/// # Errors
/// What is wrong with it.
pub(crate) async fn probe_upstream(config: &Config) -> Result<(), String> {
    let told = |error: StartError| error.to_string();
    match &config.upstream {
        Upstream::Builtin => attestation(&config.attestation).map(drop).map_err(told),
        Upstream::Http(http) => {
            let server = FidoHttp::new(http_settings(http)).map_err(|error| told(error.into()))?;
            server.probe().await
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
            let server = Arc::new(FidoHttp::new(fido_http::Settings {
                receipts: config.receipts,
                ..http_settings(http)
            })?);
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
