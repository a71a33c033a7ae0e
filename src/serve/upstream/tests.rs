//! The attestation policy of a configuration, from its files.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fido_relay_webauthn::AttestationPolicy;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::json;

use super::{attestation, metadata_warning};
use crate::backends::embedded::SystemClock;
use crate::config::from_texts;

/// Writes a metadata list of one model, and the root that it is signed under.
fn write_metadata(directory: &Path) {
    let root_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = params.self_signed(&root_key).unwrap();
    std::fs::write(directory.join("root.pem"), root.pem()).unwrap();
    let issuer = Issuer::new(params, root_key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["mds.fidoalliance.org".to_owned()]).unwrap();
    let leaf = params.signed_by(&key, &issuer).unwrap();
    let mut header = Header::new(Algorithm::ES256);
    header.x5c = Some(vec![STANDARD.encode(leaf.der())]);
    let list = json!({
        "nextUpdate": "2020-01-01",
        "entries": [{
            "aaguid": "9d3df6ba-282f-11ed-a261-0242ac120002",
            "statusReports": [],
            "metadataStatement": {"description": "Card", "attestationRootCertificates": []},
        }],
    });
    let key = EncodingKey::from_ec_der(&key.serialize_der());
    let blob = jsonwebtoken::encode(&header, &list, &key).unwrap();
    std::fs::write(directory.join("blob.jwt"), blob).unwrap();
}

fn policy(text: &str) -> Result<AttestationPolicy, String> {
    let loaded = from_texts(Some((Path::new("relay.toml"), text)), &[]);
    let config = loaded.unwrap_or_else(|mistakes| panic!("{text}: {mistakes}")).config;
    attestation(&config.attestation, &SystemClock).map_err(|error| error.to_string())
}

#[test]
fn metadata_models_and_kinds_come_from_the_configuration() {
    let directory = tempfile::tempdir().unwrap();
    write_metadata(directory.path());
    let file = |name: &str| directory.path().join(name).display().to_string();
    let whole = format!(
        "attestation.metadata_file = \"{}\"\nattestation.metadata_root_file = \"{}\"\n\
         attestation.trust = \"arculus\"\n\
         attestation.aaguids = [\"9d3df6ba-282f-11ed-a261-0242ac120002\"]",
        file("blob.jwt"),
        file("root.pem")
    );
    let policy_of_all = policy(&whole).unwrap();
    // An outdated list counts; the log and `doctor` complain.
    assert!(
        metadata_warning(&policy_of_all, &SystemClock)
            .unwrap()
            .contains("metadata_file is outdated")
    );
    assert_eq!(policy_of_all.metadata.unwrap().count(), 1);
    assert_eq!(metadata_warning(&AttestationPolicy::default(), &SystemClock), None);
    assert_eq!(policy_of_all.aaguids.len(), 1);
    assert!(policy_of_all.certified && !policy_of_all.none && !policy_of_all.self_signed);

    let unsigned = policy(&format!("attestation.metadata_file = \"{}\"", file("blob.jwt")));
    assert_eq!(
        unsigned.unwrap_err(),
        "attestation.metadata_file: not signed by mds.fidoalliance.org under the trusted root"
    );
    let no_list = policy(&format!("attestation.metadata_file = \"{}\"", file("root.pem")));
    assert!(no_list.unwrap_err().starts_with("attestation.metadata_file: not a signed metadata"));
    let missing = policy("attestation.metadata_file = \"nowhere.jwt\"");
    assert!(missing.unwrap_err().starts_with("attestation.metadata_file: "));
    let no_root = whole.replace("root.pem", "blob.jwt");
    let said = policy(&no_root).unwrap_err();
    assert!(said.starts_with("attestation.metadata_root_file: "), "{said}");
    assert!(said.ends_with("blob.jwt holds no certificate"), "{said}");
    let no_roots = policy(&format!("attestation.roots_file = \"{}\"", file("blob.jwt")));
    assert!(no_roots.unwrap_err().ends_with("blob.jwt holds no certificate"));
}
