//! Data directories of earlier versions with every state in them, opened by this one: all is read,
//! what had ended is served as it was, what was open is taken up and ends. `earlier/make.py` makes
//! one for each release; every later version opens all of them.

use std::path::PathBuf;
use std::sync::Arc;

use fido_relay::ports::{Bucket, Clock, Store as _};
use fido_relay::serve::{self, DataDirectory, RunningServer, ServerDependencies};
use fido_relay_proto::http::Status;
use fido_relay_proto::{CeremonyId, Outcome, UnixMillis};
use fido_relay_rig::phone::Codes;
use fido_relay_rig::phone::{Faults, Phone, PhoneEvent, PhoneState, StoredCard};
use fido_relay_rig::softcard::SoftCard;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::Instant;

use crate::support::child::run;
use crate::support::child_relay::Home;
use crate::support::needs;
use crate::support::relay::{Initiator, TestPhone, http};

const VERSIONS: [&str; 1] = ["0.1.0"];
const SECOND: u64 = 1000;
const DAY: u64 = 24 * 60 * 60 * SECOND;

/// A clock that began at another time.
#[derive(Debug)]
struct MovedClock(UnixMillis, Instant);

impl Clock for MovedClock {
    fn now(&self) -> UnixMillis {
        self.0.plus_millis(u64::try_from(self.1.elapsed().as_millis()).unwrap())
    }
}

/// A copy of what an earlier version left.
struct Earlier {
    home: Home,
    /// What that version said of its content.
    told: Value,
}

impl Earlier {
    async fn unpacked(version: &str) -> Option<Self> {
        let python = needs::python("opening what earlier versions left")?;
        let archives = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/earlier");
        let home = Home::new(&[]);
        let data = home.data_dir();
        let directory = data.parent().unwrap();
        let mut unpack = Command::new(python);
        unpack.args(["-m", "tarfile", "-e"]).arg(archives.join(format!("{version}.tar.gz")));
        run(unpack.arg(directory)).await.stdout();
        let told = std::fs::read(directory.join("told.json")).unwrap();
        Some(Self { told: serde_json::from_slice(&told).unwrap(), home })
    }

    /// This version's relay on it, so long after the earlier one was killed.
    async fn served(&self, later_ms: u64) -> (RunningServer, Initiator) {
        let variables = [
            ("FIDO_RELAY_LISTEN", "127.0.0.1:0"),
            ("FIDO_RELAY_RECEIPTS", "true"),
            ("FIDO_RELAY_WEBHOOKS__ALLOW_LOOPBACK_HTTP", "true"),
        ];
        let mut config = fido_relay::config::from_texts(None, &variables).unwrap().config;
        config.data_dir = self.home.data_dir();
        config.limits.drain = std::time::Duration::ZERO;
        let listener = serve::bind(&config).unwrap();
        let at = UnixMillis(self.told["made_at"].as_u64().unwrap() + later_ms);
        let clock = Arc::new(MovedClock(at, Instant::now()));
        let store = Arc::new(DataDirectory::of(&config).open().unwrap());
        let running =
            serve::start_on(ServerDependencies::new(store, clock), config, listener).await.unwrap();
        running.relay().ceremonies.recovered().await;
        let key = self.told["key"].as_str().unwrap().to_owned();
        let initiator = Initiator { url: running.url(), key, http: http() };
        (running, initiator)
    }

    /// The ceremonies by id, as the earlier version saw them.
    fn ceremonies(&self) -> impl Iterator<Item = (CeremonyId, &Value)> {
        let views = self.told["ceremonies"].as_object().unwrap().iter();
        views.map(|(id, view)| (id.parse().unwrap(), view))
    }
}

fn is_closed(view: &Value) -> bool {
    view["phase"] == "closed"
}

/// Whether everything that the earlier version said is still so; a later one may say more.
fn says_all(now: &Value, before: &Value) -> bool {
    match (now, before) {
        (Value::Object(now), Value::Object(before)) => before.iter().all(|(name, before)| {
            now.get(name).is_some_and(|now| match name.as_str() {
                // Steps may be numbered anew, but a watcher that has seen a number misses nothing.
                "seq" => now.as_u64() >= before.as_u64(),
                // Signed anew for each reader.
                "result" => now.is_string(),
                _ => says_all(now, before),
            })
        }),
        (Value::Array(now), Value::Array(before)) => {
            now.len() == before.len()
                && now.iter().zip(before).all(|(now, before)| says_all(now, before))
        }
        (now, before) => now == before,
    }
}

