//! What a standby does with calls that only the leader can answer: it hands them to the leader's Raft port, with the
//! caller it authenticated, and waits while nobody leads.
//!
//! A call is held until its request is whole, so that it can be made again when the leader changes before it took
//! effect. A call whose outcome is not known is made again only when it changes nothing.

use crate::master::Master;
use bytes::Bytes;
use goosefs_core::id::NodeId;
use goosefs_core::proto::internal::Caller;
use goosefs_core::raft::{Leader, Node, Role, Status};
use goosefs_core::{Code, Error};
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::transport::Channel;
use tower::{Service, ServiceExt};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The old leader may still answer for so long after another one was elected.
const OLD_LEADER_GRACE: Duration = Duration::from_secs(1);

/// Calls that every master answers itself.
const OWN: [&str; 2] = ["MetaMasterClientService/Backup", "MetaMasterClientService/GetBackupStatus"];

/// Calls that take the control key, where masters have one. Proofs cannot be handed on, so these are made at the leader.
const PROVEN: [&str; 4] = [
    "MasterClientService/RemoveQuorumServer",
    "MasterClientService/TransferLeadership",
    "Operator/AddMaster",
    "MetaMasterClientService/Checkpoint",
];

/// A call that every master answers itself while it hears of no leader.
const OWN_WITHOUT_LEADER: &str = "JournalMasterClientService/GetQuorumInfo";

/// What to do about it.
const AT_LEADER: &str = "this takes the control key, which is shown to the leader itself: call it there";

/// Who the standby says is calling.
const USER_KEY: HeaderName = HeaderName::from_static("goosefs-user");

/// Headers that end at this hop.
const DROPPED: [&str; 4] = ["channel-id", "host", "connection", "content-length"];

/// Knows the way to the leader.
pub(super) struct Forwarder {
    master: Arc<Master>,
    channels: Mutex<HashMap<NodeId, (String, Channel)>>,
}

/// Who answers a call.
enum Answerer {
    /// This master.
    Here,
    There(Leader),
}

/// A call, kept whole.
struct Held {
    parts: http::request::Parts,
    body: Bytes,
}

impl Held {
    fn request(&self) -> Request<Body> {
        let mut request = Request::new(Body::new(Full::new(self.body.clone())));
        *request.method_mut() = self.parts.method.clone();
        *request.uri_mut() = self.parts.uri.clone();
        *request.version_mut() = self.parts.version;
        *request.headers_mut() = self.parts.headers.clone();
        *request.extensions_mut() = self.parts.extensions.clone();
        request
    }

    /// The call as the leader's Raft port takes it.
    ///
    /// # Errors
    /// `Unauthenticated` for a user whose name cannot be told: the leader would take the call for its own.
    fn forwarded(&self) -> Result<Request<Body>, Error> {
        let mut request = self.request();
        let headers = request.headers_mut();
        for name in DROPPED {
            headers.remove(name);
        }
        headers.remove(&USER_KEY);
        let user = self.parts.extensions.get::<Caller>().map(|caller| caller.user.as_str());
        let header = user.filter(|user| !user.is_empty()).and_then(|user| HeaderValue::from_str(user).ok());
        let Some(header) = header else {
            let text = format!("user \"{}\" cannot be forwarded to the leader", user.unwrap_or_default());
            return Err(Error::new(Code::Unauthenticated, text).hint("use a name of ASCII letters"));
        };
        headers.insert(USER_KEY, header);
        *request.extensions_mut() = http::Extensions::new();
        Ok(request)
    }

    /// Whether this master answers it itself, as things are.
    fn is_own(&self, node: &Node) -> bool {
        let led = || node.quorum().servers.iter().any(|server| server.leads);
        let path = self.parts.uri.path();
        OWN.iter().any(|own| path.ends_with(own)) || (path.ends_with(OWN_WITHOUT_LEADER) && !led())
    }

    /// Whether its caller must show the leader the control key.
    fn takes_proof(&self) -> bool {
        PROVEN.iter().any(|proven| self.parts.uri.path().ends_with(proven))
    }

    /// Whether it may be made twice.
    fn changes_nothing(&self) -> bool {
        let method = self.parts.uri.path().rsplit('/').next().unwrap_or_default();
        ["Get", "List", "Check", "Reverse"].iter().any(|prefix| method.starts_with(prefix))
    }
}

impl Forwarder {
    pub(super) fn new(master: Arc<Master>) -> Forwarder {
        Forwarder { master, channels: Mutex::default() }
    }

