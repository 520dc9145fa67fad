//! Behaviour around any storage, one wrapper a file, named for what it adds.
//!
//! A wrapper is itself a storage, so they stack: `metered(retry(limit(connect(..)?)))` counts what callers see. None
//! changes what a call means.

mod backoff;
#[cfg(any(test, feature = "testing"))]
mod faulty;
mod limit;
mod metered;
mod retry;

pub use backoff::Backoff;
#[cfg(any(test, feature = "testing"))]
pub use faulty::{Fault, Faults, Faulty, Operation};
pub use limit::Limit;
pub use metered::{Metered, UfsMetrics};
pub use retry::Retry;

#[cfg(test)]
mod tests;
