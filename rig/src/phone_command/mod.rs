//! `fido-relay phone`: a simulated app and card against any relay, for a terminal or a script.
//!
//! It pairs, shows prompts, takes the code, and answers with a software card that survives a restart.
//! [`crate::phone`] is the phone; this module is what a person sees and types.

mod faults;
mod fleet;
mod person;
mod screen;
mod show;
#[cfg(test)]
mod tests;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fido_relay_kit::tasks::Tasks;
use fido_relay_proto::{PlainText, typed_digits};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::command::{Failure, counted};
use crate::phone::{
    DeviceKey, PairingClient, PairingError, PairingLink, Person, Phone, PhoneHandle, PhoneState,
    PullClient, PushReceiver, StateError, StoredCard, Waits, WakeChannel, pair,
};
use crate::softcard::SoftCard;
use person::{CodeFile, FixedCode, InputLines, Terminal, UnpromptedInput};
use screen::Screen;
use watch::PhoneMonitor;

/// Limit for closing the socket in order.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// Options of `fido-relay phone`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  fido-relay phone --pair 'fido-relay://pair?relay=…&token=…'   pair, then wait for prompts
  fido-relay phone                                              the same phone again
  fido-relay phone --once --code 271828                         one ceremony, in a script
  fido-relay phone --asleep                                     no socket: woken by push, answers by HTTP

Key and card are kept in the state file: pair once.

At a terminal, type the six digits of a page even if the phone does not ask: the relay finds their
ceremony, and the phone shows who asks before it continues.

With --asleep it takes Web Push messages on loopback: for a relay on the same machine that has
push.webpush.key_file, and push.webpush.allow_loopback_http.

Without --code or --code-from FILE it ends when standard input is closed, after the running
ceremony.

Exit codes: 0 interrupted or standard input closed, or with --once the ceremony succeeded; 1 the
phone failed; 2 wrong arguments; with --once: 3 the ceremony ended without success,
4 its outcome is not known.")]
pub struct PhoneArguments {
    /// Pair with this link first: fido-relay://pair?relay=…&token=…
    #[arg(long, value_name = "LINK", conflicts_with = "fleet")]
    pair: Option<String>,
    /// Base URL of the relay [default: that of the link]
    #[arg(long, value_name = "URL")]
    relay: Option<Url>,
    /// File of the device key and the card
    #[arg(long, value_name = "FILE", default_value = "phone.json")]
    state: PathBuf,
    /// Name of the phone
    #[arg(long, default_value = "Simulated phone")]
    name: String,
    /// Type this code instead of asking in the terminal
    #[arg(long, value_name = "DIGITS", conflicts_with = "code_from", value_parser = parse_code)]
    code: Option<String>,
    /// Read codes from a file (its first line, once there is one), or with - from the lines of
    /// standard input
    #[arg(long, value_name = "FILE")]
    code_from: Option<PathBuf>,
    /// End after one ceremony
    #[arg(long)]
    once: bool,
    /// Use no socket: sleep until a push wakes the phone, answer by HTTP, and sleep again
    #[arg(long, conflicts_with = "fleet")]
    asleep: bool,
    /// Run this many idle phones instead of one, and count their events
    #[arg(long, value_name = "N", requires = "pairings")]
    fleet: Option<usize>,
    /// The pairing links of the fleet, one a line
    #[arg(long, value_name = "FILE", requires = "fleet")]
    pairings: Option<PathBuf>,
    /// Percentage of the fleet that sleeps until woken, instead of holding a socket
    #[arg(long, value_name = "PERCENT", requires = "fleet", default_value_t = 0,
        value_parser = clap::value_parser!(u8).range(0..=100))]
    asleep_share: u8,
    #[command(flatten)]
    faults: faults::FaultArgs,
}

impl PhoneArguments {
    /// Whether options answer every prompt, so that no question shows it.
    fn is_scripted(&self) -> bool {
        self.code.is_some() || self.code_from.is_some() || self.faults.decides()
    }
}

/// Runs until interrupted, until standard input is closed, or to the end of one ceremony.
///
/// # Errors
/// [`Failure`] with the exit codes of [`PhoneArguments`]' help.
pub async fn run(args: &PhoneArguments) -> Result<(), Failure> {
    let (tasks, screen) = (Tasks::default(), Screen::stdout());
    let done = match (args.fleet, &args.pairings) {
        (Some(size), Some(pairings)) => {
            let name = plain_name(&args.name)?;
            let fleet = fleet::Fleet {
                size,
                pairings,
                name,
                relay: args.relay.as_ref(),
                asleep_share: args.asleep_share,
            };
            fleet::run(fleet, &screen, &tasks).await
        }
        _ => one(args, &screen, &tasks).await,
    };
    tasks.stop(STOP_LIMIT).await;
    done
}

/// A code as a person types it, in any script and grouping.
fn parse_code(text: &str) -> Result<String, &'static str> {
    typed_digits::code(text).ok_or("must be six digits")
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

