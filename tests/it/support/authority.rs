//! A private certificate authority of a test, and certificates of it.

use std::path::Path;

use fido_relay_rig::phone::Roots;
use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair};

pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) certificate: Certificate,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        // OpenSSL takes a certificate with its issuer's name for one that signed itself.
        params.distinguished_name.push(DnType::CommonName, "Private authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    pub(crate) fn roots(&self) -> Roots {
        Roots::only([self.certificate.der().clone()]).unwrap()
    }

    pub(crate) fn http(&self) -> reqwest::ClientBuilder {
        let root = reqwest::Certificate::from_der(self.certificate.der()).unwrap();
        reqwest::Client::builder().no_proxy().tls_certs_only([root])
    }

    /// A certificate and its key, as PEM.
    pub(crate) fn pair(&self) -> (String, String) {
        self.pair_until(2090)
    }

    /// The authority's own certificate and key, which no server should show.
    pub(crate) fn own_pair(&self) -> (String, String) {
        (self.certificate.pem(), self.issuer.key().serialize_pem())
    }

    /// One that is good until the first day of this year.
    pub(crate) fn pair_until(&self, year: i32) -> (String, String) {
        self.pair_for(&["localhost", "127.0.0.1"], year)
    }

    /// One for these names.
    pub(crate) fn pair_for(&self, names: &[&str], year: i32) -> (String, String) {
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

/// Replaces a file in one step, as a program that renews certificates should.
pub(crate) fn put(directory: &Path, name: &str, text: &str) {
    let new = directory.join(format!("{name}.new"));
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, directory.join(name)).unwrap();
}
