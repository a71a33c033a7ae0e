//! The one writer: takes what waits in the queue, appends it with one flush, signs checkpoints, and
//! removes what has passed its retention. Told that the disk does not take it, it says so, keeps
//! what it has, and tries again each second.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fido_relay_proto::UnixMillis;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::entry::CHECKPOINT_TYP;
use super::facts::Writing;
use super::log::Log;
use crate::ports::Clock;

/// Entries with one flush, at most: a flush costs the same for one as for hundreds.
const BATCH: usize = 512;
/// Pause before the disk is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// Between two looks for what has passed its retention.
const PRUNE_EVERY: Duration = Duration::from_secs(3600);

/// What a writer is told at the start.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) log: Option<Log>,
    pub(super) queue: mpsc::Receiver<String>,
    pub(super) writing: Arc<Writing>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) failing: watch::Sender<bool>,
    /// Entries that found no room in the queue since this was last told.
    pub(super) lost: Arc<AtomicU64>,
    pub(super) closing: CancellationToken,
    pub(super) checkpoint_entries: u64,
    pub(super) checkpoint_every: Duration,
    pub(super) retention_ms: Option<u64>,
}

impl Writer {
    /// Writes until it is told to close, then what is left, and a last checkpoint.
    pub(super) async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut checkpoint_at = Instant::now() + self.checkpoint_every;
        self.prune().await;
        let mut prune_at = Instant::now() + PRUNE_EVERY;
        let closing = self.closing.clone();
        loop {
            tokio::select! {
                () = closing.cancelled() => break,
                read = self.queue.recv_many(&mut batch, BATCH) => {
                    if read == 0 {
                        break;
                    }
                    batch.extend(self.told_lost());
                    self.write(std::mem::take(&mut batch)).await;
                    if self.since_checkpoint() >= self.checkpoint_entries {
                        self.checkpoint().await;
                        checkpoint_at = Instant::now() + self.checkpoint_every;
                    }
                }
                () = sleep_until(checkpoint_at) => {
                    if self.since_checkpoint() > 0 {
                        self.checkpoint().await;
                    }
                    checkpoint_at = Instant::now() + self.checkpoint_every;
                }
                () = sleep_until(prune_at), if self.retention_ms.is_some() => {
                    self.prune().await;
                    prune_at = Instant::now() + PRUNE_EVERY;
                }
            }
        }
        self.queue.close();
        while let Some(body) = self.queue.recv().await {
            batch.push(body);
        }
        batch.extend(self.told_lost());
        batch.push(r#"{"event":"stopped"}"#.to_owned());
        self.write(batch).await;
        self.checkpoint().await;
    }

    /// How many entries were lost, as an entry. The queue was full then, so the next batch comes.
    fn told_lost(&self) -> Option<String> {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        (lost > 0).then(|| format!(r#"{{"event":"lost","entries":{lost}}}"#))
    }

    fn since_checkpoint(&self) -> u64 {
        self.log.as_ref().map_or(0, Log::since_checkpoint)
    }

    /// Writes these entries, however often the disk has to be tried; gives up only while closing.
    async fn write(&mut self, bodies: Vec<String>) {
        let bodies = Arc::new(bodies);
        let now = self.clock.now();
        self.until_done(move |log| {
            let mut rest = bodies.as_slice();
            while !rest.is_empty() {
                let (batch, later) = rest.split_at(rest.len().min(BATCH));
                log.append(batch, now)?;
                rest = later;
            }
            Ok(())
        })
        .await;
    }

    async fn checkpoint(&mut self) {
        let now = self.clock.now();
        let issuer = self.writing.signer.issuer();
        let Some(said) = self.log.as_ref().and_then(|log| log.checkpoint(issuer, now)) else {
            return;
        };
        let Some(jws) = self.writing.signer.sign(CHECKPOINT_TYP, &said) else { return };
        // Also for whoever reads the relay's own log elsewhere: it holds the end against a cut.
        tracing::info!(chain = said.chain, seq = said.seq, hash = said.hash, "audit checkpoint");
        self.until_done(move |log| log.append_checkpoint(&jws, now)).await;
    }

    /// The checkpoint that says where the log begins comes first: a crash between the two leaves
    /// more than it says, never less.
    async fn prune(&mut self) {
        let Some(keep) = self.retention_ms else { return };
        let before = UnixMillis(self.clock.now().0.saturating_sub(keep));
        let Some(log) = &mut self.log else { return };
        let outlived = match log.outlived(before) {
            Ok(outlived) if outlived.is_empty() => return,
            Ok(outlived) => outlived,
            Err(error) => return tracing::warn!(%error, "the audit log's age is not known"),
        };
        self.checkpoint().await;
        for path in outlived {
            match std::fs::remove_file(&path) {
                Ok(()) => {
                    tracing::info!(file = %path.display(), "audit entries past retention removed")
                }
                Err(error) => tracing::warn!(%error, file = %path.display(), "not removed"),
            }
        }
    }

    /// Runs a write on a thread that may wait for the disk.
    async fn until_done(
        &mut self,
        write: impl Fn(&mut Log) -> std::io::Result<()> + Send + Sync + 'static,
    ) {
        let write = Arc::new(write);
        loop {
            let Some(mut log) = self.log.take() else { return };
            let work = Arc::clone(&write);
            let done = tokio::task::spawn_blocking(move || {
                let done = work(&mut log);
                (log, done)
            });
            let Ok((log, done)) = done.await else {
                tracing::error!("the audit log's writer is gone");
                self.failing.send_replace(true);
                return;
            };
            self.log = Some(log);
            let Err(error) = done else {
                self.failing.send_if_modified(std::mem::take);
                return;
            };
            tracing::error!(%error, "the audit log cannot be written");
            self.failing.send_if_modified(|failing| !std::mem::replace(failing, true));
            if self.closing.is_cancelled() {
                return;
            }
            let pause = tokio::time::sleep(PAUSE);
            let _ = self.closing.run_until_cancelled(pause).await;
        }
    }
}
