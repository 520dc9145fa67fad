//! Who calls: the `SaslAuthenticationService` of the GooseFS protocol, for masters and workers.
//!
//! With SIMPLE a client names its user on an `Authenticate` stream that stays open, and every later RPC carries the
//! stream's channel id as metadata; the id is forgotten when its stream ends. A login with CUSTOM is one with SIMPLE that
//! also proves the control key, where the server has one ([`super::control`]). With NOSASL nobody is asked. The gate finds
//! the caller of an RPC and puts it into the request's extensions as [`Caller`]. Two services pass without a login:
//! the login itself, and `ServiceVersionClientService`, which vendor clients ask on a bare channel to find the leader.

mod gate;
mod login;
mod users;

use super::control::{KeyFile, Proof};
use crate::config::{Properties, keys};
use crate::error::{Code, Error, Result};
use crate::proto::internal::Caller;
use crate::proto::public::sasl::sasl_authentication_service_server::SaslAuthenticationServiceServer;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use users::Users;

/// Metadata key of the channel id, sent with every RPC after the login.
const CHANNEL_ID: &str = "channel-id";

/// Metadata key in which a standby says on whose behalf it forwards a call.
const FORWARDED_USER: &str = "goosefs-user";

/// `goosefs.security.authentication.type`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AuthType {
    /// Nobody is asked; callers act as the process's own user.
    NoSasl,
    /// Clients name their user.
    Simple,
}

impl AuthType {
    /// What `goosefs.security.authentication.type` says.
    ///
    /// # Errors
    /// `InvalidArgument` naming what is allowed.
    pub fn from_properties(properties: &Properties) -> Result<AuthType> {
        Ok(match properties.choice(&keys::AUTH_TYPE)?.as_str() {
            "NOSASL" => AuthType::NoSasl,
            _ => AuthType::Simple,
        })
    }
}

/// The channels that were authenticated. Cheap to clone; one per server.
#[derive(Clone, Debug)]
pub struct Sasl {
    inner: Arc<Inner>,
    trusting: bool,
}

#[derive(Debug)]
struct Inner {
    auth: AuthType,
    users: Users,
    control: Option<KeyFile>,
    channels: Mutex<Channels>,
}

/// Logins by channel id; each with a number, so that the end of an old stream does not end a newer login of the same id.
#[derive(Debug, Default)]
struct Channels {
    last: u64,
    logins: HashMap<String, (u64, Caller, Proof)>,
}

impl Sasl {
    /// No channels yet.
    #[must_use]
    pub fn new(auth: AuthType) -> Sasl {
        Sasl::with_control(auth, None)
    }

    /// As [`Sasl::new`], of a server that has a control key.
    #[must_use]
    pub fn with_control(auth: AuthType, control: Option<KeyFile>) -> Sasl {
        let inner = Inner { auth, users: Users::new(), control, channels: Mutex::default() };
        Sasl { inner: Arc::new(inner), trusting: false }
    }

    /// Believes metadata `goosefs-user` and asks nobody to log in: only for a port that masters alone reach (Raft's).
    #[must_use]
    pub fn trust_forwarded(self) -> Sasl {
        Sasl { trusting: true, ..self }
    }

    /// Adds the authentication service to `routes`, and the gate in front of every other service of them.
    #[must_use]
    pub fn protect(&self, routes: tonic::service::Routes) -> tonic::service::Routes {
        let gated = routes.into_axum_router().layer(gate::Gate::new(self.clone()));
        tonic::service::Routes::from(gated)
            .add_service(SaslAuthenticationServiceServer::new(login::Logins::new(self.clone())))
    }

    /// Who makes this request, as the gate found out (or as a forwarding standby said in metadata `goosefs-user`).
    ///
    /// # Errors
    /// `Unauthenticated` when the request did not pass the gate.
    pub fn caller<T>(request: &tonic::Request<T>) -> Result<Caller> {
        let unknown = || Error::new(Code::Unauthenticated, "nobody knows who makes this call");
        request.extensions().get::<Caller>().cloned().ok_or_else(unknown)
    }

    /// Whether who makes this request has proven the control key. Calls that other masters forward have not.
    #[must_use]
    pub fn proof<T>(request: &tonic::Request<T>) -> Proof {
        request.extensions().get::<Proof>().copied().unwrap_or_default()
    }

    /// Keeps a login until the returned guard is dropped.
    fn register(&self, channel: String, caller: Caller, proof: Proof) -> Registered {
        let mut channels = self.inner.channels.lock();
        channels.last += 1;
        let number = channels.last;
        channels.logins.insert(channel.clone(), (number, caller, proof));
        drop(channels);
        Registered { sasl: self.clone(), channel, number }
    }

    fn logged_in(&self, channel: &str) -> Option<(Caller, Proof)> {
        self.inner.channels.lock().logins.get(channel).map(|(_, caller, proof)| (caller.clone(), *proof))
    }
}

/// A login that ends when this is dropped.
#[derive(Debug)]
struct Registered {
    sasl: Sasl,
    channel: String,
    number: u64,
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut channels = self.sasl.inner.channels.lock();
        if channels.logins.get(&self.channel).is_some_and(|(number, ..)| *number == self.number) {
            channels.logins.remove(&self.channel);
        }
    }
}

#[cfg(test)]
mod tests;
