//! `fido-relay audit`: verifies and exports the audit log, and verifies receipts. It only reads
//! files, so it also works while a relay runs, and on copies.

mod export;
pub mod receipt;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use fido_relay_proto::http::P256Jwk;
use serde::de::DeserializeOwned;

use super::{ConfigFile, Failure, answer};
use crate::app::audit::{self, Question, Report};
use crate::security::jws;
use crate::security::result_token::JwkSet;

/// Reads only files: those of this configuration's relay, or copies.
#[derive(Debug, Args)]
pub(super) struct AuditArguments {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Verify that nothing in the log was changed, removed, inserted or moved
    #[command(after_help = "Examples:
  fido-relay audit verify --jwks jwks.json               the log of this configuration
  fido-relay audit verify --dir /mnt/copy/audit --jwks jwks.json --known checkpoint.jsonl
  fido-relay audit verify 00000000000000004096.jsonl     one segment, its chain alone

jwks.json is a copy of the relay's /.well-known/jwks.json that is kept elsewhere. Without it a forged
log verifies. --known is a checkpoint that is kept outside of the machine: without one, lines cut off
the end are not noticed. Exit code 1 at the first fault.")]
    Verify(Verify),
    /// Print entries as JSON lines or as CSV
    #[command(after_help = "Examples:
  fido-relay audit export --since 2026-11-01 --until 2026-12-01 > november.jsonl
  fido-relay audit export --user ada@example.com --format csv
  fido-relay audit export --ceremony cer_MqL_AY9XQYSuCVBoHOLkTQ

Times are UTC and compared with when an entry was written; --until is not part of the range. Nothing
is verified: run audit verify first.")]
    Export(export::ExportArguments),
    /// Verify a receipt: both signatures, the challenge and the transaction
    #[command(after_help = "Examples:
  fido-relay audit receipt receipt.jws --jwks jwks.json
  fido-relay audit receipt receipt.jws --jwks jwks.json --transaction payment.json
  fido-relay audit receipt receipt.jws --jwks jwks.json --registration registration.jws

Exit code 0 only if every input verifies, with the card's signature.")]
    Receipt(receipt::ReceiptArguments),
}

/// The relay's public keys.
#[derive(Debug, Args)]
pub(super) struct VerificationKeys {
    /// The relay's JWK set, as /.well-known/jwks.json gives it
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    jwks: Option<PathBuf>,
    /// One P-256 public key as a JWK
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

impl VerificationKeys {
    fn read(&self) -> Result<Option<JwkSet>, Failure> {
        match (&self.jwks, &self.key) {
            (Some(path), _) => read_json(path).map(Some),
            (None, Some(path)) => {
                let key: P256Jwk = read_json(path)?;
                Ok(Some(JwkSet { keys: vec![jws::published(key)] }))
            }
            (None, None) => Ok(None),
        }
    }
}

#[derive(Debug, Args)]
struct Verify {
    /// The log's directory [default: that of this configuration]
    #[arg(long, value_name = "DIR", conflicts_with = "files")]
    dir: Option<PathBuf>,
    /// Segments of the log in their order, instead of the whole log
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    keys: VerificationKeys,
    /// A checkpoint that was kept elsewhere (its whole line, or only its signature)
    #[arg(long, value_name = "FILE")]
    known: Option<PathBuf>,
}

pub(super) fn run(file: &ConfigFile, arguments: &AuditArguments) -> Result<(), Failure> {
    match &arguments.command {
        AuditCommand::Verify(arguments) => verify(file, arguments),
        AuditCommand::Export(arguments) => export::run(file, arguments),
        AuditCommand::Receipt(arguments) => receipt::run(arguments),
    }
}

fn verify(file: &ConfigFile, arguments: &Verify) -> Result<(), Failure> {
    let keys = arguments.keys.read()?;
    let known = match &arguments.known {
        Some(path) => {
            let known = audit::known_checkpoint(&read(path)?, keys.as_ref());
            Some(known.map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?)
        }
        None => None,
    };
    let partial = !arguments.files.is_empty();
    let files =
        if partial { arguments.files.clone() } else { segments(file, arguments.dir.as_deref())? };
    let question = Question { files, keys, known, partial };
    let report = audit::verify(&question).map_err(Failure::failed)?;
    answer(&report_text(&report, &question));
    Ok(())
}

fn report_text(report: &Report, question: &Question) -> String {
    let Report { chain, first, last, hash, checkpoints, checkpoint, unfinished } = report;
    let mut text = format!("Entries {first} to {last} of chain {chain} hold.\n");
    match (&question.keys, checkpoint) {
        (Some(_), Some(said)) => {
            text.push_str(&format!(
                "Checkpoints signed by {}: {checkpoints}; the last covers entry {}.\n",
                said.iss, said.seq
            ));
            let behind = last.saturating_sub(said.seq + 1);
            if behind > 0 {
                text.push_str(&format!("Entries after it that are not signed yet: {behind}.\n"));
            }
        }
        (Some(_), None) => text.push_str("There is no checkpoint yet: nothing is signed.\n"),
        (None, _) => text
            .push_str("Signatures were NOT verified (give --jwks): a forged log looks the same.\n"),
    }
    match &question.known {
        Some(known) => {
            text.push_str(&format!("The known checkpoint of entry {} is in it.\n", known.seq))
        }
        None => text.push_str(
            "Whether entries were cut off the end is NOT known (give --known with a checkpoint \
             kept elsewhere).\n",
        ),
    }
    if *unfinished > 0 {
        text.push_str(&format!(
            "{unfinished} bytes after the last line are being written, or were torn by a crash.\n"
        ));
    }
    text.push_str(&format!("The last entry's hash is {hash}."));
    text
}

/// The segment files of a directory, by default that of the configuration.
fn segments(file: &ConfigFile, dir: Option<&Path>) -> Result<Vec<PathBuf>, Failure> {
    let dir = match dir {
        Some(dir) => dir.to_path_buf(),
        None => crate::serve::audit_dir(&file.config()?),
    };
    let dir = std::path::absolute(&dir).unwrap_or(dir);
    let found = audit::segments(&dir)
        .map_err(|error| Failure::failed(format!("{}: {error}", dir.display())))?;
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|error| Failure::failed(format!("{}: {error}", path.display())))
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, Failure> {
    serde_json::from_str(&read(path)?)
        .map_err(|error| Failure::failed(format!("{}: {error}", path.display())))
}
