//! The whole relay on a disk that fails and comes back: what is refused, what stays, and that
//! nothing which was acknowledged is lost.

use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fido_relay::backends::embedded::{FileStore, StoreFile, StoreOptions};
use fido_relay::ports::Store;
use fido_relay::serve;
use fido_relay_proto::device::FrameErrorCode;
use fido_relay_proto::http::Status;
use fido_relay_proto::{Outcome, Phase};
use fido_relay_rig::phone::{Decision, Faults, PhoneEvent};
use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::support::accepting_server::{
    CREATION_OPTIONS, accepted_answer, completions, is_completion, upstream_at,
};
use crate::support::child_relay::{ChildRelay, Home};
use crate::support::relay::{Initiator, TestRelay};
use crate::support::scripted_upstream::{Answer, Reply, ScriptedUpstream};

/// A disk that refuses every write while a flag is set.
#[derive(Clone, Debug, Default)]
struct Disk {
    full: Arc<AtomicBool>,
}

impl Disk {
    fn check(&self) -> std::io::Result<()> {
        match self.full.load(Ordering::SeqCst) {
            true => Err(std::io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }

    fn store(&self, directory: &TempDir) -> Arc<dyn Store> {
        Arc::new(self.file_store(directory))
    }

    fn file_store(&self, directory: &TempDir) -> FileStore {
        let path = directory.path().join("store.redb");
        let (tables, disk) = (path.clone(), self.clone());
        let open = move |part: StoreFile| {
            let mut options = std::fs::OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            let file = options.open(part.file(&tables))?;
            let inner = FileBackend::new(file).map_err(std::io::Error::other)?;
            Ok(Box::new(OnDisk { inner, disk: disk.clone() }) as Box<dyn StorageBackend>)
        };
        FileStore::open_by(&path, StoreOptions::default(), open).unwrap()
    }

    fn fills_up(&self) {
        self.full.store(true, Ordering::SeqCst);
    }

    fn has_room_again(&self) {
        self.full.store(false, Ordering::SeqCst);
    }
}

#[derive(Debug)]
struct OnDisk {
    inner: FileBackend,
    disk: Disk,
}

impl StorageBackend for OnDisk {
    fn len(&self) -> std::io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.disk.check()?;
        self.inner.set_len(len)
    }

    fn sync_data(&self) -> std::io::Result<()> {
        self.disk.check()?;
        self.inner.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.disk.check()?;
        self.inner.write(offset, data)
    }

    fn close(&self) -> std::io::Result<()> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }
}

/// Agrees with every registration.
fn registrar() -> ScriptedUpstream {
    ScriptedUpstream::listening(|number, request| {
        Reply::Answer(match is_completion(request) {
            true => accepted_answer(number, request),
            false => Answer::json(200, CREATION_OPTIONS).with("Set-Cookie", "session=1"),
        })
    })
}

fn registration(username: &str, binding: &str) -> Value {
    json!({ "type": "registration", "username": username, "binding": binding })
}

async fn refused_for_now(response: reqwest::Response) {
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
    let problem: Value = response.json().await.unwrap();
    assert_eq!(problem["code"], "unavailable", "{problem}");
}

/// The relay says by itself that it is ready.
async fn ready(bank: &Initiator) {
    let asked = async {
        while bank.get("/readyz").await.status() != 200 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(10), asked).await.expect("ready again");
}

#[tokio::test]
async fn an_answer_that_meets_a_full_disk_is_accepted_once_there_is_room() {
    let (directory, disk, server) = (tempfile::tempdir().unwrap(), Disk::default(), registrar());
    let relay = TestRelay::start_on(disk.store(&directory), upstream_at(&server.url())).await;
    let bank = relay.initiator().await;
    let mut phone = relay.phone(&bank, "ada").await;
    let waiting = bank.open(&registration("grace", "code")).await;

    let before_the_card = Faults { withhold_card: true, ..Default::default() };
    let paired = relay.pair(&bank, "edith").await;
    let mut edith = relay.connect(paired, before_the_card).await;
    let opened = bank.open(&registration("edith", "none")).await;
    edith.until(|event| matches!(event, PhoneEvent::Challenged { .. })).await;

    disk.fills_up();
    edith.handle.decide(opened.id, Decision::HoldCard).await;
    let refused = edith
        .until(|event| matches!(event, PhoneEvent::Refused { .. } | PhoneEvent::Accepted { .. }))
        .await;
    let is_unavailable =
        matches!(refused, PhoneEvent::Refused { code: FrameErrorCode::Unavailable, .. });
    assert!(is_unavailable, "{refused:?}");
    // The phone sends it again by itself, and it is refused again.
    edith.until(|event| matches!(event, PhoneEvent::Answered { .. })).await;
    assert_eq!(completions(&server), 0, "what is not stored is not handed in");
    for _ in 0..3 {
        refused_for_now(bank.post("/v1/ceremonies", &registration("ada", "code")).await).await;
    }
    refused_for_now(bank.get("/readyz").await).await;
    assert_eq!(bank.get("/healthz").await.status(), 200);

    disk.has_room_again();
    let done = |event: &PhoneEvent| {
        assert!(!matches!(event, PhoneEvent::Disconnected { .. }), "{event:?}");
        matches!(event, PhoneEvent::Closed { outcome: Outcome::Succeeded, .. })
    };
    edith.until(done).await;
    let view = bank.outcome(opened.id).await;
    assert_eq!(view.status, Status::Ended(Outcome::Succeeded));
    assert_eq!(completions(&server), 1);

    ready(&bank).await;
    assert_eq!(bank.read(waiting.id).await.phase, Phase::Offered, "it was acknowledged: it stays");
    let next = bank.open(&registration("ada", "none")).await;
    phone.until(done).await;
    assert_eq!(bank.outcome(next.id).await.status, Status::Ended(Outcome::Succeeded));
    assert!(relay.running.stop().await);
}

