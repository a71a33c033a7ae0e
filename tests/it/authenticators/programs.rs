//! The table of the authenticators that are libraries: nid-webauthn-emulator, soft-webauthn and
//! soft-fido2.

use std::rc::Rc;

use fido_relay_proto::CeremonyType;
use fido_relay_webauthn::VerifyError;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::Outcome::{self, Accepted, Declined, Refused};
use super::{Authenticator, Server, made, verb, wishes};
use crate::support::child::ChildProcess;
use crate::support::needs;

/// A library under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Library {
    /// nid-webauthn-emulator.
    Nid,
    /// soft-webauthn.
    SoftWebauthn,
    /// soft-fido2.
    SoftFido2,
}

impl Library {
    pub(super) const ALL: [Self; 3] = [Self::Nid, Self::SoftWebauthn, Self::SoftFido2];

    fn name(self) -> &'static str {
        match self {
            Self::Nid => "nid-webauthn-emulator",
            Self::SoftWebauthn => "soft-webauthn",
            Self::SoftFido2 => "soft-fido2",
        }
    }

    /// Starts the program around it; `None`, and said so, where it is not installed.
    pub(super) fn start(self) -> Option<ChildProcess> {
        let what = format!("the authenticator {}", self.name());
        match self {
            Self::Nid => {
                let node = needs::emulator(&what)?;
                Some(ChildProcess::script(&node, "tests/authenticators/emulator.mjs"))
            }
            Self::SoftWebauthn | Self::SoftFido2 => {
                let python = needs::python_with(&self.name().replace('-', "_"), &what)?;
                Some(ChildProcess::script(&python, "tests/authenticators/software.py"))
            }
        }
    }
}

/// A card that one of the libraries plays.
pub(super) struct Card {
    pub(super) program: Rc<Mutex<ChildProcess>>,
    pub(super) order: Value,
}

impl Card {
    /// One of this kind, which `number` tells from the others of its program.
    pub(super) fn new(
        program: &Rc<Mutex<ChildProcess>>,
        (library, format, algorithm): (Library, &str, &str),
        verified: bool,
        number: usize,
    ) -> Self {
        let order = order(library, format, algorithm, verified, number);
        Self { program: Rc::clone(program), order }
    }
}

/// The program's description of a card.
pub(super) fn order(
    library: Library,
    format: &str,
    algorithm: &str,
    verified: bool,
    number: usize,
) -> Value {
    json!({
        "authenticator": library.name(), "card": number, "verified": verified,
        "format": format, "algorithm": algorithm,
    })
}

/// Has the program answer with this card.
pub(super) async fn answer(
    program: &mut ChildProcess,
    order: &Value,
    ceremony: CeremonyType,
    options: &Value,
    origin: &str,
) -> Result<Value, String> {
    let mut order = order.clone();
    order[verb(ceremony)] = options.clone();
    order["origin"] = origin.into();
    made(program.asks(&order).await)
}

impl Authenticator for Card {
    async fn answer(
        &mut self,
        ceremony: CeremonyType,
        options: &Value,
        origin: &str,
    ) -> Result<Value, String> {
        answer(&mut *self.program.lock().await, &self.order, ceremony, options, origin).await
    }
}

/// Format of the card, algorithm, whether its PIN is given, what is asked for: user verification
/// and attestation, and what comes of it.
type Row = (&'static str, &'static str, bool, &'static str, &'static str, Outcome);

const UNVERIFIED: Outcome = Refused(VerifyError::UserVerification);

/// Attests nothing and says so. Without a store, its credential ids hold the encrypted key.
const NID: [Row; 13] = [
    ("none", "ES256", true, "required", "none", Accepted("none")),
    ("none", "ES256", true, "required", "direct", Accepted("none")),
    ("none", "RS256", true, "required", "none", Accepted("none")),
    ("none", "EdDSA", true, "required", "none", Accepted("none")),
    ("none", "ES256", false, "discouraged", "none", Accepted("none")),
    ("none", "ES256", false, "preferred", "none", Accepted("none")),
    ("none", "ES256", false, "required", "none", UNVERIFIED),
    ("none", "ES256", false, "", "none", UNVERIFIED),
    ("stateless", "ES256", true, "required", "none", Accepted("none")),
    ("stateless", "EdDSA", true, "required", "none", Accepted("none")),
    ("stateless", "ES256", false, "preferred", "none", Accepted("none")),
    ("stateless", "ES256", false, "required", "none", UNVERIFIED),
    // An RSA key in an id is longer than 1,023 bytes.
    ("stateless", "RS256", true, "required", "none", Refused(VerifyError::CredentialIdLength)),
];

