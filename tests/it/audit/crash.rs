//! A process that dies while it writes, a disk that takes nothing, and files that grow old.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use fido_relay::audit::Settings;
use fido_relay::backends::embedded::MemoryStore;
use fido_relay::ceremony::{Ceremony, Event, State};
use fido_relay::ports::{
    Ability, BoxFuture, Bucket, SecurityEvent, Store, Witness, Witnesses, records,
};
use fido_relay::relay::{CeremonyKey, DriveError, OpenError, OpenOrder};
use fido_relay_proto::device::{AckOf, CardEvent};
use fido_relay_proto::{AttemptId, Binding, DeviceId, NodeId};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{
    files, jwks, lines, quick_directory, signer, start, start_at, trail, verify, witnesses,
};
use crate::support::bare_relay::BareRelay;

const PHONE: DeviceId = DeviceId::from_bytes([9; 16]);

async fn drive(relay: &BareRelay, key: &CeremonyKey, event: Event) {
    relay.relay.drive(key, event).await.unwrap();
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
async fn play(relay: &BareRelay) {
    let waiting = relay.open(Binding::Code, None).await;
    drive(relay, &waiting, Event::Sent { device: PHONE }).await;
    let wrong = Event::Claim {
        device: PHONE,
        attempt: AttemptId::from_bytes([1; 16]),
        code: "not it".to_owned(),
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

async fn stored(store: &Arc<dyn Store>) -> Vec<Ceremony> {
    let all = store.list(Bucket::Ceremonies, "").await.unwrap();
    all.iter().map(|(_, record)| records::parse(record).unwrap()).collect()
}

fn wrong_codes(ceremony: &Ceremony) -> usize {
    match &ceremony.state {
        State::Offered { wrong_codes, .. } => usize::from(*wrong_codes),
        _ => 0,
    }
}

#[tokio::test]
async fn a_log_cut_off_at_any_byte_is_mended_and_completed_from_the_store() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let keys = jwks(&signer(&*store).await);
    let directory = quick_directory();
    let settings = Settings::new(directory.path().to_path_buf());
    let audit = start(&store, settings.clone()).await;
    let relay = BareRelay::start_with(Arc::clone(&store), witnesses(&audit)).await;
    play(&relay).await;
    assert!(audit.close().await);
    let ceremonies = stored(&store).await;
    assert_eq!(ceremonies.len(), 3);
    let text = std::fs::read(&files(directory.path())[0]).unwrap();
    let whole = lines(directory.path());
    for ceremony in &ceremonies {
        trail::assert_complete(directory.path(), ceremony);
    }

    // Everywhere within the last lines, and around every line's end.
    let tail: usize = whole.iter().rev().take(4).map(|line| line.len() + 1).sum();
    let mut cuts: Vec<usize> = (text.len() - tail..=text.len()).collect();
    let ends = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at);
    cuts.extend(ends.flat_map(|at| [at.saturating_sub(1), at, at + 1]));
    cuts.push(0);
    let mut mended = 0;
    for cut in cuts {
        let place = quick_directory();
        let file = place.path().join("00000000000000000001.jsonl");
        std::fs::write(&file, &text[..cut]).unwrap();
        let audit = start(&store, Settings::new(place.path().to_path_buf())).await;
        audit.caught_up().await;
        assert!(audit.close().await);
        verify(place.path(), &keys, None).unwrap_or_else(|fault| panic!("cut at {cut}: {fault}"));
        for ceremony in &ceremonies {
            trail::assert_complete(place.path(), ceremony);
            let events = trail::events(place.path(), &ceremony.request.id.to_string());
            let wrong = events.iter().filter(|event| *event == "wrong_code").count();
            assert_eq!(wrong, wrong_codes(ceremony), "cut at {cut}");
        }
        let torn = cut > 0 && text[cut - 1] != b'\n';
        let repaired =
            lines(place.path()).iter().any(|line| line.contains(r#""event":"repaired""#));
        assert_eq!(repaired, torn, "cut at {cut}");
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
    let signer = signer(&*store).await;
    let clock = Arc::new(fido_relay::backends::embedded::SystemClock);
    let second = fido_relay::audit::Audit::start(settings, signer, Arc::clone(&store), clock);
    assert!(second.unwrap_err().to_string().contains("another relay"));
    assert!(first.close().await);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_a_full_disk_did_not_take_is_written_once_there_is_room() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let keys = jwks(&signer(&*store).await);
    let directory = quick_directory();
    // Every entry begins a segment, and the one after the start's is a disk that is full.
    let settings = Settings {
        segment_bytes: Some(1),
        required: true,
        ..Settings::new(directory.path().to_path_buf())
    };
    let audit = start(&store, settings).await;
    audit.caught_up().await;
    let full = directory.path().join("00000000000000000002.jsonl");
    std::os::unix::fs::symlink("/dev/full", &full).unwrap();
    let relay = BareRelay::start_with(Arc::clone(&store), witnesses(&audit)).await;
    let first = relay.open(Binding::None, None).await;
    while audit.ability() != Ability::Forbidding {
        tokio::task::yield_now().await;
    }
    let order = OpenOrder { request: relay.request(Binding::None), idempotency: None };
    let refused = relay.relay.open(order).await;
    assert!(matches!(refused, Err(OpenError::Unavailable(_))), "{refused:?}");
    let claim = Event::Claim {
        device: PHONE,
        attempt: AttemptId::from_bytes([1; 16]),
        code: "123456".to_owned(),
    };
    let refused = relay.relay.drive(&first, claim).await;
    assert!(matches!(refused, Err(DriveError::Unavailable(_))), "{refused:?}");
    // What is no approval goes on, more of it than the queue holds.
    for _ in 0..1_000 {
        let ceremony = Ceremony::open(
            relay.request(Binding::Code),
            fido_relay::ceremony::Code("123456".to_owned()),
            AttemptId::from_bytes([1; 16]),
            None,
        );
        let key = CeremonyKey::from(&ceremony).to_string();
        records::save(
            &*store,
            Bucket::Ceremonies,
            &key,
            fido_relay::ports::Revision::ABSENT,
            &ceremony,
        )
        .await
        .unwrap();
        for _ in 0..12 {
            let client_id = fido_relay_proto::ClientId::from_bytes([1; 16]);
            let what = fido_relay::ports::Happening::ClientMade { client_id };
            let (tenant, at) = (ceremony.request.tenant.clone(), ceremony.request.opened_at);
            audit.noted(&SecurityEvent::new(tenant, at, what)).await;
        }
        audit.changed(&ceremony, None).await;
    }
    drive(&relay, &first, Event::Cancel).await;
    std::fs::remove_file(&full).unwrap();
    while audit.ability() != Ability::Well {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    // What was told before it closes is written then; what was only marked is on its way before.
    let written = async {
        let ceremonies = stored(&store).await;
        loop {
            let all = lines(directory.path()).concat();
            if ceremonies.iter().all(|ceremony| all.contains(&ceremony.request.id.to_string())) {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(120), written).await.unwrap();
    assert!(audit.close().await);
    verify(directory.path(), &keys, None).unwrap();
    let all = lines(directory.path());
    for ceremony in stored(&store).await {
        let id = ceremony.request.id.to_string();
        let opened = all.iter().filter(|line| line.contains(&id) && line.contains("\"opened\""));
        assert_eq!(opened.count(), 1, "{id}");
    }
    let lost = all.iter().filter(|line| line.contains(r#""event":"lost""#));
    let lost = lost.map(|line| serde_json::from_str::<Value>(line).unwrap());
    let lost: u64 = lost.map(|lost| lost["entries"].as_u64().unwrap()).sum();
    let made = all.iter().filter(|line| line.contains("client_made")).count() as u64;
    assert!(lost > 0, "the queue held all of them");
    assert_eq!(lost + made, 12_000, "every one is there or counted");
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
    // A file more than a checkpoint tells of is a fault.
    std::fs::remove_file(&files(directory.path())[0]).unwrap();
    let fault = verify(directory.path(), &keys, None).unwrap_err();
    assert!(fault.to_string().contains("missing at the beginning"), "{fault}");
}

/// Must see everything and cannot.
#[derive(Debug)]
struct Blind;

impl Witness for Blind {
    fn changed<'a>(&'a self, _: &'a Ceremony, _: Option<&'a Event>) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }

    fn found<'a>(&'a self, _: &'a Ceremony) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }

    fn noted<'a>(&'a self, _: &'a SecurityEvent) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }

    fn ability(&self) -> Ability {
        Ability::Forbidding
    }
}

#[tokio::test]
async fn nothing_begins_while_a_witness_that_must_see_it_cannot() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let witnesses = Witnesses::new(vec![Arc::new(Blind)]);
    let relay = BareRelay::start_with(Arc::clone(&store), witnesses).await;
    let order = OpenOrder { request: relay.request(Binding::Code), idempotency: None };
    assert!(relay.relay.open(order).await.is_err());
    assert_eq!(relay.count(Bucket::Ceremonies).await, 0);
}
