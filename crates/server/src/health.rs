use std::pin::Pin;

use async_trait::async_trait;
use futures_util::{Stream, StreamExt, stream};
use norikv_core::{Error, ErrorKind};
use tonic::{Request, Response, Status};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_server::Health,
};

use crate::{
    phase::{Phase, PhaseWatch, reached},
    status::status_of,
};

/// `grpc.health.v1`: whether the server takes calls.
///
/// Its own few lines, since the ready-made service leaves its watches open at shutdown, which would then hold
/// every watched connection open until the grace is over.
pub(crate) struct HealthService {
    /// The names that are asked for; the empty one is the whole server.
    pub(crate) services: Vec<&'static str>,
    pub(crate) phase: PhaseWatch,
}

impl HealthService {
    fn now(&self, service: &str) -> ServingStatus {
        if !self.services.contains(&service) {
            return ServingStatus::ServiceUnknown;
        }
        match *self.phase.borrow() {
            Phase::Serving => ServingStatus::Serving,
            Phase::Draining | Phase::Ended => ServingStatus::NotServing,
        }
    }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status as i32 }
}

#[async_trait]
impl Health for HealthService {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = request.into_inner().service;
        match self.now(&service) {
            ServingStatus::ServiceUnknown => Err(status_of(Error::new(
                ErrorKind::NotFound,
                format!("this server has no service {service:?}; it has {:?}", self.services),
            ))),
            status => Ok(Response::new(answer(status))),
        }
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let first = self.now(&request.into_inner().service);
        let phase = self.phase.clone();
        let last = async move {
            reached(phase, Phase::Draining).await;
            Ok(answer(ServingStatus::NotServing))
        };
        let known = first != ServingStatus::ServiceUnknown;
        // An unknown service stays unknown; its watch waits for the end like the others.
        let last = stream::once(last).filter(move |_| std::future::ready(known));
        Ok(Response::new(Box::pin(stream::iter([Ok(answer(first))]).chain(last))))
    }
}
