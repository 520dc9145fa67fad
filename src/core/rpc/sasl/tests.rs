use super::*;
use crate::proto::public::sasl::sasl_authentication_service_client::SaslAuthenticationServiceClient;
use crate::proto::public::sasl::{ChannelAuthenticationScheme, SaslMessage, SaslMessageType};
use crate::proto::public::version::service_version_client_service_client::ServiceVersionClientServiceClient;
use crate::proto::public::version::service_version_client_service_server::{
    ServiceVersionClientService, ServiceVersionClientServiceServer,
};
use crate::proto::public::version::{GetServiceVersionPRequest, GetServiceVersionPResponse};
use crate::rpc::control::{ControlKey, Transport};
use crate::rpc::{grpc, server};
use crate::task::Tasks;
use prost::Message;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

const LONG: Duration = Duration::from_secs(20);

/// Answers with the length of the caller's name, under its real name and under one that takes a login.
#[derive(Clone)]
struct Who;

#[tonic::async_trait]
impl ServiceVersionClientService for Who {
    async fn get_service_version(
        &self,
        request: Request<GetServiceVersionPRequest>,
    ) -> Result<Response<GetServiceVersionPResponse>, Status> {
        let caller = Sasl::caller(&request)?;
        Ok(Response::new(GetServiceVersionPResponse { version: Some(caller.user.len() as i64) }))
    }
}

/// The same service under another name.
#[derive(Clone)]
struct Guarded(ServiceVersionClientServiceServer<Who>);

impl tonic::server::NamedService for Guarded {
    const NAME: &'static str = "test.Guarded";
}

impl<B> tower::Service<http::Request<B>> for Guarded
where
    ServiceVersionClientServiceServer<Who>: tower::Service<http::Request<B>>,
{
    type Response = <ServiceVersionClientServiceServer<Who> as tower::Service<http::Request<B>>>::Response;
    type Error = <ServiceVersionClientServiceServer<Who> as tower::Service<http::Request<B>>>::Error;
    type Future = <ServiceVersionClientServiceServer<Who> as tower::Service<http::Request<B>>>::Future;

    fn poll_ready(
        &mut self,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<B>) -> Self::Future {
        let path = "/com.qcloud.cos.goosefs.grpc.version.ServiceVersionClientService/getServiceVersion";
        *request.uri_mut() = http::Uri::from_static(path);
        self.0.call(request)
    }
}

async fn serve(sasl: &Sasl) -> (Channel, Tasks) {
    let tasks = Tasks::new("server");
    let service = ServiceVersionClientServiceServer::new(Who);
    let routes = sasl.protect(tonic::service::Routes::new(service.clone()).add_service(Guarded(service)));
    let listener = server::bind("test", "127.0.0.1:0").await.unwrap();
    let address = server::serve("test", listener, routes, None, &tasks).unwrap();
    (grpc::channel(&address.to_string(), LONG).unwrap(), tasks)
}

