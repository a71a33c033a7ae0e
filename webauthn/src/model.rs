//! Models of authenticators: their AAGUIDs as text, the names of the few that are known without
//! metadata, and the roots of the vendor whose cards these are.

use serde::{Deserialize, Serialize};

/// The roots of Arculus cards (CompoSecure), both `CN=CompoSecure-FIDO-CA-Root`; see
/// `roots/README.md` for where they are from.
pub(crate) const ARCULUS_ROOTS: [&[u8]; 2] = [
    include_bytes!("../roots/arculus-2023-01.der"),
    include_bytes!("../roots/arculus-2023-04.der"),
];

/// Names as FIDO metadata have them.
const NAMES: [(&str, &str); 2] = [
    ("9d3df6ba-282f-11ed-a261-0242ac120002", "Arculus FIDO2/U2F Key Card"),
    ("3f59672f-20aa-4afe-b6f4-7e5e916b6d98", "Arculus FIDO 2.1 Key Card [P71]"),
];

/// An authenticator's model by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// The name in FIDO metadata.
    pub name: String,
    /// Whether only the authenticator says so: no verified attestation names the model.
    pub claimed: bool,
}

/// The name of one of the few models that are known without metadata.
#[must_use]
pub fn name(aaguid: &[u8; 16]) -> Option<&'static str> {
    NAMES.iter().find(|(text, _)| parse_aaguid(text) == Some(*aaguid)).map(|(_, name)| *name)
}

/// The bytes of an AAGUID in its text form, `9d3df6ba-282f-11ed-a261-0242ac120002`.
#[must_use]
pub fn parse_aaguid(text: &str) -> Option<[u8; 16]> {
    let dashes = [8, 13, 18, 23];
    let formed = text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| {
            if dashes.contains(&at) { byte == b'-' } else { byte.is_ascii_hexdigit() }
        });
    let number = u128::from_str_radix(&text.replace('-', ""), 16).ok()?;
    formed.then(|| number.to_be_bytes())
}
