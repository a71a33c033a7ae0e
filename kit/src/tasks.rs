//! Spawns every task of the process, with a name for the log and one cancellation for all, so that
//! every task has an owner.
//! A panic ends one task and no other. Most tasks belong to one ceremony or one socket: their panic
//! is logged and counted. A few are *vital*: without them the node would answer some requests
//! wrongly or never, and nothing outside would show it. When one of these ends before the stop, the
//! node has failed: [`Tasks::failed`] is cancelled, the node is no longer ready, and `serve` stops
//! it in order, so that a service manager starts it afresh.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::FutureExt as _;
use futures::channel::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

/// Spawns tasks and waits for them at the stop. Clones share the same tasks.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    draining: CancellationToken,
    stopping: CancellationToken,
    health: Arc<Health>,
}

/// Counts and failures of tasks.
#[derive(Debug, Default)]
struct Health {
    started: AtomicU64,
    panics: AtomicU64,
    first_failed: OnceLock<&'static str>,
    failed: CancellationToken,
}

impl Tasks {
    /// Spawns a future under a name. It must end by itself once [`Tasks::stopping`] is cancelled.
    pub fn spawn<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let health = Arc::clone(&self.health);
        let watched = AssertUnwindSafe(future).catch_unwind().map(move |end| {
            if end.is_err() {
                health.count_panic(name);
            }
        });
        self.track(watched.instrument(tracing::debug_span!("task", name)));
    }

    /// Like [`Tasks::spawn`] without name and span, for many small tasks: a span makes each larger.
    pub fn spawn_untraced<F>(&self, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let health = Arc::clone(&self.health);
        // Combinators, since an `async` block would hold the future twice.
        self.track(AssertUnwindSafe(future).catch_unwind().map(move |end| {
            if end.is_err() {
                health.count_panic("unnamed");
            }
        }));
    }

    /// Like [`Tasks::spawn`], for a task that the node needs: if it ends before [`Tasks::stopping`]
    /// is cancelled, by a panic or by itself, the node has failed.
    pub fn spawn_vital<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let health = Arc::clone(&self.health);
        let stopping = self.stopping.clone();
        let watched = AssertUnwindSafe(future).catch_unwind().map(move |end| {
            if end.is_err() {
                health.count_panic(name);
            }
            if end.is_err() || !stopping.is_cancelled() {
                health.fail(name);
            }
        });
        self.track(watched.instrument(tracing::debug_span!("task", name)));
    }

    fn track(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.health.started.fetch_add(1, Ordering::Relaxed);
        drop(self.tracker.spawn(future));
    }

    /// Runs work in a task of its own, so that it finishes even if the caller is dropped. `None`:
    /// the task panicked.
    pub async fn run_detached<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let (sender, receiver) = oneshot::channel();
        // The caller may no longer wait for the result.
        self.spawn_untraced(async move { drop(sender.send(work.await)) });
        receiver.await.ok()
    }

    /// Cancelled when the process stops.
    #[must_use]
    pub fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }

    /// Cancelled before the stop: the node takes no new work, and work under way goes on.
    #[must_use]
    pub fn draining(&self) -> &CancellationToken {
        &self.draining
    }

    /// Cancelled when a vital task has ended before the stop.
    #[must_use]
    pub fn failed(&self) -> &CancellationToken {
        &self.health.failed
    }

    /// The first vital task that ended before the stop.
    #[must_use]
    pub fn first_failed_task(&self) -> Option<&'static str> {
        self.health.first_failed.get().copied()
    }

    /// Number of tasks started so far.
    #[must_use]
    pub fn started(&self) -> u64 {
        self.health.started.load(Ordering::Relaxed)
    }

    /// Number of panics so far.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.health.panics.load(Ordering::Relaxed)
    }

    /// Number of tasks that have not ended.
    #[must_use]
    pub fn alive(&self) -> usize {
        self.tracker.len()
    }

    /// Stops every task and waits for them, at most `limit`. Returns whether all ended.
    pub async fn stop(&self, limit: Duration) -> bool {
        self.draining.cancel();
        self.stopping.cancel();
        self.tracker.close();
        tokio::time::timeout(limit, self.tracker.wait()).await.is_ok()
    }
}

impl Health {
    /// The text of the panic is not logged, since it may hold secrets.
    fn count_panic(&self, task: &'static str) {
        self.panics.fetch_add(1, Ordering::Relaxed);
        tracing::error!(task, "a task panicked");
    }

    fn fail(&self, task: &'static str) {
        tracing::error!(task, "a vital task ended: this node must be restarted");
        // The first is kept; later ones follow from it.
        let _ = self.first_failed.set(task);
        self.failed.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn a_panic_in_an_ordinary_task_is_counted_and_ends_no_other_task() {
        let tasks = Tasks::default();
        tasks.spawn("one", async { panic!("on purpose") });
        tasks.spawn_untraced(async { panic!("on purpose") });
        tasks.spawn("another", async {});
        assert!(tasks.stop(SOON).await);
        assert_eq!(tasks.panics(), 2);
        assert_eq!(tasks.first_failed_task(), None);
        assert!(!tasks.failed().is_cancelled());
    }

    #[tokio::test]
    async fn a_vital_task_that_panics_or_just_ends_fails_the_node() {
        let tasks = Tasks::default();
        tasks.spawn_vital("heart", async { panic!("on purpose") });
        tokio::time::timeout(SOON, tasks.failed().cancelled()).await.unwrap();
        assert_eq!((tasks.first_failed_task(), tasks.panics()), (Some("heart"), 1));

        let tasks = Tasks::default();
        tasks.spawn_vital("lungs", async {});
        tokio::time::timeout(SOON, tasks.failed().cancelled()).await.unwrap();
        assert_eq!((tasks.first_failed_task(), tasks.panics()), (Some("lungs"), 0));
    }

    #[tokio::test]
    async fn a_vital_task_that_ends_at_the_stop_is_no_failure() {
        let tasks = Tasks::default();
        let stopping = tasks.stopping().clone();
        tasks.spawn_vital("heart", async move { stopping.cancelled().await });
        assert!(tasks.stop(SOON).await);
        assert_eq!(tasks.first_failed_task(), None);
        assert!(!tasks.failed().is_cancelled());
    }
}
