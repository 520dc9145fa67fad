//! What the file system asks of the kernel beside answering it: backing files and invalidations.
//!
//! A trait, so that everything above the session runs in tests without a mount. [`crate::session`] implements it over
//! `/dev/fuse`.

use std::io;
use std::os::fd::BorrowedFd;

/// The kernel's side of one mount.
pub trait Kernel: Send + Sync + 'static {
    /// Registers a file as a backing file and returns the kernel's id for it. Needs CAP_SYS_ADMIN. The kernel holds the
    /// file from then on, so the descriptor may be closed.
    ///
    /// # Errors
    /// What the kernel says: EPERM without the capability, ELOOP when the file lies on a stacked file system.
    fn register(&self, file: BorrowedFd<'_>) -> io::Result<u32>;

    /// Gives an id up. Opens that use it go on; no new one may.
    fn unregister(&self, id: u32);

    /// A name means something else now, or nothing. `parent` is a FUSE node id.
    fn entry_changed(&self, parent: u64, name: &str);

    /// Attributes and bytes of this FUSE node are void.
    fn node_changed(&self, node: u64);

    /// Everything the kernel remembers of names is void.
    fn everything_changed(&self);
}

#[cfg(test)]
pub(crate) mod testing {
    //! A kernel that only remembers what it was told.

    use super::*;
    use crate::handle::{Backing, Lease};
    use parking_lot::Mutex;
    use std::collections::BTreeSet;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    #[derive(Debug, Default)]
    pub(crate) struct FakeKernel {
        next: AtomicU32,
        ids: Mutex<BTreeSet<u32>>,
        leases_ended: Arc<AtomicBool>,
        pub(crate) changed: Mutex<Vec<String>>,
    }

    struct FakeLease(Arc<AtomicBool>);

    impl Lease for FakeLease {
        fn is_alive(&self) -> bool {
            !self.0.load(Ordering::SeqCst)
        }
    }

    impl FakeKernel {
        pub(crate) fn new() -> Arc<FakeKernel> {
            Arc::default()
        }

        pub(crate) fn backing(self: &Arc<Self>, generation: u64, length: u64) -> Arc<Backing> {
            let id = self.take_id();
            Backing::new(id, generation, length, self.clone(), Box::new(FakeLease(self.leases_ended.clone())))
        }

        pub(crate) fn registered(&self) -> BTreeSet<u32> {
            self.ids.lock().clone()
        }

        pub(crate) fn end_leases(&self) {
            self.leases_ended.store(true, Ordering::SeqCst);
        }

        fn take_id(&self) -> u32 {
            let id = self.next.fetch_add(1, Ordering::SeqCst) + 1;
            self.ids.lock().insert(id);
            id
        }
    }

    impl Kernel for FakeKernel {
        fn register(&self, _file: BorrowedFd<'_>) -> io::Result<u32> {
            Ok(self.take_id())
        }

        fn unregister(&self, id: u32) {
            assert!(self.ids.lock().remove(&id), "id {id} was given up twice");
        }

        fn entry_changed(&self, parent: u64, name: &str) {
            self.changed.lock().push(format!("{parent}/{name}"));
        }

        fn node_changed(&self, node: u64) {
            self.changed.lock().push(format!("node {node}"));
        }

        fn everything_changed(&self) {
            self.changed.lock().push("everything".to_owned());
        }
    }
}
