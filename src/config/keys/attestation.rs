//! The keys of `attestation`: which cards the built-in server accepts.

use crate::config::reader::ConfigReader;
use crate::config::{Attestation, AttestationKind, AttestationTrust};

/// Keys that require attestation statements to chain to a root.
const ROOTS: [&str; 3] =
    ["attestation.roots_file", "attestation.trust", "attestation.metadata_file"];

pub(super) fn read_attestation(reader: &mut ConfigReader) -> Attestation {
    use AttestationKind::{Certified, None, SelfSigned};
    let default = if ROOTS.iter().any(|key| reader.is_given(key)) {
        vec![Certified]
    } else {
        vec![None, SelfSigned, Certified]
    };
    let attestation = Attestation {
        accept: reader.take("attestation.accept", default),
        roots_file: reader.optional("attestation.roots_file"),
        trust: reader.optional::<AttestationTrust>("attestation.trust"),
        metadata_file: reader.optional("attestation.metadata_file"),
        metadata_root_file: reader.optional("attestation.metadata_root_file"),
        aaguids: reader.take("attestation.aaguids", Vec::new()),
    };
    if attestation.accept.is_empty() {
        reader.reject("attestation.accept", "must name at least one kind");
    }
    if attestation.accept.iter().any(|kind| *kind != Certified) {
        for key in ROOTS.into_iter().filter(|key| reader.is_given(key)).collect::<Vec<_>>() {
            let text = "contradicts attestation.accept, which accepts cards without certificates: \
                        those chain to no root";
            reader.reject(key, text);
        }
    }
    if !attestation.aaguids.is_empty() && !attestation.knows_roots() {
        let text = "needs attestation.trust, attestation.roots_file or \
                    attestation.metadata_file: without a root a card may claim any model";
        reader.reject("attestation.aaguids", text);
    }
    if attestation.metadata_root_file.is_some() && attestation.metadata_file.is_none() {
        reader.reject("attestation.metadata_root_file", "needs attestation.metadata_file");
    }
    attestation
}
