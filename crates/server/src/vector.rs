use std::time::Duration;

use async_trait::async_trait;
use norikv_core::{
    Call, Error, ErrorKind, Result, StoreRef, VectorCreateIndex, VectorInsert, VectorSearch,
    VectorSearchResult, Version,
};
use norikv_proto::{
    ext::{self, vectors_server::Vectors},
    v1::{self, vector_server::Vector},
    vector_create_index_from_ext, vector_create_index_from_v1, vector_delete_from_wire,
    vector_drop_index_from_wire, vector_get_from_wire, vector_info_to_wire, vector_insert_from_ext,
    vector_insert_from_v1, vector_search_from_ext, vector_search_from_v1,
};
use prost::Message;
use tonic::{Request, Response, Status};

use crate::{deadline::call_of, status::status_of};

/// The most bytes of an answer, which is gathered whole.
const MAX_ANSWER_BYTES: u64 = 64 * 1024 * 1024;

/// `norikv.v1.Vector`, and `norikv.ext.v1.Vectors` with what the former has no field for.
pub(crate) struct VectorService {
    pub(crate) store: StoreRef,
    /// How long a call may take that brings no deadline.
    pub(crate) bound: Duration,
}

impl VectorService {
    fn call<R>(&self, request: &Request<R>) -> Call {
        call_of(request.metadata().as_ref(), self.bound)
    }

    async fn created(&self, create: Result<VectorCreateIndex>, call: Call) -> Result<bool> {
        self.store.vector_create_index(create?, call).await
    }

    async fn inserted(&self, insert: VectorInsert, call: Call) -> Result<Version> {
        self.store.vector_insert(insert, call).await
    }

    async fn found(&self, search: Result<VectorSearch>, call: Call) -> Result<Vec<VectorSearchResult>> {
        let search = search?;
        // How much a filter leaves is known only when it was found.
        if search.include_vectors && search.max_distance.is_none() && search.id_prefix.is_empty() {
            self.check_room(&search, call).await?;
        }
        self.store.vector_search(search, call).await
    }

    /// Refuses a search whose vectors would not fit an answer, before they are gathered.
    async fn check_room(&self, search: &VectorSearch, call: Call) -> Result<()> {
        search.check()?;
        let numbers: usize = search.queries.iter().map(Vec::len).sum();
        let bytes = |matches: u64| matches * (numbers * size_of::<f32>()) as u64;
        if bytes(search.k.into()) <= MAX_ANSWER_BYTES {
            return Ok(());
        }
        // There may be fewer than were asked for.
        let indexes = self.store.vector_indexes(call).await?;
        let index = indexes.iter().find(|info| info.index.namespace == search.namespace);
        let matches = index.map_or(0, |info| info.vectors.min(search.k.into()));
        if bytes(matches) <= MAX_ANSWER_BYTES { Ok(()) } else { Err(too_large()) }
    }
}

#[async_trait]
impl Vector for VectorService {
    async fn create_index(
        &self,
        request: Request<v1::CreateVectorIndexRequest>,
    ) -> Result<Response<v1::CreateVectorIndexResponse>, Status> {
        let call = self.call(&request);
        let create = vector_create_index_from_v1(request.into_inner());
        let created = self.created(create, call).await.map_err(status_of)?;
        Ok(Response::new(v1::CreateVectorIndexResponse { created, ..Default::default() }))
    }

    async fn drop_index(
        &self,
        request: Request<v1::DropVectorIndexRequest>,
    ) -> Result<Response<v1::DropVectorIndexResponse>, Status> {
        let call = self.call(&request);
        let drop = vector_drop_index_from_wire(request.into_inner());
        let dropped = self.store.vector_drop_index(drop, call).await.map_err(status_of)?;
        Ok(Response::new(v1::DropVectorIndexResponse { dropped }))
    }

