//! The first start after a version without a journal, whose log lacks what a crash left unwritten.

use std::sync::Arc;

use fido_relay::app::audit::Settings;
use fido_relay::backends::embedded::MemoryStore;
use fido_relay::ports::{Bucket, Store};
use serde_json::Value;

use super::crash::{play, stored};
use super::{jwks, lines, quick_directory, signer, start, trail, verify};
use crate::support::bare_relay::BareRelay;

/// Leaves the store as the earlier version did: no journal, no cursors.
async fn forget_the_journal(store: &Arc<dyn Store>) {
    for bucket in [Bucket::Journal, Bucket::Cursors] {
        for (key, stored) in store.list(bucket, "").await.unwrap() {
            store.remove(bucket, &key, stored.revision).await.unwrap();
        }
    }
}

/// The log is cut after each of its lines; and the first start over it is cut off, too, after each
/// line that it wrote: the next one goes on, and no entry comes twice.
#[tokio::test]
async fn what_an_earlier_version_left_unwritten_is_entered_once_however_often_it_is_cut_off() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let keys = jwks(&signer(&*store).await);
    let directory = quick_directory();
    let audit = start(&store, Settings::new(directory.path().to_path_buf())).await;
    let relay = BareRelay::start(Arc::clone(&store)).await;
    play(&relay).await;
    assert!(audit.close().await);
    let ceremonies = stored(&store).await;
    let whole = lines(directory.path());
    let mut recovered = 0;
    for kept in 0..whole.len() {
        let place = quick_directory();
        let file = place.path().join("00000000000000000001.jsonl");
        let write = |lines: &[String]| {
            let lines = lines.iter().map(|line| format!("{line}\n"));
            std::fs::write(&file, lines.collect::<String>()).unwrap();
        };
        write(&whole[..kept]);
        let mut cut = kept;
        loop {
            forget_the_journal(&store).await;
            let audit = start(&store, Settings::new(place.path().to_path_buf())).await;
            assert!(audit.close().await);
            verify(place.path(), &keys, None).unwrap();
            let written = lines(place.path());
            let entries = written.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
            let mut entries: Vec<_> = entries.collect();
            recovered += entries.iter().filter(|entry| entry["recovered"] == true).count();
            entries.retain(|entry| entry.get("ceremony").is_some());
            let is = entries.len();
            entries.sort_by_key(|entry| {
                (entry["ceremony"].to_string(), entry["event"].to_string(), entry["nth"].as_u64())
            });
            entries.dedup_by_key(|entry| {
                (entry["ceremony"].clone(), entry["event"].clone(), entry["nth"].clone())
            });
            assert_eq!(is, entries.len(), "an entry came twice");
            let facts: usize = ceremonies.iter().map(|ceremony| ceremony.history.len()).sum();
            assert_eq!(is, facts, "kept {kept}, cut at {cut}");
            cut += 3;
            if cut >= written.len() {
                break;
            }
            write(&written[..cut]);
        }
    }
    assert!(recovered > 100, "{recovered}");
    // What the journal holds is not recovered, too: the version ran without its log at first.
    let place = quick_directory();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    play(&BareRelay::start(Arc::clone(&store)).await).await;
    assert!(start(&store, Settings::new(place.path().to_path_buf())).await.close().await);
    for ceremony in stored(&store).await {
        trail::assert_complete(place.path(), &ceremony);
    }
}

#[tokio::test]
async fn with_the_journal_in_place_nothing_is_recovered_any_more() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    drop(signer(&*store).await);
    play(&BareRelay::start(Arc::clone(&store)).await).await;
    let ceremonies = stored(&store).await;
    let place = quick_directory();
    forget_the_journal(&store).await;
    for _ in 0..2 {
        let audit = start(&store, Settings::new(place.path().to_path_buf())).await;
        assert!(audit.close().await);
    }
    let events = trail::events(place.path(), &ceremonies[0].request.id.to_string());
    assert_eq!(events.iter().filter(|event| *event == "opened").count(), 1);
}
