//! `fido-relay demo`: the whole loop on one machine. A relay, a bank's page and its backend, a
//! simulated phone and card register, sign in and approve through the public interfaces; every step
//! is printed, and the demo fails unless all three results are proven.
//!
//! ```text
//!   visitor or browser ──▶ site ─▶ bank ──HTTP, API key──▶ relay ◀──WebSocket── phone ─▶ card
//!            └──── ticket ──▶ site ─▶ bank ──HTTP, ticket──▶ ┘
//! ```

pub mod bank;
pub mod initiator;
pub mod messages;
pub mod mute;
pub mod narrate;
pub mod person;
pub mod request;
pub mod result_token;
pub mod session;
pub mod setup;
pub mod site;
pub mod vapid_key;
pub mod visitor;
pub mod web;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fido_relay_kit::clock::SystemClock;
use fido_relay_kit::signals::Signals;
use fido_relay_proto::http::{Transaction, TransactionField};
use fido_relay_proto::text::InvalidText;
use tokio::time::Instant;

use crate::command::Failure;
use crate::host::RelayHost;
use crate::phone::Faults;
use crate::scratch::Scratch;
use narrate::Narrator;
use person::CodeSource;
use request::Action;
use setup::{Demo, DemoError, DemoOptions};
use visitor::{ReplyText, VisitError, Visitor};

/// Pause before the code is typed for a visitor with a browser: time to read the page.
const VISIBLE: Duration = Duration::from_millis(2500);

/// Limit for the threads of an interrupted demo.
const THREADS_LIMIT: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, clap::Args)]
#[command(after_help = "Examples:
  fido-relay demo                           three ceremonies, step by step
  fido-relay demo --keep --port 8090        then keep the page for a browser on this machine
  fido-relay demo --keep --ask-code         type the code yourself, or decline

Ctrl-C or SIGTERM ends it and removes its temporary directory; a second one does
not wait for running work.

Exit codes: 0 all three succeeded and their signed results were verified, 1 otherwise, 128
plus the signal number if a signal ended it.")]
pub struct DemoArguments {
    /// Leave everything running for a browser until Ctrl-C
    #[arg(long)]
    keep: bool,
    /// With --keep: ask for the code in this terminal instead of reading it from the page
    #[arg(long, requires = "keep")]
    ask_code: bool,
    /// The page's port on 127.0.0.1; 0 chooses a free one
    #[arg(long, default_value_t = 0)]
    port: u16,
}

/// Runs the demo.
///
/// # Errors
/// [`Failure`] if the demo does not start, a result is not proven, or a signal comes first.
pub fn run(arguments: DemoArguments, host: &dyn RelayHost) -> Result<(), Failure> {
    let runtime = tokio::runtime::Runtime::new().map_err(Failure::failed)?;
    let (done, scratch) = runtime.block_on(async {
        // First, so that no signal leaves the directory undeleted.
        let mut signals = Signals::new().map_err(Failure::failed)?;
        let scratch = Scratch::create().map_err(no_scratch)?;
        Ok::<_, Failure>((play(arguments, host, scratch.path(), &mut signals).await, scratch))
    })?;
    // Threads that were cut off may write into the directory until they end.
    runtime.shutdown_timeout(THREADS_LIMIT);
    drop(scratch);
    done
}

fn no_scratch(error: std::io::Error) -> Failure {
    let parent = std::env::temp_dir();
    Failure::failed(format!(
        "no temporary directory can be created in {}: {error}. To go on, set TMPDIR to a writable \
         directory",
        parent.display()
    ))
}

