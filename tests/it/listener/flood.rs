//! Ten thousand connections that never come to the point, and people who want to sign in meanwhile.
//!
//! The relay is a process of its own, so that the crowd, which is simulated here, takes processor
//! time from it as strangers' machines would not, but shares no thread with it. The crowd comes
//! from 250 addresses, none of which has more connections than it may; only the rate of the node
//! is raised, since at its default three quarters of the crowd would not even come in.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fido_relay::tasks::Tasks;
use fido_relay_proto::{Outcome, RelayFrame};
use fido_relay_rig::phone::Paired;
use futures::stream::{self, StreamExt as _};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::support::accepting_server::{CREDENTIAL, accepting_server};
use crate::support::child_relay::{self, ChildRelay, Home};
#[cfg(target_os = "linux")]
use crate::support::kernel;
use crate::support::raw_socket::UPGRADE;
use crate::support::relay::Initiator;
use crate::support::wire_phone::WirePhone;

const CROWD: usize = 10_000;
const ADDRESSES: usize = 250;
/// The deadline of all, and what a busy machine may add to it.
const GONE_WITHIN: Duration = Duration::from_secs(10);
const GRACE: Duration = Duration::from_secs(5);
/// People, each with a phone. Each signs in a few times only.
const PEOPLE: usize = 60;
/// Sign-ins of which a 99th percentile is taken, and the time from one to the next.
const WINDOW: usize = 100;
const PACE: Duration = Duration::from_millis(15);
/// Files and threads that may be more after the flood than before: pools breathe.
#[cfg(target_os = "linux")]
const SPARE: usize = 16;
/// From one byte of a dribbling stranger to its next.
const DRIBBLE: Duration = Duration::from_secs(3);

/// How a stranger behaves: what it says at once, and what it says byte after byte.
fn behaviour(number: usize) -> (Vec<u8>, &'static [u8]) {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    match number % 10 {
        0..3 => (Vec::new(), b""),
        // To a listener without TLS this is no request at all: it is gone at once.
        3 => (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), b""),
        4 | 5 => (Vec::new(), PREFACE),
        6 | 7 => {
            (b"GET /healthz HTTP/1.1\r\nHost: relay\r\nX-Long: ".to_vec(), b"aaaaaaaaaaaaaaaa")
        }
        8 => {
            let mut upgrade = "GET /v1/device/socket HTTP/1.1\r\nHost: relay\r\n".to_owned();
            for (name, value) in UPGRADE {
                upgrade.push_str(&format!("{name}: {value}\r\n"));
            }
            ((upgrade + "\r\n").into_bytes(), b"")
        }
        _ => (PREFACE.to_vec(), b""),
    }
}

#[derive(Debug, Default)]
struct Crowd {
    here: AtomicUsize,
    came: AtomicUsize,
}

impl Crowd {
    async fn come(self: Arc<Self>, relay: SocketAddr, tasks: Tasks) {
        let connecting = stream::iter(0..CROWD).map(|number| async move {
            let last = u8::try_from(1 + number % ADDRESSES).unwrap();
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(SocketAddr::from(([127, 1, 0, last], 0))).unwrap();
            (number, socket.connect(relay).await.unwrap())
        });
        let mut connecting = connecting.buffer_unordered(128);
        while let Some((number, stream)) = connecting.next().await {
            self.here.fetch_add(1, Ordering::Relaxed);
            self.came.fetch_add(1, Ordering::Relaxed);
            tasks.spawn_untraced(Arc::clone(&self).stay(number, stream));
        }
    }

    /// Holds the connection for as long as the relay does.
    async fn stay(self: Arc<Self>, number: usize, mut stream: TcpStream) {
        let (at_once, dribble) = behaviour(number);
        let _ = stream.write_all(&at_once).await;
        let mut bytes = dribble.iter();
        let mut pace = interval(DRIBBLE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = [0; 512];
        loop {
            tokio::select! {
                read = stream.read(&mut heard) => if !matches!(read, Ok(1..)) { break },
                _ = pace.tick(), if !bytes.as_slice().is_empty() => {
                    let Some(byte) = bytes.next() else { continue };
                    let _ = stream.write_all(&[*byte]).await;
                }
            }
        }
        self.here.fetch_sub(1, Ordering::Relaxed);
    }

    fn here(&self) -> usize {
        self.here.load(Ordering::Relaxed)
    }
}

struct People {
    initiator: Initiator,
    phones: Vec<(String, WirePhone)>,
    next: usize,
}

impl People {
    async fn with_phones(initiator: Initiator) -> Self {
        let mut phones = Vec::new();
        for number in 0..PEOPLE {
            let username = format!("person-{number}");
            let (paired, _): (Paired, _) = child_relay::pair(&initiator, &username).await;
            phones.push((username, WirePhone::connect(paired).await));
        }
        Self { initiator, phones, next: 0 }
    }