/// The innermost cause: the outer ones only say that a request was made.
fn root_cause<'a>(error: &'a (dyn std::error::Error + 'static)) -> &'a dyn std::error::Error {
    std::iter::successors(Some(error), |error| error.source()).last().unwrap_or(error)
}

/// A failure with all causes.
fn failed(error: impl std::error::Error) -> Failure {
    Failure::failed(chain(&error))
}

fn plain_name(name: &str) -> Result<PlainText<64>, Failure> {
    PlainText::new(name).map_err(|error| Failure::usage(format_args!("--name {error}")))
}

async fn one(args: &PhoneArguments, screen: &Arc<Screen>, tasks: &Tasks) -> Result<(), Failure> {
    let state = paired_state(args, screen).await?;
    let card = match &state.card {
        Some(kept) => SoftCard::from_json(kept.get()).map_err(|error| {
            let path = args.state.display();
            Failure::failed(format_args!("{path}: {error}; delete the file and pair again"))
        })?,
        None => SoftCard::new(),
    };
    screen.say(&format!(
        "Device {} at {}; the card holds {}.",
        state.paired.device_id,
        state.paired.socket_url,
        counted(card.credential_count(), "credential", "credentials")
    ));
    let paired = state.paired.clone();
    let card = Arc::new(StoredCard::new(card, state, args.state.clone()));
    let (person, terminal) = person(args, screen);
    let input = terminal.as_ref().map(Terminal::input).unwrap_or_default();
    let mut phone = Phone::new(paired, card, person).with_faults(args.faults.faults());
    if args.asleep {
        let receiver = PushReceiver::listen(tasks).await.map_err(failed)?;
        let client = PullClient::from(&PairingClient::new().map_err(failed)?);
        let subscription = receiver.subscribe().map_err(failed)?;
        phone = phone.asleep(WakeChannel { subscription, client });
    }
    let (handle, events) = phone.connect(tasks);
    if let Some(terminal) = terminal {
        tasks.spawn_untraced(pass_on(terminal, handle.clone(), tasks.stopping().clone()));
    }
    let (once, scripted) = (args.once, args.is_scripted());
    PhoneMonitor { screen: Arc::clone(screen), input, once, scripted }
        .run(|| handle.stop(), events)
        .await
}

/// The state from the file, or from a pairing.
async fn paired_state(args: &PhoneArguments, screen: &Screen) -> Result<PhoneState, Failure> {
    let saved = PhoneState::load(&args.state).map_err(|error| unusable_state(&error))?;
    let Some(link) = &args.pair else {
        return saved.ok_or_else(|| {
            let path = args.state.display();
            Failure::usage(format_args!(
                "{path} does not exist: pair this phone first with --pair <LINK>"
            ))
        });
    };
    let link: PairingLink = link.parse().map_err(failed)?;
    // A link pairs once, and must not be spent on a phone that cannot be saved.
    PhoneState::writable(&args.state).map_err(|error| unusable_state(&error))?;
    let relay = args.relay.as_ref().unwrap_or(&link.relay);
    let key = DeviceKey::generate().map_err(failed)?;
    let paired = pair(relay, &link.token, Some(plain_name(&args.name)?), key).await;
    let paired = paired.map_err(|error| not_paired(relay, &error))?;
    // The card outlives a pairing.
    let state = PhoneState { paired, card: saved.and_then(|saved| saved.card) };
    state.save(&args.state).map_err(|error| unusable_state(&error))?;
    screen.say(&format!("Paired with {relay}; kept in {}.", args.state.display()));
    Ok(state)
}

/// The failure of a state file, with a remedy.
fn unusable_state(error: &StateError) -> Failure {
    let remedy = match error {
        StateError::File { .. } => "run this as the user whose file it is, or name another --state",
        StateError::Contents(_) | StateError::Key(_) => {
            "name another --state, or delete the file and pair again with --pair"
        }
    };
    Failure::failed(format_args!("{error}. To go on, {remedy}"))
}

/// The failure of a pairing, with a remedy.
fn not_paired(relay: &Url, error: &PairingError) -> Failure {
    Failure::failed(match error {
        PairingError::Refused { status: 401 | 410, .. } => format!(
            "{relay} does not take this link: it was used, it is older than 10 minutes, or another \
             relay made it. For a new one: fido-relay pairing create --username NAME"
        ),
        PairingError::Unreachable(_) => format!(
            "no relay answers at {relay}: {}. To go on, see that it runs, or name another \
             address of it with --relay",
            root_cause(error)
        ),
        PairingError::Link | PairingError::Key(_) | PairingError::Refused { .. } => chain(error),
    })
}

/// Passes unprompted input to the phone.
async fn pass_on(terminal: Terminal, phone: PhoneHandle, stopping: CancellationToken) {
    let passing = async {
        while let Some(typed) = terminal.unprompted().await {
            match typed {
                UnpromptedInput::Code(code) => phone.type_code(code).await,
                UnpromptedInput::NotMe => phone.report_not_me().await,
            }
        }
    };
    tokio::select! {
        () = passing => {}
        () = stopping.cancelled() => {}
    }
}

/// The person that the options ask for, and the terminal if they type at standard input.
fn person(args: &PhoneArguments, screen: &Arc<Screen>) -> (Arc<dyn Person>, Option<Terminal>) {
    if args.faults.decides() {
        return (Arc::new(Waits), None);
    }
    let at_terminal = |asks| {
        let terminal = Terminal::new(InputLines::stdin(), Arc::clone(screen), asks);
        (Arc::new(terminal.clone()) as Arc<dyn Person>, Some(terminal))
    };
    match (&args.code, &args.code_from) {
        (Some(code), _) => (Arc::new(FixedCode::new(code.clone())), None),
        (None, Some(path)) if path.as_os_str() == "-" => at_terminal(false),
        (None, Some(path)) => (Arc::new(CodeFile::new(path.clone())), None),
        (None, None) => at_terminal(true),
    }
}
