//! The custom resources of group `data.fluid.io/v1alpha1`, as Rust types.
//!
//! Fields, defaults, enums, columns and short names are those of Fluid v1.0.8, the last that had GooseFSRuntime; fields
//! that Fluid does not have are named as in its AlluxioRuntime where that has them. What `kubectl create` refuses is said
//! twice: as CEL rules in the types, and in [`check`], because older apiservers and stored objects pass the rules by.
//! [`definitions`] makes the CustomResourceDefinitions; `goosefs controller crds` prints them and the chart carries a copy.

// Where `unreachable_pub` is allowed, KubeSchema makes an inner copy of each type, as public as the type.

#[allow(unreachable_pub)]
mod backup;
pub mod check;
#[allow(unreachable_pub)]
mod component;
mod condition;
#[allow(unreachable_pub)]
mod dataset;
mod definition;
#[allow(unreachable_pub)]
mod load;
#[allow(unreachable_pub)]
mod mount;
#[allow(unreachable_pub)]
mod operation;
mod place;
mod quantity;
#[allow(unreachable_pub)]
mod runtime;
mod schedule;
mod status;
#[cfg(test)]
mod tests;
#[allow(unreachable_pub)]
mod tier;

pub use backup::{DataBackup, DataBackupSpec};
pub use component::{
    CleanPolicy, Component, Fuse, InitUsers, Journal, JournalType, LaunchPolicy, PodMetadata,
};
pub use condition::Condition;
pub use dataset::{
    DataRestoreLocation, Dataset, DatasetSpec, DatasetStatus, Hcfs, NodeAffinity, Owner, Placement,
    RuntimeReference,
};
pub use definition::{definitions, file_name, yaml};
pub use load::{DataLoad, DataLoadSpec, Policy, TargetDataset, TargetPath};
pub use mount::{EncryptOption, EncryptOptionSource, Mount, SecretKey};
pub use operation::{
    AffinityStrategy, ObjectRef, OperationJob, OperationKind, OperationRef, OperationStatus, Prefer, Require,
    WaitingStatus,
};
pub use place::Place;
pub use quantity::bytes_of;
pub use runtime::{
    CleanCachePolicy, DataPlacement, GooseFSRuntime, GooseFSRuntimeSpec, NetworkMode, RunAs, Version,
};
pub use schedule::Schedule;
pub use status::{ApiGatewayStatus, GooseFSRuntimeStatus, JournalStatus};
pub use tier::{Level, MediumType, TieredStore, VolumeType};

/// The group of all of them.
pub const GROUP: &str = "data.fluid.io";

/// The version of all of them.
pub const VERSION: &str = "v1alpha1";

/// The longest name that a Dataset or runtime may have: names of pods and their revision labels are made from it and end
/// at 63 characters.
pub const LONGEST_NAME: usize = 45;
