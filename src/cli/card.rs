//! `fido-relay card`: a user's cards, and removing one that is lost. A backend does the same over
//! HTTP.

use axum::http::Method;
use clap::{Args, Subcommand};
use fido_relay_proto::http::CardView;
use fido_relay_proto::{CardId, Username};

use super::administration::{Administration, of_user};
use super::pairing::parse_username;
use super::{ConfigFile, Failure, answer, block_on, show};

/// Calls the running relay of this configuration, or opens its store if no relay runs. Only for the
/// built-in FIDO2 server.
#[derive(Debug, Args)]
pub(super) struct CardArguments {
    #[command(subcommand)]
    command: CardCommand,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum CardCommand {
    /// List a user's cards, the oldest first
    List {
        /// The username at the FIDO2 server
        #[arg(value_parser = parse_username)]
        username: Username,
    },
    /// Remove a card for good: it can no longer sign in, not even in an open ceremony
    Remove {
        /// The username at the FIDO2 server
        #[arg(value_parser = parse_username)]
        username: Username,
        /// The card's id, as in the list
        #[arg(allow_hyphen_values = true)]
        id: CardId,
    },
}

pub(super) fn run(file: &ConfigFile, arguments: CardArguments) -> Result<(), Failure> {
    let config = file.config()?;
    let CardArguments { command, json } = arguments;
    block_on(async {
        let administration = Administration::reach(&config)?;
        match command {
            CardCommand::List { username } => {
                let path = of_user("/cards", &username);
                let cards: Vec<_> = administration.call(Method::GET, &path, &()).await?;
                show(cards.as_slice(), json, print)
            }
            CardCommand::Remove { username, id } => {
                let path = of_user(&format!("/cards/{id}"), &username);
                administration.order(Method::DELETE, &path).await
            }
        }
    })
}

fn print(cards: &[CardView]) {
    for card in cards {
        let model = card.model.as_ref().or(card.aaguid.as_ref()).map_or("unknown", String::as_str);
        let claimed = if card.claimed { " (claimed)" } else { "" };
        let pin =
            if card.can_verify_user { "has verified a PIN" } else { "has not verified a PIN" };
        answer(&format!("{}  {model}{claimed}, {pin}", card.id));
        let used = card.last_used_at.as_deref().unwrap_or("never");
        answer(&format!("  registered  {}, last used  {used}", card.registered_at));
    }
    if cards.is_empty() {
        answer("This user has no card.");
    }
}
