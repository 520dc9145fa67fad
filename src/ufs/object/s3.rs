//! The service of an S3 bucket.

use super::Bucket;
use super::failure::misconfigured;
use super::options::{Credentials, Options};
use goosefs_core::Result;
use opendal::Builder;
use opendal::raw::Servicer;
use opendal::services::S3;
use std::sync::Arc;

/// Where buckets are that have a name of their own in the DNS.
const AMAZON: &str = "amazonaws.com";

/// What most services call the region when they have only one, and Amazon its first.
const REGION: &str = "us-east-1";

/// Without `credentials` they are looked for where Amazon's tools do: environment, profile, the machine's role.
pub(super) fn service(
    bucket: &Bucket,
    options: &Options,
    credentials: Option<&Credentials>,
) -> Result<Servicer> {
    let mut builder = S3::default().bucket(&bucket.name).root(&bucket.prefix);
    builder = builder.region(options.region.as_deref().unwrap_or(REGION));
    if let Some(endpoint) = &options.endpoint {
        builder = builder.endpoint(endpoint);
    }
    let elsewhere = options.endpoint.as_ref().is_some_and(|endpoint| !endpoint.ends_with(AMAZON));
    if !options.path_style.unwrap_or(elsewhere) {
        builder = builder.enable_virtual_host_style();
    }
    if options.anonymous {
        builder = builder.skip_signature();
    }
    if options.anonymous || credentials.is_some() {
        builder = builder.disable_config_load().disable_ec2_metadata();
    }
    if let Some(Credentials { id, secret, token }) = credentials {
        builder = builder.access_key_id(id).secret_access_key(secret);
        if let Some(token) = token {
            builder = builder.session_token(token);
        }
    }
    Ok(Arc::new(builder.build().map_err(|error| misconfigured(bucket, &error))?))
}
