//! `fido-relay pairing`: one-time tokens that pair a phone with a user, for trying things out and
//! for whoever hands out phones. A backend asks for them over HTTP.

use axum::http::Method;
use clap::{Args, Subcommand};
use fido_relay_proto::Username;
use fido_relay_proto::http::{OpenPairing, OpenedPairing};
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;

use super::administration::Administration;
use super::{ConfigFile, Failure, answer, block_on};

/// Works on the relay that runs in this configuration's data directory, or on its store when none
/// does.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Mint a token; whoever scans it first has a phone of this user's
    #[command(after_help = "Examples:
  fido-relay pairing create --username ada@example.com
  fido-relay pairing create --username ada@example.com --json")]
    Create {
        /// Whose phone it will be, as the FIDO2 server knows them
        #[arg(long, value_parser = parse_username)]
        username: Username,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn parse_username(text: &str) -> Result<Username, String> {
    Username::new(text).map_err(|error| error.to_string())
}

pub(super) fn run(file: &ConfigFile, arguments: Arguments) -> Result<(), Failure> {
    let config = file.config()?;
    let Command::Create { username, json } = arguments.command;
    block_on(async {
        let administration = Administration::reach(&config)?;
        let body = OpenPairing { username };
        let opened = administration.call(Method::POST, "/pairings", &body).await?;
        show(&opened, json)
    })
}

fn show(opened: &OpenedPairing, json: bool) -> Result<(), Failure> {
    if json {
        answer(&serde_json::to_string(opened).map_err(Failure::failed)?);
        return Ok(());
    }
    if let Ok(code) = QrCode::new(&opened.uri) {
        // Terminals are mostly light on dark, and scanners want the opposite: blocks are the paper.
        let mut picture = code.render::<Dense1x2>();
        picture.dark_color(Dense1x2::Light).light_color(Dense1x2::Dark);
        answer(&picture.build());
    }
    answer(&opened.uri);
    answer(&format!("\nTo type instead: {}", opened.typed_code));
    let minutes = opened.expires_in.div_ceil(60);
    answer(&format!("\nGood for one phone, within {minutes} minutes."));
    Ok(())
}
