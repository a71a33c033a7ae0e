//! `fido-relay audit receipt`: verifies a receipt without the relay.
//! It verifies the relay's signature over the receipt, the card's signature over the bytes in the
//! receipt (by the code of the built-in FIDO2 server), and computes the challenge and the hash of
//! an approved transaction again.

use std::path::PathBuf;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Args;
use fido_relay_proto::http::Transaction;
use fido_relay_proto::{CeremonyType, Outcome};
use fido_relay_webauthn::{
    AnswerFacts, AttestationSigner, StoredAnswer, VerifyError, verify_stored,
};

use super::super::{Failure, answer};
use crate::backends::fido_builtin;
use crate::core::ceremony::TxBinding;
use crate::security::receipt::{self, Receipt};
use crate::security::record::{self, BadRecord};
use crate::security::result_token::JwkSet;

#[derive(Debug, Args)]
pub(super) struct ReceiptArguments {
    /// The receipt (a compact JWS)
    receipt: PathBuf,
    #[command(flatten)]
    keys: super::VerificationKeys,
    /// The transaction as it was opened (JSON: title and fields)
    #[arg(long, value_name = "FILE")]
    transaction: Option<PathBuf>,
    /// The receipt of the registration that made the credential, for its public key
    #[arg(long, value_name = "FILE")]
    registration: Option<PathBuf>,
}

/// A verified receipt.
#[derive(Clone, Debug)]
pub struct VerifiedReceipt {
    pub receipt: Receipt,
    /// What the card signed.
    pub shown: AnswerFacts,
    /// Whether the given transaction is the approved one.
    pub transaction: TransactionCheck,
}

/// The result of a transaction's verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionCheck {
    /// The ceremony has no transaction.
    None,
    /// The ceremony has a transaction that was not given.
    NotGiven,
    /// The given transaction is the approved one, covered by the card's signature.
    Card,
    /// The given transaction is the approved one, covered only by the relay's signature.
    Relay,
}

/// Why a receipt was not verified.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    #[error("the receipt: {0}")]
    Record(#[from] BadRecord),
    #[error("the registration's receipt: {0}")]
    Registration(Box<ReceiptError>),
    /// Parts of the receipt contradict each other.
    #[error("{0}")]
    Contradiction(&'static str),
    #[error("the card's part does not verify: {0}")]
    Card(#[from] VerifyError),
    #[error(
        "the card's signature was NOT verified: the receipt holds no public key; give the \
         registration's receipt with --registration"
    )]
    KeyUnknown,
}

/// Verifies a receipt, with the transaction and the registration's receipt if they are given.
///
/// # Errors
/// [`ReceiptError`].
pub fn check(
    jws: &str,
    keys: &JwkSet,
    transaction: Option<&Transaction>,
    registration: Option<&str>,
) -> Result<VerifiedReceipt, ReceiptError> {
    let receipt: Receipt = record::verify(jws.trim(), keys, receipt::TYP)?;
    if receipt.outcome != Outcome::Succeeded {
        return Err(ReceiptError::Contradiction("only a ceremony that succeeded has a receipt"));
    }
    let known_key = match registration {
        Some(jws) => Some(made_by(jws, keys, &receipt)?),
        None => receipt.card.public_key.as_deref().map(bytes).transpose()?,
    };
    let shown = card(&receipt, known_key.as_deref())?;
    if shown.registration != (receipt.ceremony_type == CeremonyType::Registration) {
        return Err(ReceiptError::Contradiction(
            "the card's answer is of another kind than the receipt says",
        ));
    }
    let challenge = bytes(&shown.challenge)?;
    if sha256(&challenge) != receipt.challenge_sha256 {
        return Err(ReceiptError::Contradiction("the card signed another challenge"));
    }
    if shown.rp_id_hash.as_slice() != digest(&SHA256, receipt.rp_id.as_bytes()).as_ref() {
        return Err(ReceiptError::Contradiction("the card signed for another relying party"));
    }
    if !shown.user_present {
        return Err(ReceiptError::Contradiction("the card does not report user presence"));
    }
    let transaction = check_transaction(&receipt, &challenge, transaction)?;
    Ok(VerifiedReceipt { receipt, shown, transaction })
}

/// The public key of the credential, from the receipt of its registration.
fn made_by(jws: &str, keys: &JwkSet, receipt: &Receipt) -> Result<Vec<u8>, ReceiptError> {
    let registration =
        check(jws, keys, None, None).map_err(|error| ReceiptError::Registration(error.into()))?;
    let other = &registration.receipt;
    let same = (&other.card.credential_id, &other.sub, &other.tenant, &other.rp_id)
        == (&receipt.card.credential_id, &receipt.sub, &receipt.tenant, &receipt.rp_id);
    match registration.shown.made {
        Some(made) if same => Ok(made.public_key),
        Some(_) | None => {
            Err(ReceiptError::Contradiction("the registration made another credential"))
        }
    }
}

fn card(receipt: &Receipt, known_key: Option<&[u8]>) -> Result<AnswerFacts, ReceiptError> {
    let card = &receipt.card;
    let part = |text: &Option<String>| text.as_deref().map(bytes).transpose();
    let (data, signature) = (part(&card.authenticator_data)?, part(&card.signature)?);
    let object = part(&card.attestation_object)?;
    let registration = receipt.ceremony_type == CeremonyType::Registration;
    let answer = match (&object, &data, &signature) {
        (Some(object), None, None) if registration => StoredAnswer::Attestation(object),
        (None, Some(authenticator_data), Some(signature)) if registration => {
            StoredAnswer::Bare { authenticator_data, signature }
        }
        (None, Some(authenticator_data), Some(signature)) => StoredAnswer::Assertion {
            authenticator_data,
            signature,
            public_key: known_key.ok_or(ReceiptError::KeyUnknown)?,
        },
        (Some(_) | None, Some(_) | None, Some(_) | None) => {
            return Err(ReceiptError::Contradiction("the receipt's card part is incomplete"));
        }
    };
    let shown = verify_stored(&bytes(&card.client_data_json)?, answer)?;
    if let Some(made) = &shown.made
        && (made.credential_id != bytes(&card.credential_id)?
            || known_key.is_some_and(|key| key != made.public_key))
    {
        return Err(ReceiptError::Contradiction("the card made another credential"));
    }
    Ok(shown)
}

