//! `fido-relay webhook`: webhook endpoints, and deliveries that have not reached them.

use axum::http::Method;
use clap::{Args, Subcommand};
use fido_relay_proto::webhook::{
    ChangeWebhook, CreateWebhook, CreatedWebhook, DeliveryList, DeliveryState, DeliveryView,
    RotateWebhook, TestedWebhook, WebhookEvent, WebhookScheme, WebhookState, WebhookView,
};
use fido_relay_proto::{ClientId, EventId, WebhookId, WireName};

use super::administration::Administration;
use super::{ConfigFile, Failure, answer, block_on, counted, one_of, show};
use crate::edge::operator::webhooks::WebhookEntry;

const HOUR_S: u64 = 3600;

/// Calls the running relay of this configuration, or opens its store if no relay runs. The operator
/// may register any host; its addresses are checked at each delivery.
#[derive(Debug, Args)]
pub(super) struct WebhookArguments {
    #[command(subcommand)]
    command: WebhookCommand,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum WebhookCommand {
    /// Register an endpoint of an initiator
    #[command(after_help = "Examples:
  fido-relay webhook add cli_3q2-7wAAAAAAAAAAAAAAAA https://shop.example.com/hooks
  fido-relay webhook add cli_3q2-7wAAAAAAAAAAAAAAAA https://shop.example.com/hooks --scheme v1
  fido-relay webhook add cli_3q2-7wAAAAAAAAAAAAAAAA https://shop.example.com/hooks \\
      --event ceremony.closed,user.not_me")]
    Add {
        /// The client's id, as in `fido-relay client list`
        client: ClientId,
        /// https URL of the endpoint
        url: String,
        /// Events that it receives, separated by commas
        #[arg(long, value_delimiter = ',', default_value = "ceremony.closed",
              value_parser = one_of::<WebhookEvent>(WebhookEvent::ALL.map(WebhookEvent::as_str),
                                    |name| name.parse().ok()))]
        event: Vec<WebhookEvent>,
        /// Signature schemes, separated by commas: v1a (Ed25519) or v1 (a shared secret)
        #[arg(long, value_delimiter = ',', default_value = "v1a",
              value_parser = one_of::<WebhookScheme>(["v1a", "v1"], |name| name.parse().ok()))]
        scheme: Vec<WebhookScheme>,
    },
    /// Change an endpoint's URL or events; its keys stay
    #[command(after_help = "A given list of events replaces the previous one. Examples:
  fido-relay webhook change whk_3q2-7wAAAAAAAAAAAAAAAA --url https://shop.example.com/new
  fido-relay webhook change whk_3q2-7wAAAAAAAAAAAAAAAA --event ceremony.closed,user.not_me")]
    Change {
        /// The webhook's id, as in the list
        id: WebhookId,
        /// New https URL, also for waiting deliveries
        #[arg(long)]
        url: Option<String>,
        /// New events, separated by commas
        #[arg(long, value_delimiter = ',',
              value_parser = one_of::<WebhookEvent>(WebhookEvent::ALL.map(WebhookEvent::as_str),
                                    |name| name.parse().ok()))]
        event: Vec<WebhookEvent>,
    },
    /// List the endpoints
    List,
    /// Remove an endpoint and its deliveries
    Remove {
        /// The webhook's id, as in the list
        id: WebhookId,
    },
    /// Give an endpoint a new key; earlier keys of the same scheme also sign for a while
    Rotate {
        /// The webhook's id, as in the list
        id: WebhookId,
        /// v1a or v1
        #[arg(long, default_value = "v1a",
              value_parser = one_of::<WebhookScheme>(["v1a", "v1"], |name| name.parse().ok()))]
        scheme: WebhookScheme,
        /// Hours for which earlier keys also sign
        #[arg(long, value_name = "HOURS", default_value = "24",
              value_parser = clap::value_parser!(u64).range(0..=720))]
        old_hours: u64,
    },
    /// Resume deliveries to an endpoint that answered 410
    Enable {
        /// The webhook's id, as in the list
        id: WebhookId,
    },
    /// Send a test event, once
    Test {
        /// The webhook's id, as in the list
        id: WebhookId,
    },
    /// List deliveries that have not reached an endpoint
    Deliveries {
        /// The webhook's id, as in the list
        id: WebhookId,
        /// Only those in this state: dead or waiting
        #[arg(long, value_parser = one_of::<DeliveryState>(["dead", "waiting"], |name| name.parse().ok()))]
        state: Option<DeliveryState>,
    },
    /// Resend one dead letter, or all of an endpoint
    Resend {
        /// The webhook's id, as in the list
        id: WebhookId,
        /// The delivery's id [default: every dead letter of the endpoint]
        delivery: Option<EventId>,
    },
}

