//! Counts calls, failures, bytes and time of a storage.

use crate::{Attributes, Capabilities, Entry, Space, Ufs, Writer};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use goosefs_core::metrics::{Counter, Family, Histogram, Metrics};
use goosefs_core::proto::internal::{Fingerprint, NodeKind};
use goosefs_core::{Code, Result};
use std::ops::Range;
use std::sync::Arc;
use tokio::time::Instant;

/// `operation="read"` and the like.
type Labels = Vec<(&'static str, &'static str)>;

/// From half a millisecond (a warm local disk) to a minute (a storage that hangs), in seconds.
const LATENCIES: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0];

/// The counters of all storages of one role.
#[derive(Clone, Debug)]
pub struct UfsMetrics {
    calls: Family<Labels, Counter>,
    failures: Family<Labels, Counter>,
    seconds: Family<Labels, Histogram, fn() -> Histogram>,
    read: Counter,
    written: Counter,
}

impl UfsMetrics {
    /// Registers the counters as `goosefs_<role>_ufs_…`.
    #[must_use]
    pub fn register(metrics: &Metrics, role: &str) -> UfsMetrics {
        let name = |noun: &str| format!("goosefs_{role}_ufs_{noun}");
        let histogram: fn() -> Histogram = || Histogram::new(LATENCIES);
        UfsMetrics {
            calls: metrics.register(&name("calls"), "Calls to under-storages", Family::default()),
            failures: metrics.register(
                &name("failures"),
                "Calls to under-storages that failed, not found aside",
                Family::default(),
            ),
            seconds: metrics.register(
                &name("call_seconds"),
                "Time until an under-storage answered (streams: until they began)",
                Family::new_with_constructor(histogram),
            ),
            read: metrics.register(&name("read_bytes"), "Bytes read from under-storages", Counter::default()),
            written: metrics.register(
                &name("written_bytes"),
                "Bytes written to under-storages",
                Counter::default(),
            ),
        }
    }

    /// Bytes read so far.
    #[must_use]
    pub fn read_bytes(&self) -> u64 {
        self.read.get()
    }

    /// Bytes written so far.
    #[must_use]
    pub fn written_bytes(&self) -> u64 {
        self.written.get()
    }

    /// Calls of `operation` so far.
    #[must_use]
    pub fn calls(&self, operation: &'static str) -> u64 {
        self.calls.get_or_create(&labels(operation)).get()
    }

    /// Failures of `operation` so far.
    #[must_use]
    pub fn failures(&self, operation: &'static str) -> u64 {
        self.failures.get_or_create(&labels(operation)).get()
    }

    async fn measure<T>(&self, operation: &'static str, call: impl Future<Output = Result<T>>) -> Result<T> {
        let start = Instant::now();
        let outcome = call.await;
        self.calls.get_or_create(&labels(operation)).inc();
        self.seconds.get_or_create(&labels(operation)).observe(start.elapsed().as_secs_f64());
        self.count_failure(operation, &outcome);
        outcome
    }

    fn count_failure<T>(&self, operation: &'static str, outcome: &Result<T>) {
        if outcome.as_ref().is_err_and(|error| error.code != Code::NotFound) {
            self.failures.get_or_create(&labels(operation)).inc();
        }
    }
}

fn labels(operation: &'static str) -> Labels {
    vec![("operation", operation)]
}

/// Counts what goes to `inner` and comes from it.
#[derive(Debug)]
pub struct Metered {
    inner: Arc<dyn Ufs>,
    metrics: UfsMetrics,
}

impl Metered {
    /// `inner`, counted in `metrics`.
    #[must_use]
    pub fn new(inner: Arc<dyn Ufs>, metrics: UfsMetrics) -> Metered {
        Metered { inner, metrics }
    }
}

#[async_trait]
impl Ufs for Metered {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn stat(&self, path: &str) -> Result<Entry> {
        self.metrics.measure("stat", self.inner.stat(path)).await
    }

    async fn list(&self, path: &str) -> Result<BoxStream<'static, Result<Entry>>> {
        let entries = self.metrics.measure("list", self.inner.list(path)).await?;
        let metrics = self.metrics.clone();
        Ok(entries.inspect(move |entry| metrics.count_failure("list", entry)).boxed())
    }

    async fn read(
        &self,
        path: &str,
        range: Range<u64>,
        expected: &Fingerprint,
    ) -> Result<BoxStream<'static, Result<Bytes>>> {
        let chunks = self.metrics.measure("read", self.inner.read(path, range, expected)).await?;
        let metrics = self.metrics.clone();
        let counted = chunks.inspect(move |chunk| {
            if let Ok(chunk) = chunk {
                metrics.read.inc_by(chunk.len() as u64);
            }
            metrics.count_failure("read", chunk);
        });
        Ok(counted.boxed())
    }

    async fn create(&self, path: &str, attributes: &Attributes) -> Result<Box<dyn Writer>> {
        let inner = self.metrics.measure("create", self.inner.create(path, attributes)).await?;
        Ok(Box::new(MeteredWriter { inner, metrics: self.metrics.clone() }))
    }

    async fn make_directory(&self, path: &str, attributes: &Attributes) -> Result<()> {
        self.metrics.measure("make_directory", self.inner.make_directory(path, attributes)).await
    }

    async fn remove(&self, path: &str, kind: NodeKind) -> Result<()> {
        self.metrics.measure("remove", self.inner.remove(path, kind)).await
    }

    async fn remove_all(&self, path: &str) -> Result<()> {
        self.metrics.measure("remove_all", self.inner.remove_all(path)).await
    }

    async fn rename(&self, from: &str, to: &str, replace: bool) -> Result<()> {
        self.metrics.measure("rename", self.inner.rename(from, to, replace)).await
    }

    async fn set_attributes(&self, path: &str, attributes: &Attributes) -> Result<()> {
        self.metrics.measure("set_attributes", self.inner.set_attributes(path, attributes)).await
    }

    async fn space(&self) -> Result<Space> {
        self.metrics.measure("space", self.inner.space()).await
    }
}

/// A writer whose bytes are counted.
struct MeteredWriter {
    inner: Box<dyn Writer>,
    metrics: UfsMetrics,
}

#[async_trait]
impl Writer for MeteredWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let length = bytes.len() as u64;
        let outcome = self.inner.write(bytes).await;
        self.metrics.count_failure("write", &outcome);
        if outcome.is_ok() {
            self.metrics.written.inc_by(length);
        }
        outcome
    }

    async fn finish(self: Box<Self>) -> Result<Fingerprint> {
        let MeteredWriter { inner, metrics } = *self;
        metrics.measure("finish", inner.finish()).await
    }

    async fn abort(self: Box<Self>) {
        self.inner.abort().await;
    }
}
