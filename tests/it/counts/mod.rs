//! What one ceremony alone costs the store, counted and not timed: the numbers are the same on
//! every machine. For each kind of ceremony, with a code and without, with each FIDO2 server.

mod counting;
mod watchers;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fido_relay::config::Config;
use fido_relay_proto::CeremonyType::{Approval, Authentication, Registration};
use fido_relay_proto::http::Status;
use fido_relay_proto::{Binding, CeremonyType, Outcome};
use fido_relay_rig::phone::PhoneEvent;
use serde_json::{Value, json};
use tempfile::TempDir;

use self::Server::{BuiltIn, External};
use self::counting::{Count, Counters, Counting, Counts};
use crate::support::accepting_server::{accepted_answer, upstream_at};
use crate::support::metric_samples::MetricSamples;
use crate::support::relay::{Initiator, TestPhone, TestRelay};
use crate::support::scripted_upstream::{Answer, Reply, ScriptedUpstream};

/// Ceremonies of each kind that are counted, one after the other. What an earlier one leaves to be
/// done, and a machine so slow that a step which waits is stored alone, can only add: the least of
/// each number is what one costs.
const ROUNDS: usize = 5;
/// Until the bounds are met there are more, at most so many.
const MOST_ROUNDS: usize = 25;

/// Which FIDO2 server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    BuiltIn,
    External,
}

/// What a ceremony costs at most.
struct Bound {
    kind: CeremonyType,
    binding: Binding,
    server: Server,
    /// As [`COLUMNS`].
    most: [usize; COLUMNS.len()],
}

/// What is bounded. Of the loads of the ceremony, each of which parses its record, the watcher makes
/// two: its stream looks once, and once it fetches the result.
const COLUMNS: [(Count, &str); 8] = [
    (Count::CeremonyCommits, "its commits"),
    (Count::Commits, "all commits"),
    (Count::Flushes, "flushes"),
    (Count::Bytes, "bytes"),
    (Count::CeremonyLoads, "its loads"),
    (Count::Loads, "all loads"),
    (Count::Tasks, "tasks"),
    (Count::Signatures, "signatures"),
];

/// A number may be lowered when less is needed, and raised for a reason alone.
#[rustfmt::skip]
const BOUNDS: [Bound; 12] = [
    bound(Registration,   Binding::Code, BuiltIn,  [3, 3, 3, 9_000, 3, 28, 8, 1]),
    bound(Registration,   Binding::None, BuiltIn,  [3, 3, 3, 8_500, 3, 27, 7, 1]),
    bound(Authentication, Binding::Code, BuiltIn,  [3, 3, 3, 8_000, 3, 22, 8, 1]),
    bound(Authentication, Binding::None, BuiltIn,  [3, 3, 3, 7_500, 3, 21, 7, 1]),
    bound(Approval,       Binding::Code, BuiltIn,  [3, 3, 3, 8_500, 3, 22, 8, 1]),
    bound(Approval,       Binding::None, BuiltIn,  [3, 3, 3, 7_700, 3, 21, 7, 1]),
    bound(Registration,   Binding::Code, External, [4, 4, 4, 10_250, 3, 24, 9, 1]),
    bound(Registration,   Binding::None, External, [4, 4, 4, 9_500, 3, 23, 8, 1]),
    bound(Authentication, Binding::Code, External, [4, 4, 4, 10_000, 3, 24, 9, 1]),
    bound(Authentication, Binding::None, External, [4, 4, 4, 9_000, 3, 23, 8, 1]),
    bound(Approval,       Binding::Code, External, [4, 4, 4, 10_000, 3, 24, 9, 1]),
    bound(Approval,       Binding::None, External, [4, 4, 4, 9_500, 3, 23, 8, 1]),
];

const fn bound(
    kind: CeremonyType,
    binding: Binding,
    server: Server,
    most: [usize; COLUMNS.len()],
) -> Bound {
    Bound { kind, binding, server, most }
}

/// A relay over a counting store, and who uses it.
struct Bench {
    relay: TestRelay,
    bank: Initiator,
    counters: Arc<Counters>,
    _upstream: ScriptedUpstream,
    _directory: TempDir,
}

impl Bench {
    async fn start(server: Server, audit: bool, is_exclusive: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (store, counters) = Counting::open(directory.path(), is_exclusive);
        let upstream = ScriptedUpstream::listening(|number, request| {
            Reply::Answer(if request.call.ends_with("/attestation/options") {
                creation_options(number)
            } else {
                accepted_answer(number, request)
            })
        });
        let external = upstream_at(&upstream.url());
        let change = move |config: &mut Config| {
            config.audit.enabled = audit;
            config.admin.listen = Some("127.0.0.1:0".parse().unwrap());
            config.limits.watchers_per_ceremony = 64;
            if server == External {
                external(config);
            }
        };
        let relay = TestRelay::start_on(store, change).await;
        let bank = relay.initiator().await;
        Self { relay, bank, counters, _upstream: upstream, _directory: directory }
    }

