//! The web port of a role: metrics, and whether it lives and is ready.
//!
//! | path | answer |
//! |---|---|
//! | `/metrics`, `/metrics/prometheus/` | OpenMetrics text |
//! | `/health`, `/healthz` | 200 as long as the event loop turns |
//! | `/ready`, `/readyz` | 200 when the role can serve, else 503 |
//!
//! Called by `cmd/` once per process; the port is bound by the caller, before anything else is started.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use goosefs_core::metrics::Metrics;
use goosefs_core::task::Tasks;
use std::sync::Arc;
use tokio::net::TcpListener;

/// What the pages show.
#[derive(Clone)]
pub struct Pages {
    /// The role's metrics.
    pub metrics: Metrics,
    /// Whether it can serve.
    pub ready: Arc<dyn Fn() -> bool + Send + Sync>,
}

/// Serves `pages` on `listener` until `tasks` stop.
pub fn serve(listener: TcpListener, pages: Pages, tasks: &Tasks) {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/metrics/prometheus", get(metrics))
        .route("/metrics/prometheus/", get(metrics))
        .route("/health", get(|| async { "ok\n" }))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/ready", get(ready))
        .route("/readyz", get(ready))
        .with_state(pages);
    let stop = tasks.stop();
    tasks.spawn("web", async move {
        let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
        if let Err(error) = served.await {
            tracing::warn!(%error, "the web port is closed");
        }
    });
}

async fn metrics(State(pages): State<Pages>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], pages.metrics.text()).into_response()
}

async fn ready(State(pages): State<Pages>) -> (StatusCode, &'static str) {
    if (pages.ready)() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn get(address: std::net::SocketAddr, path: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn metrics_and_readiness_are_shown() {
        let metrics = Metrics::new();
        let hits: goosefs_core::metrics::Counter =
            metrics.register("goosefs_test_hits", "Hits", Default::default());
        hits.inc();
        let flag = Arc::new(AtomicBool::new(false));
        let seen = flag.clone();
        let pages = Pages { metrics, ready: Arc::new(move || seen.load(Ordering::SeqCst)) };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tasks = Tasks::new("test");
        serve(listener, pages, &tasks);
        assert!(get(address, "/metrics").await.contains("goosefs_test_hits_total 1"));
        assert!(get(address, "/ready").await.starts_with("HTTP/1.1 503"));
        flag.store(true, Ordering::SeqCst);
        assert!(get(address, "/ready").await.starts_with("HTTP/1.1 200"));
        assert!(get(address, "/health").await.starts_with("HTTP/1.1 200"));
        assert!(tasks.shutdown(Duration::from_secs(5)).await.is_empty());
    }
}
