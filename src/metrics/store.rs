//! Wraps a store and measures the time and errors of each operation.

use std::sync::Arc;

use fido_relay_proto::UnixMillis;
use futures::future::BoxFuture;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use super::{Counters, Histograms, counters, seconds};
use crate::ports::{Batch, Bucket, DueRecord, Duty, Position, Revision, Store, StoreError, Stored};

const OPERATIONS: [&str; 5] = ["load", "commit", "list", "page", "due"];
const ERRORS: [&str; 3] = ["conflict", "unavailable", "fenced"];

#[derive(Clone, Debug)]
pub(super) struct StoreMetrics {
    took: Histograms<1>,
    errors: Counters<2>,
}

impl StoreMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let new = Self {
            took: seconds(registry, "store", "Operations of the store", buckets),
            errors: counters(registry, "store_errors", "Failed operations of the store"),
        };
        for operation in OPERATIONS {
            let _ = new.took.get_or_create_owned(&[("operation", operation.into())]);
            for error in ERRORS {
                let labels = [("operation", operation.into()), ("error", error.into())];
                let _ = new.errors.get_or_create_owned(&labels);
            }
        }
        new
    }

    async fn measure<T>(
        &self,
        operation: &'static str,
        work: BoxFuture<'_, Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let started = Instant::now();
        let done = work.await;
        let took = started.elapsed().as_secs_f64();
        self.took.get_or_create(&[("operation", operation.into())]).observe(took);
        if let Err(error) = &done {
            let error = match error {
                StoreError::Conflict(_) => "conflict",
                StoreError::Unavailable(_) => "unavailable",
                StoreError::Fenced(_) => "fenced",
            };
            let labels = [("operation", operation.into()), ("error", error.into())];
            self.errors.get_or_create(&labels).inc();
        }
        done
    }
}

/// From a read of memory to a disk that hangs.
fn buckets() -> Histogram {
    Histogram::new([0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0])
}

#[derive(Debug)]
pub(super) struct MeasuredStore {
    store: Arc<dyn Store>,
    metrics: StoreMetrics,
}

impl MeasuredStore {
    pub(super) fn new(store: Arc<dyn Store>, metrics: StoreMetrics) -> Self {
        Self { store, metrics }
    }
}

impl Store for MeasuredStore {
    fn is_exclusive(&self) -> bool {
        self.store.is_exclusive()
    }

    fn load<'a>(
        &'a self,
        bucket: Bucket,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Stored>, StoreError>> {
        Box::pin(self.metrics.measure("load", self.store.load(bucket, key)))
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Revision, StoreError>> {
        Box::pin(self.metrics.measure("commit", self.store.commit(batch)))
    }

    fn list<'a>(
        &'a self,
        bucket: Bucket,
        prefix: &'a str,
    ) -> BoxFuture<'a, Result<Vec<(String, Stored)>, StoreError>> {
        Box::pin(self.metrics.measure("list", self.store.list(bucket, prefix)))
    }

    fn page<'a>(
        &'a self,
        bucket: Bucket,
        after: &'a str,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, Stored)>, StoreError>> {
        Box::pin(self.metrics.measure("page", self.store.page(bucket, after, limit)))
    }

    fn due<'a>(
        &'a self,
        duty: Duty,
        until: UnixMillis,
        after: Option<&'a DueRecord>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<DueRecord>, StoreError>> {
        Box::pin(self.metrics.measure("due", self.store.due(duty, until, after, limit)))
    }

    fn journaled(&self, after: Position) -> BoxFuture<'_, ()> {
        self.store.journaled(after)
    }

    fn writable(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.store.writable()
    }

    fn damaged(&self) -> BoxFuture<'_, String> {
        self.store.damaged()
    }
}
