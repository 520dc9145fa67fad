//! The gate in front of a server's services: no call passes without its caller.

use super::{AuthType, CHANNEL_ID, FORWARDED_USER, Sasl};
use crate::error::{Code, Error};
use crate::proto::internal::Caller;
use crate::proto::public::version::service_version_client_service_server::SERVICE_NAME as VERSION_SERVICE;
use crate::rpc::control::Proof;
use http::{HeaderMap, Request, Response};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tower::{Layer, Service, ServiceExt};

/// Puts the gate before a service.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    sasl: Sasl,
}

impl Gate {
    pub(super) fn new(sasl: Sasl) -> Gate {
        Gate { sasl }
    }
}

impl<S> Layer<S> for Gate {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Gated<S> {
        Gated { sasl: self.sasl.clone(), inner }
    }
}

/// A service behind the gate.
#[derive(Clone, Debug)]
pub(super) struct Gated<S> {
    sasl: Sasl,
    inner: S,
}

impl<S, B, R> Service<Request<B>> for Gated<S>
where
    S: Service<Request<B>, Response = Response<R>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Send + 'static,
    R: Default + 'static,
{
    type Response = Response<R>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        match self.sasl.admit(request.uri().path(), request.headers()) {
            Verdict::Pass(caller, proof) => {
                request.extensions_mut().insert(caller);
                request.extensions_mut().insert(proof);
                Box::pin(self.inner.call(request))
            }
            Verdict::LookUp(user) => {
                let (sasl, inner) = (self.sasl.clone(), self.inner.clone());
                Box::pin(async move {
                    request.extensions_mut().insert(sasl.inner.users.caller(user).await);
                    inner.oneshot(request).await
                })
            }
            Verdict::Refuse(error) => Box::pin(async move { Ok(tonic::Status::from(error).into_http()) }),
        }
    }
}

enum Verdict {
    Pass(Caller, Proof),
    /// Pass as this user, whose group is not known yet.
    LookUp(String),
    Refuse(Error),
}

impl Sasl {
    fn admit(&self, path: &str, headers: &HeaderMap) -> Verdict {
        let users = &self.inner.users;
        let pass = |caller| Verdict::Pass(caller, Proof::Missing);
        if self.trusting {
            let Some(user) = text(headers, FORWARDED_USER) else { return pass(users.own()) };
            return users.known(user).map_or_else(|| Verdict::LookUp(user.to_owned()), pass);
        }
        match self.inner.auth {
            AuthType::NoSasl => return pass(users.own()),
            AuthType::Simple => {}
        }
        let channel = text(headers, CHANNEL_ID);
        if let Some((caller, proof)) = channel.and_then(|channel| self.logged_in(channel)) {
            return Verdict::Pass(caller, proof);
        }
        if path.trim_start_matches('/').split('/').next() == Some(VERSION_SERVICE) {
            return pass(users.own());
        }
        let text = match channel {
            Some(channel) => format!("channel {channel} is not authenticated (any more)"),
            None => "this server takes no calls without authentication".to_owned(),
        };
        let hint = "log in on the channel: goosefs.security.authentication.type is SIMPLE here";
        Verdict::Refuse(Error::new(Code::Unauthenticated, text).hint(hint))
    }
}

fn text<'a>(headers: &'a HeaderMap, key: &str) -> Option<&'a str> {
    headers.get(key).and_then(|value| value.to_str().ok()).filter(|value| !value.is_empty())
}
