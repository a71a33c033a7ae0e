//! `fido-relay demo`: the whole loop on one machine. A relay, a bank's page and its backend, a
//! simulated phone and card; it registers, signs in and approves through the public interfaces
//! alone, tells every step, and fails unless all three came out proven.
//!
//! ```text
//!   visitor or browser ──▶ site ─▶ bank ──HTTP, API key──▶ relay ◀──WebSocket── phone ─▶ card
//!            └──── ticket ──▶ site ─▶ bank ──HTTP, ticket──▶ ┘
//! ```

pub mod bank;
pub mod initiator;
pub mod narrate;
pub mod person;
pub mod result_token;
pub mod session;
pub mod silence;
pub mod site;
pub mod stage;
pub mod visitor;
pub mod web;
pub mod words;

use std::sync::Arc;
use std::time::Duration;

use fido_relay_proto::http::{Transaction, TransactionField};
use fido_relay_proto::text::InvalidText;
use tokio::time::Instant;

use super::Failure;
use crate::backends::embedded::SystemClock;
use crate::phone::Faults;
use bank::Action;
use narrate::Narrator;
use person::Manner;
use stage::{Cast, Stage};
use visitor::{Said, VisitError, Visitor};

/// The pause before the code is typed while somebody looks at the page: time to read it.
const VISIBLE: Duration = Duration::from_millis(2500);

/// The exit code of a process that Ctrl-C ended, as shells have it.
const INTERRUPTED: u8 = 130;

/// `fido-relay demo`.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(after_help = "Examples:
  fido-relay demo                           three ceremonies, told step by step
  fido-relay demo --keep --port 8090        then the page, for a browser on this machine
  fido-relay demo --keep --ask-code         you type the code, or say no

Exit codes: 0 all three succeeded and their signed results were verified, 1 not so.")]
pub struct Arguments {
    /// Leave everything running for a browser until Ctrl-C
    #[arg(long)]
    keep: bool,
    /// With --keep: ask for the code in this terminal instead of taking it off the page
    #[arg(long, requires = "keep")]
    ask_code: bool,
    /// The page's port on 127.0.0.1; 0 takes any that is free
    #[arg(long, default_value_t = 0)]
    port: u16,
}

/// Runs the demo.
///
/// # Errors
/// [`Failure`] if the stage cannot be set, or not every ceremony was proven.
pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let runtime = tokio::runtime::Runtime::new().map_err(Failure::failed)?;
    runtime.block_on(stage_and_play(arguments))
}

async fn stage_and_play(arguments: Arguments) -> Result<(), Failure> {
    let narrator = Narrator::on_stdout(Arc::new(SystemClock));
    let manner = if arguments.ask_code { Manner::AsksTerminal } else { Manner::ReadsPage(VISIBLE) };
    let interrupted = || Failure { text: "interrupted".to_owned(), code: INTERRUPTED };
    let cast = Cast { port: arguments.port, manner, faults: Faults::none() };
    let set = Stage::set(cast, Arc::new(SystemClock), narrator.clone());
    let stage = unless_interrupted(set).await.ok_or_else(interrupted)?.map_err(Failure::failed)?;
    introduce(&stage, &narrator);
    let proven = unless_interrupted(script(&stage, &narrator)).await;
    if proven.is_some() && arguments.keep {
        narrator.plain("");
        narrator.heading(&format!("The page is open at {}", stage.bank_url()));
        narrator.plain("  The phone keeps answering. Ctrl-C ends it.");
        let _ = unless_interrupted(std::future::pending::<()>()).await;
    }
    let in_time = stage.clear().await;
    match proven {
        Some(3) if in_time => Ok(()),
        Some(3) => Err(Failure::failed("something did not end in time")),
        Some(proven) => Err(Failure::failed(format!("{} of 3 did not succeed", 3 - proven))),
        None => Err(interrupted()),
    }
}

/// What a future gives, or nothing if Ctrl-C came first.
async fn unless_interrupted<T>(future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        given = future => Some(given),
        Ok(()) = tokio::signal::ctrl_c() => None,
    }
}

/// Tells what runs.
fn introduce(stage: &Stage, narrator: &Narrator) {
    narrator.heading("fido-relay demo");
    let beside = "store in a temporary directory, built-in FIDO2 server";
    narrator.fact("relay", &format!("{}  ({beside})", stage.relay_url()));
    let beside = "its page, and the backend that holds the API key";
    narrator.fact("bank", &format!("{}  ({beside})", stage.bank_url()));
    let beside = "simulated, paired and connected, with a software card";
    narrator.fact("phone", &format!("{}  ({beside})", stage.phone().device_id()));
}

/// The three ceremonies, one after the other; how many were proven.
async fn script(stage: &Stage, narrator: &Narrator) -> usize {
    let mut lines = Vec::new();
    let mut visitor = Visitor::new(stage.bank_url().clone());
    for action in [Action::Register, Action::SignIn, Action::Approve] {
        let began = Instant::now();
        let ended = match &mut visitor {
            Ok(visitor) => visit(visitor, action).await,
            Err(error) => Err(NotProven(error.to_string())),
        };
        lines.push((action, began.elapsed(), ended));
    }
    narrator.plain("");
    narrator.heading("Summary");
    for (action, took, ended) in &lines {
        let name = narrate::title(action.ceremony_type());
        let took = format!("{:>6.3} s", took.as_secs_f64());
        match ended {
            Ok(()) => narrator.verdict(true, name, "succeeded", &format!("{took}, result proven")),
            Err(NotProven(why)) => {
                narrator.verdict(false, name, "failed", &format!("{took}, {why}"))
            }
        }
    }
    lines.iter().filter(|(_, _, ended)| ended.is_ok()).count()
}

/// Why a ceremony counts as failed, for the summary.
struct NotProven(String);

impl From<VisitError> for NotProven {
    fn from(error: VisitError) -> Self {
        Self(error.to_string())
    }
}

async fn visit(visitor: &mut Visitor, action: Action) -> Result<(), NotProven> {
    let told = visitor.goes_through(action).await?;
    if told.verdict == "approved" {
        return Ok(());
    }
    Err(NotProven(told.words.map_or_else(
        || "no outcome".to_owned(),
        |Said { headline, detail, advice }| format!("{headline}: {detail} {advice}"),
    )))
}

/// The payment that waits for the demo's customer.
///
/// # Errors
/// Never: the texts keep the rules.
pub fn payment() -> Result<Transaction, InvalidText> {
    let line = |label: &str, value: &str| {
        Ok(TransactionField {
            label: label.to_owned().try_into()?,
            value: value.to_owned().try_into()?,
        })
    };
    Ok(Transaction {
        title: "Payment to Rowan & Daughters".to_owned().try_into()?,
        fields: vec![
            line("Amount", "120.00 EUR")?,
            line("To", "Rowan & Daughters Boatbuilders")?,
            line("Account", "DE02 1203 0000 0000 2020 51")?,
            line("Reference", "Invoice 2026-118, new rudder")?,
        ],
    })
}
