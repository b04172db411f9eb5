use std::time::Duration;

use async_trait::async_trait;
use norikv_core::{Consistency, Entry, Get, Result, StoreRef};
use norikv_proto::{
    consistency_from_wire, delete_from_wire, ext, put_from_wire,
    v1::{self, kv_server::Kv},
};
use tonic::{Request, Response, Status};

use crate::{deadline::call_of, status::status_of};

/// `norikv.v1.Kv`: single keys.
pub(crate) struct KvService {
    pub(crate) store: StoreRef,
    /// How long a call may take that brings no deadline.
    pub(crate) bound: Duration,
}

#[async_trait]
impl Kv for KvService {
    async fn put(&self, request: Request<v1::PutRequest>) -> Result<Response<v1::PutResponse>, Status> {
        let call = call_of(request.metadata().as_ref(), self.bound);
        let put = ext::Put { put: Some(request.into_inner()), ..Default::default() };
        let put = put_from_wire(put).map_err(status_of)?;
        let result = self.store.put(put, call).await.map_err(status_of)?;
        Ok(Response::new(v1::PutResponse { version: Some(result.version.into()), ..Default::default() }))
    }

    async fn get(&self, request: Request<v1::GetRequest>) -> Result<Response<v1::GetResponse>, Status> {
        let call = call_of(request.metadata().as_ref(), self.bound);
        let get = get_from_wire(request.into_inner()).map_err(status_of)?;
        let answer = match self.store.get_now(&get.key, get.consistency) {
            Some(answer) => answer,
            None => self.store.get(get, call).await,
        };
        Ok(Response::new(answer.map(get_to_wire).map_err(status_of)?))
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteRequest>,
    ) -> Result<Response<v1::DeleteResponse>, Status> {
        let call = call_of(request.metadata().as_ref(), self.bound);
        let delete = delete_from_wire(request.into_inner());
        let result = self.store.delete(delete, call).await.map_err(status_of)?;
        Ok(Response::new(v1::DeleteResponse {
            tombstoned: result.deleted,
            version: Some(result.version.into()),
        }))
    }
}

/// A missing key is an answer without a version.
fn get_to_wire(entry: Option<Entry>) -> v1::GetResponse {
    entry.map_or_else(v1::GetResponse::default, |entry| v1::GetResponse {
        value: entry.value,
        version: Some(entry.version.into()),
        ..Default::default()
    })
}

/// The get of a request.
pub(crate) fn get_from_wire(request: v1::GetRequest) -> Result<Get> {
    Ok(Get { consistency: word(&request.consistency)?, key: request.key })
}

/// The consistency of a word; most requests send none.
fn word(word: &str) -> Result<Consistency> {
    if word.is_empty() { Ok(Consistency::Lease) } else { consistency_from_wire(word) }
}
