//! Every way to change a log, and that its verifier tells where.

use std::path::Path;
use std::sync::Arc;

use fido_relay::app::audit::{Checkpoint, Settings};
use fido_relay::backends::embedded::MemoryStore;
use fido_relay::ports::{Batch, SecurityEvent, SecurityEventKind, Store};
use fido_relay::security::result_token::JwkSet;
use fido_relay_proto::{ClientId, TenantId, UnixMillis};
use tempfile::TempDir;

use super::{files, jwks, lines, quick_directory, signer, start, verify};

/// A log with some entries, several checkpoints and several segments.
struct Written {
    directory: TempDir,
    keys: JwkSet,
    known: Checkpoint,
    store: Arc<dyn Store>,
}

impl Written {
    async fn new(segment_bytes: u64) -> Self {
        let directory = quick_directory();
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let keys = jwks(&signer(&*store).await);
        let settings = Settings {
            checkpoint_entries: 5,
            segment_bytes: Some(segment_bytes),
            ..Settings::new(directory.path().to_path_buf())
        };
        for _ in 0..3 {
            let audit = start(&store, settings.clone()).await;
            for nth in 0..6 {
                let client_id = ClientId::from_bytes([nth; 16]);
                let what = SecurityEventKind::ClientMade { client_id };
                let at = UnixMillis(1_800_000_000_000);
                let tenant = TenantId::default();
                let entry = SecurityEvent::new(tenant, at, what).entry();
                store.commit(Batch::new().entry(entry)).await.unwrap();
            }
            assert!(audit.close().await);
        }
        let report = verify(directory.path(), &keys, None).unwrap();
        let known = report.checkpoint.unwrap();
        assert!(report.checkpoints >= 3, "{}", report.checkpoints);
        Self { directory, keys, known, store }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The log as one file again, with these lines.
    fn rewrite(&self, lines: &[String]) {
        for file in files(self.path()) {
            std::fs::remove_file(file).unwrap();
        }
        let first: serde_json::Value = serde_json::from_str(&lines[0]).unwrap_or_default();
        let name = format!("{:020}.jsonl", first["seq"].as_u64().unwrap_or(1));
        std::fs::write(self.path().join(name), lines.join("\n") + "\n").unwrap();
    }

    #[track_caller]
    fn refused(&self, what: &str) -> String {
        match verify(self.path(), &self.keys, Some(self.known.clone())) {
            Ok(report) => panic!("{what}: {report:?}"),
            Err(fault) => fault.to_string(),
        }
    }
}

#[tokio::test]
async fn a_log_of_several_starts_and_segments_verifies_as_one_chain() {
    let log = Written::new(700).await;
    assert!(files(log.path()).len() > 3);
    let report = verify(log.path(), &log.keys, Some(log.known.clone())).unwrap();
    assert_eq!((report.first, report.last), (1, lines(log.path()).len() as u64));
}

#[tokio::test]
async fn a_change_of_any_byte_is_found() {
    let log = Written::new(u64::MAX).await;
    let lines = lines(log.path());
    let text = lines.join("\n") + "\n";
    let file = files(log.path()).remove(0);
    let mut tried = 0;
    // The last line is a checkpoint that nothing follows: its signature holds it.
    for at in 0..text.len() - 1 {
        let mut bytes = text.clone().into_bytes();
        bytes[at] ^= 1;
        std::fs::write(&file, &bytes).unwrap();
        let fault = verify(log.path(), &log.keys, Some(log.known.clone()));
        let last = at >= text.len() - lines.last().unwrap().len() - 1;
        // Of the last line only what the signature covers is held, and the chain's own members.
        if last && fault.is_ok() {
            continue;
        }
        assert!(fault.is_err(), "byte {at} of {}", text.len());
        tried += 1;
    }
    assert!(tried > 3_000, "{tried}");
}

#[tokio::test]
async fn lines_that_are_removed_moved_inserted_or_repeated_are_found() {
    let log = Written::new(u64::MAX).await;
    let lines = lines(log.path());
    for at in 0..lines.len() {
        // The last line is a checkpoint: the known one covers the line before it.
        if at + 1 < lines.len() {
            let mut removed = lines.clone();
            removed.remove(at);
            log.rewrite(&removed);
            log.refused(&format!("without line {at}"));
        }
        let mut repeated = lines.clone();
        repeated.insert(at, lines[at].clone());
        log.rewrite(&repeated);
        log.refused(&format!("line {at} twice"));
        if at + 1 < lines.len() {
            let mut moved = lines.clone();
            moved.swap(at, at + 1);
            log.rewrite(&moved);
            log.refused(&format!("line {at} after the next"));
        }
        if at + 1 < lines.len() {
            log.rewrite(&lines[at + 1..]);
            log.refused(&format!("the first {} lines missing", at + 1));
            log.rewrite(&lines[..=at]);
            let covered = u64::try_from(at + 1).unwrap() >= log.known.seq;
            if !covered {
                let fault = log.refused("without its end");
                assert!(fault.contains("cut off"), "{fault}");
            }
        }
    }
    log.rewrite(&lines);
    assert!(verify(log.path(), &log.keys, Some(log.known.clone())).is_ok());
}

/// What an attacker with the file alone does: changes an entry and chains everything anew.
fn chained_anew(lines: &[String]) -> Vec<String> {
    let mut before = "A".repeat(43);
    let mut anew = Vec::new();
    for line in lines {
        let entry: serde_json::Value = serde_json::from_str(line).unwrap();
        let line = line.replace(entry["prev"].as_str().unwrap(), &before);
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, line.as_bytes());
        before = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, hash);
        anew.push(line);
    }
    anew
}

#[tokio::test]
async fn a_log_that_was_changed_and_chained_anew_meets_its_signatures() {
    let log = Written::new(u64::MAX).await;
    let mut lines = lines(log.path());
    lines[2] = lines[2].replace("client_made", "client_gone");
    let anew = chained_anew(&lines);
    log.rewrite(&anew);
    let fault = log.refused("chained anew");
    assert!(fault.contains("checkpoint"), "{fault}");
    // Without its checkpoints the known one is missing at its place.
    let without: Vec<_> =
        lines.iter().filter(|line| !line.contains("\"checkpoint\"")).cloned().collect();
    let numbered: Vec<_> = (1..)
        .zip(&without)
        .map(|(seq, line)| {
            let (_, rest) = line.split_once(',').unwrap();
            format!("{{\"seq\":{seq},{rest}")
        })
        .collect();
    log.rewrite(&chained_anew(&numbered));
    log.refused("chained anew, without checkpoints");
    // And by keys of another relay.
    let others: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let other = jwks(&signer(&*others).await);
    log.rewrite(&super::lines(log.path()));
    assert!(verify(log.path(), &other, Some(log.known.clone())).is_err());
}

#[tokio::test]
async fn another_chain_is_none_of_this_log() {
    let (log, other) = (Written::new(u64::MAX).await, Written::new(u64::MAX).await);
    let mut mixed = lines(log.path());
    let theirs = lines(other.path());
    mixed[4] = theirs[4].clone();
    log.rewrite(&mixed);
    log.refused("a line of another chain");
    log.rewrite(&theirs);
    log.refused("another log");
    drop(other.store);
}
