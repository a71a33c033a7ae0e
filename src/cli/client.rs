//! `fido-relay client`: initiators, their credentials, networks and page origins.

mod key;

use std::net::IpAddr;
use std::path::PathBuf;

use axum::http::Method;
use clap::{Args, Subcommand};
use fido_relay_proto::http::Scope;
use fido_relay_proto::{Binding, ClientId, PlainText};
use ipnet::IpNet;

use super::administration::Administration;
use super::{ConfigFile, Failure, answer, block_on, one_of, show};
use crate::app::clients::{ClientChange, KEY_MAX_S};
use crate::edge::operator::{ClientEntry, CreateClient, NewKey, RotateKey};
use crate::security::origin::Origin;

const DAY_S: u64 = 24 * 3600;
const KEY_MAX_DAYS: u64 = KEY_MAX_S / DAY_S;
const HOUR_S: u64 = 3600;

/// Calls the running relay of this configuration, or opens its store if no relay runs. An API key
/// is shown once: the relay keeps only its hash.
#[derive(Debug, Args)]
pub(super) struct ClientArguments {
    #[command(subcommand)]
    command: ClientCommand,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum ClientCommand {
    /// Create an initiator with an API key, or with its own key pair (--jwk)
    #[command(after_help = "Examples:
  fido-relay client create --name Shop
  fido-relay client create --name Enrolment --scope ceremony:reg,ceremony:read,device:pair
  fido-relay client create --name Terminal --binding code,none --key-days 90
  fido-relay client create --name Shop --jwk shop.public.jwk --allow-from 192.0.2.0/24
  fido-relay client create --name Shop --page-origin https://shop.example

Scopes:
  ceremony:auth     open sign-ins
  ceremony:reg      open registrations: its holder can take over any account
  ceremony:approve  open approvals of transactions
  ceremony:read     read and cancel what it opened
  device:pair       make pairing tokens, list devices
  device:revoke     revoke devices
  card:read         list users' cards
  card:revoke       remove users' cards: with ceremony:reg it can take over any account
  presence:read     see whether a device is connected and has a prompt
  webhook:admin     manage webhooks
  uv:weaken         open sign-ins that do not require the card's PIN
  user:unlock       lift the limits that hold back its own prompts
  prior_auth:assert make its prior_auth (how it authenticated the user) count")]
    Create {
        /// Name shown on phones (at most 64 characters)
        #[arg(long, value_parser = parse_name)]
        name: PlainText<64>,
        /// Scopes, separated by commas
        #[arg(long, value_delimiter = ',', default_value = "ceremony:auth,ceremony:read",
              value_parser = one_of::<Scope>(Scope::ALL.map(Scope::as_str), |name| name.parse().ok()))]
        scope: Vec<Scope>,
        /// Allowed bindings of page and phone, separated by commas: code (the user types the page's
        /// code into the app) or none
        #[arg(long, value_delimiter = ',', default_value = "code",
              value_parser = one_of(["code", "none"], parse_binding))]
        binding: Vec<Binding>,
        /// Days until the key expires [default: never]
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u64).range(1..=KEY_MAX_DAYS))]
        key_days: Option<u64>,
        /// Public key (JWK): the initiator requests access tokens at /oauth/token and gets no API
        /// key
        #[arg(long, value_name = "FILE", conflicts_with = "key_days")]
        jwk: Option<PathBuf>,
        /// Networks that it may call from, separated by commas [default: any]
        #[arg(long, value_name = "CIDR", value_delimiter = ',', value_parser = parse_network)]
        allow_from: Vec<IpNet>,
        /// Origins of its pages, separated by commas: only these may watch with a ticket
        #[arg(long, value_name = "ORIGIN", value_delimiter = ',')]
        page_origin: Vec<Origin>,
        /// Accept codes only from phones that rang
        #[arg(long)]
        no_code_alone: bool,
        /// Create the store if the data directory has none and no relay runs on it
        #[arg(long)]
        new_store: bool,
        /// Print only the API key
        #[arg(long, conflicts_with = "jwk")]
        quiet: bool,
    },
    /// Change an initiator's networks, page origins or API keys
    #[command(after_help = "A given list replaces the previous one. Examples:
  fido-relay client change cli_3q2-7wAAAAAAAAAAAAAAAA --page-origin https://shop.example
  fido-relay client change cli_3q2-7wAAAAAAAAAAAAAAAA --allow-from 192.0.2.0/24,2001:db8::/32
  fido-relay client change cli_3q2-7wAAAAAAAAAAAAAAAA --end-api-keys    it now has a key pair")]
    Change(ChangeClientArguments),
    /// Manage the public keys with which an initiator authenticates at /oauth/token
    Key(key::ClientKeyArguments),
    /// List the initiators
    List,
    /// Remove an initiator; its keys become invalid at once
    Remove {
        /// The client's id, as in the list
        id: ClientId,
    },
    /// Give an initiator a new API key; the old one stays valid for a while
    #[command(after_help = "Examples:
  fido-relay client rotate cli_3q2-7wAAAAAAAAAAAAAAAA
  fido-relay client rotate cli_3q2-7wAAAAAAAAAAAAAAAA --old-hours 0    the old key leaked: end it now")]
    Rotate {
        /// The client's id, as in the list
        id: ClientId,
        /// Days until the new key expires [default: never]
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u64).range(1..=KEY_MAX_DAYS))]
        key_days: Option<u64>,
        /// Hours for which the old key stays valid
        #[arg(long, value_name = "HOURS", default_value = "24",
              value_parser = clap::value_parser!(u64).range(0..=8760))]
        old_hours: u64,
    },
}

