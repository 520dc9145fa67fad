//! Who calls: the `SaslAuthenticationService` of the GooseFS protocol, for masters and workers.
//!
//! With SIMPLE a client names its user on an `Authenticate` stream that stays open, and every later RPC carries the
//! stream's channel id as metadata; with NOSASL nobody is asked. The gate finds the caller of an RPC and puts it into
//! the request's extensions as [`Caller`](crate::proto::internal::Caller).

use crate::config::{Properties, keys};
use crate::error::{Code, Error, Result};
use crate::proto::internal::Caller;

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
pub struct Sasl {}

impl Sasl {
    /// No channels yet.
    #[must_use]
    pub fn new(auth: AuthType) -> Sasl {
        let _ = auth;
        Sasl {}
    }

    /// Adds the authentication service to `routes`, and the gate in front of every other service of them.
    #[must_use]
    pub fn protect(&self, routes: tonic::service::Routes) -> tonic::service::Routes {
        routes
    }

    /// Who makes this request, as the gate found out (or as a forwarding standby said in metadata `goosefs-user`).
    ///
    /// # Errors
    /// `Unauthenticated` when the request did not pass the gate.
    pub fn caller<T>(request: &tonic::Request<T>) -> Result<Caller> {
        let _ = request;
        Err(Error::new(Code::Unauthenticated, "authentication is being built"))
    }
}