async fn play(
    arguments: DemoArguments,
    host: &dyn RelayHost,
    directory: &Path,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let narrator = Narrator::on_stdout(Arc::new(SystemClock));
    let code_source =
        if arguments.ask_code { CodeSource::Terminal } else { CodeSource::Page(VISIBLE) };
    let options = DemoOptions { port: arguments.port, code_source, faults: Faults::none() };
    let mut demo = tokio::select! {
        set = Demo::start(host, directory, options, Arc::new(SystemClock), narrator.clone()) => {
            set.map_err(|error| not_started(&error))?
        }
        stop = signals.next() => return Err(Failure::stopped(stop)),
    };
    introduce(&demo, &narrator);
    let proven = tokio::select! {
        proven = run_ceremonies(&mut demo, &narrator) => Ok(proven),
        stop = signals.next() => Err(stop),
    };
    if proven.is_ok() && arguments.keep {
        invite(&demo, &narrator);
        signals.next().await;
    }
    if proven.is_err() || arguments.keep {
        // On a line of its own, below ^C or an open question.
        narrator.plain("");
        narrator.plain("Stopping.");
    }
    let in_time = tokio::select! {
        in_time = demo.stop() => in_time,
        stop = signals.next() => return Err(Failure::stopped(stop)),
    };
    match proven {
        Ok(3) if in_time => Ok(()),
        Ok(3) => Err(Failure::failed("the demo did not stop in time")),
        Ok(proven) => Err(Failure::failed(format!("{} of 3 did not succeed", 3 - proven))),
        Err(stop) => Err(Failure::stopped(stop)),
    }
}

fn not_started(error: &DemoError) -> Failure {
    Failure::failed(match error.remedy() {
        Some(remedy) => format!("{error}. To go on, {remedy}"),
        None => error.to_string(),
    })
}

/// Prints where the page is and how to open it.
fn invite(demo: &Demo, narrator: &Narrator) {
    let url = demo.bank_url();
    narrator.plain("");
    narrator.heading(&format!("The page is open at {url}"));
    narrator.plain(
        "  Open it in a browser on this machine. The phone keeps answering; Ctrl-C ends it.",
    );
    if let Some(port) = url.port() {
        narrator.plain(&format!(
            "  From another machine: run ssh -L {port}:127.0.0.1:{port} with this machine's name, \
             then open the same address there."
        ));
    }
}

fn introduce(demo: &Demo, narrator: &Narrator) {
    narrator.heading("fido-relay demo");
    let beside = "store in a temporary directory, built-in FIDO2 server";
    narrator.fact("relay", &format!("{}  ({beside})", demo.relay_url()));
    let beside = "its page, and the backend that holds the API key";
    narrator.fact("bank", &format!("{}  ({beside})", demo.bank_url()));
    let beside = "simulated, paired and connected, with a software card";
    narrator.fact("phone", &format!("{}  ({beside})", demo.phone().device_id()));
}

/// Runs the three ceremonies and returns how many were proven. For the last one the phone sleeps: the
/// customer is signed in by then, so the page may see the wake.
async fn run_ceremonies(demo: &mut Demo, narrator: &Narrator) -> usize {
    let mut lines = Vec::new();
    let mut visitor = Visitor::new(demo.bank_url().clone());
    for action in [Action::Register, Action::SignIn, Action::Approve] {
        let slept = match action {
            Action::Register | Action::SignIn => Ok(()),
            Action::Approve => demo.phone_sleeps().await,
        };
        let began = Instant::now();
        let ended = match (slept, &mut visitor) {
            (Ok(()), Ok(visitor)) => visit(visitor, action).await,
            (Err(error), _) => Err(NotProven(error.to_string())),
            (Ok(()), Err(error)) => Err(NotProven(error.to_string())),
        };
        lines.push((action, began.elapsed(), ended));
    }
    if let Err(error) = demo.phone_connects().await {
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

/// Why a ceremony counts as failed in the summary.
struct NotProven(String);

impl From<VisitError> for NotProven {
    fn from(error: VisitError) -> Self {
        Self(error.to_string())
    }
}

async fn visit(visitor: &mut Visitor, action: Action) -> Result<(), NotProven> {
    let reply = visitor.run_action(action).await?;
    if reply.verdict == "approved" {
        return Ok(());
    }
    Err(NotProven(reply.words.map_or_else(
        || "no outcome".to_owned(),
        |ReplyText { headline, detail, advice }| format!("{headline}: {detail} {advice}"),
    )))
}

/// The payment that the demo's customer approves.
///
/// # Errors
/// Never: the texts are valid.
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
