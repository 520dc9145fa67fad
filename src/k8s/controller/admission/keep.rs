//! Certificates where they are kept: a Secret of the controller's namespace, which the chart makes empty.
//!
//! Every replica shows what the Secret says, as soon as it says so. The one that holds the lease of this makes new
//! certificates when [`turn`] says it is time, and has the webhook's configuration name their authorities. The lease is one
//! of its own: a replica of another version, which knows nothing of this, may hold that of Datasets as long as we are not
//! ready.

use super::rotation::{Kept, Rules, Turn, turn};
use crate::controller::context::api_error;
use crate::controller::lease::Election;
use futures::StreamExt;
use goosefs_core::Result;
use goosefs_core::metrics::{Counter, Metrics};
use goosefs_core::task::Tasks;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::watch_object;
use kube::{Api, Client, ResourceExt};
use rustls::sign::CertifiedKey;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Annotation of the Secret by which somebody asks for a new certificate.
const RENEW: &str = "goosefs.data.fluid.io/renew";

/// After a failure it is tried again so soon.
const AGAIN: Duration = Duration::from_secs(5);

/// What keeps certificates.
pub(super) struct Keeper {
    client: Client,
    namespace: String,
    /// Name of Secret, Service and webhook configuration.
    name: String,
    rules: Rules,
    secret: watch::Sender<Option<Arc<Secret>>>,
    shown: watch::Sender<Option<Arc<CertifiedKey>>>,
    made: Counter,
}

impl Keeper {
    pub(super) fn new(client: Client, namespace: &str, name: &str, metrics: &Metrics) -> Keeper {
        let made = metrics.register(
            "goosefs_controller_certificates",
            "Certificates of the webhook that were made",
            Counter::default(),
        );
        Keeper {
            client,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            rules: Rules::new(format!("{name}.{namespace}.svc")),
            secret: watch::Sender::new(None),
            shown: watch::Sender::new(None),
            made,
        }
    }

    /// The certificate to show.
    pub(super) fn shown(&self) -> watch::Receiver<Option<Arc<CertifiedKey>>> {
        self.shown.subscribe()
    }

    /// Follows the Secret and takes part in the election, until the role stops.
    pub(super) fn start(self, holder: String, tasks: &Tasks) {
        let (follower, stop) = (Arc::new(self), tasks.stop());
        let (maker, ended) = (follower.clone(), tasks.stop());
        tasks.spawn("webhook certificate", async move {
            tokio::select! {
                () = follower.follow() => {}
                () = stop.cancelled() => {}
            }
        });
        tasks.spawn("webhook certificates", async move {
            let election =
                Election::new(maker.client.clone(), &maker.namespace, "admission.data.fluid.io", holder);
            tokio::select! {
                () = maker.lead(&election) => {}
                () = ended.cancelled() => {}
            }
            election.release().await;
        });
    }

    /// Shows what the Secret says.
    async fn follow(&self) {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut seen = std::pin::pin!(watch_object(secrets, &self.name).default_backoff());
        while let Some(event) = seen.next().await {
            match event {
                Ok(Some(secret)) => self.take(secret),
                Ok(None) => {
                    tracing::warn!(secret = self.name, "the Secret is gone: helm upgrade makes it again");
                }
                Err(error) => tracing::warn!(secret = self.name, %error, "cannot watch the Secret"),
            }
        }
    }

    /// What holds is shown; what does not is left to the maker, while what was shown last goes on.
    fn take(&self, secret: Secret) {
        if let Some(pair) = kept_in(&secret).shown.filter(|pair| pair.holds(&self.rules.name, now()))
            && let Some(shown) = pair.shown()
        {
            self.shown.send_replace(Some(Arc::new(shown)));
        }
        self.secret.send_replace(Some(Arc::new(secret)));
    }

    async fn lead(&self, election: &Election) {
        loop {
            election.win().await;
            let lost = tokio::select! {
                lost = election.keep() => lost,
                never = self.make() => match never {},
            };
            tracing::warn!(%lost, "another replica makes certificates");
        }
    }