    fn now(&self) -> Counts {
        let tasks = self.relay.running.tasks().started();
        self.counters.now().with(Count::Tasks, usize::try_from(tasks).unwrap())
    }

    /// One ceremony from its opening to its result, and what was counted meanwhile.
    async fn ceremony(&self, body: &Value, phone: &mut TestPhone) -> Counts {
        let signed = self.signed().await;
        let before = self.now();
        let opened = self.bank.open(body).await;
        if opened.code.is_some() {
            phone.types(&opened);
        }
        let mut events = self.bank.get(&format!("/v1/ceremonies/{}/events", opened.id)).await;
        let mut told = Vec::new();
        while let Some(chunk) = events.chunk().await.unwrap() {
            told.extend_from_slice(&chunk);
        }
        assert!(String::from_utf8(told).unwrap().contains("event: closed"));
        let view = self.bank.read(opened.id).await;
        let counts = self.now().since(&before);
        assert_eq!(view.status, Status::Ended(Outcome::Succeeded), "{view:?}");
        assert!(view.result.is_some());
        phone.until(|event| matches!(event, PhoneEvent::Closed { .. })).await;
        counts.with(Count::Signatures, self.signed().await - signed)
    }

    async fn signed(&self) -> usize {
        let url = format!("http://{}/metrics", self.relay.running.admin_address().unwrap());
        let text = self.bank.http.get(url).send().await.unwrap().text().await.unwrap();
        let tokens = MetricSamples::read(&text).sum("fido_relay_result_tokens_total", &[]);
        format!("{tokens}").parse().unwrap()
    }

    /// What a ceremony of this kind costs, the least of some. Each is that of a user of its own, with
    /// a card that was registered just before unless that is what is counted.
    async fn measure(&self, bound: &Bound) -> [usize; COLUMNS.len()] {
        let &Bound { kind, binding, most, .. } = bound;
        let mut least = [usize::MAX; COLUMNS.len()];
        let exceeds = |least: &[usize]| least.iter().zip(&most).any(|(number, most)| number > most);
        for round in 0..MOST_ROUNDS {
            if round >= ROUNDS && !exceeds(&least) {
                break;
            }
            let username = format!("{kind:?}-{binding:?}-{round}").to_lowercase();
            let mut phone = self.relay.phone(&self.bank, &username).await;
            let mut body = json!({ "type": kind, "username": username, "binding": binding });
            match kind {
                Registration => {}
                Authentication | Approval => {
                    let register = json!({ "type": "registration", "username": username });
                    self.ceremony(&register, &mut phone).await;
                }
            }
            if kind == Approval {
                let fields = json!([{ "label": "Amount", "value": "120.00 EUR" }]);
                body["transaction"] = json!({ "title": "Payment", "fields": fields });
            }
            let counts = self.ceremony(&body, &mut phone).await;
            let numbers = COLUMNS.map(|(count, _)| counts.get(count));
            least = std::array::from_fn(|column| least[column].min(numbers[column]));
        }
        least
    }
}

/// What an external server begins a registration with.
fn creation_options(number: usize) -> Answer {
    let challenge = URL_SAFE_NO_PAD.encode(format!("challenge-{number:022}"));
    let body = json!({
        "status": "ok", "errorMessage": "", "challenge": challenge,
        "rp": { "id": "localhost", "name": "Example" },
        "user": { "id": "AQIDBA", "name": "ada", "displayName": "Ada" },
        "pubKeyCredParams": [{ "type": "public-key", "alg": -7 }],
    });
    Answer::json(200, body.to_string()).with("Set-Cookie", format!("session=s{number}; Path=/"))
}

/// One line of the table.
fn line(of: &Bound, audit: bool, numbers: impl Iterator<Item = String>) -> String {
    let Bound { kind, binding, server, .. } = of;
    let audit = if audit { ", audit" } else { "" };
    let numbers: String = numbers.map(|number| format!("{number:>13}")).collect();
    format!("{:<42}{numbers}", format!("{kind:?}, {binding:?}, {server:?}{audit}"))
}

#[tokio::test]
async fn one_ceremony_costs_the_store_no_more_than_its_bounds() {
    let names: String = COLUMNS.iter().map(|(_, name)| format!("{name:>13}")).collect();
    println!("{:42}{names}", "");
    let mut exceeded = Vec::new();
    for server in [BuiltIn, External] {
        // The trail is kept outside the store: what is bounded is the same with it.
        for audit in [false, true] {
            let bench = Bench::start(server, audit, true).await;
            for bound in BOUNDS.iter().filter(|bound| bound.server == server) {
                let numbers = bench.measure(bound).await;
                println!("{}", line(bound, audit, numbers.iter().map(usize::to_string)));
                let both = numbers.iter().zip(&bound.most);
                if both.clone().any(|(number, most)| number > most) {
                    let told = both.map(|(number, most)| format!("{number}/{most}"));
                    exceeded.push(line(bound, audit, told));
                }
            }
        }
    }
    assert!(exceeded.is_empty(), "more than bounded:\n{:42}{names}\n{}", "", exceeded.join("\n"));
}
