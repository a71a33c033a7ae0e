//! SIGTERM with a thousand ceremonies open and a thousand phones connected: the process ends in
//! order and in time, the one after it has every ceremony, every phone comes back, and every
//! ceremony comes to its end, with one completion each.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fido_relay::app::devices::Device;
use fido_relay::backends::embedded::SystemClock;
use fido_relay::ports::{Clock as _, Store};
use fido_relay::serve::DataDirectory;
use fido_relay::tasks::Tasks;
use fido_relay_proto::Outcome;
use fido_relay_proto::device::{CardErrorCode, Challenge};
use fido_relay_proto::http::{OpenedCeremony, Status};
use fido_relay_rig::phone::{Backoff, Card, Codes, DeviceKey, Paired, Phone, PhoneEvent};
use futures::{StreamExt as _, stream};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use crate::support::accepting_server::{CREDENTIAL, accepting_server, completions};
use crate::support::actions::{add_device, device};
use crate::support::child_relay::{ChildRelay, Home};
use crate::support::own_port::OwnPort;
use crate::support::relay::Initiator;

const PHONES: usize = 1_000;
/// Each opens its share: what one may have open, or open at once, is limited.
const INITIATORS: usize = 10;
/// Calls under way at once.
const AT_ONCE: usize = 50;
/// Nothing that this test waits for takes longer, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// What is promised.
const EXIT_LIMIT: Duration = Duration::from_secs(30);

/// Signs without looking; the FIDO2 server of this test agrees with everything.
struct StubCard;

impl Card for StubCard {
    fn sign(&self, _: &Challenge) -> Result<Box<RawValue>, CardErrorCode> {
        Ok(RawValue::from_string(CREDENTIAL.to_owned()).unwrap())
    }
}

/// Events of all phones, counted.
#[derive(Debug, Default)]
struct Told {
    counts: Mutex<BTreeMap<String, usize>>,
    more: Notify,
}

impl Told {
    fn hears(&self, event: &PhoneEvent) {
        let name = match event {
            PhoneEvent::Connected { .. } => "connected".to_owned(),
            PhoneEvent::Offered { again, .. } => format!("offered, again: {again}"),
            PhoneEvent::GoingAway { .. } => "going away".to_owned(),
            PhoneEvent::Disconnected { code, .. } => format!("closed with {code:?}"),
            PhoneEvent::Closed { outcome, .. } => format!("ended as {outcome:?}"),
            PhoneEvent::Stopped(why) => format!("stopped: {why}"),
            PhoneEvent::Asleep
            | PhoneEvent::Woken { .. }
            | PhoneEvent::Reauthenticated
            | PhoneEvent::Noticed(_)
            | PhoneEvent::KeyRotated
            | PhoneEvent::KeyKept { .. }
            | PhoneEvent::Claimed { .. }
            | PhoneEvent::Challenged { .. }
            | PhoneEvent::Card { .. }
            | PhoneEvent::Answered { .. }
            | PhoneEvent::Accepted { .. }
            | PhoneEvent::Declined { .. }
            | PhoneEvent::TimedOut { .. }
            | PhoneEvent::Refused { .. }
            | PhoneEvent::Waiting { .. } => return,
        };
        *self.counts.lock().unwrap().entry(name).or_default() += 1;
        self.more.notify_waiters();
    }

    fn count(&self, name: &str) -> usize {
        self.counts.lock().unwrap().get(name).copied().unwrap_or(0)
    }

    async fn until(&self, name: &str, count: usize) {
        let wait = async {
            loop {
                let more = self.more.notified();
                if self.count(name) >= count {
                    return;
                }
                more.await;
            }
        };
        let came = timeout(PATIENCE, wait).await;
        assert!(came.is_ok(), "{count} times {name:?} did not come: {:?}", self.counts);
    }
}