    /// Makes certificates when it is time, and keeps the webhook's configuration up to date.
    async fn make(&self) -> std::convert::Infallible {
        let configurations: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        let watched = watch_object(configurations, &self.name).default_backoff();
        let mut watched = std::pin::pin!(watched);
        let mut secrets = self.secret.subscribe();
        let mut configuration = None;
        let mut since = Since::default();
        loop {
            let secret = secrets.borrow_and_update().clone();
            let wait = match (&secret, &configuration) {
                (Some(secret), Some(configuration)) => {
                    let done = self.round(secret, configuration, &mut since).await;
                    done.unwrap_or_else(|error| {
                        tracing::warn!(%error, "the webhook's certificates: will be tried again");
                        AGAIN
                    })
                }
                _ => AGAIN,
            };
            tokio::select! {
                // The sender is ours and outlives this.
                _ = secrets.changed() => {}
                event = watched.next() => match event {
                    Some(Ok(found)) => configuration = found,
                    Some(Err(error)) => tracing::warn!(%error, "cannot watch the webhook's configuration"),
                    None => tokio::time::sleep(AGAIN).await,
                },
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Does what is to be done now; returns when to look again.
    async fn round(
        &self,
        secret: &Secret,
        configuration: &MutatingWebhookConfiguration,
        since: &mut Since,
    ) -> Result<Duration> {
        let kept = kept_in(secret);
        let bundle = kept.bundle();
        if !bundle.is_empty() && !names_authorities(configuration, &bundle) {
            self.tell(configuration, &bundle).await?;
            *since = Since::default();
            return Ok(AGAIN);
        }
        let known = since.of(&kept);
        let asked = secret.annotations().contains_key(RENEW);
        match turn(&kept, asked, known, now(), &self.rules)? {
            Turn::Wait(wait) => return Ok(wait),
            Turn::Keep(next) => self.write(secret, &next).await?,
            Turn::Make(next) => {
                self.write(secret, &next).await?;
                self.made.inc();
                tracing::info!(server = self.rules.name, "a new certificate was made");
            }
        }
        Ok(AGAIN)
    }

    /// Writes the Secret, unless somebody else has meanwhile; the watch then brings what is there.
    async fn write(&self, secret: &Secret, kept: &Kept) -> Result<()> {
        let mut secret = secret.clone();
        secret.annotations_mut().remove(RENEW);
        secret.data = Some(kept.write().into_iter().map(|(key, bytes)| (key, ByteString(bytes))).collect());
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        match secrets.replace(&self.name, &PostParams::default(), &secret).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            Err(error) => Err(api_error(&format!("write Secret {}", self.name), error)),
        }
    }

    /// Has the webhook's configuration name the authorities.
    async fn tell(&self, configuration: &MutatingWebhookConfiguration, bundle: &str) -> Result<()> {
        let bytes = ByteString(bundle.as_bytes().to_vec());
        let webhooks = configuration.webhooks.iter().flatten();
        let webhooks: Vec<_> =
            webhooks.map(|one| json!({"name": one.name, "clientConfig": {"caBundle": bytes}})).collect();
        let api: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        let patch = Patch::Strategic(json!({"webhooks": webhooks}));
        let patched = api.patch(&self.name, &PatchParams::default(), &patch).await;
        patched.map_err(|error| api_error(&format!("patch webhook configuration {}", self.name), error))?;
        Ok(())
    }
}

/// Since when the same is kept and known to the apiserver.
#[derive(Default)]
struct Since(Option<(Kept, Instant)>);

impl Since {
    fn of(&mut self, kept: &Kept) -> Duration {
        match &self.0 {
            Some((same, since)) if same == kept => since.elapsed(),
            _ => {
                self.0 = Some((kept.clone(), Instant::now()));
                Duration::ZERO
            }
        }
    }
}

fn kept_in(secret: &Secret) -> Kept {
    let data = secret.data.iter().flatten();
    Kept::read(&data.map(|(key, value)| (key.clone(), value.0.clone())).collect())
}

fn names_authorities(configuration: &MutatingWebhookConfiguration, bundle: &str) -> bool {
    let mut webhooks = configuration.webhooks.iter().flatten();
    webhooks.all(|one| one.client_config.ca_bundle.as_ref().is_some_and(|bytes| bytes.0 == bundle.as_bytes()))
}

/// Since 1970.
fn now() -> Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}
