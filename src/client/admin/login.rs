//! Logged-in gRPC channels to masters: SIMPLE authentication as clients of the GooseFS protocol do it.
//!
//! Who has the control key logs in with CUSTOM and answers the master's challenge; a master without one asks nothing.
//! The `authenticate` stream stays open as long as the login is used; every call carries its channel id.

use super::{FilesClient, JournalClient, MetaClient, OperatorClient, WorkersClient};
use crate::config::Config;
use bytes::Bytes;
use goosefs_core::proto::public::sasl::sasl_authentication_service_client::SaslAuthenticationServiceClient;
use goosefs_core::proto::public::sasl::{ChannelAuthenticationScheme, SaslMessage, SaslMessageType};
use goosefs_core::rpc::control::{Challenge, ControlKey, Transport};
use goosefs_core::rpc::grpc;
use goosefs_core::rpc::sasl::AuthType;
use goosefs_core::{Code, Error, Result};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

/// Metadata that carries the channel id.
const CHANNEL_ID: &str = "channel-id";

/// A channel whose calls say who makes them.
pub(crate) type Authenticated = InterceptedService<Channel, Stamp>;

/// Puts the channel id on every call.
#[derive(Clone, Debug)]
pub(crate) struct Stamp {
    id: Option<MetadataValue<Ascii>>,
}

impl Interceptor for Stamp {
    fn call(
        &mut self,
        mut request: tonic::Request<()>,
    ) -> std::result::Result<tonic::Request<()>, tonic::Status> {
        if let Some(id) = &self.id {
            request.metadata_mut().insert(CHANNEL_ID, id.clone());
        }
        Ok(request)
    }
}

/// A login at one master; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Login {
    channel: Channel,
    stamp: Stamp,
    _stream: Option<(mpsc::Sender<SaslMessage>, tonic::Streaming<SaslMessage>)>,
}

impl Login {
    pub(crate) fn files(&self) -> FilesClient<Authenticated> {
        FilesClient::with_interceptor(self.channel.clone(), self.stamp.clone())
            .max_decoding_message_size(64 << 20)
    }

    pub(crate) fn workers(&self) -> WorkersClient<Authenticated> {
        WorkersClient::with_interceptor(self.channel.clone(), self.stamp.clone())
            .max_decoding_message_size(64 << 20)
    }
}

impl Login {
    pub(crate) fn journal(&self) -> JournalClient<Authenticated> {
        JournalClient::with_interceptor(self.channel.clone(), self.stamp.clone())
    }

    pub(crate) fn meta(&self) -> MetaClient<Authenticated> {
        MetaClient::with_interceptor(self.channel.clone(), self.stamp.clone())
    }

    pub(crate) fn operator(&self) -> OperatorClient<Authenticated> {
        OperatorClient::with_interceptor(self.channel.clone(), self.stamp.clone())
    }
}

/// The logins of a client, one a master.
#[derive(Debug)]
pub(crate) struct Logins {
    auth: AuthType,
    user: String,
    control: Option<ControlKey>,
    timeout: Duration,
    slots: parking_lot::Mutex<BTreeMap<String, Arc<Slot>>>,
}

/// Locked while a login is under way, so that many callers make one.
type Slot = Mutex<Option<Arc<Login>>>;

impl Logins {
    pub(crate) fn new(config: &Config) -> Logins {
        Logins {
            auth: config.auth,
            user: config.caller.user.clone(),
            control: config.control.clone(),
            timeout: config.connect_timeout,
            slots: parking_lot::Mutex::default(),
        }
    }

    /// A login at the master at `address`.
    pub(crate) async fn to(&self, address: &str) -> Result<Arc<Login>> {
        let slot = self.slots.lock().entry(address.to_owned()).or_default().clone();
        let mut held = slot.lock().await;
        if let Some(login) = held.as_ref() {
            return Ok(login.clone());
        }
        let login = tokio::time::timeout(self.timeout, self.log_in(address)).await.unwrap_or_else(|_| {
            let late = format!("master {address} did not log us in within {:?}", self.timeout);
            Err(Error::new(Code::Unavailable, late))
        })?;
        let login = Arc::new(login);
        *held = Some(login.clone());
        Ok(login)
    }

    /// The next call logs in anew.
    pub(crate) fn forget(&self, address: &str) {
        self.slots.lock().remove(address);
    }

    async fn log_in(&self, address: &str) -> Result<Login> {
        let channel = grpc::channel(address, self.timeout)?;
        if self.auth == AuthType::NoSasl {
            return Ok(Login { channel, stamp: Stamp { id: None }, _stream: None });
        }
        let id = uuid::Uuid::new_v4().to_string();
        let (sender, receiver) = mpsc::channel(1);
        let scheme = match self.control {
            Some(_) => ChannelAuthenticationScheme::Custom,
            None => ChannelAuthenticationScheme::Simple,
        };
        let hello = SaslMessage {
            message_type: Some(SaslMessageType::Challenge.into()),
            message: Some(Bytes::from(format!("\0{}\0noPassword", self.user))),
            client_id: Some(id.clone()),
            authentication_scheme: Some(scheme.into()),
            channel_ref: Some(format!("goosefs-client-{}", std::process::id())),
        };
        // The channel has room for one message and this is the first.
        let _ = sender.try_send(hello);
        let mut service = SaslAuthenticationServiceClient::new(channel.clone());
        let mut answers = service.authenticate(ReceiverStream::new(receiver)).await?.into_inner();
        let mut answer = answers.message().await?;
        if let (Some(asked), Some(key)) = (answer.as_ref().and_then(challenge), &self.control) {
            let proof = Bytes::from(key.prove(Transport::Sasl, &asked, &self.user));
            // The stream has taken the first message, so there is room.
            let _ = sender.try_send(SaslMessage { message: Some(proof), ..SaslMessage::default() });
            answer = answers.message().await?;
        }
        if answer.is_none_or(|answer| answer.message_type() != SaslMessageType::Success) {
            let refused = format!("master {address} did not accept user \"{}\"", self.user);
            return Err(Error::new(Code::Unauthenticated, refused));
        }
        let value = id.parse().map_err(|_| Error::new(Code::Internal, "a UUID is no metadata value"))?;
        Ok(Login { channel, stamp: Stamp { id: Some(value) }, _stream: Some((sender, answers)) })
    }
}

/// What a master asks the login to be proven with.
fn challenge(answer: &SaslMessage) -> Option<Challenge> {
    let asks = answer.message_type() == SaslMessageType::Challenge;
    answer.message.as_deref().filter(|_| asks)?.try_into().ok()
}