/// Calls the guarded service; the length of the name it was called by.
async fn guarded(channel: &Channel, metadata: &[(&'static str, &str)]) -> Result<i64, Status> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let mut request = Request::new(GetServiceVersionPRequest::default());
    for (key, value) in metadata {
        request.metadata_mut().insert(*key, value.parse().unwrap());
    }
    let codec = tonic_prost::ProstCodec::<GetServiceVersionPRequest, GetServiceVersionPResponse>::default();
    let path = http::uri::PathAndQuery::from_static("/test.Guarded/who");
    let answer = client.unary(request, path, codec).await?;
    Ok(answer.into_inner().version())
}

async fn log_in(
    channel: &Channel,
    id: &str,
    scheme: ChannelAuthenticationScheme,
    plain: &'static [u8],
) -> Result<(mpsc::Sender<SaslMessage>, Streaming<SaslMessage>), Status> {
    let (sender, receiver) = mpsc::channel(1);
    let hello = SaslMessage {
        message_type: Some(SaslMessageType::Challenge.into()),
        message: Some(plain.into()),
        client_id: Some(id.to_owned()),
        authentication_scheme: Some(scheme.into()),
        channel_ref: None,
    };
    sender.send(hello).await.unwrap();
    let mut client = SaslAuthenticationServiceClient::new(channel.clone());
    let mut answers = client.authenticate(ReceiverStream::new(receiver)).await?.into_inner();
    let answer = answers.message().await?.expect("an answer");
    assert_eq!(answer.message_type(), SaslMessageType::Success);
    Ok((sender, answers))
}

#[tokio::test]
async fn a_login_lasts_as_long_as_its_stream() {
    let sasl = Sasl::new(AuthType::Simple);
    let (channel, _tasks) = serve(&sasl).await;
    let refused = guarded(&channel, &[]).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unauthenticated);
    let refused = guarded(&channel, &[("channel-id", "c1")]).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unauthenticated);

    let stream =
        log_in(&channel, "c1", ChannelAuthenticationScheme::Simple, b"\0annabel\0noPassword").await.unwrap();
    assert_eq!(guarded(&channel, &[("channel-id", "c1")]).await.unwrap(), 7);
    // A header that only standbys may set is nothing here.
    assert_eq!(guarded(&channel, &[("channel-id", "c1"), ("goosefs-user", "root")]).await.unwrap(), 7);
    assert_eq!(
        guarded(&channel, &[("goosefs-user", "root")]).await.unwrap_err().code(),
        tonic::Code::Unauthenticated
    );
    drop(stream);
    let deadline = tokio::time::Instant::now() + LONG;
    while guarded(&channel, &[("channel-id", "c1")]).await.is_ok() {
        assert!(tokio::time::Instant::now() < deadline, "the login outlives its stream");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(sasl.inner.channels.lock().logins.is_empty());
}

#[tokio::test]
async fn the_service_version_is_told_to_everybody() {
    let (channel, _tasks) = serve(&Sasl::new(AuthType::Simple)).await;
    let mut client = ServiceVersionClientServiceClient::new(channel);
    let request = GetServiceVersionPRequest::default();
    client.get_service_version(request).await.expect("no login is needed to find the leader");
}

#[tokio::test]
async fn schemes_that_are_not_spoken_are_refused_by_name() {
    let (channel, _tasks) = serve(&Sasl::new(AuthType::Simple)).await;
    let refused = log_in(&channel, "c", ChannelAuthenticationScheme::Kerberos, b"").await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unauthenticated);
    assert!(refused.message().contains("KERBEROS"), "{refused}");
    let refused = log_in(&channel, "c", ChannelAuthenticationScheme::Simple, b"ann").await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unauthenticated);
}

#[tokio::test]
async fn without_authentication_everybody_is_the_process_s_own_user() {
    let sasl = Sasl::new(AuthType::NoSasl);
    let own = sasl.inner.users.own().user.len() as i64;
    let (channel, _tasks) = serve(&sasl).await;
    assert_eq!(guarded(&channel, &[("channel-id", "never-seen")]).await.unwrap(), own);
    log_in(&channel, "c", ChannelAuthenticationScheme::Simple, b"\0ann\0noPassword").await.unwrap();
}

#[tokio::test]
async fn a_trusting_port_believes_what_standbys_forward() {
    let sasl = Sasl::new(AuthType::Simple).trust_forwarded();
    let own = sasl.inner.users.own().user.len() as i64;
    let (channel, _tasks) = serve(&sasl).await;
    assert_eq!(guarded(&channel, &[("goosefs-user", "a-forwarded-user")]).await.unwrap(), 16);
    assert_eq!(guarded(&channel, &[("goosefs-user", "a-forwarded-user")]).await.unwrap(), 16);
    assert_eq!(guarded(&channel, &[]).await.unwrap(), own);
}

