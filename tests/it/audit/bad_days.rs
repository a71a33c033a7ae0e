//! What befalls an audit log between commit and file, and to the files: each is either made good or
//! said in the log.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fido_relay::app::audit::{self, Difference, Settings};
use fido_relay::app::ceremonies::{AdvanceError, OpenError, OpenRequest};
use fido_relay::backends::embedded::{FileStore, MemoryStore, SystemClock};
use fido_relay::core::ceremony::Event;
use fido_relay::ports::{
    Batch, Bucket, Clock as _, ExportHealth, SecurityEvent, SecurityEventKind, Store,
};
use fido_relay::serve::due_rules;
use fido_relay_proto::{AttemptId, Binding, ClientId, TenantId};
use serde_json::Value;

use super::crash::{PHONE, drive, play, stored};
use super::{files, jwks, lines, quick_directory, signer, start, trail, try_start, verify};
use crate::support::bare_relay::BareRelay;

fn settings(directory: &Path) -> Settings {
    Settings::new(directory.to_path_buf())
}

async fn say(store: &dyn Store, number: u32) {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&number.to_be_bytes());
    let what = SecurityEventKind::ClientMade { client_id: ClientId::from_bytes(id) };
    let event = SecurityEvent::new(TenantId::default(), SystemClock.now(), what);
    store.commit(Batch::new().entry(event.entry())).await.unwrap();
}

fn entries(directory: &Path, event: &str) -> Vec<Value> {
    let all = lines(directory).into_iter().map(|line| serde_json::from_str(&line).unwrap());
    all.filter(|entry: &Value| entry["event"] == event).collect()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

fn put_back(from: &Path, to: &Path) {
    std::fs::remove_dir_all(to).unwrap();
    copy(from, to);
}

#[tokio::test]
async fn what_was_committed_while_nothing_exported_is_in_the_log_after_the_next_start() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let directory = quick_directory();
    assert!(start(&store, settings(directory.path())).await.close().await);
    play(&BareRelay::start(Arc::clone(&store)).await).await;
    assert!(start(&store, settings(directory.path())).await.close().await);
    for ceremony in stored(&store).await {
        trail::assert_complete(directory.path(), &ceremony);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_is_a_hundred_thousand_entries_behind_catches_up() {
    const BEHIND: usize = 100_000;
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let keys = jwks(&signer(&*store).await);
    let directory = quick_directory();
    assert!(start(&store, settings(directory.path())).await.close().await);
    for number in 0..u32::try_from(BEHIND).unwrap() {
        say(&*store, number).await;
    }
    let audit = start(&store, settings(directory.path())).await;
    audit.caught_up().await.unwrap();
    assert!(audit.close().await);
    verify(directory.path(), &keys, None).unwrap();
    let mut told = entries(directory.path(), "client_made");
    assert_eq!(told.len(), BEHIND);
    told.dedup_by_key(|entry| entry["client_id"].clone());
    assert_eq!(told.len(), BEHIND, "each once");
}

/// Every line begins a segment, and the next one is a disk that is full.
#[cfg(target_os = "linux")]
fn fill_the_disk(directory: &Path) -> std::path::PathBuf {
    let next = lines(directory).len() + 1;
    let full = directory.join(format!("{next:020}.jsonl"));
    std::os::unix::fs::symlink("/dev/full", &full).unwrap();
    full
}

#[cfg(target_os = "linux")]
async fn until(audit: &audit::Audit, wanted: ExportHealth) {
    audit.health().wait_for(|health| *health == wanted).await.unwrap();
}

#[cfg(target_os = "linux")]
#[tokio::test(start_paused = true)]
async fn with_required_nothing_new_begins_once_the_disk_is_full_for_a_minute_and_nothing_is_lost() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let keys = jwks(&signer(&*store).await);
    let directory = quick_directory();
    let settings =
        Settings { segment_bytes: Some(1), required: true, ..settings(directory.path()) };
    let audit = start(&store, settings).await;
    audit.caught_up().await.unwrap();
    let full = fill_the_disk(directory.path());
    let relay = BareRelay::start_with(Arc::clone(&store), audit.health()).await;
    let order = || OpenRequest { request: relay.request(Binding::None), idempotency: None };
    let first = relay.open(Binding::None, None).await;
    until(&audit, ExportHealth::Failing).await;
    tokio::time::sleep(Duration::from_secs(50)).await;
    let second = relay.open(Binding::Code, None).await;
    until(&audit, ExportHealth::Blocking).await;
    let refused = relay.relay.ceremonies.open(order()).await;
    assert!(matches!(refused, Err(OpenError::Unavailable(_))), "{refused:?}");
    let claim = Event::Claim {
        device: PHONE,
        attempt: AttemptId::from_bytes([1; 16]),
        code: "123456".to_owned(),
        same_network: None,
    };
    let refused = relay.relay.ceremonies.advance(&second, claim).await;
    assert!(matches!(refused, Err(AdvanceError::Unavailable(_))), "{refused:?}");
    // What approves nothing goes on, for an hour.
    drive(&relay, &first, Event::Cancel).await;
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    std::fs::remove_file(&full).unwrap();
    until(&audit, ExportHealth::Healthy).await;
    relay.relay.ceremonies.open(order()).await.unwrap();
    audit.caught_up().await.unwrap();
    assert!(audit.close().await);
    verify(directory.path(), &keys, None).unwrap();
    for ceremony in stored(&store).await {
        trail::assert_complete(directory.path(), &ceremony);
    }
    assert_eq!(entries(directory.path(), "gap"), [Value::Null; 0]);
}

#[cfg(target_os = "linux")]
#[tokio::test(start_paused = true)]
async fn without_required_ceremonies_go_on_and_the_log_says_how_many_entries_were_left_out() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let keys = jwks(&signer(&*store).await);
    let directory = quick_directory();
    let settings =
        Settings { segment_bytes: Some(1), backlog_bytes: 100_000, ..settings(directory.path()) };
    let audit = start(&store, settings.clone()).await;
    audit.caught_up().await.unwrap();
    let full = fill_the_disk(directory.path());
    let relay = BareRelay::start_with(Arc::clone(&store), audit.health()).await;
    let mut said = 0;
    for minute in 0..60 {
        for _ in 0..50 {
            say(&*store, said).await;
            said += 1;
        }
        relay.open_for(&format!("user {minute}"), Binding::None, None).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(*audit.health().borrow(), ExportHealth::Failing, "ceremonies go on");
    }
    // A stop in the middle of it loses nothing more: what waits is in the journal.
    assert!(!audit.close().await);
    std::fs::remove_file(&full).unwrap();
    let audit = start(&store, settings).await;
    audit.caught_up().await.unwrap();
    assert!(audit.close().await);
    verify(directory.path(), &keys, None).unwrap();
    let gaps = entries(directory.path(), "gap");
    let left_out: u64 = gaps.iter().map(|gap| gap["entries"].as_u64().unwrap()).sum();
    let is = |entry: &Value| entry.get("position").is_some() && entry["event"] != "gap";
    let own = ["started", "stopped", "checkpoint"].map(Value::from);
    let kept = lines(directory.path()).into_iter().map(|line| serde_json::from_str(&line).unwrap());
    let kept = kept.filter(|entry: &Value| is(entry) && !own.contains(&entry["event"])).count();
    let journal: usize = {
        let mut rows = 0;
        let mut at = fido_relay::ports::Position::default();
        loop {
            let some = store.journal(at, 1_000).await.unwrap();
            let Some(last) = some.last() else { break rows };
            at = last.position;
            rows += some.iter().map(|row| row.entries.len()).sum::<usize>();
        }
    };
    assert!(left_out > 1_000, "{left_out}");
    assert_eq!(u64::try_from(kept).unwrap() + left_out, u64::try_from(journal).unwrap());
}

