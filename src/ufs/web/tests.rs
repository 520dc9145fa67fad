//! The suite against real servers, and what only the web has.

use crate::connect;
use crate::suite;
use crate::testing::{Page, Serving, Tree, or_skip};
use std::collections::BTreeMap;
use tempfile::TempDir;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_server_passes_the_suite() {
    for page in Page::ALL {
        let folder = TempDir::new().unwrap();
        let mut tree = Tree::awkward(folder.path()).unwrap();
        let Some(serving) = or_skip(&format!("suite by {page:?}"), Serving::of(folder.path(), page).start())
        else {
            continue;
        };
        let ufs = connect(&serving.uri(), &BTreeMap::new()).unwrap();
        suite::run(&*ufs, &mut tree).await;
    }
}