#[derive(Debug, Args)]
struct ChangeClientArguments {
    /// The client's id, as in the list
    id: ClientId,
    /// Networks that it may call from, separated by commas
    #[arg(long, value_name = "CIDR", value_delimiter = ',', value_parser = parse_network)]
    allow_from: Vec<IpNet>,
    /// Allow calls from any network
    #[arg(long, conflicts_with = "allow_from")]
    from_anywhere: bool,
    /// Origins of its pages, separated by commas
    #[arg(long, value_name = "ORIGIN", value_delimiter = ',')]
    page_origin: Vec<Origin>,
    /// Allow no page to watch with its tickets
    #[arg(long, conflicts_with = "page_origin")]
    no_pages: bool,
    /// Invalidate its API keys at once
    #[arg(long)]
    end_api_keys: bool,
    /// Whether a code that is typed on a phone that did not ring finds its ceremonies
    #[arg(long, value_name = "BOOL")]
    code_alone: Option<bool>,
    /// Whether its prior_auth counts (the scope prior_auth:assert)
    #[arg(long, value_name = "BOOL")]
    prior_auth: Option<bool>,
}

impl ChangeClientArguments {
    fn change(self) -> Result<ClientChange, Failure> {
        let change = ClientChange {
            allow_from: new_list(self.allow_from, self.from_anywhere),
            page_origins: new_list(self.page_origin, self.no_pages),
            end_api_keys: self.end_api_keys,
            code_alone: self.code_alone,
            prior_auth: self.prior_auth,
        };
        if change.is_empty() {
            return Err(Failure::usage("nothing to change: see --help"));
        }
        Ok(change)
    }
}

/// The new list, empty if a flag says so; `None`: no change.
fn new_list<T>(list: Vec<T>, emptied: bool) -> Option<Vec<T>> {
    (emptied || !list.is_empty()).then_some(list)
}

/// A network, or one address.
fn parse_network(text: &str) -> Result<IpNet, String> {
    let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    network.map_err(|_| "must be a network such as 192.0.2.0/24, or an address".to_owned())
}

fn parse_name(text: &str) -> Result<PlainText<64>, String> {
    PlainText::new(text).map_err(|error| error.to_string())
}

fn parse_binding(text: &str) -> Option<Binding> {
    [Binding::Code, Binding::None].into_iter().find(|binding| binding.as_str() == text)
}

