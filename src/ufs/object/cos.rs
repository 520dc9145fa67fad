//! The service of a bucket of Tencent Cloud.

use super::Bucket;
use super::failure::misconfigured;
use super::options::{Credentials, Options};
use goosefs_core::{Code, Error, Result};
use opendal::Builder;
use opendal::raw::Servicer;
use opendal::services::Cos;
use std::sync::Arc;

/// Without `credentials` they are looked for where Tencent Cloud's tools do: environment, the pod's role.
pub(super) fn service(
    bucket: &Bucket,
    options: &Options,
    credentials: Option<&Credentials>,
) -> Result<Servicer> {
    let endpoint = match (&options.endpoint, &options.region) {
        (Some(endpoint), _) => endpoint.clone(),
        (None, Some(region)) => format!("https://cos.{region}.myqcloud.com"),
        (None, None) => {
            let message = format!("mount cosn://{}: its region is not known", bucket.name);
            return Err(Error::new(Code::InvalidArgument, message)
                .hint("set fs.cosn.bucket.region, such as ap-guangzhou, or fs.cosn.bucket.endpoint_suffix"));
        }
    };
    let mut builder = Cos::default().bucket(&bucket.name).root(&bucket.prefix).endpoint(&endpoint);
    if let Some(Credentials { id, secret, token }) = credentials {
        builder = builder.disable_config_load().secret_id(id).secret_key(secret);
        if let Some(token) = token {
            builder = builder.security_token(token);
        }
    }
    Ok(Arc::new(builder.build().map_err(|error| misconfigured(bucket, &error))?))
}