    async fn insert(
        &self,
        request: Request<v1::VectorInsertRequest>,
    ) -> Result<Response<v1::VectorInsertResponse>, Status> {
        let call = self.call(&request);
        let insert = vector_insert_from_v1(request.into_inner());
        let version = self.inserted(insert, call).await.map_err(status_of)?;
        Ok(Response::new(v1::VectorInsertResponse { inserted: true, version: Some(version.into()) }))
    }

    async fn delete(
        &self,
        request: Request<v1::VectorDeleteRequest>,
    ) -> Result<Response<v1::VectorDeleteResponse>, Status> {
        let call = self.call(&request);
        let delete = vector_delete_from_wire(request.into_inner());
        let deleted = self.store.vector_delete(delete, call).await.map_err(status_of)?;
        Ok(Response::new(v1::VectorDeleteResponse { deleted }))
    }

    async fn search(
        &self,
        request: Request<v1::VectorSearchRequest>,
    ) -> Result<Response<v1::VectorSearchResponse>, Status> {
        let call = self.call(&request);
        let search = vector_search_from_v1(request.into_inner());
        let result = self.found(search, call).await.map_err(status_of)?.pop().unwrap_or_default();
        bounded(result.into())
    }

    /// A vector that is not there is an answer.
    async fn get(
        &self,
        request: Request<v1::VectorGetRequest>,
    ) -> Result<Response<v1::VectorGetResponse>, Status> {
        let call = self.call(&request);
        let get = vector_get_from_wire(request.into_inner()).map_err(status_of)?;
        let vector = self.store.vector_get(get, call).await.map_err(status_of)?;
        let found = vector.is_some();
        Ok(Response::new(v1::VectorGetResponse { vector: vector.unwrap_or_default(), found }))
    }
}

#[async_trait]
impl Vectors for VectorService {
    async fn create_index(
        &self,
        request: Request<ext::VectorCreateIndexRequest>,
    ) -> Result<Response<ext::VectorCreateIndexResponse>, Status> {
        let call = self.call(&request);
        let create = vector_create_index_from_ext(request.into_inner());
        let created = self.created(create, call).await.map_err(status_of)?;
        Ok(Response::new(ext::VectorCreateIndexResponse { created }))
    }

    async fn insert_many(
        &self,
        request: Request<ext::VectorInsertManyRequest>,
    ) -> Result<Response<ext::VectorInsertManyResponse>, Status> {
        let call = self.call(&request);
        let insert = vector_insert_from_ext(request.into_inner());
        let version = self.inserted(insert, call).await.map_err(status_of)?;
        Ok(Response::new(ext::VectorInsertManyResponse { version: Some(version.into()) }))
    }

    async fn search(
        &self,
        request: Request<ext::VectorSearchRequest>,
    ) -> Result<Response<ext::VectorSearchResponse>, Status> {
        let call = self.call(&request);
        let search = vector_search_from_ext(request.into_inner());
        let results = self.found(search, call).await.map_err(status_of)?;
        bounded(ext::VectorSearchResponse { results: results.into_iter().map(Into::into).collect() })
    }

    async fn list(
        &self,
        request: Request<ext::VectorListRequest>,
    ) -> Result<Response<ext::VectorListResponse>, Status> {
        let indexes = self.store.vector_indexes(self.call(&request)).await.map_err(status_of)?;
        bounded(ext::VectorListResponse { indexes: indexes.into_iter().map(vector_info_to_wire).collect() })
    }
}

/// An answer, unless it is too large for one.
fn bounded<M: Message>(answer: M) -> Result<Response<M>, Status> {
    if answer.encoded_len() as u64 <= MAX_ANSWER_BYTES {
        return Ok(Response::new(answer));
    }
    Err(status_of(too_large()))
}

fn too_large() -> Error {
    Error::new(
        ErrorKind::ResourceExhausted,
        format!(
            "the answer has more than {MAX_ANSWER_BYTES} bytes, the most of one; ask for fewer matches or queries at a time, or without their vectors"
        ),
    )
}
