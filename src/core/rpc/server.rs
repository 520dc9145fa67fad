//! One listening port: gRPC and frames, told apart by the first byte of a connection.
//!
//! Each connection is a task of its role. When the role stops, listeners close at once, gRPC connections say GOAWAY and
//! framed ones `GoAway`, calls under way get [`DRAIN`] to end, then the connections are cut.

use super::frame::{self, FrameService, KeepAlive, Socket};
use crate::error::{Code, Error, Result};
use crate::task::Tasks;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener};
use tokio_util::sync::CancellationToken;

/// Calls under way have so long to end when the role stops.
pub const DRAIN: Duration = Duration::from_secs(3);

/// A peer has so long to send its first byte.
const FIRST_BYTE: Duration = Duration::from_secs(10);

/// Connections that wait to be accepted.
const BACKLOG: u32 = 4096;

/// HTTP/2 frame size and windows: a 1 MiB message in one frame is twice as fast as in frames of 16 KiB.
const HTTP2_FRAME: u32 = 1 << 20;
const HTTP2_STREAM_WINDOW: u32 = 8 << 20;
const HTTP2_CONNECTION_WINDOW: u32 = 32 << 20;
const HTTP2_STREAMS: u32 = 4096;
const HTTP2_PING: Duration = Duration::from_secs(20);

/// Cancelled when the server that took a request begins to stop; in the extensions of every gRPC request. Streams that
/// would stay open for ever end then.
#[derive(Clone, Debug)]
pub struct Draining(pub CancellationToken);

/// Binds `address` (`host:port`) now, so that a port in use is reported before anything else is started.
///
/// # Errors
/// `InvalidArgument` when the address cannot be resolved or is not this machine's, `Busy` when the port is in use,
/// `PermissionDenied` when it takes root; all name `what` and the address.
pub async fn bind(what: &str, address: &str) -> Result<TcpListener> {
    let invalid = |why: String| {
        Error::new(Code::InvalidArgument, format!("{what}: cannot listen on \"{address}\": {why}"))
            .hint("give host:port with a name or address of this machine")
    };
    let mut candidates: Vec<SocketAddr> =
        tokio::net::lookup_host(address).await.map_err(|e| invalid(e.to_string()))?.collect();
    // One port, one listener: where a name has both kinds of address, the one that IPv4 peers reach.
    candidates.sort_by_key(SocketAddr::is_ipv6);
    let Some(first) = candidates.first() else { return Err(invalid("it has no address".to_owned())) };
    listen(*first).map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => {
            let text = format!("{what}: {address} is already in use by another process");
            let hint = format!("see `ss -ltnp sport = :{}`, stop it or choose another port", first.port());
            Error::new(Code::Busy, text).hint(hint).caused_by(error)
        }
        ErrorKind::PermissionDenied => {
            let text = format!("{what}: may not listen on {address}");
            Error::new(Code::PermissionDenied, text).hint("ports below 1024 take root").caused_by(error)
        }
        _ => invalid(error.to_string()),
    })
}

/// Waits until the name in `address` is known, at most `patience`: what a bind says of it then counts.
pub async fn until_resolved(address: &str, patience: Duration) {
    let until = tokio::time::Instant::now() + patience;
    let mut told = false;
    while let Err(error) = tokio::net::lookup_host(address).await {
        // What has no port is no name that comes late.
        if address.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err())
            || tokio::time::Instant::now() >= until
        {
            return;
        }
        if !told {
            told = true;
            tracing::warn!(address, %error, "waiting for our own name to be known");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Connections of a predecessor that linger in TIME_WAIT must not keep a restart from its port.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves `listener` until the role stops: gRPC by `routes`, frames by `frames`. Connections in flight are drained.
///
/// # Errors
/// When the listener cannot be used.
pub fn serve(
    name: &str,
    listener: TcpListener,
    routes: tonic::service::Routes,
    frames: Option<Arc<dyn FrameService>>,
    tasks: &Tasks,
) -> Result<SocketAddr> {
    let address = listener.local_addr().map_err(|e| Error::io(format!("{name}: read the port"), e))?;
    let server = Server { name: name.to_owned(), routes: routes.prepare(), frames, tasks: tasks.clone() };
    let server = Arc::new(server);
    tasks.spawn(format!("{name} {address}"), async move {
        let stop = server.tasks.stop();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let server = Arc::clone(&server);
                    let label = format!("{} connection of {peer}", server.name);
                    let connections = server.tasks.clone();
                    connections.spawn(label, async move { server.connection(stream, peer).await });
                }
                Err(error) => pause(&server.name, &error).await,
            }
        }
    });
    Ok(address)
}

/// Serves frames on a Unix socket at `path` until the role stops; a stale socket file is replaced, and the file is removed
/// at the end.
///
/// # Errors
/// `Busy` when another process serves that socket, `InvalidArgument` when the path is too long, else the I/O error.
pub fn serve_unix(name: &str, path: &Path, frames: Arc<dyn FrameService>, tasks: &Tasks) -> Result<()> {
    let (listener, file) = super::unix::listen(path)?;
    let (name, tasks) = (name.to_owned(), tasks.clone());
    let connections = tasks.clone();
    tasks.spawn(format!("{name} {}", path.display()), async move {
        // Removed when this task ends.
        let _file = file;
        accept_unix(&name, &listener, &connections.stop(), |stream| {
            let work = frame::serve_connection(
                Socket::Unix(stream),
                None,
                Arc::clone(&frames),
                connections.clone(),
                KeepAlive::default(),
            );
            connections.spawn(format!("{name} local connection"), work);
        })
        .await;
    });
    Ok(())
}

