//! `fido-relay user`: parting a name from the person who had it.

use axum::http::Method;
use clap::{Args, Subcommand};
use fido_relay_proto::Username;

use super::administration::{Administration, of_user};
use super::pairing::parse_username;
use super::{ConfigFile, Failure, block_on};

/// Works on the relay that runs in this configuration's data directory, or on its store when none
/// does.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Remove a user's cards (of the built-in FIDO2 server) and phones for good: whoever gets the
    /// name later inherits nothing
    Remove {
        /// Whose, as the FIDO2 server knows them
        #[arg(value_parser = parse_username)]
        username: Username,
    },
}

pub(super) fn run(file: &ConfigFile, arguments: Arguments) -> Result<(), Failure> {
    let config = file.config()?;
    let Command::Remove { username } = arguments.command;
    block_on(async {
        let administration = Administration::reach(&config)?;
        administration.order(Method::DELETE, &of_user("/users", &username)).await
    })
}