#[tokio::test]
async fn a_log_that_was_cut_off_removed_or_replaced_is_found_at_the_next_start() {
    for (done, found) in [
        ("nothing", None),
        ("cut", Some(Difference::Cut)),
        ("gone", Some(Difference::Gone)),
        ("put back", Some(Difference::Cut)),
        ("another", Some(Difference::Replaced)),
        ("changed", Some(Difference::Replaced)),
    ] {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let keys = jwks(&signer(&*store).await);
        let (place, earlier) = (quick_directory(), quick_directory());
        let directory = place.path().join("audit");
        let run = async |number| {
            let audit = start(&store, settings(&directory)).await;
            say(&*store, number).await;
            audit.caught_up().await.unwrap();
            assert!(audit.close().await);
        };
        run(1).await;
        copy(&directory, earlier.path());
        run(2).await;
        let file = files(&directory).remove(0);
        let text = std::fs::read_to_string(&file).unwrap();
        match done {
            "nothing" => {}
            "cut" => {
                let kept: Vec<_> = text.lines().take(5).collect();
                std::fs::write(&file, kept.join("\n") + "\n").unwrap();
            }
            "gone" => std::fs::remove_dir_all(&directory).unwrap(),
            "put back" => put_back(earlier.path(), &directory),
            "another" => {
                std::fs::remove_dir_all(&directory).unwrap();
                let other: Arc<dyn Store> = Arc::new(MemoryStore::new());
                for number in 0..5 {
                    let audit = start(&other, settings(&directory)).await;
                    say(&*other, number).await;
                    assert!(audit.close().await);
                }
            }
            _ => {
                let last = text.lines().last().unwrap();
                std::fs::write(&file, text.replace(last, &last.replacen('A', "B", 1))).unwrap();
            }
        }
        let compared = audit::compare(&directory, &*store).await.unwrap();
        assert_eq!(compared, found, "{done}: as doctor sees it");
        run(3).await;
        let restarted = entries(&directory, "log_restarted");
        let is: Vec<_> = restarted.iter().map(|entry| entry["found"].as_str().unwrap()).collect();
        let should: Vec<_> = found.iter().map(|found| found.as_str()).collect();
        assert_eq!(is, should, "{done}");
        if done != "another" && done != "changed" {
            verify(&directory, &keys, None).unwrap();
        }
        assert_eq!(audit::compare(&directory, &*store).await.unwrap(), None);
        run(4).await;
        assert_eq!(entries(&directory, "log_restarted").len(), should.len(), "said once");
    }
}