/// Serves gRPC on a Unix socket at `path` until the role stops, as [`serve`] does on a port.
///
/// # Errors
/// As [`serve_unix`].
pub fn serve_unix_grpc(name: &str, path: &Path, routes: tonic::service::Routes, tasks: &Tasks) -> Result<()> {
    let (listener, file) = super::unix::listen(path)?;
    let server =
        Server { name: name.to_owned(), routes: routes.prepare(), frames: None, tasks: tasks.clone() };
    let (server, connections) = (Arc::new(server), tasks.clone());
    tasks.spawn(format!("{name} {}", path.display()), async move {
        // Removed when this task ends.
        let _file = file;
        let stop = connections.stop();
        accept_unix(&server.name, &listener, &stop, |stream| {
            let (server, stop) = (Arc::clone(&server), stop.clone());
            let label = format!("{} local connection", server.name);
            connections.spawn(label, async move { server.grpc(stream, None, stop).await });
        })
        .await;
    });
    Ok(())
}

/// Hands each connection of `listener` to `start` until `stop`.
pub(super) async fn accept_unix(
    name: &str,
    listener: &UnixListener,
    stop: &CancellationToken,
    start: impl Fn(tokio::net::UnixStream),
) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => start(stream),
            Err(error) => pause(name, &error).await,
        }
    }
}

/// Accepting failed: a lack of descriptors does not pass by itself at once, everything else concerns one connection.
async fn pause(name: &str, error: &std::io::Error) {
    tracing::warn!(server = name, %error, "a connection could not be accepted");
    if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Where hyper spawns what it does for each request of a connection.
#[derive(Clone)]
struct Requests(Tasks);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Requests {
    fn execute(&self, work: F) {
        self.0.spawn_request("gRPC request", work);
    }
}

struct Server {
    name: String,
    routes: tonic::service::Routes,
    frames: Option<Arc<dyn FrameService>>,
    tasks: Tasks,
}

impl Server {
    async fn connection(&self, stream: TcpStream, peer: SocketAddr) {
        let stop = self.tasks.stop();
        let mut first = [0; 1];
        let first = tokio::select! {
            () = stop.cancelled() => return,
            peeked = tokio::time::timeout(FIRST_BYTE, stream.peek(&mut first)) => match peeked {
                Ok(Ok(1)) => first[0],
                // Gone, or silent: nobody to tell.
                _ => return,
            },
        };
        // Delaying small answers is a loss only; a socket that cannot be set is broken and shows it at once.
        let _ = stream.set_nodelay(true);
        match (&self.frames, first) {
            (Some(frames), first) if first == frame::MAGIC[0] => {
                let socket = Socket::Tcp(stream);
                let (frames, tasks) = (Arc::clone(frames), self.tasks.clone());
                frame::serve_connection(socket, Some(peer), frames, tasks, KeepAlive::default()).await;
            }
            (_, b'P') => self.grpc(stream, Some(peer), stop).await,
            _ => refuse(&self.name, stream).await,
        }
    }

    async fn grpc<S>(&self, stream: S, peer: Option<SocketAddr>, stop: CancellationToken)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let draining = Draining(stop.clone());
        let routes = tower::ServiceBuilder::new()
            .map_request(move |mut request: http::Request<hyper::body::Incoming>| {
                request.extensions_mut().insert(draining.clone());
                if let Some(peer) = peer {
                    request.extensions_mut().insert(peer);
                }
                request
            })
            .service(self.routes.clone());
        let mut http = hyper::server::conn::http2::Builder::new(Requests(self.tasks.clone()));
        http.timer(TokioTimer::new())
            .max_frame_size(HTTP2_FRAME)
            .initial_stream_window_size(HTTP2_STREAM_WINDOW)
            .initial_connection_window_size(HTTP2_CONNECTION_WINDOW)
            .max_concurrent_streams(HTTP2_STREAMS)
            .max_send_buf_size(2 * HTTP2_FRAME as usize)
            .keep_alive_interval(HTTP2_PING)
            .keep_alive_timeout(HTTP2_PING);
        let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                match tokio::time::timeout(DRAIN, connection).await {
                    Ok(ended) => ended,
                    Err(_) => Ok(()),
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(server = %self.name, ?peer, %error, "a gRPC connection broke");
        }
    }
}

/// Somebody speaks HTTP/1 (a browser, say) or something else: say what this port is.
async fn refuse(name: &str, stream: TcpStream) {
    let text = format!(
        "This is the RPC port of {name}. It speaks gRPC and GooseFS frames; pages are on the web port.\n"
    );
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    );
    let mut sent = answer.as_bytes();
    while !sent.is_empty() {
        if stream.writable().await.is_err() {
            return;
        }
        match stream.try_write(sent) {
            Ok(count) => sent = &sent[count..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}
