//! What a worker counts.

use goosefs_core::block::Store;
use goosefs_core::metrics::{Counter, Gauge, Histogram, Metrics};
use goosefs_core::proto::internal::Traffic;
use std::sync::atomic::{AtomicU64, Ordering};

/// The worker's counters; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct WorkerMetrics {
    /// Bytes served from this worker's disks.
    pub(crate) read_cache: Counter,
    /// Bytes served that came from other workers.
    pub(crate) read_peer: Counter,
    /// Bytes served that came from under-storages.
    pub(crate) read_ufs: Counter,
    /// Reads that went past the cache because nothing could be evicted.
    pub(crate) uncached_reads: Counter,
    /// Bytes that under-storages sent.
    pub(crate) fill_bytes: Counter,
    /// Bytes that peers sent out of their caches, to be cached here too.
    pub(crate) fill_peer_bytes: Counter,
    /// Range requests that failed for good.
    pub(crate) fill_errors: Counter,
    /// How long range requests took, their writing to the disk included.
    pub(crate) fill_seconds: Histogram,
    /// Bytes that writers sent.
    pub(crate) written_bytes: Counter,
    /// Bytes uploaded to under-storages.
    pub(crate) uploaded_bytes: Counter,
    /// Descriptors handed to clients on this machine.
    pub(crate) handed_out: Counter,
    /// Bytes of those files.
    pub(crate) handed_out_bytes: Counter,
    capacity: Gauge,
    used: Gauge,
    still_open: Gauge,
    held: Gauge,
    contents: Gauge,
    evicted: Counter,
    bad_pages: Counter,
    lost_blocks: Counter,
    no_room: Counter,
    failed_dirs: Counter,
}

impl WorkerMetrics {
    pub(crate) fn new(metrics: &Metrics) -> WorkerMetrics {
        let counter = |name: &str, help: &str| {
            metrics.register(&format!("goosefs_worker_{name}"), help, Counter::default())
        };
        let gauge = |name: &str, help: &str| {
            metrics.register(&format!("goosefs_worker_{name}"), help, Gauge::default())
        };
        let seconds = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0];
        WorkerMetrics {
            read_cache: counter("read_cache_bytes", "Bytes served from this worker's disks"),
            read_peer: counter("read_peer_bytes", "Bytes served that came from other workers"),
            read_ufs: counter("read_ufs_bytes", "Bytes served that came from under-storages"),
            uncached_reads: counter(
                "uncached_reads",
                "Reads past the cache because nothing could be evicted",
            ),
            fill_bytes: counter("fill_bytes", "Bytes that under-storages sent"),
            fill_peer_bytes: counter("fill_peer_bytes", "Bytes that peers sent out of their caches"),
            fill_errors: counter("fill_errors", "Range requests to under-storages that failed for good"),
            fill_seconds: metrics.register(
                "goosefs_worker_fill_seconds",
                "How long range requests to under-storages took, writing to the disk included",
                Histogram::new(seconds),
            ),
            written_bytes: counter("written_bytes", "Bytes that writers sent"),
            uploaded_bytes: counter("uploaded_bytes", "Bytes uploaded to under-storages"),
            handed_out: counter(
                "handed_out",
                "Descriptors of cached files handed to clients on this machine",
            ),
            handed_out_bytes: counter(
                "handed_out_bytes",
                "Bytes of the files whose descriptors were handed out",
            ),
            capacity: gauge("capacity_bytes", "Quota of all directories"),
            used: gauge("used_bytes", "Everything that takes room, in flight too"),
            still_open: gauge(
                "still_open_bytes",
                "Disk space of files that are not cached any more and that somebody still has open",
            ),
            held: gauge("unpersisted_bytes", "Disk space of only copies, which eviction leaves alone"),
            contents: gauge("contents", "Files of which something is cached"),
            evicted: counter("evicted_bytes", "Bytes evicted to make room"),
            bad_pages: counter("bad_pages", "Cached pages that did not match their checksum"),
            lost_blocks: counter("lost_blocks", "Only copies found damaged or missing"),
            no_room: counter("no_room", "Times that no room could be made"),
            failed_dirs: counter("failed_dirs", "Directories taken out because they failed"),
        }
    }

    /// What was read, for the masters.
    pub(crate) fn traffic(&self) -> Traffic {
        Traffic {
            hit: self.read_cache.get() + self.read_peer.get() + self.handed_out_bytes.get(),
            missed: self.fill_bytes.get(),
        }
    }

    /// Takes over what the store counts.
    pub(crate) fn follow(&self, store: &Store) {
        let usage = store.usage();
        let sum =
            |of: fn(&goosefs_core::block::store::DirUsage) -> u64| usage.dirs.iter().map(of).sum::<u64>();
        set(&self.capacity, sum(|dir| dir.capacity));
        set(&self.used, sum(|dir| dir.used));
        set(&self.still_open, sum(|dir| dir.still_open));
        set(&self.held, usage.held);
        set(&self.contents, usage.contents);
        let counts = store.counts();
        catch_up(&self.evicted, &counts.evicted_bytes);
        catch_up(&self.bad_pages, &counts.bad_pages);
        catch_up(&self.lost_blocks, &counts.lost_blocks);
        catch_up(&self.no_room, &counts.no_room);
        catch_up(&self.failed_dirs, &counts.failed_dirs);
    }
}

fn set(gauge: &Gauge, value: u64) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}

fn catch_up(counter: &Counter, count: &AtomicU64) {
    counter.inc_by(count.load(Ordering::Relaxed).saturating_sub(counter.get()));
}
