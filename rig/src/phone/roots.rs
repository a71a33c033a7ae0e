//! The certificate authorities that a phone trusts. Knows nothing of sockets.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls_pki_types::CertificateDer;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::{ClientConfig, Error, RootCertStore};

/// Shared by all phones: loading the system's certificates takes longer than connecting.
static SYSTEM: OnceLock<Arc<ClientConfig>> = OnceLock::new();

/// Trusted authorities: the system's or named ones. Cheap to clone.
#[derive(Clone, Default)]
pub struct Roots(Option<Named>);

#[derive(Clone)]
struct Named {
    tls: Arc<ClientConfig>,
    roots: Arc<[CertificateDer<'static>]>,
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Roots(named)" } else { "Roots(system)" })
    }
}

impl Roots {
    /// The system's authorities, loaded at first use.
    #[must_use]
    pub fn system() -> Self {
        Self(None)
    }

    /// Only these authorities.
    ///
    /// # Errors
    /// If one of them is not a certificate.
    pub fn only(roots: impl IntoIterator<Item = CertificateDer<'static>>) -> Result<Self, Error> {
        let roots: Arc<[_]> = roots.into_iter().collect();
        let mut store = RootCertStore::empty();
        for root in &*roots {
            store.add(root.clone())?;
        }
        Ok(Self(Some(Named { tls: Arc::new(config(store)?), roots })))
    }

    pub(super) fn tls(&self) -> Result<Arc<ClientConfig>, Error> {
        if let Some(named) = &self.0 {
            return Ok(Arc::clone(&named.tls));
        }
        if let Some(system) = SYSTEM.get() {
            return Ok(Arc::clone(system));
        }
        let mut store = RootCertStore::empty();
        // Certificates that do not parse are skipped: system stores hold some.
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let system = Arc::new(config(store)?);
        Ok(Arc::clone(SYSTEM.get_or_init(|| system)))
    }

    /// The named certificates, if not the system's.
    pub(super) fn named(&self) -> Option<&[CertificateDer<'static>]> {
        self.0.as_ref().map(|named| &*named.roots)
    }
}

fn config(roots: RootCertStore) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
