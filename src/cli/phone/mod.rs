//! `fido-relay phone`: a simulated app and card against any relay, for a terminal or a script.
//!
//! It pairs, shows what the relay asks, takes the code, and answers with a software card that is
//! kept between two starts. What a phone does is written in [`crate::phone`]; here is only what a
//! person sees and types.

mod faults;
mod fleet;
mod person;
mod show;
#[cfg(test)]
mod tests;

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fido_relay_proto::{Outcome, PlainText};
use tokio::sync::mpsc;
use url::Url;

use super::Failure;
use crate::phone::{
    DeviceKey, KeptCard, PairingLink, Person, Phone, PhoneEvent, PhoneHandle, PhoneState, Stopped,
    pair,
};
use crate::softcard::SoftCard;
use crate::tasks::Tasks;
use person::{FromFile, Lines, Terminal, Types};

/// The phone closes its socket in order within this, or not at all.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// Exit code of `--once` for a ceremony that ended without success.
const NOT_SUCCEEDED: u8 = 3;
/// Exit code of `--once` for a ceremony whose outcome is not known.
const NOT_KNOWN: u8 = 4;

/// Options of `fido-relay phone`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  fido-relay phone --pair 'fido-relay://pair?relay=…&token=…'   pair, then wait for prompts
  fido-relay phone                                              the same phone again
  fido-relay phone --once --code 271828                         one ceremony, in a script

Key and card are kept in the state file: pair once.

Exit codes: 0 told to stop, or with --once the ceremony succeeded; 1 the phone could not do its
part; 2 wrong arguments; with --once: 3 the ceremony ended without success, 4 its outcome is not
known.")]
pub(super) struct Arguments {
    /// Pair with this link first: fido-relay://pair?relay=…&token=…
    #[arg(long, value_name = "LINK", conflicts_with = "fleet")]
    pair: Option<String>,
    /// The relay's base URL, in place of the one in the link
    #[arg(long, value_name = "URL")]
    relay: Option<Url>,
    /// Where the device key and the card are kept
    #[arg(long, value_name = "FILE", default_value = "phone.json")]
    state: PathBuf,
    /// What the person calls the phone
    #[arg(long, default_value = "Simulated phone")]
    name: String,
    /// Type this code when one is asked for, instead of asking in the terminal
    #[arg(long, value_name = "DIGITS", conflicts_with = "code_from")]
    code: Option<String>,
    /// Take codes from a file (its first line, once there is one), or from the lines of standard
    /// input with -
    #[arg(long, value_name = "FILE")]
    code_from: Option<PathBuf>,
    /// End after one ceremony
    #[arg(long)]
    once: bool,
    /// Hold this many idle phones instead of one, and count what happens to them
    #[arg(long, value_name = "N", requires = "pairings")]
    fleet: Option<usize>,
    /// The pairing links of the fleet, one a line
    #[arg(long, value_name = "FILE", requires = "fleet")]
    pairings: Option<PathBuf>,
    #[command(flatten)]
    faults: faults::FaultArgs,
}

impl Arguments {
    /// Whether the codes come from a script, so that no question shows the prompt.
    fn is_scripted(&self) -> bool {
        self.code.is_some() || self.code_from.is_some()
    }
}

/// Runs until told to stop, or to the end of one ceremony.
pub(super) fn run(args: &Arguments) -> Result<(), Failure> {
    super::block_on(async {
        let tasks = Tasks::default();
        let done = match (args.fleet, &args.pairings) {
            (Some(size), Some(pairings)) => {
                fleet::run(size, pairings, &args.name, args.relay.as_ref(), &tasks).await
            }
            _ => one(args, &tasks).await,
        };
        tasks.stop(STOP_LIMIT).await;
        done
    })
}

/// Prints a line for the person. A terminal that is gone stops nothing.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// An error and what caused it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// A failure with what caused it.
fn failed(error: impl std::error::Error) -> Failure {
    Failure::failed(chain(&error))
}

fn plain_name(name: &str) -> Result<PlainText<64>, Failure> {
    PlainText::new(name).map_err(|error| Failure::usage(format_args!("--name {error}")))
}

async fn one(args: &Arguments, tasks: &Tasks) -> Result<(), Failure> {
    let state = paired_state(args).await?;
    let card = match &state.card {
        Some(kept) => SoftCard::from_json(kept.get()).map_err(|error| {
            let path = args.state.display();
            Failure::failed(format_args!("{path}: {error}; delete the file and pair again"))
        })?,
        None => SoftCard::new(),
    };
    say(&format!(
        "Device {} at {}; the card holds {} credential(s).",
        state.paired.device_id,
        state.paired.socket_url,
        card.credential_count()
    ));
    let paired = state.paired.clone();
    let card = Arc::new(KeptCard::new(card, state, args.state.clone()));
    let (handle, events) =
        Phone::new(paired, card, person(args)).with_faults(args.faults.faults()).connect(tasks);
    watch(args, &handle, events).await
}

