//! SIGTERM with a thousand ceremonies open and a thousand phones connected: the process ends in
//! order and in time, the one after it has every ceremony, every phone comes back, and every
//! ceremony comes to its end, with one completion each.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fido_relay::app::clients::NewClient;
use fido_relay::app::devices::Device;
use fido_relay::backends::embedded::SystemClock;
use fido_relay::core::prompt_limits::CodeAttempts;
use fido_relay::ports::{Clock as _, Store};
use fido_relay::security::random;
use fido_relay::serve::DataDirectory;
use fido_relay::tasks::Tasks;
use fido_relay_proto::device::{CardErrorCode, Challenge};
use fido_relay_proto::http::{OpenedCeremony, Platform, Scope, Status};
use fido_relay_proto::{Binding, DeviceId, Outcome, PlainText, TenantId};
use fido_relay_rig::phone::{Backoff, Card, Codes, DeviceKey, Paired, Phone, PhoneEvent};
use futures::{StreamExt as _, stream};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpSocket;
use tokio::process::{Child, Command};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::support::acts::{add_device, at_rest, make_client};
use crate::support::agreeable::{CREDENTIAL, agreeable, completions};
use crate::support::relay::{Initiator, http};

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
struct AgreeableCard;

impl Card for AgreeableCard {
    fn sign(&self, _: &Challenge) -> Result<Box<RawValue>, CardErrorCode> {
        Ok(RawValue::from_string(CREDENTIAL.to_owned()).unwrap())
    }
}

/// What all phones together told.
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

/// What stays from one process to the next.
struct Place {
    data_dir: tempfile::TempDir,
    /// Bound and never listening: nobody else gets the port while no relay has it.
    _port: TcpSocket,
    address: SocketAddr,
    upstream: String,
}

impl Place {
    fn new(upstream: String) -> Self {
        let port = TcpSocket::new_v4().unwrap();
        port.set_reuseaddr(true).unwrap();
        port.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = port.local_addr().unwrap();
        Self { data_dir: tempfile::tempdir().unwrap(), _port: port, address, upstream }
    }

    fn path(&self) -> &Path {
        self.data_dir.path()
    }

    /// Initiators and paired phones, made before any relay runs.
    async fn people(&self) -> (Vec<Initiator>, Vec<Paired>) {
        let store: Arc<dyn Store> = Arc::new(DataDirectory::at(self.path()).open().unwrap());
        let (app, now) = (at_rest(Arc::clone(&store)), SystemClock.now());
        let tenant = TenantId::default();
        let mut initiators = Vec::new();
        for _ in 0..INITIATORS {
            let name = PlainText::new("Example Bank").unwrap();
            let (scopes, bindings) = (Scope::ALL.to_vec(), vec![Binding::Code]);
            let new = NewClient { tenant: tenant.clone(), name, scopes, bindings };
            let (_, key) = make_client(&app, new).await;
            let url = format!("http://{}", self.address);
            initiators.push(Initiator { url, key, http: http() });
        }
        let pair = |number: usize| {
            let (store, tenant) = (Arc::clone(&store), tenant.clone());
            async move {
                let key = DeviceKey::generate().unwrap();
                let device = Device {
                    id: DeviceId::from_bytes(random::bytes()),
                    tenant,
                    username: PlainText::new(&format!("user-{number}")).unwrap(),
                    jwk: key.jwk().clone(),
                    name: None,
                    platform: Platform::Other,
                    push: None,
                    paired_at: now,
                    revoked_at: None,
                    push_removed: None,
                    rotated: None,
                    tries: CodeAttempts::default(),
                };
                add_device(&*store, &device).await;
                let socket_url = format!("ws://{}/v1/device/socket", self.address);
                Paired { device_id: device.id, socket_url, key }
            }
        };
        let paired = stream::iter(0..PHONES).map(pair).buffered(200).collect().await;
        (initiators, paired)
    }

    /// Starts the relay and waits until it serves.
    async fn start(&self, tasks: &Tasks) -> Child {
        let mut child = Command::new(env!("CARGO_BIN_EXE_fido-relay"))
            .arg("serve")
            .current_dir(self.path())
            .env_clear()
            .env("FIDO_RELAY_DATA_DIR", self.path())
            .env("FIDO_RELAY_LISTEN", self.address.to_string())
            .env("FIDO_RELAY_UPSTREAM__URL", &self.upstream)
            .env("FIDO_RELAY_TENANT__RP_ID", "localhost")
            .env("FIDO_RELAY_LOG__FORMAT", "json")
            .env("FIDO_RELAY_LIMITS__UNAUTHENTICATED_PER_IP", "100000")
            .env("FIDO_RELAY_LIMITS__CONNECTIONS_PER_IP", "100000")
            .env("FIDO_RELAY_LIMITS__HANDSHAKES_PER_S_PER_IP", "100000")
            .env("FIDO_RELAY_LIMITS__HANDSHAKES_PER_S_PER_NODE", "100000")
            .env("FIDO_RELAY_LIMITS__OPENS_PER_S", "100000")
            .env("FIDO_RELAY_LIMITS__OPENS_BURST", "100000")
            .env("FIDO_RELAY_LIMITS__OPEN_PER_CLIENT", "100000")
            .env("FIDO_RELAY_LIMITS__ATTEMPTS_BURST", "100000")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let serves = async {
            while let Some(line) = log.next_line().await.unwrap() {
                if line.contains("\"listen\"") {
                    return true;
                }
            }
            false
        };
        assert_eq!(timeout(PATIENCE, serves).await, Ok(true), "the relay serves");
        // Read to its end, so that the relay never waits for it.
        let stopping = tasks.stopping().clone();
        let rest = async move { while let Ok(Some(_)) = log.next_line().await {} };
        tasks.spawn_untraced(async move {
            let _ = stopping.run_until_cancelled(rest).await;
        });
        child
    }
}

/// SIGTERM, by the program that operators use; gives how long the end took.
async fn terminate(mut relay: Child) -> Duration {
    let started = tokio::time::Instant::now();
    let told = Command::new("kill").arg(relay.id().unwrap().to_string()).status().await;
    assert!(told.unwrap().success());
    let ended = timeout(PATIENCE, relay.wait()).await.expect("the relay ends").unwrap();
    assert_eq!(ended.code(), Some(0));
    started.elapsed()
}

async fn status_of(initiator: &Initiator, opened: &OpenedCeremony) -> Status {
    initiator.read(opened.id).await.status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminated_relay_loses_no_open_ceremony_and_every_phone_finishes_on_the_next() {
    let upstream = agreeable();
    let place = Place::new(upstream.url());
    let (initiators, paired) = place.people().await;
    let (tasks, codes, told) = (Tasks::default(), Codes::default(), Arc::new(Told::default()));
    let relay = place.start(&tasks).await;

    let pace = Backoff { base: Duration::from_millis(100), cap: Duration::from_secs(1) };
    for paired in paired {
        let told = Arc::clone(&told);
        let phone = Phone::new(paired, Arc::new(AgreeableCard), Arc::new(codes.clone()));
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

    let took = terminate(relay).await;
    assert!(took <= EXIT_LIMIT, "{took:?}");
    assert!(told.count("going away") >= PHONES, "every phone was told first: {:?}", told.counts);

    let _relay = place.start(&tasks).await;
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
