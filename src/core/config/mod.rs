//! Configuration: `goosefs.*` properties from five sources, checked when they are read.
//!
//! Later sources win: defaults, `goosefs-site.properties`, environment (`GOOSEFS_MASTER_HOSTNAME` for
//! `goosefs.master.hostname`), `-Dkey=value` inside `GOOSEFS_JAVA_OPTS` and the role's `GOOSEFS_<ROLE>_JAVA_OPTS`, and
//! `-Dkey=value` on the command line. The file is the first found of `$GOOSEFS_CONF_DIR`, `$GOOSEFS_HOME/conf`,
//! `~/.goosefs` and `/etc/goosefs`.
//!
//! [`keys`] is the manual: every property, what it means, its default. A property of GooseFS that means nothing here
//! is ignored with one warning in files and environment; one that nobody knows is an error, and so is either on the
//! command line. Nothing is global: each process (or test) loads its
//! own [`Properties`] and hands the roles plain structs.

pub mod key;
pub mod keys;
mod properties;
mod sources;
pub mod value;

pub use key::{Key, Kind};
pub use properties::{Properties, Source};
pub use sources::{Environment, Overrides, Standing, check_given};