/// The state to start with: from the file, or made by pairing.
async fn paired_state(args: &Arguments) -> Result<PhoneState, Failure> {
    let kept = PhoneState::load(&args.state).map_err(failed)?;
    let Some(link) = &args.pair else {
        return kept.ok_or_else(|| {
            let path = args.state.display();
            Failure::usage(format_args!(
                "{path} does not exist: pair this phone first with --pair <LINK>"
            ))
        });
    };
    let link: PairingLink = link.parse().map_err(failed)?;
    let relay = args.relay.as_ref().unwrap_or(&link.relay);
    let key = DeviceKey::generate().map_err(failed)?;
    let paired =
        pair(relay, &link.token, Some(plain_name(&args.name)?), key).await.map_err(failed)?;
    // The card is the person's: it outlives a pairing.
    let state = PhoneState { paired, card: kept.and_then(|kept| kept.card) };
    state.save(&args.state).map_err(failed)?;
    say(&format!("Paired with {relay}; kept in {}.", args.state.display()));
    Ok(state)
}

fn person(args: &Arguments) -> Arc<dyn Person> {
    match (&args.code, &args.code_from) {
        (Some(code), _) => Arc::new(Types::new(code.clone())),
        (None, Some(path)) if path.as_os_str() == "-" => Arc::new(Terminal::silent(Lines::stdin())),
        (None, Some(path)) => Arc::new(FromFile::new(path.clone())),
        (None, None) => Arc::new(Terminal::asking(Lines::stdin())),
    }
}

/// Shows what happens until the phone ends, somebody interrupts, or one ceremony is over.
async fn watch(
    args: &Arguments,
    handle: &PhoneHandle,
    mut events: mpsc::Receiver<PhoneEvent>,
) -> Result<(), Failure> {
    let mut ended = Ok(());
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            interrupted = tokio::signal::ctrl_c() => {
                interrupted.map_err(Failure::failed)?;
                handle.stop();
                events.recv().await
            }
        };
        let Some(event) = event else { return ended };
        if let Some(prompt) = show::prompt(&event).filter(|_| args.is_scripted()) {
            say(&prompt);
        }
        if let Some(line) = show::event(&event) {
            say(&line);
        }
        match event {
            PhoneEvent::Closed { outcome, .. } if args.once => {
                ended = verdict(outcome);
                handle.stop();
            }
            PhoneEvent::TimedOut { .. } if args.once => {
                ended = verdict(Outcome::Indeterminate);
                handle.stop();
            }
            PhoneEvent::Stopped(Stopped::Told) => return ended,
            PhoneEvent::Stopped(
                why @ (Stopped::Replaced | Stopped::Revoked | Stopped::TooOld | Stopped::Unknown),
            ) => return Err(Failure::failed(why)),
            PhoneEvent::Connected { .. }
            | PhoneEvent::Reauthenticated
            | PhoneEvent::Noticed(_)
            | PhoneEvent::KeyRotated
            | PhoneEvent::KeyKept { .. }
            | PhoneEvent::Offered { .. }
            | PhoneEvent::Claimed { .. }
            | PhoneEvent::Challenged { .. }
            | PhoneEvent::Card { .. }
            | PhoneEvent::Answered { .. }
            | PhoneEvent::Accepted { .. }
            | PhoneEvent::Declined { .. }
            | PhoneEvent::Closed { .. }
            | PhoneEvent::TimedOut { .. }
            | PhoneEvent::Refused { .. }
            | PhoneEvent::GoingAway { .. }
            | PhoneEvent::Disconnected { .. }
            | PhoneEvent::Waiting { .. } => {}
        }
    }
}

/// What `--once` tells by its exit code.
fn verdict(outcome: Outcome) -> Result<(), Failure> {
    let code = match outcome {
        Outcome::Succeeded => return Ok(()),
        Outcome::Denied
        | Outcome::Rejected
        | Outcome::Failed
        | Outcome::Expired
        | Outcome::Cancelled => NOT_SUCCEEDED,
        Outcome::Indeterminate => NOT_KNOWN,
    };
    Err(Failure { text: "the ceremony did not succeed".to_owned(), code })
}
