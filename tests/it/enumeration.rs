//! What opening tells of a user: nothing. Whether there is none of that name, or one without a
//! phone, with a phone that is away, or with one that is connected, the answer has the same
//! status, headers, fields and lengths, and the relay has done the same before it gave it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fido_relay::ports::{Batch, BoxFuture, Bucket, Revision, Store, StoreError, Stored, Write};
use fido_relay_proto::device::FrameErrorCode;
use fido_relay_proto::http::{CeremonyView, Status};
use fido_relay_proto::{Outcome, Reason};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::accepting_server::{accepting_server, upstream_at};
use crate::support::faulty_store::{Faults, FaultyStore};
use crate::support::relay::{Initiator, TestRelay};
use crate::support::wire_phone::WirePhone;

/// One access, by the task that made it.
type Access = (Option<tokio::task::Id>, &'static str, Bucket);

/// Remembers which task asked the store for what.
#[derive(Debug, Default)]
struct Counting {
    accesses: Mutex<Vec<Access>>,
}

impl Counting {
    fn note(&self, verb: &'static str, bucket: Bucket) {
        self.accesses.lock().unwrap().push((tokio::task::try_id(), verb, bucket));
    }

    fn forget(&self) {
        self.accesses.lock().unwrap().clear();
    }

    /// What was done on the way to the answer: by the task that stored a ceremony, and by the one
    /// that looked up the caller. What follows an answer is done by others.
    fn before_the_answer(&self) -> BTreeMap<(&'static str, &'static str), usize> {
        let accesses = self.accesses.lock().unwrap();
        let did = |verb: &str, bucket: Bucket| {
            let found = accesses.iter().find(|(_, v, b)| *v == verb && *b == bucket);
            found.unwrap_or_else(|| panic!("{verb} {bucket:?}")).0
        };
        let tasks = [did("create", Bucket::Ceremonies), did("load", Bucket::ApiKeys)];
        let mut counts = BTreeMap::new();
        for (_, verb, bucket) in accesses.iter().filter(|(task, ..)| tasks.contains(task)) {
            *counts.entry((*verb, bucket.name())).or_default() += 1;
        }
        counts
    }
}

impl Faults for Counting {
    fn load(&self, bucket: Bucket, _: &str) -> Result<Option<Stored>, StoreError> {
        self.note("load", bucket);
        Ok(None)
    }

    fn commit<'a>(
        &'a self,
        store: &'a dyn Store,
        batch: Batch,
    ) -> BoxFuture<'a, Result<Revision, StoreError>> {
        for change in batch.changes() {
            let verb = match (&change.write, change.expected) {
                (Write::Check, _) => "check",
                (Write::Put { .. }, Revision::ABSENT) => "create",
                (Write::Put { .. }, _) => "save",
                (Write::Remove, _) => "remove",
            };
            self.note(verb, change.bucket);
        }
        store.commit(batch)
    }

    fn list(&self, bucket: Bucket) -> Result<(), StoreError> {
        self.note("list", bucket);
        Ok(())
    }
}

/// Users whose names are as long as one another.
const USERS: [&str; 4] = ["unknown", "no-phon", "is-away", "is-here"];

struct Stage {
    relay: TestRelay,
    store: Arc<FaultyStore<Counting>>,
    bank: Initiator,
    _upstream: crate::support::scripted_upstream::ScriptedUpstream,
    _here: WirePhone,
}

impl Stage {
    async fn set() -> Self {
        let upstream = accepting_server();
        let store = Arc::new(FaultyStore::<Counting>::default());
        let agree = upstream_at(&upstream.url());
        let relay = TestRelay::start_on(Arc::clone(&store) as Arc<dyn Store>, agree).await;
        let bank = relay.initiator().await;
        // Known to the relay, but its one phone was revoked.
        let revoked = relay.pair(&bank, USERS[1]).await;
        bank.delete(&format!("/v1/devices/{}", revoked.device_id)).await;
        relay.pair(&bank, USERS[2]).await;
        let here = relay.pair(&bank, USERS[3]).await;
        let here = WirePhone::connect(here).await;
        Self { relay, store, bank, _upstream: upstream, _here: here }
    }

    /// Opens for a user, and ends it again so that none has more open than another.
    async fn open(&self, order: &Value) -> (u16, Vec<String>, BTreeMap<String, String>, Duration) {
        let began = Instant::now();
        let response = self.bank.post("/v1/ceremonies", order).await;
        let took = began.elapsed();
        let status = response.status().as_u16();
        let told = |(name, value): (&reqwest::header::HeaderName, _)| match name.as_str() {
            // An id of its own, of the same length in every answer.
            "location" => {
                format!("location of {} characters", reqwest::header::HeaderValue::len(value))
            }
            "date" => "date".to_owned(),
            name => format!("{name}: {value:?}"),
        };
        let headers = response.headers().iter().map(told).collect();
        let body: Value = response.json().await.unwrap();
        let id = body["id"].as_str().unwrap().to_owned();
        let shape = body.as_object().unwrap().iter().map(|(name, value)| {
            let shape = match (name.as_str(), value) {
                ("id" | "ticket" | "code", Value::String(text)) => text.len().to_string(),
                // The second may have turned meanwhile.
                ("expires_in", _) if matches!(value.as_u64(), Some(119 | 120)) => "120".to_owned(),
                _ => value.to_string(),
            };
            (name.clone(), shape)
        });
        let shape = shape.collect();
        self.bank.delete(&format!("/v1/ceremonies/{id}")).await;
        (status, headers, shape, took)
    }
}