#[tokio::test]
async fn a_second_login_of_an_id_outlives_the_end_of_the_first() {
    let sasl = Sasl::new(AuthType::Simple);
    let caller = |user: &str| Caller { user: user.to_owned(), group: String::new() };
    let first = sasl.register("c".to_owned(), caller("a"), Proof::Missing);
    let second = sasl.register("c".to_owned(), caller("b"), Proof::Given);
    drop(first);
    assert_eq!(sasl.logged_in("c"), Some((caller("b"), Proof::Given)));
    drop(second);
    assert_eq!(sasl.logged_in("c"), None);
}

/// A login that proves `key`, when it is asked to; what it is answered in the end.
async fn prove(channel: &Channel, id: &str, key: &ControlKey) -> Result<SaslMessage, Status> {
    let (sender, receiver) = mpsc::channel(2);
    let hello = SaslMessage {
        message: Some(b"\0ann\0x"[..].into()),
        client_id: Some(id.to_owned()),
        authentication_scheme: Some(ChannelAuthenticationScheme::Custom.into()),
        ..SaslMessage::default()
    };
    sender.send(hello).await.unwrap();
    let mut client = SaslAuthenticationServiceClient::new(channel.clone());
    let mut answers = client.authenticate(ReceiverStream::new(receiver)).await?.into_inner();
    let first = answers.message().await?.expect("an answer");
    if first.message_type() == SaslMessageType::Success {
        return Ok(first);
    }
    let asked = first.message().try_into().expect("32 bytes");
    let proof = key.prove(Transport::Sasl, &asked, "ann");
    sender.send(SaslMessage { message: Some(proof.into()), ..SaslMessage::default() }).await.unwrap();
    answers.message().await?.ok_or_else(|| Status::internal("the stream ended"))
}

#[tokio::test]
async fn a_login_proves_the_control_key_where_the_server_has_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.key");
    let (right, wrong) = (ControlKey::generate().unwrap(), ControlKey::generate().unwrap());
    std::fs::write(&path, right.text()).unwrap();
    let sasl = Sasl::with_control(AuthType::Simple, Some(KeyFile::open(&path).unwrap()));
    let (channel, _tasks) = serve(&sasl).await;
    assert_eq!(prove(&channel, "right", &right).await.unwrap().message_type(), SaslMessageType::Success);
    let refused = prove(&channel, "wrong", &wrong).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::PermissionDenied);
    assert!(refused.message().contains("control.key"), "{refused}");
    assert!(guarded(&channel, &[("channel-id", "wrong")]).await.is_err());
    let (plain, _tasks) = serve(&Sasl::new(AuthType::Simple)).await;
    assert_eq!(prove(&plain, "c", &right).await.unwrap().message_type(), SaslMessageType::Success);
}

#[tokio::test]
async fn open_logins_do_not_hold_up_a_stopping_server() {
    let (channel, tasks) = serve(&Sasl::new(AuthType::Simple)).await;
    let _stream = log_in(&channel, "c", ChannelAuthenticationScheme::Simple, b"\0ann\0x").await.unwrap();
    let started = std::time::Instant::now();
    assert_eq!(tasks.shutdown(LONG).await, Vec::<String>::new());
    assert!(started.elapsed() < server::DRAIN, "the drain ran into its limit");
}

#[test]
fn the_login_message_has_the_vendor_s_bytes() {
    let hello = SaslMessage {
        message_type: Some(SaslMessageType::Challenge.into()),
        message: Some(b"\0ann\0noPassword"[..].into()),
        client_id: Some("id".to_owned()),
        authentication_scheme: Some(ChannelAuthenticationScheme::Simple.into()),
        channel_ref: Some("ref".to_owned()),
    };
    let bytes = b"\x08\x00\x12\x0f\0ann\0noPassword\x1a\x02id\x20\x01\x2a\x03ref";
    assert_eq!(hello.encode_to_vec(), bytes);
}
