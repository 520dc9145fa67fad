//! The HTTPS server that the apiserver asks.
//!
//! It shows whatever certificate was installed last; connections that are there keep theirs. Until there is one, no
//! connection comes about. Called by [`super::start`]; [`super::keep`] installs certificates.

use super::certificate::provider;
use super::review::Reviewer;
use bytes::Bytes;
use goosefs_core::rpc::server::DRAIN;
use goosefs_core::task::Tasks;
use goosefs_core::{Code, Error, Result};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// The largest review: the apiserver takes no larger objects.
const LARGEST: usize = 8 << 20;

/// A peer has so long to shake hands.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// A connection without requests is closed after so long; the apiserver closes its own sooner.
const IDLE: Duration = Duration::from_secs(300);

/// The certificate that is shown.
pub(super) type Shown = watch::Receiver<Option<Arc<CertifiedKey>>>;

#[derive(Debug)]
struct Latest(Shown);

impl ResolvesServerCert for Latest {
    fn resolve(&self, _client: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.borrow().clone()
    }
}

/// Serves `listener` until the role stops.
///
/// # Errors
/// When there is no protocol to speak.
pub(super) fn serve(
    listener: TcpListener,
    shown: Shown,
    reviewer: Arc<Reviewer>,
    tasks: &Tasks,
) -> Result<()> {
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new(Code::Internal, format!("serve the webhook: {error}")))?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Latest(shown)));
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let connections = tasks.clone();
    tasks.spawn("webhook", async move {
        let stop = connections.stop();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let work = connection(acceptor.clone(), stream, reviewer.clone(), connections.clone());
                    connections.spawn_request("webhook connection", work);
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    });
    Ok(())
}

async fn connection(acceptor: TlsAcceptor, stream: TcpStream, reviewer: Arc<Reviewer>, tasks: Tasks) {
    let stream = match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%error, "no TLS connection came about");
            return;
        }
        Err(_) => return,
    };
    let service = service_fn(move |request| {
        let reviewer = reviewer.clone();
        async move { Ok::<_, Infallible>(respond(&reviewer, request).await) }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(IDLE);
    let mut served = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
    let stop = tasks.stop();
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            tokio::time::timeout(DRAIN, served).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}

async fn respond(reviewer: &Reviewer, request: Request<Incoming>) -> Response<Full<Bytes>> {
    if request.method() != Method::POST {
        return plain(
            StatusCode::METHOD_NOT_ALLOWED,
            "the apiserver posts AdmissionReviews here\n".to_owned(),
        );
    }
    let body = match Limited::new(request.into_body(), LARGEST).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return plain(StatusCode::BAD_REQUEST, format!("{error}\n")),
    };
    match reviewer.answer(&body).await {
        Ok(answer) => {
            let mut response = Response::new(Full::from(answer.to_string()));
            let json = header::HeaderValue::from_static("application/json");
            response.headers_mut().insert(header::CONTENT_TYPE, json);
            response
        }
        Err(error) => plain(StatusCode::BAD_REQUEST, format!("{error}\n")),
    }
}

fn plain(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::super::certificate::Pair;
    use super::super::facts::Facts;
    use super::*;
    use goosefs_core::metrics::Metrics;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName};
    use serde_json::{Value, json};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::TlsConnector;

    const NAME: &str = "webhook.fluid-system.svc";

    struct Webhook {
        address: std::net::SocketAddr,
        certificate: watch::Sender<Option<Arc<CertifiedKey>>>,
        metrics: Metrics,
        tasks: Tasks,
    }

    /// A webhook whose apiserver is away.
    async fn webhook() -> Webhook {
        let (tasks, metrics) = (Tasks::new("test"), Metrics::new());
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let config = kube::Config::new(format!("http://{closed}").parse().unwrap());
        let facts = Facts::new(kube::Client::try_from(config).unwrap(), true, &tasks);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let certificate = watch::Sender::new(None);
        let reviewer = Arc::new(Reviewer::new(facts, &metrics));
        serve(listener, certificate.subscribe(), reviewer, &tasks).unwrap();
        Webhook { address, certificate, metrics, tasks }
    }

    impl Webhook {
        fn install(&self) -> Pair {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
            let pair = Pair::make(NAME, now, Duration::from_secs(60)).unwrap();
            self.certificate.send_replace(Some(Arc::new(pair.shown().unwrap())));
            pair
        }

        /// What an apiserver gets that trusts the authority of `pair`.
        async fn post(&self, pair: &Pair, body: &str) -> std::io::Result<String> {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(pair.authority.as_bytes()).unwrap()).unwrap();
            let config = rustls::ClientConfig::builder_with_provider(provider())
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
            let stream = TcpStream::connect(self.address).await?;
            let connector = TlsConnector::from(Arc::new(config));
            let mut stream = connector.connect(ServerName::try_from(NAME).unwrap(), stream).await?;
            let head = format!(
                "POST /pods HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            stream.write_all(format!("{head}{body}").as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok(answer)
        }
    }

    fn review(labels: Value) -> String {
        let volume = json!({"name": "data", "persistentVolumeClaim": {"claimName": "hbase"}});
        let pod = json!({"metadata": {"labels": labels}, "spec": {"containers": [], "volumes": [volume]}});
        json!({"request": {"uid": "u-1", "namespace": "default", "object": pod}}).to_string()
    }

    #[tokio::test]
    async fn a_pod_is_let_in_although_the_apiserver_is_away() {
        let webhook = webhook().await;
        let pair = webhook.install();
        let answer = webhook.post(&pair, &review(json!({}))).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(r#""allowed":true"#), "{answer}");
        let wanted = review(json!({"fuse.serverful.fluid.io/inject": "true"}));
        let answer = webhook.post(&pair, &wanted).await.unwrap();
        assert!(answer.contains(r#""allowed":true"#) && answer.contains("get the Dataset"), "{answer}");
        let answer = webhook.post(&pair, "nonsense").await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        let counted = webhook.metrics.text();
        for outcome in ["skipped", "failed"] {
            let line = format!("goosefs_controller_admissions_total{{outcome=\"{outcome}\"}} 1");
            assert!(counted.contains(&line), "{counted}");
        }
        webhook.tasks.shutdown(Duration::from_secs(5)).await;
    }

    #[tokio::test]
    async fn a_new_certificate_is_shown_without_a_restart() {
        let webhook = webhook().await;
        let nobody = Pair::make(NAME, Duration::from_secs(1_800_000_000), Duration::from_secs(60)).unwrap();
        assert!(webhook.post(&nobody, "").await.is_err(), "without a certificate there is no connection");
        let first = webhook.install();
        assert!(webhook.post(&first, &review(json!({}))).await.is_ok());
        let second = webhook.install();
        assert!(webhook.post(&second, &review(json!({}))).await.is_ok());
        assert!(webhook.post(&first, &review(json!({}))).await.is_err(), "the first is shown no more");
        webhook.tasks.shutdown(Duration::from_secs(5)).await;
    }
}