pub(super) fn run(file: &ConfigFile, arguments: ClientArguments) -> Result<(), Failure> {
    let config = file.config()?;
    let ClientArguments { command, json } = arguments;
    block_on(async {
        let new_store = matches!(command, ClientCommand::Create { new_store: true, .. });
        let administration = Administration::reach_or_make(&config, new_store)?;
        match command {
            ClientCommand::Create {
                name,
                scope,
                binding,
                key_days,
                jwk,
                allow_from,
                page_origin,
                no_code_alone,
                new_store: _,
                quiet,
            } => {
                let body = CreateClient {
                    name,
                    scopes: scope,
                    bindings: binding,
                    key_lives_s: key_days.map(|days| days * DAY_S),
                    jwk: jwk.map(|file| key::read(&file)).transpose()?,
                    allow_from,
                    page_origins: page_origin,
                    no_code_alone,
                };
                let made: NewKey = administration.call(Method::POST, "/clients", &body).await?;
                match &made.key {
                    Some(key) if quiet => {
                        answer(key);
                        Ok(())
                    }
                    Some(_) | None => show(&made, json, print_key),
                }
            }
            ClientCommand::Change(change) => {
                let path = format!("/clients/{}", change.id);
                let change = change.change()?;
                administration.order_with(Method::PATCH, &path, &change).await
            }
            ClientCommand::Key(arguments) => key::run(&administration, arguments, json).await,
            ClientCommand::List => {
                let mut clients: Vec<ClientEntry> =
                    administration.call(Method::GET, "/clients", &()).await?;
                clients.sort_by(|one, other| one.created_at.cmp(&other.created_at));
                show(clients.as_slice(), json, print_clients)
            }
            ClientCommand::Remove { id } => {
                administration.order(Method::DELETE, &format!("/clients/{id}")).await
            }
            ClientCommand::Rotate { id, key_days, old_hours } => {
                let key_lives_s = key_days.map(|days| days * DAY_S);
                let body = RotateKey { key_lives_s, old_lives_s: old_hours * HOUR_S };
                let path = format!("/clients/{id}/keys");
                let made: NewKey = administration.call(Method::POST, &path, &body).await?;
                show(&made, json, print_key)
            }
        }
    })
}

fn print_key(made: &NewKey) {
    answer(&format!("client   {}", made.client_id));
    if let Some(kid) = &made.kid {
        answer(&format!("kid      {kid}"));
    }
    if let Some(key) = &made.key {
        answer(&format!("API key  {key}"));
        answer("\nThe key is shown only now; the relay keeps only its hash.");
    }
}

fn print_clients(clients: &[ClientEntry]) {
    for client in clients {
        let scopes: Vec<_> = client.scopes.iter().map(|scope| scope.as_str()).collect();
        let bindings: Vec<_> = client.bindings.iter().map(|binding| binding.as_str()).collect();
        let keys = client.keys_end.iter().map(|end| match end {
            Some(end) => format!("until {end}"),
            None => "no expiry".to_owned(),
        });
        answer(&format!("{}  {}", client.client_id, client.name));
        answer(&format!("  made      {}", client.created_at));
        answer(&format!("  scopes    {}", scopes.join(" ")));
        answer(&format!("  bindings  {}", bindings.join(" ")));
        if !client.code_alone {
            answer("  codes     only on phones that rang (code_alone = false)");
        }
        if client.prior_auth_undecided {
            answer(
                "  prior     counts without the scope prior_auth:assert; decide with client change \
                 ID --prior-auth true|false",
            );
        }
        answer(&format!("  API keys  {}", listed(keys.collect())));
        if !client.public_keys.is_empty() {
            let kids = client.public_keys.iter().map(ToString::to_string);
            answer(&format!("  own keys  {}", listed(kids.collect())));
        }
        if !client.allow_from.is_empty() {
            let networks = client.allow_from.iter().map(ToString::to_string);
            answer(&format!("  from      {}", listed(networks.collect())));
        }
        if !client.page_origins.is_empty() {
            let origins = client.page_origins.iter().map(ToString::to_string);
            answer(&format!("  pages     {}", listed(origins.collect())));
        }
    }
    if clients.is_empty() {
        answer("There is no client yet. Create one: fido-relay client create --name NAME");
    }
}

fn listed(keys: Vec<String>) -> String {
    if keys.is_empty() { "none".to_owned() } else { keys.join(", ") }
}
