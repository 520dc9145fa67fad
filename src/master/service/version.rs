//! `ServiceVersionClientService`: clients of the GooseFS protocol find the leader by it, because standbys refuse.

use crate::master::Master;
use goosefs_core::proto::public::version::service_version_client_service_server::ServiceVersionClientService;
use goosefs_core::proto::public::version::{GetServiceVersionPRequest, GetServiceVersionPResponse};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// The version of every service; clients compare nothing but presence.
const SERVICE_VERSION: i64 = 1;

pub(super) struct Version {
    master: Arc<Master>,
}

impl Version {
    pub(super) fn new(master: Arc<Master>) -> Version {
        Version { master }
    }
}

#[tonic::async_trait]
impl ServiceVersionClientService for Version {
    async fn get_service_version(
        &self,
        request: Request<GetServiceVersionPRequest>,
    ) -> Result<Response<GetServiceVersionPResponse>, Status> {
        let anywhere = request.get_ref().allowed_on_standby_masters.unwrap_or_default();
        if !anywhere && !self.master.journal.leads() {
            // The one status that makes clients ask the next master (goosefs-sdk 0.1.9 and 0.2.2).
            return Err(Status::not_found("this master is a standby"));
        }
        Ok(Response::new(GetServiceVersionPResponse { version: Some(SERVICE_VERSION) }))
    }
}
