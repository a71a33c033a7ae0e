//! Every task has an owner: the one place that spawns, with a name for the log and one
//! cancellation for all. It knows no task's work.
//!
//! A panic ends one task and no other. For most tasks, which belong to one ceremony or one socket, it
//! is logged and counted. A few are *vital*: without them the node would accept requests and answer
//! some of them wrongly or never. When one of these ends before [`Tasks::stopping`], the node has
//! failed: [`Tasks::failed`] is cancelled, the node is no longer ready, and the program stops it in
//! order, so that a service manager restarts it.

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

/// Spawns tasks and waits for them at the end. Clones share the same tasks.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    draining: CancellationToken,
    stopping: CancellationToken,
    health: Arc<Health>,
}

/// What went wrong with tasks.
#[derive(Debug, Default)]
struct Health {
    started: AtomicU64,
    panics: AtomicU64,
    /// The vital task that ended first.
    fallen: OnceLock<&'static str>,
    failed: CancellationToken,
}

impl Tasks {
    /// Runs a future to its end under a name. It must end by itself once
    /// [`Tasks::stopping`] is cancelled.
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

    /// Like [`Tasks::spawn`] without a span: for the many tasks whose size counts.
    pub fn spawn_bare<F>(&self, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let health = Arc::clone(&self.health);
        // Combinators and no `async` block, which would hold the future twice.
        self.track(AssertUnwindSafe(future).catch_unwind().map(move |end| {
            if end.is_err() {
                health.count_panic("unnamed");
            }
        }));
    }

    /// Like [`Tasks::spawn`], for a task without which the node is no good: if it ends before
    /// [`Tasks::stopping`] is cancelled, by a panic or by itself, the node has failed.
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

    /// Runs work that must finish in a task of its own, whatever becomes of the caller; none if that
    /// task was ended early.
    pub async fn run_detached<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let (sender, result) = oneshot::channel();
        // The caller may not wait for the answer any more: the work counts all the same.
        self.spawn_bare(async move { drop(sender.send(work.await)) });
        result.await.ok()
    }

    /// Cancelled when the process is to stop.
    #[must_use]
    pub fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }

    /// Cancelled when the process will stop soon: no new guests, but what is under way goes on.
    #[must_use]
    pub fn draining(&self) -> &CancellationToken {
        &self.draining
    }

    /// Cancelled when a vital task has ended before its time.
    #[must_use]
    pub fn failed(&self) -> &CancellationToken {
        &self.health.failed
    }

    /// The vital task that ended before its time, if one has; the first of several.
    #[must_use]
    pub fn fallen(&self) -> Option<&'static str> {
        self.health.fallen.get().copied()
    }

    /// Tasks that were started so far.
    #[must_use]
    pub fn started(&self) -> u64 {
        self.health.started.load(Ordering::Relaxed)
    }

    /// Panics so far, of vital tasks and others.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.health.panics.load(Ordering::Relaxed)
    }

    /// Tasks that have not ended.
    #[must_use]
    pub fn alive(&self) -> usize {
        self.tracker.len()
    }

    /// Asks every task to stop and waits for them, at most `limit`. Returns whether all ended.
    pub async fn stop(&self, limit: Duration) -> bool {
        self.draining.cancel();
        self.stopping.cancel();
        self.tracker.close();
        tokio::time::timeout(limit, self.tracker.wait()).await.is_ok()
    }
}

impl Health {
    /// The panic's own words are not repeated: they may hold what no log may.
    fn count_panic(&self, task: &'static str) {
        self.panics.fetch_add(1, Ordering::Relaxed);
        tracing::error!(task, "a task panicked");
    }

    fn fail(&self, task: &'static str) {
        tracing::error!(task, "a vital task ended: this node must be started afresh");
        // The first failure is kept, as others follow from it.
        let _ = self.fallen.set(task);
        self.failed.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn a_panic_in_an_ordinary_task_is_counted_and_is_nobody_elses_matter() {
        let tasks = Tasks::default();
        tasks.spawn("one", async { panic!("on purpose") });
        tasks.spawn_bare(async { panic!("on purpose") });
        tasks.spawn("another", async {});
        assert!(tasks.stop(SOON).await);
        assert_eq!(tasks.panics(), 2);
        assert_eq!(tasks.fallen(), None);
        assert!(!tasks.failed().is_cancelled());
    }

    #[tokio::test]
    async fn a_vital_task_that_panics_or_just_ends_fails_the_node() {
        let tasks = Tasks::default();
        tasks.spawn_vital("heart", async { panic!("on purpose") });
        tokio::time::timeout(SOON, tasks.failed().cancelled()).await.unwrap();
        assert_eq!((tasks.fallen(), tasks.panics()), (Some("heart"), 1));

        let tasks = Tasks::default();
        tasks.spawn_vital("lungs", async {});
        tokio::time::timeout(SOON, tasks.failed().cancelled()).await.unwrap();
        assert_eq!((tasks.fallen(), tasks.panics()), (Some("lungs"), 0));
    }

    #[tokio::test]
    async fn a_vital_task_that_ends_when_it_was_told_to_is_no_failure() {
        let tasks = Tasks::default();
        let stopping = tasks.stopping().clone();
        tasks.spawn_vital("heart", async move { stopping.cancelled().await });
        assert!(tasks.stop(SOON).await);
        assert_eq!(tasks.fallen(), None);
        assert!(!tasks.failed().is_cancelled());
    }
}