fn orders(user: &str) -> [Value; 4] {
    let transaction = json!({ "title": "Pay", "fields": [{ "label": "To", "value": "Bob" }] });
    [
        json!({ "type": "authentication", "username": user }),
        json!({ "type": "registration", "username": user }),
        json!({ "type": "approval", "username": user, "transaction": transaction }),
        json!({ "type": "authentication", "username": user, "prior_auth": "password",
            "device_id": "dev_AAAAAAAAAAAAAAAAAAAAAA" }),
    ]
}

#[tokio::test]
async fn opening_answers_alike_whether_the_user_is_unknown_without_a_phone_away_or_here() {
    let stage = Stage::set().await;
    for kind in 0..orders("").len() {
        let mut answers = Vec::new();
        for user in USERS {
            let (status, headers, shape, _) = stage.open(&orders(user)[kind]).await;
            assert_eq!(status, 201);
            answers.push((user, headers, shape));
        }
        for (user, headers, shape) in &answers[1..] {
            assert_eq!(headers, &answers[0].1, "{user}");
            assert_eq!(shape, &answers[0].2, "{user}");
        }
    }
}

#[tokio::test]
async fn the_relay_does_the_same_before_it_answers_whoever_the_user_is() {
    let stage = Stage::set().await;
    // Each user's first is compared with the others' first, and so on: also past every limit.
    for round in 0..6 {
        let mut done = Vec::new();
        for user in USERS {
            stage.store.forget();
            let order = json!({ "type": "authentication", "username": user });
            let opened = stage.bank.post("/v1/ceremonies", &order).await;
            done.push((user, stage.store.before_the_answer()));
            assert_eq!(opened.status(), 201);
        }
        assert!(done[0].1.values().sum::<usize>() >= 3, "{done:?}");
        for (user, accesses) in &done[1..] {
            assert_eq!(accesses, &done[0].1, "round {round}: {user}");
        }
    }
    assert!(stage.relay.running.stop().await);
}

#[tokio::test]
async fn that_a_user_has_no_card_shows_after_the_right_code_alone_and_to_no_page() {
    // At the built-in FIDO2 server, where ada has a phone and no card.
    let relay = TestRelay::start().await;
    let bank = relay.initiator().await;
    let mut phone = WirePhone::connect(relay.pair(&bank, "ada").await).await;
    for order in [&orders("ada")[0], &orders("ada")[2]] {
        let opened = bank.open(order).await;
        let code = opened.code.as_ref().unwrap();
        phone.offer().await;
        phone.claim(opened.id, if code == "000000" { "111111" } else { "000000" }).await;
        assert_eq!(phone.refused().await.0, FrameErrorCode::WrongCode);
        let open = bank.read(opened.id).await;
        assert_eq!((open.status, open.reason), (Status::Pending, None));

        phone.claim(opened.id, code).await;
        let closed = bank.outcome(opened.id).await;
        let failed = Status::Ended(Outcome::Failed);
        assert_eq!((closed.status, closed.reason), (failed, Some(Reason::NoCredential)));
        let url = format!("{}/v1/ceremonies/{}", bank.url, opened.id);
        let page = bank.http.get(url).bearer_auth(&opened.ticket).send().await.unwrap();
        let page: CeremonyView = page.json().await.unwrap();
        assert_eq!((page.status, page.reason), (failed, None));
        phone.closed().await;
    }
}

/// The value in the middle, and how far the middle half is spread.
fn middle(samples: &mut [Duration]) -> (Duration, Duration) {
    samples.sort();
    let at = |part: usize| samples[samples.len() * part / 4];
    (at(2), at(3) - at(1))
}

/// On several threads, as the program runs: what a phone is sent is not in the answer's way.
#[tokio::test(flavor = "multi_thread")]
async fn the_times_of_answers_overlap_whoever_the_user_is() {
    const ROUNDS: usize = 300;
    let stage = Stage::set().await;
    let mut samples = [const { Vec::new() }; USERS.len()];
    for round in 0..ROUNDS {
        // In another order each time, so that none always comes after the same.
        for turn in 0..USERS.len() {
            let who = (turn + round) % USERS.len();
            let order = json!({ "type": "authentication", "username": USERS[who] });
            samples[who].push(stage.open(&order).await.3);
        }
    }
    let middles: Vec<_> = samples.iter_mut().map(|samples| middle(samples)).collect();
    let medians = middles.iter().map(|(median, _)| *median);
    let apart = medians.clone().max().unwrap() - medians.min().unwrap();
    // The widest noise of one kind: what is within it cannot be told apart by a few hundred calls.
    let spread = middles.iter().map(|(_, spread)| *spread).max().unwrap();
    let line = format!("opening: medians and spreads {middles:?}, {apart:?} apart\n");
    std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()).unwrap();
    assert!(apart <= spread.max(Duration::from_millis(1)), "{line}");
}
