//! `s3`: the suite and every kind of trouble against a real S3 server. `cos`: the same against `cos_server`, which checks
//! signatures by the published rules. `names`: host names of buckets, all on this machine.

mod cos;
mod cos_server;
pub(super) mod names;
mod s3;

use crate::testing::Tree;
use crate::{Ufs, connect};
use goosefs_core::Result;
use std::collections::BTreeMap;
use std::sync::Arc;

fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn mounted(uri: &str, pairs: &[(&str, &str)]) -> Result<Arc<dyn Ufs>> {
    connect(uri, &options(pairs))
}

/// A storage with everything in it that is awkward.
fn awkward(storage: &Arc<dyn Ufs>) -> Tree {
    Tree::awkward_in(Arc::clone(storage)).unwrap()
}
