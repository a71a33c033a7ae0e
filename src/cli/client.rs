//! `fido-relay client`: initiators and their API keys.

use axum::http::Method;
use clap::{Args, Subcommand};
use fido_relay_proto::http::Scope;
use fido_relay_proto::{Binding, ClientId, PlainText, UnixMillis};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::administration::Administration;
use super::{ConfigFile, Failure, answer, block_on};
use crate::edge::admin::{ClientEntry, CreateClient, NewKey, RotateKey};

const DAY_S: u64 = 24 * 3600;
const HOUR_S: u64 = 3600;

/// Works on the relay that runs in this configuration's data directory, or on its store when none
/// does. An API key is shown once: the relay keeps only its hash.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make an initiator and its first API key
    #[command(after_help = "Examples:
  fido-relay client create --name Shop
  fido-relay client create --name Enrolment --scope ceremony:reg,ceremony:read,device:pair
  fido-relay client create --name Terminal --binding code,none --key-days 90

Scopes:
  ceremony:auth     open sign-ins
  ceremony:reg      open registrations: whoever has it can take over any account
  ceremony:approve  open approvals of transactions
  ceremony:read     read and cancel what it opened
  device:pair       make pairing tokens, list devices
  device:revoke     revoke devices
  presence:read     see whether a device is connected
  webhook:admin     manage webhooks")]
    Create {
        /// Its name, as people see it on their phone (at most 64 characters)
        #[arg(long, value_parser = parse_name)]
        name: PlainText<64>,
        /// What it may do, separated by commas
        #[arg(long, value_delimiter = ',', default_value = "ceremony:auth,ceremony:read")]
        scope: Vec<Scope>,
        /// How page and phone may be tied together: code (the person types the page's code into
        /// the app) or none
        #[arg(long, value_delimiter = ',', default_value = "code", value_parser = parse_binding)]
        binding: Vec<Binding>,
        /// Days that the key lives; without it the key does not end
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u64).range(1..=3650))]
        key_days: Option<u64>,
    },
    /// List the initiators
    List,
    /// Remove an initiator; its keys end at once
    Remove {
        /// Which, as in the list
        id: ClientId,
    },
    /// Give an initiator a new API key; the one before it lives on for a while
    #[command(after_help = "Examples:
  fido-relay client rotate cli_3q2-7wAAAAAAAAAAAAAAAA
  fido-relay client rotate cli_3q2-7wAAAAAAAAAAAAAAAA --old-hours 0    it leaked: end it now")]
    Rotate {
        /// Which, as in the list
        id: ClientId,
        /// Days that the new key lives; without it the key does not end
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u64).range(1..=3650))]
        key_days: Option<u64>,
        /// Hours that the old key still lives
        #[arg(long, value_name = "HOURS", default_value = "24",
              value_parser = clap::value_parser!(u64).range(0..=8760))]
        old_hours: u64,
    },
}

fn parse_name(text: &str) -> Result<PlainText<64>, String> {
    PlainText::new(text).map_err(|error| error.to_string())
}

fn parse_binding(text: &str) -> Result<Binding, String> {
    match text {
        "code" => Ok(Binding::Code),
        "none" => Ok(Binding::None),
        _ => Err("must be code or none".to_owned()),
    }
}

pub(super) fn run(file: &ConfigFile, arguments: Arguments) -> Result<(), Failure> {
    let config = file.config()?;
    let Arguments { command, json } = arguments;
    block_on(async {
        let administration = Administration::reach(&config)?;
        match command {
            Command::Create { name, scope, binding, key_days } => {
                let key_lives_s = key_days.map(|days| days * DAY_S);
                let body = CreateClient { name, scopes: scope, bindings: binding, key_lives_s };
                let made: NewKey = administration.call(Method::POST, "/clients", &body).await?;
                show_key(&made, json)
            }
            Command::List => {
                let clients = administration.call(Method::GET, "/clients", &()).await?;
                show_clients(clients, json)
            }
            Command::Remove { id } => {
                administration.order(Method::DELETE, &format!("/clients/{id}")).await
            }
            Command::Rotate { id, key_days, old_hours } => {
                let key_lives_s = key_days.map(|days| days * DAY_S);
                let body = RotateKey { key_lives_s, old_lives_s: old_hours * HOUR_S };
                let path = format!("/clients/{id}/keys");
                let made: NewKey = administration.call(Method::POST, &path, &body).await?;
                show_key(&made, json)
            }
        }
    })
}

fn show_key(made: &NewKey, json: bool) -> Result<(), Failure> {
    if json {
        answer(&serde_json::to_string(made).map_err(Failure::failed)?);
    } else {
        answer(&format!("client   {}", made.client_id));
        answer(&format!("API key  {}", made.key));
        answer("\nThe key is shown this once; the relay keeps only its hash.");
    }
    Ok(())
}

fn show_clients(mut clients: Vec<ClientEntry>, json: bool) -> Result<(), Failure> {
    clients.sort_by_key(|client| client.created_at);
    if json {
        answer(&serde_json::to_string(&clients).map_err(Failure::failed)?);
        return Ok(());
    }
    for client in &clients {
        let scopes: Vec<_> = client.scopes.iter().map(|scope| scope.as_str()).collect();
        let bindings: Vec<_> = client.bindings.iter().map(|binding| name_of(*binding)).collect();
        let keys = client.keys_end.iter().map(|end| match end {
            Some(end) => format!("until {}", date(*end)),
            None => "without end".to_owned(),
        });
        answer(&format!("{}  {}", client.client_id, client.name));
        answer(&format!("  made      {}", date(client.created_at)));
        answer(&format!("  scopes    {}", scopes.join(" ")));
        answer(&format!("  bindings  {}", bindings.join(" ")));
        answer(&format!("  keys      {}", listed(keys.collect())));
    }
    if clients.is_empty() {
        answer("There is no client yet: fido-relay client create --name NAME");
    }
    Ok(())
}

fn listed(keys: Vec<String>) -> String {
    if keys.is_empty() { "none".to_owned() } else { keys.join(", ") }
}

const fn name_of(binding: Binding) -> &'static str {
    match binding {
        Binding::Code => "code",
        Binding::None => "none",
    }
}

/// RFC 3339, whole seconds.
fn date(at: UnixMillis) -> String {
    let seconds = i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|date| date.format(&Rfc3339).ok())
        .unwrap_or_else(|| "?".to_owned())
}