fn home(upstream: &str, listen: &str) -> Home {
    let mut home = Home::new(&[
        ("FIDO_RELAY_LISTEN", listen),
        ("FIDO_RELAY_UPSTREAM__URL", upstream),
        ("FIDO_RELAY_TENANT__RP_ID", "localhost"),
    ]);
    for limit in [
        "FIDO_RELAY_LIMITS__UNAUTHENTICATED_PER_IP",
        "FIDO_RELAY_LIMITS__CONNECTIONS_PER_IP",
        "FIDO_RELAY_LIMITS__HANDSHAKES_PER_S_PER_IP",
        "FIDO_RELAY_LIMITS__HANDSHAKES_PER_S_PER_NODE",
        "FIDO_RELAY_LIMITS__OPENS_PER_S",
        "FIDO_RELAY_LIMITS__OPENS_BURST",
        "FIDO_RELAY_LIMITS__OPEN_PER_CLIENT",
        "FIDO_RELAY_LIMITS__ATTEMPTS_BURST",
    ] {
        home.set(limit, "100000");
    }
    home
}

/// Paired phones, made before any relay runs.
async fn paired(home: &Home, address: SocketAddr) -> Vec<Paired> {
    let store: Arc<dyn Store> = Arc::new(DataDirectory::at(&home.data_dir()).open().unwrap());
    let now = SystemClock.now();
    let pair = |number: usize| {
        let store = Arc::clone(&store);
        async move {
            let key = DeviceKey::generate().unwrap();
            let device = device(&format!("user-{number}"));
            let device = Device { jwk: key.jwk().clone(), paired_at: now, ..device };
            add_device(&*store, &device).await;
            let socket_url = format!("ws://{address}/v1/device/socket");
            Paired { device_id: device.id, socket_url, key }
        }
    };
    stream::iter(0..PHONES).map(pair).buffered(200).collect().await
}

async fn status_of(initiator: &Initiator, opened: &OpenedCeremony) -> Status {
    initiator.read(opened.id).await.status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminated_relay_loses_no_open_ceremony_and_every_phone_finishes_on_the_next() {
    let (upstream, port) = (accepting_server(), OwnPort::reserve());
    let home = home(&upstream.url(), &port.address.to_string());
    let mut keys = Vec::new();
    for _ in 0..INITIATORS {
        keys.push(home.api_key().await);
    }
    let paired = paired(&home, port.address).await;
    let (tasks, codes, told) = (Tasks::default(), Codes::default(), Arc::new(Told::default()));
    let relay = ChildRelay::start(&home).await;
    let initiators: Vec<_> = keys.iter().map(|key| relay.initiator(key)).collect();

    let pace = Backoff { base: Duration::from_millis(100), cap: Duration::from_secs(1) };
    for paired in paired {
        let told = Arc::clone(&told);
        let phone = Phone::new(paired, Arc::new(StubCard), Arc::new(codes.clone()));
        let _ = phone
            .with_backoff(pace)
            .connect_with(&tasks, Arc::new(move |_, event| told.hears(&event)));
    }
    told.until("connected", PHONES).await;
    let open = |number: usize| {
        let initiator = &initiators[number % INITIATORS];
        async move {
            let username = format!("user-{number}");
            let body = json!({ "type": "authentication", "username": username, "timeout_s": 600 });
            (initiator, initiator.open(&body).await)
        }
    };
    let opened: Vec<_> = stream::iter(0..PHONES).map(open).buffered(AT_ONCE).collect().await;
    told.until("offered, again: false", PHONES).await;

    let started = Instant::now();
    relay.stop().await;
    let took = started.elapsed();
    assert!(took <= EXIT_LIMIT, "{took:?}");
    assert!(told.count("going away") >= PHONES, "every phone was told first: {:?}", told.counts);

    let _relay = ChildRelay::start(&home).await;
    let still = stream::iter(&opened)
        .map(|(initiator, opened)| status_of(initiator, opened))
        .buffer_unordered(AT_ONCE)
        .filter(|status| std::future::ready(*status == Status::Pending))
        .count();
    assert_eq!(still.await, PHONES, "every ceremony is still open");

    for (_, opened) in &opened {
        codes.provide(opened.id, opened.code.clone().unwrap());
    }
    told.until("ended as Succeeded", PHONES).await;
    let ended = stream::iter(&opened)
        .map(|(initiator, opened)| status_of(initiator, opened))
        .buffer_unordered(AT_ONCE)
        .filter(|status| std::future::ready(*status == Status::Ended(Outcome::Succeeded)))
        .count();
    assert_eq!(ended.await, PHONES);
    assert_eq!(completions(&upstream), PHONES, "one completion each");
    assert!(tasks.stop(Duration::from_secs(20)).await);
}
