//! `fido-relay device`: lists a user's phones and revokes them. A backend does the same over HTTP.

use axum::http::Method;
use clap::{Args, Subcommand};
use fido_relay_proto::{DeviceId, Username};

use super::administration::{Administration, of_user};
use super::pairing::parse_username;
use super::{ConfigFile, Failure, answer, block_on, show};
use crate::edge::operator::DeviceEntry;

/// Calls the running relay of this configuration, or opens its store if no relay runs.
#[derive(Debug, Args)]
pub(super) struct DeviceArguments {
    #[command(subcommand)]
    command: DeviceCommand,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum DeviceCommand {
    /// List a user's phones, the oldest first
    List {
        /// The username at the FIDO2 server
        #[arg(value_parser = parse_username)]
        username: Username,
    },
    /// Revoke a phone for good: its socket closes at once, and it must be paired again
    Revoke {
        /// The phone's device id, as in the list
        id: DeviceId,
    },
}

pub(super) fn run(file: &ConfigFile, arguments: DeviceArguments) -> Result<(), Failure> {
    let config = file.config()?;
    let DeviceArguments { command, json } = arguments;
    block_on(async {
        let administration = Administration::reach(&config)?;
        match command {
            DeviceCommand::List { username } => {
                let path = of_user("/devices", &username);
                let devices: Vec<_> = administration.call(Method::GET, &path, &()).await?;
                show(devices.as_slice(), json, print)
            }
            DeviceCommand::Revoke { id } => {
                administration.order(Method::DELETE, &format!("/devices/{id}")).await
            }
        }
    })
}

fn print(devices: &[DeviceEntry]) {
    for device in devices {
        let name = device.name.as_ref().map_or("without a name", |name| name.as_str());
        let online = match device.online {
            Some(true) => ", connected",
            Some(false) => ", not connected",
            None => "",
        };
        answer(&format!("{}  {name}", device.device_id));
        answer(&format!("  paired  {}{online}", device.paired_at));
    }
    if devices.is_empty() {
        answer("This user has no phone.");
    }
}
