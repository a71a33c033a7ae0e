//! `fido-relay client key`: the public keys of an initiator that authenticates by signature.

use std::path::{Path, PathBuf};

use axum::http::Method;
use clap::{Args, Subcommand};
use fido_relay_proto::{ClientId, PlainText};

use super::{Administration, Failure, answer, show};
use crate::edge::operator::{PublicKeyEntry, RemovePublicKey};

/// Longest file of a JWK, which has a few hundred bytes.
const FILE_MAX: u64 = 16 * 1024;

#[derive(Debug, Args)]
pub(super) struct ClientKeyArguments {
    #[command(subcommand)]
    command: ClientKeyCommand,
}

#[derive(Debug, Subcommand)]
enum ClientKeyCommand {
    /// Add a public key; earlier ones stay
    Add {
        /// The client's id, as in the list of clients
        id: ClientId,
        /// The public key as a JWK: EC P-256, Ed25519, or RSA with alg PS256 or RS256
        #[arg(long, value_name = "FILE")]
        jwk: PathBuf,
    },
    /// List the public keys
    List {
        /// The client's id, as in the list of clients
        id: ClientId,
    },
    /// Remove a public key; access tokens obtained with it become invalid at once
    Remove {
        /// The client's id, as in the list of clients
        id: ClientId,
        /// The key's id, as in the list of keys
        kid: String,
    },
}

pub(super) async fn run(
    administration: &Administration,
    arguments: ClientKeyArguments,
    json: bool,
) -> Result<(), Failure> {
    match arguments.command {
        ClientKeyCommand::Add { id, jwk } => {
            let path = format!("/clients/{id}/public-keys");
            let jwk = read(&jwk)?;
            let added: PublicKeyEntry = administration.call(Method::POST, &path, &jwk).await?;
            show([added].as_slice(), json, print)
        }
        ClientKeyCommand::List { id } => {
            let path = format!("/clients/{id}/public-keys");
            let keys: Vec<_> = administration.call(Method::GET, &path, &()).await?;
            show(keys.as_slice(), json, print)
        }
        ClientKeyCommand::Remove { id, kid } => {
            let kid = PlainText::new(&kid).map_err(|error| Failure::usage(error.to_string()))?;
            let path = format!("/clients/{id}/public-keys/remove");
            administration.order_with(Method::POST, &path, &RemovePublicKey { kid }).await
        }
    }
}

/// Reads the JWK of a file.
pub(super) fn read(file: &Path) -> Result<serde_json::Value, Failure> {
    let failed =
        |what: &dyn std::fmt::Display| Failure::failed(format!("{}: {what}", file.display()));
    let length = std::fs::metadata(file).map_err(|error| failed(&error))?.len();
    if length > FILE_MAX {
        return Err(failed(&"is too long for a JWK"));
    }
    let bytes = std::fs::read(file).map_err(|error| failed(&error))?;
    // The parser's error could repeat the input, which may be a private key.
    serde_json::from_slice(&bytes).map_err(|_| failed(&"is not JSON: a JWK is expected, not PEM"))
}

fn print(keys: &[PublicKeyEntry]) {
    for key in keys {
        answer(&format!("{}  {}  since {}", key.kid, key.alg, key.created_at));
    }
    if keys.is_empty() {
        answer("The client has no public key. Add one: fido-relay client key add ID --jwk FILE");
    }
}
