//! The checkpoint thread: applies full layers to the tables, one transaction each, while the writer
//! continues in the log's other file. A failure is retried; it loses nothing, but the writer stops
//! once that file is full too.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::layers::Layers;
use super::overlay::Overlay;
use super::recovery;
use super::tables::Meta;

/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(100);

/// A layer, and the tables' metadata once it is applied.
type Job = (Arc<Overlay>, Meta);

/// The handle of the checkpoint thread.
pub(super) struct Checkpoints {
    jobs: mpsc::Sender<Job>,
    thread: JoinHandle<bool>,
}

impl Checkpoints {
    pub(super) fn start(layers: Arc<Layers>) -> io::Result<Self> {
        let (jobs, waiting) = mpsc::channel::<Job>();
        let thread = std::thread::Builder::new()
            .name("store-tables".to_owned())
            .spawn(move || run(&layers, &waiting))?;
        Ok(Self { jobs, thread })
    }

    /// Queues a layer whose predecessor is applied already.
    pub(super) fn begin(&self, layer: Arc<Overlay>, meta: Meta) {
        // The thread ends only after its sender is dropped.
        let _ = self.jobs.send((layer, meta));
    }

    /// Ends the thread after at most one more attempt; returns whether every layer was applied.
    pub(super) fn end(self) -> bool {
        drop(self.jobs);
        self.thread.join().unwrap_or_default()
    }
}

fn run(layers: &Layers, jobs: &mpsc::Receiver<Job>) -> bool {
    while let Ok((layer, meta)) = jobs.recv() {
        loop {
            let database = &layers.database;
            let written = database.guard(|| recovery::write_tables(database, meta, Some(&layer)));
            layers.note_written(written.clone());
            match written {
                Ok(()) => {
                    layers.applied();
                    break;
                }
                Err(error) => tracing::error!(%error, "the tables could not be written"),
            }
            if database.fenced().is_some() {
                return false;
            }
            // The writer queues no other layer before this one is applied.
            if matches!(jobs.recv_timeout(PAUSE), Err(RecvTimeoutError::Disconnected)) {
                return false;
            }
        }
    }
    true
}