pub(super) fn run(file: &ConfigFile, arguments: WebhookArguments) -> Result<(), Failure> {
    let config = file.config()?;
    let WebhookArguments { command, json } = arguments;
    block_on(async {
        let administration = Administration::reach(&config)?;
        match command {
            WebhookCommand::Add { client, url, event, scheme } => {
                let body = CreateWebhook { url, events: event, schemes: scheme };
                let path = format!("/clients/{client}/webhooks");
                let created: CreatedWebhook =
                    administration.call(Method::POST, &path, &body).await?;
                show(&created, json, print_created)
            }
            WebhookCommand::Change { id, url, event } => {
                let body = ChangeWebhook { url, events: (!event.is_empty()).then_some(event) };
                if body == ChangeWebhook::default() {
                    return Err(Failure::usage("nothing to change: see --help"));
                }
                let path = format!("/webhooks/{id}");
                let changed: WebhookView = administration.call(Method::PATCH, &path, &body).await?;
                show(&changed, json, print)
            }
            WebhookCommand::List => {
                let entries: Vec<_> = administration.call(Method::GET, "/webhooks", &()).await?;
                show(entries.as_slice(), json, print_list)
            }
            WebhookCommand::Remove { id } => {
                administration.order(Method::DELETE, &format!("/webhooks/{id}")).await
            }
            WebhookCommand::Rotate { id, scheme, old_hours } => {
                let body = RotateWebhook { scheme, old_lives_s: old_hours * HOUR_S };
                let path = format!("/webhooks/{id}/secrets");
                let created: CreatedWebhook =
                    administration.call(Method::POST, &path, &body).await?;
                show(&created, json, print_created)
            }
            WebhookCommand::Enable { id } => {
                administration.order(Method::POST, &format!("/webhooks/{id}/enable")).await
            }
            WebhookCommand::Test { id } => {
                let path = format!("/webhooks/{id}/test");
                show_test(administration.call(Method::POST, &path, &()).await?, json)
            }
            WebhookCommand::Deliveries { id, state } => {
                for_each_page(&administration, id, state, |page| show_deliveries(page, json)).await
            }
            WebhookCommand::Resend { id, delivery: Some(delivery) } => {
                let path = format!("/webhooks/{id}/deliveries/{delivery}/resend");
                administration.order(Method::POST, &path).await
            }
            WebhookCommand::Resend { id, delivery: None } => resend_all(&administration, id).await,
        }
    })
}

fn tries(attempts: u32) -> String {
    counted(usize::try_from(attempts).unwrap_or(usize::MAX), "try", "tries")
}

/// Fetches the undelivered events page by page.
async fn for_each_page(
    administration: &Administration,
    id: WebhookId,
    state: Option<DeliveryState>,
    mut show: impl FnMut(&DeliveryList) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut after: Option<EventId> = None;
    loop {
        let mut path = format!("/webhooks/{id}/deliveries?");
        match state {
            Some(DeliveryState::Dead) => path.push_str("state=dead&"),
            Some(DeliveryState::Waiting) => path.push_str("state=waiting&"),
            None => {}
        }
        if let Some(after) = after {
            path.push_str(&format!("after={after}"));
        }
        let page: DeliveryList = administration.call(Method::GET, &path, &()).await?;
        show(&page)?;
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

async fn resend_all(administration: &Administration, id: WebhookId) -> Result<(), Failure> {
    let mut dead = Vec::new();
    let gather = |page: &DeliveryList| {
        dead.extend(page.deliveries.iter().map(|delivery| delivery.id));
        Ok(())
    };
    for_each_page(administration, id, Some(DeliveryState::Dead), gather).await?;
    for delivery in &dead {
        let path = format!("/webhooks/{id}/deliveries/{delivery}/resend");
        administration.order(Method::POST, &path).await?;
    }
    answer(&match dead.len() {
        0 => "There is no dead letter.".to_owned(),
        many => format!("{} sent again.", counted(many, "dead letter is", "dead letters are")),
    });
    Ok(())
}

fn print_created(created: &CreatedWebhook) {
    print(&created.webhook);
    if let Some(secret) = &created.secret {
        answer(&format!("  secret  {secret}"));
        answer("\nThe secret is shown only now.");
    }
}

fn print(webhook: &WebhookView) {
    let events: Vec<_> = webhook.events.iter().map(|event| event.as_str()).collect();
    answer(&format!("{}  {}", webhook.id, webhook.url));
    answer(&format!("  events  {}", events.join(" ")));
    match webhook.state {
        WebhookState::Enabled => {}
        WebhookState::Gone => answer("  state   gone: it answered 410"),
    }
    for key in &webhook.keys {
        let until = key.ends_at.as_ref().map(|end| format!(", until {end}")).unwrap_or_default();
        let shown = key.public_key.as_deref().unwrap_or("v1");
        answer(&format!("  key     {shown}{until}"));
    }
}

fn print_list(entries: &[WebhookEntry]) {
    for entry in entries {
        print(&entry.webhook);
        answer(&format!("  client  {}", entry.client_id));
    }
    if entries.is_empty() {
        answer("There is no webhook yet. Add one: fido-relay webhook add CLIENT URL");
    }
}

fn show_test(tested: TestedWebhook, json: bool) -> Result<(), Failure> {
    let TestedWebhook { delivered, status, failure } = tested;
    show(&tested, json, |tested| {
        if tested.delivered {
            answer("Delivered: the endpoint answered 2xx.");
        }
    })?;
    if delivered {
        return Ok(());
    }
    let status = status.map(|status| format!(" (status {status})")).unwrap_or_default();
    Err(Failure::failed(format!("not delivered: {}{status}", WireName(failure))))
}

fn show_deliveries(page: &DeliveryList, json: bool) -> Result<(), Failure> {
    page.deliveries.iter().try_for_each(|delivery| show(delivery, json, print_delivery))
}

fn print_delivery(delivery: &DeliveryView) {
    let status = delivery.status.map(|status| format!(" {status}")).unwrap_or_default();
    answer(&format!(
        "{}  {}  {}  {}, {}, {}{status}",
        delivery.id,
        delivery.at,
        delivery.event.as_str(),
        WireName(delivery.state),
        tries(delivery.attempts),
        WireName(delivery.failure),
    ));
}
