//! The service behind a mount, made anew when its credentials changed where they lie.

use super::options::{Credentials, Options};
use super::remote::Remote;
use super::write::Unfinished;
use super::{Bucket, Kind, cos, s3};
use crate::Fence;
use goosefs_core::{Code, Result};
use parking_lot::Mutex;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

/// The mount's bucket and how to get at it.
pub(super) struct Connection {
    bucket: Bucket,
    options: Options,
    fence: Fence,
    current: Mutex<Current>,
    unfinished: Mutex<Vec<Unfinished>>,
}

#[derive(Clone)]
struct Current {
    credentials: Option<Credentials>,
    remote: Arc<Remote>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("bucket", &self.bucket).field("options", &self.options).finish()
    }
}

impl Connection {
    pub(super) fn new(bucket: Bucket, options: Options, fence: Fence) -> Result<Connection> {
        let credentials = options.credentials()?;
        let remote = make(&bucket, &options, credentials.as_ref(), &fence)?;
        let current = Mutex::new(Current { credentials, remote });
        Ok(Connection { bucket, options, fence, current, unfinished: Mutex::default() })
    }

    /// Does `call`; once more, with new credentials, when the service refuses the old ones and others lie where they lay.
    pub(super) async fn run<T, F>(&self, call: impl Fn(Arc<Remote>) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let before = self.current.lock().clone();
        match call(before.remote.clone()).await {
            Err(error) if error.code == Code::PermissionDenied => match self.renewed(&before)? {
                Some(remote) => call(remote).await,
                None => Err(error),
            },
            outcome => outcome,
        }
    }

    fn renewed(&self, before: &Current) -> Result<Option<Arc<Remote>>> {
        let credentials = self.options.credentials()?;
        if credentials == before.credentials {
            return Ok(None);
        }
        let mut current = self.current.lock();
        if current.credentials != credentials {
            let remote = make(&self.bucket, &self.options, credentials.as_ref(), &self.fence)?;
            tracing::info!(bucket = self.bucket.name, "the credentials of a mount are new");
            *current = Current { credentials, remote };
        }
        Ok(Some(current.remote.clone()))
    }

    /// Takes an upload that nobody finishes any more.
    pub(super) fn give_up(&self, upload: Unfinished) {
        self.unfinished.lock().push(upload);
    }

    /// Has the service drop what was given up since the last time.
    pub(super) async fn sweep(&self) {
        let given_up = std::mem::take(&mut *self.unfinished.lock());
        for upload in given_up {
            upload.abort().await;
        }
    }
}

fn make(
    bucket: &Bucket,
    options: &Options,
    credentials: Option<&Credentials>,
    fence: &Fence,
) -> Result<Arc<Remote>> {
    let service = match bucket.kind {
        Kind::S3 => s3::service(bucket, options, credentials)?,
        Kind::Cos => cos::service(bucket, options, credentials)?,
    };
    Ok(Arc::new(Remote::new(bucket, options, service, fence.clone())?))
}