async fn json_of(initiator: &Initiator, path: &str) -> Value {
    let answer = initiator.get(path).await;
    assert!(answer.status().is_success(), "{path}: {}", answer.status());
    answer.json().await.unwrap()
}

async fn what_had_ended_is_as_it_was(earlier: &Earlier, initiator: &Initiator) {
    for (id, before) in earlier.ceremonies().filter(|(_, view)| is_closed(view)) {
        let now = json_of(initiator, &format!("/v1/ceremonies/{id}")).await;
        assert!(says_all(&now, before), "{now} was {before}");
    }
}

#[tokio::test]
async fn every_record_of_an_earlier_version_is_read_and_says_what_it_is_due_for() {
    for version in VERSIONS {
        let Some(earlier) = Earlier::unpacked(version).await else { return };
        let store = DataDirectory::at(&earlier.home.data_dir()).open().unwrap();
        let rules = serve::due_rules();
        // Buckets that version 0.1.0 did not have yet.
        let newer = [Bucket::Journal, Bucket::Cursors, Bucket::PushAddresses];
        for bucket in Bucket::ALL.into_iter().filter(|bucket| !newer.contains(bucket)) {
            let records = store.list(bucket, "").await.unwrap();
            assert!(!records.is_empty(), "{version} left nothing in {bucket:?}");
            // What waits to be delivered and a user's prompts may be due for nothing.
            let is_free = [Bucket::Outbox, Bucket::Standings].contains(&bucket);
            for rule in rules.iter().filter(|rule| rule.bucket == bucket) {
                for (key, record) in &records {
                    let due = (rule.due)(&record.value);
                    assert!(due.is_some() || is_free, "{version}: {bucket:?} {key}");
                    assert_eq!(record.due, due, "{version}: {bucket:?} {key}");
                }
            }
        }
    }
}

#[tokio::test]
async fn an_earlier_version_s_directory_is_served_as_it_was_and_goes_on() {
    for version in VERSIONS {
        let Some(earlier) = Earlier::unpacked(version).await else { return };
        let (running, initiator) = earlier.served(SECOND).await;
        what_had_ended_is_as_it_was(&earlier, &initiator).await;
        for (path, before) in earlier.told["get"].as_object().unwrap() {
            let now = json_of(&initiator, path).await;
            let Some(deliveries) = before["deliveries"].as_array() else {
                assert!(says_all(&now, before), "{path}: {now} was {before}");
                continue;
            };
            // What waits is tried again meanwhile, and more may wait.
            for delivery in deliveries {
                let of_now = now["deliveries"].as_array().unwrap();
                let same = |now: &&Value| now["id"] == delivery["id"];
                let now = of_now.iter().find(same).expect("it is still undelivered");
                assert_eq!(now["state"], delivery["state"], "{path}");
            }
        }
        for (key, order) in earlier.told["orders"].as_object().unwrap() {
            let again = initiator
                .http
                .post(format!("{}/v1/ceremonies", initiator.url))
                .bearer_auth(&initiator.key)
                .header("Idempotency-Key", key)
                .header("Content-Type", "application/json")
                .body(order["body"].as_str().unwrap().to_owned());
            let again: Value = again.send().await.unwrap().json().await.unwrap();
            assert_eq!(again["id"], order["id"], "{key}: {again}");
        }
        signs_in(&earlier, &running, &initiator).await;
        for (id, view) in earlier.ceremonies().filter(|(_, view)| !is_closed(view)) {
            // The one whose answer was with the FIDO2 server has ended by being taken up.
            if view["phase"] != "verifying" {
                initiator.delete(&format!("/v1/ceremonies/{id}")).await;
            }
            let Status::Ended(outcome) = initiator.outcome(id).await.status else { unreachable!() };
            let is_expected = match view["phase"].as_str().unwrap() {
                "verifying" => outcome == Outcome::Indeterminate,
                // Its challenge is asked for anew, of another FIDO2 server that does not know it.
                "preparing" => [Outcome::Failed, Outcome::Cancelled].contains(&outcome),
                _ => outcome == Outcome::Cancelled,
            };
            assert!(is_expected, "{version}: {id} was {view} and is {outcome:?}");
        }
        assert!(running.stop().await);
        is_found_whole(&earlier).await;
    }
}