/// Only a write learns that the disk is full. Until one does, reads go on.
#[tokio::test]
async fn reads_answer_on_a_full_disk_until_the_file_itself_must_be_mended() {
    let (directory, disk, server) = (tempfile::tempdir().unwrap(), Disk::default(), registrar());
    let relay = TestRelay::start_on(disk.store(&directory), upstream_at(&server.url())).await;
    let bank = relay.initiator().await;
    let opened = bank.open(&registration("ada", "code")).await;
    disk.fills_up();
    for _ in 0..10 {
        assert_eq!(bank.read(opened.id).await.phase, Phase::Offered);
    }
    disk.has_room_again();
    bank.open(&registration("ada", "code")).await;
}

/// Nothing is opened here: readiness finds out by itself, in both directions.
#[tokio::test]
async fn readiness_follows_the_disk_without_any_traffic() {
    let (directory, disk, server) = (tempfile::tempdir().unwrap(), Disk::default(), registrar());
    let store = Arc::new(disk.file_store(&directory).always_trying());
    let relay = TestRelay::start_on(store, upstream_at(&server.url())).await;
    let bank = relay.initiator().await;
    assert_eq!(bank.get("/readyz").await.status(), 200);
    disk.fills_up();
    for _ in 0..3 {
        refused_for_now(bank.get("/readyz").await).await;
    }
    disk.has_room_again();
    ready(&bank).await;
    bank.open(&registration("ada", "code")).await;
}

/// The real program, whose every write to a file is refused by the system as on a full disk.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_program_that_cannot_write_is_not_ready_and_is_again_once_it_can() {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};

    // The audit log would make it unready for a reason of its own.
    let home = Home::new(&[("FIDO_RELAY_AUDIT__ENABLED", "false")]);
    let key = home.api_key().await;
    let relay = ChildRelay::start(&home).await;
    let bank = relay.initiator(&key);
    let id = Pid::from_raw(relay.id().try_into().unwrap());
    let files_up_to = |current| {
        prlimit(id, Resource::Fsize, Rlimit { current, maximum: None }).unwrap();
    };
    assert_eq!(bank.get("/readyz").await.status(), 200);
    files_up_to(Some(1));
    refused_for_now(bank.post("/v1/ceremonies", &registration("ada", "code")).await).await;
    refused_for_now(bank.get("/readyz").await).await;
    files_up_to(None);
    ready(&bank).await;
    bank.open(&registration("ada", "code")).await;
    relay.kill().await;
}

#[tokio::test]
async fn nobody_is_told_that_a_node_is_ready_before_its_admin_socket_answers() {
    let directory = tempfile::tempdir().unwrap();
    let port = [("FIDO_RELAY_LISTEN", "127.0.0.1:0")];
    let mut config = fido_relay::config::from_texts(None, &port).unwrap().config;
    config.data_dir = directory.path().to_path_buf();
    let listener = serve::bind(&config).unwrap();
    let prepared = serve::prepare(config, listener).await.unwrap();
    let url = format!("{}/readyz", prepared.running().url());
    let ask = crate::support::relay::http().get(&url).send();
    let mut ask = std::pin::pin!(ask);
    assert!(timeout(Duration::from_millis(100), ask.as_mut()).await.is_err(), "it answers");
    prepared.running().serve_admin().unwrap();
    let running = prepared.open().unwrap();
    assert_eq!(ask.await.unwrap().status(), 200);
    assert!(running.stop().await);
}

async fn start_error(data_dir: &Path) -> String {
    let port = [("FIDO_RELAY_LISTEN", "127.0.0.1:0")];
    let mut config = fido_relay::config::from_texts(None, &port).unwrap().config;
    config.data_dir = data_dir.to_path_buf();
    let listener = serve::bind(&config).unwrap();
    serve::start(config, listener).await.unwrap_err().to_string()
}

#[tokio::test]
async fn a_data_directory_that_cannot_be_is_named_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("file"), b"").unwrap();
    let impossible = directory.path().join("file/data");
    let said = start_error(&impossible).await;
    assert!(said.contains(&*impossible.to_string_lossy()), "{said}");
    assert!(said.starts_with("cannot open"), "{said}");
}

/// Not even root makes directories there.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_data_directory_on_a_read_only_place_is_named_at_the_start() {
    let said = start_error(Path::new("/proc/self/data")).await;
    assert!(said.starts_with("cannot open /proc/self/data"), "{said}");
}
