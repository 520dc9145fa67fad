//! `servers`: the suite against real servers, and changes behind their backs. `answers`: answers that are awkward or
//! wrong. `pages`: directory pages that are. `measure`: figures.

mod answers;
mod measure;
mod pages;
mod servers;

use crate::{Ufs, connect};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The connector with options given without their prefix.
fn mounted(uri: &str, options: &[(&str, &str)]) -> Arc<dyn Ufs> {
    let option = |(name, value): &(&str, &str)| (format!("goosefs.underfs.web.{name}"), (*value).to_owned());
    let options: BTreeMap<String, String> = options.iter().map(option).collect();
    connect(uri, &options).unwrap()
}