    /// The next person signs in; how long it took, from the page to the end on the phone.
    async fn sign_in(&mut self) -> Duration {
        let next = self.next;
        self.next = (next + 1) % PEOPLE;
        let (username, phone) = &mut self.phones[next];
        let began = Instant::now();
        let order = json!({ "type": "authentication", "username": username });
        let opened = self.initiator.open(&order).await;
        assert_eq!(phone.offer().await.ceremony_id, opened.id);
        phone.claim(opened.id, &opened.code.unwrap()).await;
        let challenge = phone.challenge().await;
        phone.answer(opened.id, challenge.attempt, CREDENTIAL).await;
        let (mut accepted, mut closed) = (false, false);
        while !(accepted && closed) {
            match phone.next().await {
                RelayFrame::Accepted { .. } => accepted = true,
                RelayFrame::Closed { outcome, .. } => closed = outcome == Outcome::Succeeded,
                other => panic!("{other:?}"),
            }
        }
        began.elapsed()
    }

    /// The 99th percentile of a window of sign-ins.
    async fn window(&mut self) -> Duration {
        let mut took = Vec::new();
        for _ in 0..WINDOW {
            let began = Instant::now();
            took.push(self.sign_in().await);
            sleep_until(began + PACE).await;
        }
        took.sort_unstable();
        took[WINDOW * 99 / 100]
    }
}

/// This process and the relay, which inherits it, need a descriptor for each connection.
fn allow_open_files() {
    let needed = 2 * u64::try_from(CROWD).unwrap();
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some_and(|current| current < needed) {
        let enough = maximum.map_or(needed, |maximum| maximum.min(needed));
        assert!(enough > 12_000, "this test needs 12,000 open files, and may have {enough}");
        setrlimit(Resource::Nofile, Rlimit { current: Some(enough), maximum }).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "compares times: `./check` runs it with nothing beside it"]
async fn ten_thousand_who_never_come_to_the_point_are_gone_and_nobody_waits_for_them() {
    allow_open_files();
    let upstream = accepting_server();
    let url = upstream.url();
    let home = Home::new(&[
        ("FIDO_RELAY_UPSTREAM__URL", &url),
        ("FIDO_RELAY_TENANT__RP_ID", "localhost"),
        // So that all of them last as long as any may.
        ("FIDO_RELAY_LIMITS__HEADERS_S", "10"),
        ("FIDO_RELAY_LIMITS__HANDSHAKES_PER_S_PER_NODE", "100000"),
        // More windows fit into the flood the faster the relay is: the same people sign in again.
        ("FIDO_RELAY_PROMPTS__PER_HOUR", "100000"),
        ("FIDO_RELAY_LOG__LEVEL", "warn,fido_relay::cli::serve=info"),
    ]);
    let key = home.api_key().await;
    let tasks = Tasks::default();
    let relay = ChildRelay::start(&home).await;
    let mut people = People::with_phones(relay.initiator(&key)).await;
    let calm = people.window().await.max(people.window().await);
    #[cfg(target_os = "linux")]
    let before = relay.holds();

    let crowd = Arc::new(Crowd::default());
    let address = relay.url().strip_prefix("http://").unwrap().parse().unwrap();
    tasks.spawn_untraced(Arc::clone(&crowd).come(address, tasks.clone()));
    let came = async {
        let mut pace = interval(Duration::from_millis(20));
        while crowd.came.load(Ordering::Relaxed) < CROWD {
            pace.tick().await;
        }
    };
    tokio::time::timeout(GONE_WITHIN, came).await.expect("the crowd comes in");
    // Connections are accepted in their order: once this one has its answer, all have been.
    let mut last = super::from([127, 0, 0, 1], relay.url()).await;
    assert_eq!(super::asks(&mut last, "/healthz", &[]).await.status, 200);
    let gone_by = Instant::now() + GONE_WITHIN + GRACE;
    let most = crowd.here();
    assert!(most > CROWD * 8 / 10, "only {most} are held at once");
    let mut flooded = Vec::new();
    while crowd.here() > CROWD / 2 {
        let took = people.window().await;
        if crowd.here() > CROWD / 10 {
            flooded.push(took);
        }
    }
    let gone = async {
        let mut pace = interval(Duration::from_millis(20));
        while crowd.here() > 0 {
            pace.tick().await;
        }
    };
    let all_gone = tokio::time::timeout_at(gone_by, gone).await.is_ok();
    assert!(all_gone, "{} are still held", crowd.here());
    let best = flooded.iter().min().expect("people signed in during the flood");
    assert!(*best <= 2 * calm, "with the crowd {flooded:?}, without {calm:?}");
    people.sign_in().await;
    #[cfg(target_os = "linux")]
    kernel::becomes(
        "files and threads",
        || relay.holds(),
        |held| held.files <= before.files + SPARE && held.threads <= before.threads + SPARE,
    )
    .await;
    relay.kill().await;
    println!("{most} held at once; p99 with them {flooded:?}, without {calm:?}");
}
