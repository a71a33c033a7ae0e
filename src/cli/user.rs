//! `fido-relay user`: shows why a user's phone does not ring, unlocks it, and removes the user.

use axum::http::Method;
use clap::{Args, Subcommand};
use fido_relay_proto::Username;

use super::administration::{Administration, of_user};
use super::pairing::parse_username;
use super::{ConfigFile, Failure, answer, block_on, counted, show};
use crate::edge::operator::{CodesBlocked, LaneEntry, LaneKind, PhoneEntry, UserEntry};

/// Calls the running relay of this configuration, or opens its store if no relay runs.
#[derive(Debug, Args)]
pub(super) struct UserArguments {
    #[command(subcommand)]
    command: UserCommand,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    /// Show why and until when a user's prompts do not ring, and the wrong codes of each phone
    Show {
        /// The username at the FIDO2 server
        #[arg(value_parser = parse_username)]
        username: Username,
    },
    /// Lift a user's prompt limits, also after "not me", and the code limits of their phones
    Unlock {
        /// The username at the FIDO2 server
        #[arg(value_parser = parse_username)]
        username: Username,
    },
    /// Remove a user's cards (of the built-in FIDO2 server), phones and known browsers permanently,
    /// so that another person can get the name
    Remove {
        /// The username at the FIDO2 server
        #[arg(value_parser = parse_username)]
        username: Username,
    },
}

pub(super) fn run(file: &ConfigFile, arguments: UserArguments) -> Result<(), Failure> {
    let config = file.config()?;
    let UserArguments { command, json } = arguments;
    block_on(async {
        let administration = Administration::reach(&config)?;
        match command {
            UserCommand::Show { username } => {
                let path = of_user("/users", &username);
                let user: UserEntry = administration.call(Method::GET, &path, &()).await?;
                show(&user, json, print)
            }
            UserCommand::Unlock { username } => {
                let path = of_user("/users/prompts", &username);
                administration.order(Method::DELETE, &path).await
            }
            UserCommand::Remove { username } => {
                administration.order(Method::DELETE, &of_user("/users", &username)).await
            }
        }
    })
}

fn print(user: &UserEntry) {
    for lane in &user.lanes {
        answer(&format!("prompts  {}: {}", name_of(lane), state_of(lane)));
    }
    for phone in &user.devices {
        answer(&format!("phone    {}", state_of_phone(phone)));
    }
    if user.devices.is_empty() {
        answer("phone    none: nothing can ring");
    }
    if let Some(cards) = user.cards {
        answer(&format!("cards    {cards}"));
    }
    answer(&format!("known    {}", counted(user.known_browsers, "browser", "browsers")));
}

fn name_of(lane: &LaneEntry) -> String {
    let kind = match lane.lane {
        LaneKind::Stranger => "of strangers",
        LaneKind::KnownBrowser => "of a known browser",
        LaneKind::Vouched => "vouched for",
    };
    match lane.client_id {
        Some(client) => format!("{kind} by {client}"),
        None => kind.to_owned(),
    }
}

fn state_of(lane: &LaneEntry) -> String {
    let (Some(why), Some(until)) = (lane.why, &lane.until) else { return "ring".to_owned() };
    let setting = lane.setting.as_ref().map(|key| format!(" ({key})")).unwrap_or_default();
    format!("do not ring until {until}: {}{setting}", why.as_str())
}

fn state_of_phone(phone: &PhoneEntry) -> String {
    let name = phone.name.as_ref().map_or("without a name", |name| name.as_str());
    let blocked = match phone.blocked {
        Some(CodesBlocked::Today) => ", accepts no more codes today",
        Some(CodesBlocked::Locked) => ", locked: accepts no codes until it is unlocked",
        None => "",
    };
    let (today, of) = (phone.wrong_codes_today, phone.wrong_codes_per_day);
    format!("{}  {name}, {today} of {of} wrong codes today{blocked}", phone.device_id)
}
