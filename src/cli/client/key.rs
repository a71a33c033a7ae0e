//! `fido-relay client key`: the public keys of an initiator that signs what it authenticates with.

use std::path::{Path, PathBuf};

use axum::http::Method;
use clap::{Args, Subcommand};
use fido_relay_proto::{ClientId, PlainText};

use super::{Administration, Failure, answer};
use crate::edge::operator::{PublicKeyEntry, RemovePublicKey};

/// A JWK is a few hundred bytes; a file this long is something else.
const FILE_MAX: u64 = 16 * 1024;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Register a public key; the ones before it stay
    Add {
        /// Whose, as in the list of clients
        id: ClientId,
        /// The public key as a JWK: EC P-256, Ed25519, or RSA with alg PS256 or RS256
        #[arg(long, value_name = "FILE")]
        jwk: PathBuf,
    },
    /// List the public keys
    List {
        /// Whose, as in the list of clients
        id: ClientId,
    },
    /// Take a public key away; access tokens that it was asked for with end at once
    Remove {
        /// Whose, as in the list of clients
        id: ClientId,
        /// Which, as in the list of keys
        kid: String,
    },
}

pub(super) async fn run(
    administration: &Administration,
    arguments: Arguments,
    json: bool,
) -> Result<(), Failure> {
    match arguments.command {
        Command::Add { id, jwk } => {
            let path = format!("/clients/{id}/public-keys");
            let jwk = read(&jwk)?;
            let added: PublicKeyEntry = administration.call(Method::POST, &path, &jwk).await?;
            show(&[added], json)
        }
        Command::List { id } => {
            let path = format!("/clients/{id}/public-keys");
            let keys: Vec<_> = administration.call(Method::GET, &path, &()).await?;
            show(&keys, json)
        }
        Command::Remove { id, kid } => {
            let kid = PlainText::new(&kid).map_err(|error| Failure::usage(error.to_string()))?;
            let path = format!("/clients/{id}/public-keys/remove");
            administration.order_with(Method::POST, &path, &RemovePublicKey { kid }).await
        }
    }
}

/// The JWK in a file.
pub(super) fn read(file: &Path) -> Result<serde_json::Value, Failure> {
    let wrong =
        |what: &dyn std::fmt::Display| Failure::failed(format!("{}: {what}", file.display()));
    let length = std::fs::metadata(file).map_err(|error| wrong(&error))?.len();
    if length > FILE_MAX {
        return Err(wrong(&"is too long for a JWK"));
    }
    let bytes = std::fs::read(file).map_err(|error| wrong(&error))?;
    // The parser's own words could repeat what it read, which may be a private key.
    serde_json::from_slice(&bytes).map_err(|_| wrong(&"is not JSON: a JWK is expected, not PEM"))
}

fn show(keys: &[PublicKeyEntry], json: bool) -> Result<(), Failure> {
    if json {
        answer(&serde_json::to_string(keys).map_err(Failure::failed)?);
        return Ok(());
    }
    for key in keys {
        answer(&format!("{}  {}  since {}", key.kid, key.alg, key.created_at));
    }
    if keys.is_empty() {
        answer("The client has no public key: fido-relay client key add ID --jwk FILE");
    }
    Ok(())
}