/// A store and a log, each in a directory of its own.
struct Kept {
    store: tempfile::TempDir,
    log: tempfile::TempDir,
}

impl Kept {
    fn new() -> Self {
        Self { store: quick_directory(), log: quick_directory() }
    }

    fn open(&self) -> Arc<dyn Store> {
        let path = self.store.path().join("relay.redb");
        Arc::new(FileStore::open(&path, &due_rules()).unwrap())
    }

    /// Runs a log over the store while these entries are made.
    async fn run(&self, numbers: std::ops::Range<u32>, settings: Settings) {
        let store = self.open();
        let audit = start(&store, settings).await;
        for number in numbers {
            say(&*store, number).await;
        }
        audit.caught_up().await.unwrap();
        assert!(audit.close().await);
    }
}

#[tokio::test]
async fn a_store_that_was_put_back_is_found_by_the_log() {
    let (now, earlier) = (Kept::new(), quick_directory());
    now.run(0..5, settings(now.log.path())).await;
    copy(now.store.path(), earlier.path());
    now.run(5..50, settings(now.log.path())).await;
    put_back(earlier.path(), now.store.path());
    now.run(50..55, settings(now.log.path())).await;
    let found = entries(now.log.path(), "store_put_back");
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(entries(now.log.path(), "client_made").len(), 55, "each once");
    // What is committed while no relay exports is entered behind it by the next start.
    let store = now.open();
    for number in 55..60 {
        say(&*store, number).await;
    }
    drop(store);
    now.run(60..65, settings(now.log.path())).await;
    assert_eq!(entries(now.log.path(), "store_put_back").len(), 1, "said once");
    assert_eq!(entries(now.log.path(), "client_made").len(), 65);
}

#[tokio::test]
async fn a_start_that_cannot_write_what_it_found_leaves_that_to_the_next_one() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let (place, clock) = (quick_directory(), Arc::new(SystemClock));
    let directory = place.path().join("audit");
    let audit = start(&store, settings(&directory)).await;
    say(&*store, 1).await;
    audit.caught_up().await.unwrap();
    assert!(audit.close().await);
    std::fs::remove_dir_all(&directory).unwrap();
    let in_the_way = directory.join("00000000000000000001.jsonl");
    std::fs::create_dir_all(&in_the_way).unwrap();
    try_start(&store, settings(&directory), clock).await.expect_err("a directory is no file");
    std::fs::remove_dir(&in_the_way).unwrap();
    assert!(start(&store, settings(&directory)).await.close().await);
    assert_eq!(entries(&directory, "log_restarted").len(), 1);
}

#[tokio::test]
async fn what_was_done_while_a_relay_ran_without_its_log_is_a_gap_in_it() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let keys = jwks(&signer(&*store).await);
    let directory = quick_directory();
    assert!(start(&store, settings(directory.path())).await.close().await);
    audit::pass_over(Arc::clone(&store)).await.unwrap();
    say(&*store, 1).await;
    // As that relay does, which keeps no entry for a log that is off.
    for (key, row) in store.list(Bucket::Journal, "").await.unwrap() {
        store.remove(Bucket::Journal, &key, row.revision).await.unwrap();
    }
    let audit = start(&store, settings(directory.path())).await;
    say(&*store, 2).await;
    audit.caught_up().await.unwrap();
    assert!(audit.close().await);
    let gaps = entries(directory.path(), "gap");
    assert!(matches!(&gaps[..], [gap] if gap["entries"].is_null()), "{gaps:?}");
    verify(directory.path(), &keys, None).unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn a_store_and_log_that_were_put_back_together_are_found_by_the_anchor_alone() {
    let (now, earlier, elsewhere) = (Kept::new(), Kept::new(), quick_directory());
    let anchored = elsewhere.path().join("checkpoints");
    let command = format!("cat >> {}", anchored.display());
    let anchor = ["sh", "-c", &command].map(str::to_owned).to_vec();
    let settings = || Settings { anchor: anchor.clone(), ..settings(now.log.path()) };
    now.run(0..5, settings()).await;
    copy(now.store.path(), earlier.store.path());
    copy(now.log.path(), earlier.log.path());
    now.run(5..50, settings()).await;
    put_back(earlier.store.path(), now.store.path());
    put_back(earlier.log.path(), now.log.path());
    let keys = jwks(&signer(&*now.open()).await);
    verify(now.log.path(), &keys, None).unwrap();
    let kept = std::fs::read_to_string(&anchored).unwrap();
    let last = audit::known_checkpoint(kept.lines().last().unwrap(), Some(&keys)).unwrap();
    let fault = verify(now.log.path(), &keys, Some(last)).unwrap_err();
    assert!(fault.to_string().contains("its end was cut off"), "{fault}");
}