/// With the phone and the card of that version.
async fn signs_in(earlier: &Earlier, running: &RunningServer, initiator: &Initiator) {
    let path = earlier.home.data_dir().with_file_name("ada.json");
    let mut state = PhoneState::load(&path).unwrap().unwrap();
    let socket = initiator.url.replacen("http", "ws", 1);
    state.paired.socket_url = format!("{socket}/v1/device/socket");
    let card = SoftCard::from_json(state.card.as_ref().unwrap().get()).unwrap();
    let card = Arc::new(StoredCard::new(card, state.clone(), path));
    let codes = Codes::default();
    let (handle, events) = Phone::new(state.paired, card, Arc::new(codes.clone()))
        .with_faults(Faults::none())
        .connect(running.tasks());
    let mut phone = TestPhone { handle, events, codes };
    phone.until(|event| matches!(event, PhoneEvent::Connected { .. })).await;
    let order = json!({ "type": "authentication", "username": "ada", "prior_auth": "session" });
    let opened = initiator.open(&order).await;
    phone.types(&opened);
    let view = initiator.outcome(opened.id).await;
    assert_eq!(view.status, Status::Ended(Outcome::Succeeded), "{view:?}");
}

/// `doctor` and `audit verify` find nothing wrong.
async fn is_found_whole(earlier: &Earlier) {
    let jwks = earlier.home.data_dir().with_file_name("jwks.json");
    let published = &earlier.told["get"]["/.well-known/jwks.json"];
    std::fs::write(&jwks, published.to_string()).unwrap();
    let jwks = jwks.to_str().unwrap();
    for arguments in [&["doctor"][..], &["audit", "verify", "--jwks", jwks]] {
        earlier.home.run(arguments).await.stdout();
    }
}

#[tokio::test]
async fn what_an_earlier_version_left_open_ends_at_once_when_its_time_is_over() {
    for version in VERSIONS {
        let Some(earlier) = Earlier::unpacked(version).await else { return };
        let (running, initiator) = earlier.served(3600 * SECOND).await;
        what_had_ended_is_as_it_was(&earlier, &initiator).await;
        for (id, view) in earlier.ceremonies().filter(|(_, view)| !is_closed(view)) {
            let outcome = initiator.outcome(id).await.status;
            let expected = match view["phase"] == "verifying" {
                true => Outcome::Indeterminate,
                false => Outcome::Expired,
            };
            assert_eq!(outcome, Status::Ended(expected), "{version}: {id} was {view}");
        }
        assert!(running.stop().await);
    }
}

#[tokio::test]
async fn what_an_earlier_version_kept_for_a_time_is_removed_after_it_and_nothing_else() {
    for version in VERSIONS {
        let Some(earlier) = Earlier::unpacked(version).await else { return };
        let (running, _) = earlier.served(SECOND).await;
        let lasting = [Bucket::Devices, Bucket::Users, Bucket::Clients, Bucket::ApiKeys];
        let lasting =
            [&lasting[..], &[Bucket::Credentials, Bucket::Keys, Bucket::Webhooks]].concat();
        let before = counts(&running, &lasting).await;
        assert!(running.stop().await);
        let (running, _) = earlier.served(30 * DAY).await;
        // It sweeps by itself too.
        running.relay().sweep().await.unwrap();
        assert_eq!(counts(&running, &lasting).await, before);
        let gone =
            [Bucket::Idempotency, Bucket::Pairings, Bucket::EventTickets, Bucket::Assertions];
        assert_eq!(counts(&running, &gone).await, [0; 4]);
        // One that was being verified had ended at once, as interrupted.
        let open = |view: &Value| !is_closed(view) && view["phase"] != "verifying";
        let open = earlier.ceremonies().filter(|(_, view)| open(view)).count();
        assert_eq!(counts(&running, &[Bucket::Ceremonies]).await, [open], "they end now");
        assert!(running.stop().await);
    }
}

async fn counts(running: &RunningServer, buckets: &[Bucket]) -> Vec<usize> {
    let store = &running.relay().dependencies().store;
    let counts =
        buckets.iter().map(|bucket| async move { store.list(*bucket, "").await.unwrap().len() });
    futures::future::join_all(counts).await
}
