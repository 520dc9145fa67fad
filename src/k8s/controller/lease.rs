//! Leader election by a Lease: of several controllers of one kind, one works.

use super::context::api_error;
use goosefs_core::{Code, Error, Result};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::PostParams;
use kube::{Api, Client};
use std::time::Duration;

/// A holder that was silent for so long is followed by another.
const TERM: Duration = Duration::from_secs(15);

/// How often a holder makes itself heard, and others look.
const PERIOD: Duration = Duration::from_secs(4);

/// A lease of one controller.
pub(super) struct Election {
    api: Api<Lease>,
    name: String,
    holder: String,
}

impl Election {
    pub(super) fn new(client: Client, namespace: &str, name: &str, holder: String) -> Election {
        Election { api: Api::namespaced(client, namespace), name: name.to_owned(), holder }
    }

    /// Waits until this process holds the lease.
    pub(super) async fn win(&self) {
        let mut told = false;
        loop {
            match self.attempt().await {
                Ok(true) => return,
                Ok(false) if !std::mem::replace(&mut told, true) => {
                    tracing::info!(lease = self.name, "another controller holds the lease");
                }
                Ok(false) => {}
                Err(error) => tracing::warn!(lease = self.name, %error, "cannot take the lease"),
            }
            tokio::time::sleep(PERIOD).await;
        }
    }

    /// Keeps the lease; ends when it is lost.
    pub(super) async fn keep(&self) -> Error {
        let mut renewed = tokio::time::Instant::now();
        loop {
            tokio::time::sleep(PERIOD).await;
            match self.attempt().await {
                Ok(true) => renewed = tokio::time::Instant::now(),
                Ok(false) => return Error::new(Code::Unavailable, format!("lease {} was taken", self.name)),
                Err(error) if renewed.elapsed() + PERIOD >= TERM => {
                    return error.context(format!("lease {} cannot be renewed", self.name));
                }
                Err(error) => tracing::warn!(lease = self.name, %error, "cannot renew the lease"),
            }
        }
    }

    /// Lets the next one have it at once.
    pub(super) async fn release(&self) {
        let Ok(Some(mut lease)) = self.api.get_opt(&self.name).await else { return };
        let own = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_ref()) == Some(&self.holder);
        if let (true, Some(spec)) = (own, lease.spec.as_mut()) {
            spec.holder_identity = None;
            // Whoever comes next waits for the term otherwise; that is all.
            let _ignored = self.api.replace(&self.name, &PostParams::default(), &lease).await;
        }
    }

    /// Takes or renews the lease; whether it is ours now.
    async fn attempt(&self) -> Result<bool> {
        let found = self.api.get_opt(&self.name).await.map_err(|error| api_error("get the lease", error))?;
        let now = Timestamp::now();
        let mut lease = found.clone().unwrap_or_default();
        lease.metadata.name = Some(self.name.clone());
        let old = lease.spec.take().unwrap_or_default();
        let ours = old.holder_identity.as_ref() == Some(&self.holder);
        let free = old.holder_identity.as_deref().unwrap_or_default().is_empty();
        let term = SignedDuration::from_secs(old.lease_duration_seconds.unwrap_or(15).into());
        let expired = old.renew_time.as_ref().is_none_or(|at| now.duration_since(at.0) > term);
        if !ours && !free && !expired {
            return Ok(false);
        }
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.holder.clone()),
            lease_duration_seconds: i32::try_from(TERM.as_secs()).ok(),
            renew_time: Some(MicroTime(now)),
            acquire_time: if ours { old.acquire_time.clone() } else { Some(MicroTime(now)) },
            lease_transitions: Some(old.lease_transitions.unwrap_or_default() + i32::from(!ours)),
            ..old
        });
        let parameters = PostParams::default();
        let written = match found {
            Some(_) => self.api.replace(&self.name, &parameters, &lease).await,
            None => self.api.create(&parameters, &lease).await,
        };
        match written {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(api_error("write the lease", error)),
        }
    }
}