    async fn route<S>(&self, service: S, request: Request<Body>) -> Response<Body>
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone,
    {
        let (parts, body) = request.into_parts();
        let held = match Limited::new(body, super::LARGEST_REQUEST).collect().await {
            Ok(body) => Held { parts, body: body.to_bytes() },
            Err(cause) => {
                return refusal(Error::new(Code::InvalidArgument, format!("read the request: {cause}")));
            }
        };
        let deadline = Instant::now() + self.master.config.leader_wait;
        loop {
            let (response, may_repeat) = match self.answerer(&held, deadline).await {
                Err(error) => return refusal(error),
                Ok(Answerer::Here) => {
                    // The service's error type is uninhabited.
                    let Ok(response) = service.clone().oneshot(held.request()).await;
                    let repeat = says_not_leader(&response);
                    (response, repeat)
                }
                Ok(Answerer::There(leader)) => {
                    self.master.metrics.forwarded.inc();
                    if self.master.config.control.is_some() && held.takes_proof() {
                        return refusal(Error::not_leader(&leader.rpc).hint(AT_LEADER));
                    }
                    let request = match held.forwarded() {
                        Ok(request) => request,
                        Err(error) => return refusal(error),
                    };
                    match self.hand_over(&leader, request).await {
                        Ok(response) => {
                            let repeat = says_not_leader(&response);
                            (response, repeat)
                        }
                        Err(Broken { error, reached }) => {
                            (refusal(error), !reached || held.changes_nothing())
                        }
                    }
                }
            };
            if !may_repeat || Instant::now() >= deadline {
                return response;
            }
            self.news(deadline).await;
        }
    }

    /// Waits for a master that leads.
    async fn answerer(&self, held: &Held, deadline: Instant) -> Result<Answerer, Error> {
        let mut status = self.master.journal.node().status();
        if held.is_own(self.master.journal.node()) {
            return Ok(Answerer::Here);
        }
        let found = status.wait_for(|status| answerer_of(status).is_some() || status.role == Role::Failed);
        let answerer = match tokio::time::timeout_at(deadline, found).await {
            Ok(Ok(status)) => answerer_of(&status),
            Ok(Err(_)) | Err(_) => None,
        };
        answerer.ok_or_else(|| {
            let waited = self.master.config.leader_wait;
            Error::new(Code::Unavailable, format!("no master led for {waited:?}"))
                .hint("most masters must run and reach each other; see `goosefs fsadmin report`")
        })
    }

    /// Waits a moment for the leader to change.
    async fn news(&self, deadline: Instant) {
        let mut status = self.master.journal.node().status();
        let moment = deadline.min(Instant::now() + Duration::from_millis(50));
        // Either is fine: the loop looks again.
        let _ = tokio::time::timeout_at(moment, status.changed()).await;
    }

    async fn hand_over(&self, leader: &Leader, request: Request<Body>) -> Result<Response<Body>, Broken> {
        let unreached = |error| Broken { error, reached: false };
        let mut channel = self.channel(leader).map_err(unreached)?;
        let away = |cause: &dyn std::fmt::Display| {
            Error::new(Code::Unavailable, format!("the leader {} did not answer: {cause}", leader.rpc))
        };
        if let Err(cause) = channel.ready().await {
            return Err(unreached(away(&cause)));
        }
        tokio::select! {
            answered = channel.call(request) => answered.map_err(|cause| {
                let reached = !is_connect_error(&cause);
                Broken { error: away(&cause), reached }
            }),
            () = self.deposed(leader.node) => {
                Err(Broken { error: away(&"another master leads now"), reached: true })
            }
        }
    }

    /// Resolves some time after another master began to lead.
    async fn deposed(&self, leader: NodeId) {
        let mut status = self.master.journal.node().status();
        let other = |status: &Status| status.leader.as_ref().is_some_and(|now| now.node != leader);
        if status.wait_for(other).await.is_err() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(OLD_LEADER_GRACE).await;
    }

    fn channel(&self, leader: &Leader) -> Result<Channel, Error> {
        let mut channels = self.channels.lock();
        if let Some((address, channel)) = channels.get(&leader.node)
            && *address == leader.raft
        {
            return Ok(channel.clone());
        }
        let channel = goosefs_core::rpc::grpc::channel(&leader.raft, CONNECT_TIMEOUT)?;
        channels.insert(leader.node, (leader.raft.clone(), channel.clone()));
        Ok(channel)
    }
}

/// A call that brought no answer.
struct Broken {
    error: Error,
    /// The leader may have seen it.
    reached: bool,
}

fn answerer_of(status: &Status) -> Option<Answerer> {
    match status.role {
        Role::Leader => status.serving.then_some(Answerer::Here),
        Role::Starting | Role::Learner | Role::Follower => status.leader.clone().map(Answerer::There),
        Role::Failed | Role::Stopped => None,
    }
}

/// Errors of unary calls come in the headers.
fn says_not_leader(response: &Response<Body>) -> bool {
    tonic::Status::from_header_map(response.headers())
        .is_some_and(|status| Error::from(status).code == Code::NotLeader)
}

fn is_connect_error(cause: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(cause);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return io.kind() == std::io::ErrorKind::ConnectionRefused;
        }
        cause = error.source();
    }
    false
}

fn refusal(error: Error) -> Response<Body> {
    tonic::Status::from(error).into_http()
}

/// A service whose calls go to the leader.
#[derive(Clone)]
pub(super) struct Forwarded<S> {
    service: S,
    forwarder: Arc<Forwarder>,
}

impl<S> Forwarded<S> {
    pub(super) fn new(service: S, forwarder: Arc<Forwarder>) -> Forwarded<S> {
        Forwarded { service, forwarder }
    }
}

impl<S: NamedService> NamedService for Forwarded<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for Forwarded<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (service, forwarder) = (self.service.clone(), self.forwarder.clone());
        Box::pin(async move { Ok(forwarder.route(service, request).await) })
    }
}
