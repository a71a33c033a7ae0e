//! `fido-relay pairing`: creates one-time tokens that pair a phone with a user, for tests and for a
//! help desk. A backend creates them over HTTP.

use axum::http::Method;
use clap::{Args, Subcommand};
use fido_relay_proto::Username;
use fido_relay_proto::http::{OpenPairing, OpenedPairing};
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use url::Url;

use super::administration::Administration;
use super::{ConfigFile, Failure, answer, block_on, complain, show};
use crate::config::is_loopback;

/// Calls the running relay of this configuration, or opens its store if no relay runs.
#[derive(Debug, Args)]
pub(super) struct PairingArguments {
    #[command(subcommand)]
    command: PairingCommand,
}

#[derive(Debug, Subcommand)]
enum PairingCommand {
    /// Create a token: the first phone that scans it is paired with the user
    #[command(after_help = "Examples:
  fido-relay pairing create --username ada@example.com
  fido-relay pairing create --username ada@example.com --json")]
    Create {
        /// Print only the link
        #[arg(long)]
        quiet: bool,
        /// The username at the FIDO2 server
        #[arg(long, value_parser = parse_username)]
        username: Username,
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Create the store if the data directory has none and no relay runs on it
        #[arg(long)]
        new_store: bool,
    },
}

pub(super) fn parse_username(text: &str) -> Result<Username, String> {
    Username::new(text).map_err(|error| error.to_string())
}

pub(super) fn run(file: &ConfigFile, arguments: PairingArguments) -> Result<(), Failure> {
    let config = file.config()?;
    let PairingCommand::Create { quiet, username, json, new_store } = arguments.command;
    block_on(async {
        let administration = Administration::reach_or_make(&config, new_store)?;
        let body = OpenPairing { username };
        let opened: OpenedPairing = administration.call(Method::POST, "/pairings", &body).await?;
        if quiet {
            answer(&opened.uri);
            return Ok(());
        }
        show(&opened, json, print)?;
        if let Some(note) = unreachable_for_phones(&opened.uri) {
            complain(&note);
        }
        Ok(())
    })
}

/// A remark on a link to a loopback address, which on a phone is the phone itself.
fn unreachable_for_phones(uri: &str) -> Option<String> {
    let link = Url::parse(uri).ok()?;
    let (_, relay) = link.query_pairs().find(|(name, _)| name == "relay")?;
    let relay = Url::parse(&relay).ok()?;
    let port = relay.port_or_known_default()?;
    is_loopback(&relay).then(|| {
        format!(
            "a real phone cannot use this link: on the phone {relay} is the phone itself. For \
             Android on a cable run `adb reverse tcp:{port} tcp:{port}`; for a phone in the same \
             network see \"A real phone\" in docs/operations.md"
        )
    })
}

fn print(opened: &OpenedPairing) {
    if let Ok(code) = QrCode::new(&opened.uri) {
        // Terminals are mostly light on dark and scanners need dark on light, so the colours are
        // swapped.
        let mut picture = code.render::<Dense1x2>();
        picture.dark_color(Dense1x2::Light).light_color(Dense1x2::Dark);
        answer(&picture.build());
    }
    answer(&opened.uri);
    answer(&format!("\nTo type instead: {}", opened.typed_code));
    let minutes = opened.expires_in.div_ceil(60);
    answer(&format!("\nValid for one phone, for {minutes} minutes."));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_link_to_a_loopback_address_is_said_to_be_useless_on_a_phone() {
        for (relay, port) in [
            ("http%3A%2F%2F127.0.0.1%3A8080", Some("adb reverse tcp:8080 tcp:8080")),
            ("http%3A%2F%2Flocalhost%3A9000", Some("adb reverse tcp:9000 tcp:9000")),
            ("https%3A%2F%2F%5B%3A%3A1%5D", Some("adb reverse tcp:443 tcp:443")),
            ("http%3A%2F%2F192.0.2.10%3A8080", None),
            ("https%3A%2F%2Frelay.example", None),
        ] {
            let note = unreachable_for_phones(&format!("fido-relay://pair?relay={relay}&token=t"));
            assert_eq!(note.is_some(), port.is_some(), "{relay}");
            assert!(port.is_none_or(|port| note.unwrap().contains(port)), "{relay}");
        }
    }
}