/// Has no PIN, and knows one algorithm and one format.
const SOFT_WEBAUTHN: [Row; 5] = [
    ("none", "ES256", false, "discouraged", "none", Accepted("none")),
    ("none", "ES256", false, "preferred", "none", Accepted("none")),
    ("none", "ES256", false, "required", "none", UNVERIFIED),
    ("none", "ES256", false, "", "none", UNVERIFIED),
    ("none", "ES256", false, "discouraged", "direct", Declined("Only none attestation")),
];

const OTHER_SUBJECT: Outcome = Refused(VerifyError::StatementSubject);
const COMPOUND: &str = "compound:packed-self,packed";

/// Attests in every format of WebAuthn. Its Ed25519 keys name a key type that is none of theirs
/// (6, for 1).
const SOFT_FIDO2: [Row; 23] = [
    ("none", "ES256", true, "required", "direct", Accepted("none")),
    ("none", "RS256", true, "required", "direct", Accepted("none")),
    ("none", "EdDSA", true, "required", "direct", Refused(VerifyError::PublicKey)),
    ("none", "ES256", false, "preferred", "direct", Accepted("none")),
    ("packed-self", "ES256", true, "required", "direct", Accepted("packed")),
    ("packed-self", "RS256", true, "required", "direct", Accepted("packed")),
    ("packed-self", "EdDSA", true, "required", "direct", Refused(VerifyError::PublicKey)),
    ("packed-self", "ES256", false, "discouraged", "direct", Accepted("packed")),
    ("packed-self", "ES256", false, "required", "direct", UNVERIFIED),
    ("packed", "ES256", true, "required", "direct", Accepted("packed")),
    ("packed", "RS256", true, "required", "direct", Accepted("packed")),
    ("packed", "ES256", false, "preferred", "direct", Accepted("packed")),
    ("packed", "ES256", false, "required", "direct", UNVERIFIED),
    // U2F knows no PIN.
    ("fido-u2f", "ES256", true, "preferred", "direct", Accepted("fido-u2f")),
    ("fido-u2f", "ES256", true, "required", "direct", UNVERIFIED),
    ("fido-u2f", "RS256", true, "preferred", "direct", Declined("only supports ECDSA")),
    ("tpm", "ES256", true, "required", "direct", Accepted("tpm")),
    // Its RSA keys name a signature scheme that TPM 2.0 has not (0x0104).
    ("tpm", "RS256", true, "required", "direct", OTHER_SUBJECT),
    ("android-key", "ES256", true, "required", "direct", Accepted("android-key")),
    ("android-key", "RS256", true, "required", "direct", Accepted("android-key")),
    // It tags the nonce with 0, Apple with 1.
    ("apple", "ES256", true, "required", "direct", OTHER_SUBJECT),
    // A format that is not known counts as no attestation.
    ("android-safetynet", "RS256", true, "required", "direct", Accepted("android-safetynet")),
    (COMPOUND, "ES256", true, "required", "direct", Accepted("compound")),
];

async fn table(library: Library, rows: &[Row]) {
    let Some(program) = library.start() else { return };
    let program = Rc::new(Mutex::new(program));
    let mut server = Server::start(true).await;
    let mut wrong = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        let (format, algorithm, verified, verification, attestation, outcome) = *row;
        let mut card = Card::new(&program, (library, format, algorithm), verified, number);
        let wishes = wishes(verification, attestation, algorithm);
        if let Err(got) = server.run(&mut card, &wishes, outcome).await {
            wrong.push(format!("{row:?}: {got}"));
        }
    }
    assert!(wrong.is_empty(), "{library:?}:\n{}", wrong.join("\n"));
}

#[tokio::test]
async fn every_row_of_nid_webauthn_emulator_comes_to_its_outcome() {
    table(Library::Nid, &NID).await;
}

#[tokio::test]
async fn every_row_of_soft_webauthn_comes_to_its_outcome() {
    table(Library::SoftWebauthn, &SOFT_WEBAUTHN).await;
}

#[tokio::test]
async fn every_row_of_soft_fido2_comes_to_its_outcome() {
    table(Library::SoftFido2, &SOFT_FIDO2).await;
}
