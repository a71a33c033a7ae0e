//! A process that dies while it writes, and files that grow old.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use fido_relay::app::audit::Settings;
use fido_relay::app::ceremonies::CeremonyKey;
use fido_relay::backends::embedded::{MemoryStore, SystemClock};
use fido_relay::core::ceremony::{Ceremony, Event};
use fido_relay::ports::{Bucket, Store, Stored, records};
use fido_relay_proto::device::{AckOf, CardEvent};
use fido_relay_proto::{AttemptId, Binding, DeviceId, NodeId};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{
    files, jwks, lines, quick_directory, signer, start, start_at, trail, try_start, verify,
};
use crate::support::bare_relay::BareRelay;

pub(super) const PHONE: DeviceId = DeviceId::from_bytes([9; 16]);

pub(super) async fn drive(relay: &BareRelay, key: &CeremonyKey, event: Event) {
    relay.relay.ceremonies.advance(key, event).await.unwrap();
}

async fn answer(relay: &BareRelay, key: &CeremonyKey, attempt: AttemptId) {
    let credential = RawValue::from_string(json!({ "id": "AQ" }).to_string()).unwrap();
    let digest = digest(&SHA256, credential.get().as_bytes()).as_ref().try_into().unwrap();
    let by = NodeId::from_bytes([3; 16]);
    let answer = Event::Answer { device: PHONE, attempt, credential, digest, by };
    drive(relay, key, answer).await;
    relay.until(key, |ceremony| ceremony.closed().map(|_| ())).await;
}

/// One ceremony that succeeds, one that waits after a wrong code, one that is taken back.
pub(super) async fn play(relay: &BareRelay) {
    let waiting = relay.open(Binding::Code, None).await;
    drive(relay, &waiting, Event::Sent { device: PHONE }).await;
    let wrong = Event::Claim {
        device: PHONE,
        attempt: AttemptId::from_bytes([1; 16]),
        code: "not it".to_owned(),
        same_network: None,
    };
    drive(relay, &waiting, wrong).await;
    let succeeds = relay.open(Binding::None, None).await;
    let attempt = relay.challenged(&succeeds).await;
    drive(relay, &succeeds, Event::Sent { device: PHONE }).await;
    drive(relay, &succeeds, Event::Acked { device: PHONE, of: AckOf::Challenge }).await;
    let card = Event::Card { device: PHONE, event: CardEvent::Present, code: None };
    drive(relay, &succeeds, card).await;
    answer(relay, &succeeds, attempt).await;
    let taken_back = relay.open(Binding::None, None).await;
    relay.challenged(&taken_back).await;
    drive(relay, &taken_back, Event::Cancel).await;
}

pub(super) async fn stored(store: &Arc<dyn Store>) -> Vec<Ceremony> {
    let all = store.list(Bucket::Ceremonies, "").await.unwrap();
    all.iter().map(|(_, record)| records::parse(record).unwrap()).collect()
}

/// The audit log's cursor, as it is stored.
async fn cursor(store: &Arc<dyn Store>) -> Stored {
    store.load(Bucket::Cursors, "audit").await.unwrap().unwrap()
}

