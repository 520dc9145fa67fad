//! The `authenticate` stream: one message in, SUCCESS out, then open for as long as the login is to last. With the scheme
//! CUSTOM a server that has a control key sends 32 bytes as CHALLENGE first, and takes the proof as the second message.

use super::{AuthType, Registered, Sasl};
use crate::error::{Code, Error, Result};
use crate::proto::internal::Caller;
use crate::proto::public::sasl::sasl_authentication_service_server::SaslAuthenticationService;
use crate::proto::public::sasl::{ChannelAuthenticationScheme, SaslMessage, SaslMessageType};
use crate::rpc::control::{self, Challenge, KeyFile, Proof, Transport};
use crate::rpc::server::Draining;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use std::pin::Pin;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

/// A client has so long for each message of its login.
const NEXT_MESSAGE: Duration = Duration::from_secs(30);

/// Longest channel id and user name.
const LONGEST: usize = 255;

/// Serves the login.
#[derive(Debug)]
pub(super) struct Logins {
    sasl: Sasl,
}

impl Logins {
    pub(super) fn new(sasl: Sasl) -> Logins {
        Logins { sasl }
    }

    /// Who begins a login, by its first message, and on which channel.
    async fn begin(&self, first: &SaslMessage) -> Result<(String, Caller)> {
        let unauthenticated = |text: String| Error::new(Code::Unauthenticated, text);
        let channel = first.client_id.clone().unwrap_or_default();
        if channel.is_empty() || channel.len() > LONGEST {
            let text = format!("the first message names its channel id, 1 to {LONGEST} bytes long");
            return Err(Error::new(Code::InvalidArgument, text));
        }
        let users = &self.sasl.inner.users;
        let caller = match (self.sasl.inner.auth, first.authentication_scheme()) {
            // Nobody is asked here, and a client that says who it is anyway does no harm.
            (AuthType::NoSasl, _) => users.own(),
            (AuthType::Simple, ChannelAuthenticationScheme::Simple | ChannelAuthenticationScheme::Custom) => {
                let user =
                    plain_user(first.message.as_deref().unwrap_or_default()).map_err(unauthenticated)?;
                users.caller(user).await
            }
            (AuthType::Simple, other) => {
                let text = format!("authentication scheme {} is not taken here", other.as_str_name());
                return Err(unauthenticated(text)
                    .hint("set goosefs.security.authentication.type=SIMPLE in the client"));
            }
        };
        tracing::debug!(channel, user = caller.user, reference = first.channel_ref(), "channel logged in");
        Ok((channel, caller))
    }

    /// What a login with this first message must show, if anything.
    fn ask(&self, first: &SaslMessage) -> Result<Option<Asked>> {
        let proves = first.authentication_scheme() == ChannelAuthenticationScheme::Custom;
        let Some(control) = self.sasl.inner.control.clone().filter(|_| proves) else { return Ok(None) };
        Ok(Some(Asked { control, challenge: control::challenge()? }))
    }
}

/// What a login was asked to prove itself with.
struct Asked {
    control: KeyFile,
    challenge: Challenge,
}

impl Asked {
    fn message(&self) -> SaslMessage {
        SaslMessage {
            message_type: Some(SaslMessageType::Challenge.into()),
            message: Some(Bytes::copy_from_slice(&self.challenge)),
            ..SaslMessage::default()
        }
    }

    /// Checks the second message of the login.
    fn check(&self, caller: &Caller, second: &SaslMessage) -> Result<Proof> {
        let proof = second.message.as_deref().unwrap_or_default();
        self.control.check(Transport::Sasl, &self.challenge, &caller.user, proof)?;
        Ok(Proof::Given)
    }
}

#[tonic::async_trait]
impl SaslAuthenticationService for Logins {
    type authenticateStream = Pin<Box<dyn Stream<Item = Result<SaslMessage, Status>> + Send>>;

    async fn authenticate(
        &self,
        request: Request<Streaming<SaslMessage>>,
    ) -> Result<Response<Self::authenticateStream>, Status> {
        let stop = request.extensions().get::<Draining>().map(|draining| draining.0.clone());
        let mut incoming = request.into_inner();
        let first = next(&mut incoming).await?;
        let (channel, caller) = self.begin(&first).await?;
        let asked = self.ask(&first)?;
        let (answers, answer) = mpsc::channel(2);
        let sasl = self.sasl.clone();
        // Runs as part of the answers: it ends with the connection.
        let rest = async move {
            let proof = match asked {
                None => Proof::Missing,
                Some(asked) => {
                    let _ = answers.send(Ok(asked.message())).await;
                    let second = next(&mut incoming).await?;
                    asked.check(&caller, &second)?
                }
            };
            let registered = sasl.register(channel, caller, proof);
            let _ = answers.send(Ok(success())).await;
            stay(incoming, registered, stop.unwrap_or_default()).await.map_or(Ok(()), Err)
        };
        let rest =
            futures::stream::once(rest).filter_map(|outcome| std::future::ready(outcome.err().map(Err)));
        Ok(Response::new(Box::pin(futures::stream::select(ReceiverStream::new(answer), rest))))
    }
}

async fn next(incoming: &mut Streaming<SaslMessage>) -> Result<SaslMessage, Status> {
    tokio::time::timeout(NEXT_MESSAGE, incoming.message())
        .await
        .map_err(|_| Status::deadline_exceeded("no login message in time"))??
        .ok_or_else(|| Status::invalid_argument("the stream ended before its login message"))
}

fn success() -> SaslMessage {
    SaslMessage { message_type: Some(SaslMessageType::Success.into()), ..SaslMessage::default() }
}

/// Keeps the login until the client ends the stream or the server stops; ends the answers then. Dropped with the
/// connection, and the login with it.
async fn stay(
    mut incoming: Streaming<SaslMessage>,
    registered: Registered,
    stop: CancellationToken,
) -> Option<Status> {
    let outcome = tokio::select! {
        () = stop.cancelled() => Some(Status::unavailable("the server is shutting down")),
        // What comes after the login says nothing new.
        () = async { while let Ok(Some(_)) = incoming.message().await {} } => None,
    };
    drop(registered);
    outcome
}

/// The user of a PLAIN message: `authorization id NUL user NUL password`. The authorization id, if there is one, is on
/// whose behalf the user acts; SIMPLE believes both, and the password is not looked at.
fn plain_user(message: &[u8]) -> Result<String, String> {
    let mut parts = message.split(|byte| *byte == 0);
    let (Some(on_behalf), Some(user), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err("a PLAIN message is authorization id, NUL, user, NUL, password".to_owned());
    };
    if user.is_empty() {
        return Err("the PLAIN message names no user".to_owned());
    }
    let acting = if on_behalf.is_empty() { user } else { on_behalf };
    let name = std::str::from_utf8(acting).map_err(|_| "the user's name is not UTF-8".to_owned())?;
    if name.len() > LONGEST || name.chars().any(char::is_control) {
        return Err(format!("a user's name has at most {LONGEST} bytes and no control characters"));
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_messages_name_the_user_they_act_for() {
        assert_eq!(plain_user(b"\0ann\0noPassword").unwrap(), "ann");
        assert_eq!(plain_user(b"bob\0ann\0noPassword").unwrap(), "bob");
        assert_eq!(plain_user("\0安\0".as_bytes()).unwrap(), "安");
        for malformed in
            [&b""[..], b"ann", b"\0ann", b"\0\0x", b"bob\0\0x", b"\0a\0b\0c", b"\0a\nb\0c", b"\0\xff\0x"]
        {
            assert!(plain_user(malformed).is_err(), "{malformed:?}");
        }
    }
}
