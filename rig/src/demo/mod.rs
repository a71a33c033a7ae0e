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
pub mod request;
pub mod result_token;
pub mod session;
pub mod silence;
pub mod site;
pub mod stage;
pub mod vapid_key;
pub mod visitor;
pub mod web;
pub mod words;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fido_relay_proto::http::{Transaction, TransactionField};
use fido_relay_proto::text::InvalidText;
use tokio::time::Instant;

use crate::command::Failure;
use crate::host::RelayHost;
use crate::phone::Faults;
use crate::scratch::Scratch;
use fido_relay_kit::clock::SystemClock;
use fido_relay_kit::signals::Signals;
use narrate::Narrator;
use person::Manner;
use request::Action;
use stage::{Cast, Stage, StageError};
use visitor::{Said, VisitError, Visitor};

/// The pause before the code is typed while somebody looks at the page: time to read it.
const VISIBLE: Duration = Duration::from_millis(2500);

/// How long the threads of a demo that was interrupted may take to end.
const THREADS_LIMIT: Duration = Duration::from_secs(2);

/// `fido-relay demo`.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(after_help = "Examples:
  fido-relay demo                           three ceremonies, told step by step
  fido-relay demo --keep --port 8090        then the page, for a browser on this machine
  fido-relay demo --keep --ask-code         you type the code, or say no

Ctrl-C or SIGTERM ends it and removes its temporary directory; a second one does so without waiting
for what is under way.

Exit codes: 0 all three succeeded and their signed results were verified, 1 not so, 128 and the
number of the signal if one came before that.")]
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
/// [`Failure`] if the stage cannot be set, not every ceremony was proven, or a signal came first.
pub fn run(arguments: Arguments, host: &dyn RelayHost) -> Result<(), Failure> {
    let runtime = tokio::runtime::Runtime::new().map_err(Failure::failed)?;
    let (done, scratch) = runtime.block_on(async {
        // Before there is anything that a signal could leave behind.
        let mut signals = Signals::new().map_err(Failure::failed)?;
        let scratch = Scratch::create().map_err(no_scratch)?;
        Ok::<_, Failure>((play(arguments, host, scratch.path(), &mut signals).await, scratch))
    })?;
    // Whatever was cut off still writes into the directory until it has ended.
    runtime.shutdown_timeout(THREADS_LIMIT);
    drop(scratch);
    done
}

fn no_scratch(error: std::io::Error) -> Failure {
    let parent = std::env::temp_dir();
    Failure::failed(format!(
        "no temporary directory can be made in {}: {error}. To go on, set TMPDIR to a directory \
         that you may write to",
        parent.display()
    ))
}

async fn play(
    arguments: Arguments,
    host: &dyn RelayHost,
    directory: &Path,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let narrator = Narrator::on_stdout(Arc::new(SystemClock));
    let manner = if arguments.ask_code { Manner::AsksTerminal } else { Manner::ReadsPage(VISIBLE) };
    let cast = Cast { port: arguments.port, manner, faults: Faults::none() };
    let mut stage = tokio::select! {
        set = Stage::set(host, directory, cast, Arc::new(SystemClock), narrator.clone()) => {
            set.map_err(|error| not_set(&error))?
        }
        stop = signals.next() => return Err(Failure::stopped(stop)),
    };
    introduce(&stage, &narrator);
    let proven = tokio::select! {
        proven = script(&mut stage, &narrator) => Ok(proven),
        stop = signals.next() => Err(stop),
    };
    if proven.is_ok() && arguments.keep {
        invite(&stage, &narrator);
        signals.next().await;
    }
    if proven.is_err() || arguments.keep {
        // On a line of its own: the terminal shows ^C, or a question without an answer.
        narrator.plain("");
        narrator.plain("Stopping.");
    }
    let in_time = tokio::select! {
        in_time = stage.clear() => in_time,
        stop = signals.next() => return Err(Failure::stopped(stop)),
    };
    match proven {
        Ok(3) if in_time => Ok(()),
        Ok(3) => Err(Failure::failed("something did not end in time")),
        Ok(proven) => Err(Failure::failed(format!("{} of 3 did not succeed", 3 - proven))),
        Err(stop) => Err(Failure::stopped(stop)),
    }
}

fn not_set(error: &StageError) -> Failure {
    Failure::failed(match error.remedy() {
        Some(remedy) => format!("{error}. To go on, {remedy}"),
        None => error.to_string(),
    })
}

/// Tells where the page is, and how to get at it.
fn invite(stage: &Stage, narrator: &Narrator) {
    let url = stage.bank_url();
    narrator.plain("");
    narrator.heading(&format!("The page is open at {url}"));
    narrator.plain(
        "  Open it in a browser on this machine. The phone keeps answering; Ctrl-C ends it.",
    );
    if let Some(port) = url.port() {
        narrator.plain(&format!(
            "  From another machine: ssh -L {port}:127.0.0.1:{port} and the name of this one; then \
             the same address there."
        ));
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

/// The three ceremonies, one after the other; how many were proven. For the last one the phone
/// sleeps: the customer is signed in by then, and their page may see that it is woken.
async fn script(stage: &mut Stage, narrator: &Narrator) -> usize {
    let mut lines = Vec::new();
    let mut visitor = Visitor::new(stage.bank_url().clone());
    for action in [Action::Register, Action::SignIn, Action::Approve] {
        let slept = match action {
            Action::Register | Action::SignIn => Ok(()),
            Action::Approve => stage.phone_sleeps().await,
        };
        let began = Instant::now();
        let ended = match (slept, &mut visitor) {
            (Ok(()), Ok(visitor)) => visit(visitor, action).await,
            (Err(error), _) => Err(NotProven(error.to_string())),
            (Ok(()), Err(error)) => Err(NotProven(error.to_string())),
        };
        lines.push((action, began.elapsed(), ended));
    }
    if let Err(error) = stage.phone_holds().await {
        narrator.plain(&error.to_string());
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