#[tokio::test]
async fn a_log_cut_off_at_any_byte_behind_its_cursor_is_mended_and_completed_from_the_journal() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let keys = jwks(&signer(&*store).await);
    let directory = quick_directory();
    let audit = start(&store, Settings::new(directory.path().to_path_buf())).await;
    let before = cursor(&store).await.value;
    let relay = BareRelay::start(Arc::clone(&store)).await;
    play(&relay).await;
    assert!(audit.close().await);
    let ceremonies = stored(&store).await;
    assert_eq!(ceremonies.len(), 3);
    let text = std::fs::read(&files(directory.path())[0]).unwrap();
    let whole = lines(directory.path());
    for ceremony in &ceremonies {
        trail::assert_complete(directory.path(), ceremony);
    }

    // Everywhere within the last lines, and around every line's end behind the first.
    let tail: usize = whole.iter().rev().take(4).map(|line| line.len() + 1).sum();
    let mut cuts: Vec<usize> = (text.len() - tail..=text.len()).collect();
    let ends = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at);
    cuts.extend(ends.skip(1).flat_map(|at| [at - 1, at, at + 1]));
    let mut mended = 0;
    for cut in cuts {
        let place = quick_directory();
        let file = place.path().join("00000000000000000001.jsonl");
        std::fs::write(&file, &text[..cut]).unwrap();
        let now = cursor(&store).await.revision;
        store.save(Bucket::Cursors, "audit", now, before.clone()).await.unwrap();
        let audit = start(&store, Settings::new(place.path().to_path_buf())).await;
        assert!(audit.close().await);
        verify(place.path(), &keys, None).unwrap_or_else(|fault| panic!("cut at {cut}: {fault}"));
        for ceremony in &ceremonies {
            trail::assert_complete(place.path(), ceremony);
        }
        let torn = text[cut - 1] != b'\n';
        let said = lines(place.path()).concat();
        assert_eq!(said.contains(r#""event":"repaired""#), torn, "cut at {cut}");
        assert!(!said.contains("log_restarted"), "cut at {cut}");
        mended += usize::from(torn);
    }
    assert!(mended > 500, "{mended}");
}

#[tokio::test]
async fn bytes_that_a_power_cut_left_in_place_of_the_last_lines_are_cut_off_and_told() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let keys = jwks(&signer(&*store).await);
    let directory = quick_directory();
    let settings = Settings::new(directory.path().to_path_buf());
    start(&store, settings.clone()).await.close().await;
    let file = &files(directory.path())[0];
    let mut text = std::fs::read(file).unwrap();
    text.extend([0; 3000]);
    text.extend(b"\n{\"half\":");
    std::fs::write(file, text).unwrap();
    assert!(verify(directory.path(), &keys, None).is_err());
    start(&store, settings).await.close().await;
    verify(directory.path(), &keys, None).unwrap();
    let told = lines(directory.path());
    let told = told.iter().find(|line| line.contains("repaired")).unwrap();
    let told: Value = serde_json::from_str(told).unwrap();
    assert_eq!(told["bytes"], 3009);
}

#[tokio::test]
async fn two_relays_never_write_one_log() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let directory = quick_directory();
    let settings = Settings::new(directory.path().to_path_buf());
    let first = start(&store, settings.clone()).await;
    let second = try_start(&store, settings, Arc::new(SystemClock)).await;
    assert!(second.unwrap_err().to_string().contains("another relay"));
    assert!(first.close().await);
}

#[tokio::test]
async fn what_passed_its_retention_goes_by_whole_files_and_a_checkpoint_says_so() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let keys = jwks(&signer(&*store).await);
    let directory = quick_directory();
    let relay = BareRelay::start(Arc::new(MemoryStore::new())).await;
    let settings = Settings { retention_days: 3, ..Settings::new(directory.path().to_path_buf()) };
    const DAY: u64 = 24 * 60 * 60 * 1000;
    for day in 0..7 {
        let audit = start_at(&store, settings.clone(), relay.clock.clone()).await;
        assert!(audit.close().await);
        let kept = files(directory.path()).len();
        assert!(kept <= 5 && kept >= (day + 1).min(3), "{kept} files on day {day}");
        let report = verify(directory.path(), &keys, None).unwrap();
        assert_eq!(report.first > 1, day >= 5, "day {day}: {report:?}");
        relay.clock.forward(DAY);
    }
    assert!(!lines(directory.path()).iter().any(|line| line.contains("log_restarted")));
    // A file more than a checkpoint tells of is a fault.
    std::fs::remove_file(&files(directory.path())[0]).unwrap();
    let fault = verify(directory.path(), &keys, None).unwrap_err();
    assert!(fault.to_string().contains("missing at the beginning"), "{fault}");
}