fn check_transaction(
    receipt: &Receipt,
    challenge: &[u8],
    transaction: Option<&Transaction>,
) -> Result<TransactionCheck, ReceiptError> {
    let (Some(tx_hash), Some(tx_binding)) = (&receipt.tx_hash, receipt.tx_binding) else {
        return match (transaction, &receipt.tx_hash, receipt.ceremony_type) {
            (None, None, CeremonyType::Registration | CeremonyType::Authentication) => {
                Ok(TransactionCheck::None)
            }
            (Some(_), _, _) => Err(ReceiptError::Contradiction("the receipt has no transaction")),
            (None, _, _) => Err(ReceiptError::Contradiction("an approval without a transaction")),
        };
    };
    if tx_binding == TxBinding::Card {
        let nonce = receipt.tx_nonce.as_deref().map(bytes).transpose()?;
        let covered = nonce.and_then(|nonce| {
            let hash = bytes(tx_hash).ok()?;
            let (nonce, hash) = (nonce.try_into().ok()?, hash.try_into().ok()?);
            Some(fido_builtin::challenge_over_digest(&nonce, &hash))
        });
        if covered.is_none_or(|covered| covered.as_slice() != challenge) {
            return Err(ReceiptError::Contradiction(
                "the challenge does not cover the transaction",
            ));
        }
    }
    let Some(transaction) = transaction else { return Ok(TransactionCheck::NotGiven) };
    let canonical = serde_json_canonicalizer::to_vec(transaction).unwrap_or_default();
    if sha256(&canonical) != *tx_hash {
        return Err(ReceiptError::Contradiction("the given transaction is not the approved one"));
    }
    Ok(match tx_binding {
        TxBinding::Card => TransactionCheck::Card,
        TxBinding::Relay => TransactionCheck::Relay,
    })
}

fn sha256(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, bytes))
}

fn bytes(text: &str) -> Result<Vec<u8>, ReceiptError> {
    let malformed = ReceiptError::Contradiction("a field of the receipt is not base64url");
    URL_SAFE_NO_PAD.decode(text).map_err(|_| malformed)
}

pub(super) fn run(arguments: &ReceiptArguments) -> Result<(), Failure> {
    let keys = arguments.keys.read()?;
    let keys = keys.ok_or_else(|| Failure::usage("give the relay's keys with --jwks or --key"))?;
    let transaction = arguments.transaction.as_deref().map(super::read_json).transpose()?;
    let registration = arguments.registration.as_deref().map(super::read).transpose()?;
    let jws = super::read(&arguments.receipt)?;
    let verified = check(&jws, &keys, transaction.as_ref(), registration.as_deref())
        .map_err(Failure::failed)?;
    answer(&report_text(&verified));
    Ok(())
}

/// What the receipt proves and what it does not.
fn report_text(verified: &VerifiedReceipt) -> String {
    let VerifiedReceipt { receipt, shown, transaction } = verified;
    let what = match receipt.ceremony_type {
        CeremonyType::Registration => "registered a card",
        CeremonyType::Authentication => "signed in with a card",
        CeremonyType::Approval => "approved a transaction with a card",
    };
    let at = time::OffsetDateTime::from_unix_timestamp(i64::try_from(receipt.iat).unwrap_or(0));
    let at = at.map(|at| at.to_string()).unwrap_or_default();
    let mut text = format!(
        "This receipt holds.\n\nThe relay {} says: {} {what}, in ceremony {}, at {at}, asked by \
         client {}, through device {}.\n\nVerified here:\n",
        receipt.iss, receipt.sub, receipt.jti, receipt.client_id, receipt.device_id
    );
    let mut line = |line: &str| {
        text.push_str("  - ");
        text.push_str(line);
        text.push('\n');
    };
    line("the relay signed this receipt with a key of the given set");
    match shown.made.as_ref().map(|made| made.attested_by) {
        None => {
            line("the card signed: the holder of the credential's private key made this answer")
        }
        Some(AttestationSigner::Credential) => line("the new credential signed for itself"),
        Some(AttestationSigner::Certificate) => {
            line("a certified key signed for the new credential (its certificate was not traced)");
        }
        Some(AttestationSigner::None) => {
            line(
                "the new credential's public key; no signature vouches for it (attestation none, or \
                 one that cannot be judged)",
            );
        }
    }
    line(&format!(
        "it answers the challenge of this ceremony, for the relying party {}",
        receipt.rp_id
    ));
    line(if shown.user_verified {
        "the card verified its user (PIN or biometrics)"
    } else {
        "a person was present; the card did NOT verify who"
    });
    match transaction {
        TransactionCheck::None => {}
        TransactionCheck::Card => line("the card's signature covers exactly the given transaction"),
        TransactionCheck::Relay => {
            line("the given transaction is the approved one, by the relay's signature only")
        }
        TransactionCheck::NotGiven => {
            line("the ceremony has a transaction, which was NOT given (--transaction)")
        }
    }
    text.push_str(
        "\nNot proven: that the username belongs to the card holder; what a screen showed; that \
         the card holder used the browser that opened the ceremony; the times, which are the \
         relay's own; and, if the relay's keys were stolen, everything but the card's signature.",
    );
    text
}
