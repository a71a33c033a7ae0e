//! The same for every other test: what the test relays' own code logs, at TRACE, is looked at for
//! the secrets that the tests' support has made, in every test of this process.
//!
//! It costs little: a secret's first characters are hashed once, and of a log line only runs of
//! characters as long as a secret are looked up. A leak ends the process, because a panic within
//! the relay's task would be the relay's to survive. What libraries log is [`super`]'s business:
//! here the phone's side runs in the same process, and its messages are no leak.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::{Arc, Once, RwLock};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, SubscriberExt as _};

use crate::openapi::documented::Documented;
use crate::support::child::{run, this_test};

/// So many characters of a secret are looked for. Eight of base64url are 48 random bits; a prefix
/// such as `tkt_` is not counted.
const KEPT: usize = 16;

static MADE: RwLock<BTreeSet<String>> = RwLock::new(BTreeSet::new());

/// Remembers a secret, which from now on no log line of this process may show.
pub(crate) fn made(secret: &str) {
    static LISTENS: Once = Once::new();
    LISTENS.call_once(|| {
        let leaked = |what: String| {
            let _ = std::io::Write::write_all(&mut std::io::stderr(), what.as_bytes());
            std::process::exit(101);
        };
        let ours = Targets::new().with_target("fido_relay", Level::TRACE);
        let listener = Listener { leaked: Arc::new(leaked) }.with_filter(ours);
        let subscriber =
            tracing_subscriber::registry().with(listener).with(Documented::listening());
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
    if is_a_pattern(kept(secret)) {
        return;
    }
    let known = MADE.read().unwrap().contains(kept(secret));
    if !known {
        MADE.write().unwrap().insert(kept(secret).to_owned());
    }
}

/// The part of a secret that is looked for: its end, since many begin alike.
fn kept(secret: &str) -> &str {
    assert!(secret.len() >= KEPT && secret.bytes().all(is_of_a_secret), "{secret}");
    &secret[secret.len() - KEPT..]
}

/// Such as the same byte thirty-two times, which a scripted server gives for a challenge and a
/// scripted client has for an id: it is not random.
fn is_a_pattern(text: &str) -> bool {
    text.bytes().collect::<BTreeSet<_>>().len() < 6
}

fn is_of_a_secret(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.~+/=".contains(&byte)
}

/// Whether a text shows a secret that was made.
fn shows(text: &str, made: &BTreeSet<String>) -> bool {
    let runs = text.as_bytes().split(|byte| !is_of_a_secret(*byte));
    runs.filter(|run| run.len() >= KEPT).any(|run| {
        run.windows(KEPT).any(|window| std::str::from_utf8(window).is_ok_and(|w| made.contains(w)))
    })
}

struct Listener {
    leaked: Arc<dyn Fn(String) + Send + Sync>,
}

/// The fields of an event as a line.
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = write!(self.0, "{field}={value:?} ");
    }
}

impl<S: Subscriber> Layer<S> for Listener {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        if shows(&line.0, &MADE.read().unwrap()) {
            let target = event.metadata().target();
            (self.leaked)(format!("\na secret was logged by {target}: {}\n", line.0));
        }
    }
}

#[tokio::test]
async fn a_leak_of_our_own_code_is_heard() {
    let heard = Arc::new(std::sync::Mutex::new(Vec::new()));
    let tell = Arc::clone(&heard);
    let listener = Listener { leaked: Arc::new(move |what| tell.lock().unwrap().push(what)) };
    let subscriber = tracing_subscriber::registry().with(listener);
    let listening = tracing::subscriber::set_default(subscriber);
    let secret = format!("tkt_{}", "planted-secret-0123456789");
    tracing::info!("before it was made: {secret}");
    assert_eq!(heard.lock().unwrap().len(), 0);
    made(&secret);
    tracing::info!(ceremony = "cer_AAAAAAAAAAAAAAAAAAAAAA", "opened");
    assert_eq!(heard.lock().unwrap().len(), 0, "an id is no secret");
    tracing::info!("Bearer {secret}");
    tracing::trace!(error = ?Err::<(), _>(&secret), "refused");
    tracing::debug!(secret = secret.as_str());
    tracing::warn!(cut = &secret[6..]);
    assert_eq!(heard.lock().unwrap().len(), 4, "{heard:?}");
    drop(listening);
}

/// What [`a_leak_ends_the_whole_run`] runs in a process of its own.
#[tokio::test]
#[ignore = "leaks a secret, which ends the process"]
async fn leaks_a_secret() {
    let relay = crate::support::relay::TestRelay::start().await;
    let initiator = relay.initiator().await;
    let logged = async move { tracing::trace!(target: "fido_relay::edge", key = initiator.key) };
    // As the relay's own tasks do: a panic here would end the task alone.
    relay.running.tasks().spawn("leaky", logged);
    relay.running.tasks().stop(std::time::Duration::from_secs(20)).await;
}

#[tokio::test]
async fn a_leak_ends_the_whole_run() {
    let text = run(&mut this_test("canary::suite::leaks_a_secret")).await.with_code(101);
    assert!(text.contains("a secret was logged by fido_relay::edge"), "{text}");
}
