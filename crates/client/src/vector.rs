//! Vectors. `norikv.v1.Vector` is asked wherever it can say all of the request, since every server takes it, and
//! `norikv.ext.v1.Vectors` for the rest.

use std::sync::Arc;

use bytes::Bytes;
use norikv_core::{
    Call, Error, ErrorKind, FieldName, Result, VectorCreateIndex, VectorDelete, VectorDropIndex, VectorGet,
    VectorIndexInfo, VectorInsert, VectorSearch, VectorSearchResult, Version, xxhash64,
};
use norikv_proto::{
    ext, v1, vector_create_index_to_ext, vector_create_index_to_v1, vector_delete_to_wire,
    vector_drop_index_to_wire, vector_get_to_wire, vector_info_from_wire, vector_insert_to_ext,
    vector_insert_to_v1, vector_search_to_ext, vector_search_to_v1,
};
use prost::Message;

use crate::{
    calls::{AnyCall, on_any},
    core::Core,
    place::Place,
    remote::confused,
    transport::Transport,
};

const WHAT: &str = "keep vectors";

pub(crate) async fn create_index<T: Transport>(
    core: &Arc<Core<T>>,
    request: VectorCreateIndex,
    call: Call,
) -> Result<bool> {
    request.check()?;
    let write = Write::of(&request.index.namespace, request.idempotency_key.is_some());
    match vector_create_index_to_v1(request) {
        Ok(plain) => {
            let ask = write.ask("/norikv.v1.Vector/CreateIndex", &plain, WHAT);
            answer(core, ask, call).await.map(|answer: v1::CreateVectorIndexResponse| answer.created)
        }
        Err(whole) => {
            let message = vector_create_index_to_ext(whole);
            let ask =
                write.ask("/norikv.ext.v1.Vectors/CreateIndex", &message, "quantize the vectors of an index");
            answer(core, ask, call).await.map(|answer: ext::VectorCreateIndexResponse| answer.created)
        }
    }
}

pub(crate) async fn drop_index<T: Transport>(
    core: &Arc<Core<T>>,
    request: VectorDropIndex,
    call: Call,
) -> Result<bool> {
    request.check()?;
    let write = Write::of(&request.namespace, request.idempotency_key.is_some());
    let ask = write.ask("/norikv.v1.Vector/DropIndex", &vector_drop_index_to_wire(request), WHAT);
    match answer::<_, v1::DropVectorIndexResponse>(core, ask, call).await {
        Ok(answer) => Ok(answer.dropped),
        // How some servers say that it was not there. After a lost reply it may be ours that dropped it.
        Err(error)
            if error.kind() == ErrorKind::VectorIndexNotFound
                && error.field(FieldName::Outcome).is_none() =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

pub(crate) async fn insert<T: Transport>(
    core: &Arc<Core<T>>,
    request: VectorInsert,
    call: Call,
) -> Result<Version> {
    request.check()?;
    let write = Write::of(&request.namespace, request.idempotency_key.is_some());
    let ids = request.vectors.iter().map(|item| item.id.as_str());
    let _places = places(core, &request.namespace, ids, true, call).await?;
    let version = match vector_insert_to_v1(request) {
        Ok(plain) => {
            let ask = write.ask("/norikv.v1.Vector/Insert", &plain, WHAT);
            answer::<_, v1::VectorInsertResponse>(core, ask, call).await?.version
        }
        Err(whole) => {
            let message = vector_insert_to_ext(whole);
            let ask = write.ask(
                "/norikv.ext.v1.Vectors/InsertMany",
                &message,
                "insert several vectors in one transaction",
            );
            answer::<_, ext::VectorInsertManyResponse>(core, ask, call).await?.version
        }
    };
    Ok(version.map_or(Version::ZERO, Version::from))
}

pub(crate) async fn delete<T: Transport>(
    core: &Arc<Core<T>>,
    request: VectorDelete,
    call: Call,
) -> Result<bool> {
    request.check()?;
    let write = Write::of(&request.namespace, request.idempotency_key.is_some());
    let _places = places(core, &request.namespace, [request.id.as_str()], true, call).await?;
    let ask = write.ask("/norikv.v1.Vector/Delete", &vector_delete_to_wire(request), WHAT);
    answer(core, ask, call).await.map(|answer: v1::VectorDeleteResponse| answer.deleted)
}

pub(crate) async fn get<T: Transport>(
    core: &Arc<Core<T>>,
    request: VectorGet,
    call: Call,
) -> Result<Option<Vec<f32>>> {
    request.check()?;
    let hash = xxhash64(request.namespace.as_bytes());
    let _places = places(core, &request.namespace, [request.id.as_str()], false, call).await?;
    let message = vector_get_to_wire(request);
    let ask = AnyCall { hash, ..AnyCall::read("/norikv.v1.Vector/Get", &message, WHAT) };
    let got: v1::VectorGetResponse = answer(core, ask, call).await?;
    Ok(got.found.then_some(got.vector))
}

pub(crate) async fn search<T: Transport>(
    core: &Arc<Core<T>>,
    request: VectorSearch,
    call: Call,
) -> Result<Vec<VectorSearchResult>> {
    request.check()?;
    let (hash, queries) = (xxhash64(request.namespace.as_bytes()), request.queries.len());
    let results: Vec<VectorSearchResult> = match vector_search_to_v1(request) {
        Ok(plain) => {
            let ask = AnyCall { hash, ..AnyCall::read("/norikv.v1.Vector/Search", &plain, WHAT) };
            vec![answer::<_, v1::VectorSearchResponse>(core, ask, call).await?.into()]
        }
        Err(whole) => {
            let message = vector_search_to_ext(whole);
            let what = "search with several queries at once, maxDistance, efSearch or idPrefix";
            let ask = AnyCall { hash, ..AnyCall::read("/norikv.ext.v1.Vectors/Search", &message, what) };
            let found: ext::VectorSearchResponse = answer(core, ask, call).await?;
            found.results.into_iter().map(Into::into).collect()
        }
    };
    if results.len() == queries { Ok(results) } else { Err(confused("vector search")) }
}

pub(crate) async fn list<T: Transport>(core: &Arc<Core<T>>, call: Call) -> Result<Vec<VectorIndexInfo>> {
    let message = ext::VectorListRequest {};
    let ask = AnyCall::read("/norikv.ext.v1.Vectors/List", &message, "list its vector indexes");
    let list: ext::VectorListResponse = answer(core, ask, call).await?;
    let indexes = list.indexes.into_iter().map(vector_info_from_wire).collect::<Result<_>>();
    // What is wrong with it is not the caller's doing.
    indexes.map_err(|error| confused("list of vector indexes").caused_by(error))
}

/// What all writes to an index have in common. Even an insert of the same vector is not repeated without an
/// idempotency key: it could undo what somebody else wrote meanwhile.
struct Write {
    hash: u64,
    repeatable: bool,
}

impl Write {
    fn of(namespace: &str, repeatable: bool) -> Self {
        Self { hash: xxhash64(namespace.as_bytes()), repeatable }
    }

    fn ask(&self, method: &'static str, message: &impl Message, what: &'static str) -> AnyCall {
        let Self { hash, repeatable } = *self;
        AnyCall { hash, write: true, repeatable, ..AnyCall::read(method, message, what) }
    }
}

/// The places of a call among the calls on each of its vectors, as if they were keys. Which they are not on the wire;
/// a key that has the hash of one merely waits for it.
async fn places<'a, T: Transport>(
    core: &Arc<Core<T>>,
    namespace: &str,
    ids: impl IntoIterator<Item = &'a str>,
    write: bool,
    call: Call,
) -> Result<Vec<Place<T>>> {
    let key = |id: &str| {
        Bytes::from([&namespace.len().to_le_bytes(), namespace.as_bytes(), id.as_bytes()].concat())
    };
    let keys: Vec<Bytes> = ids.into_iter().map(key).collect();
    core.places(keys.iter().map(|key| (key, write)), call.deadline()).await
}

/// Asks, and takes a bare status for what it means of vectors.
async fn answer<T: Transport, M: Message + Default>(
    core: &Arc<Core<T>>,
    ask: AnyCall,
    call: Call,
) -> Result<M> {
    on_any(core, ask, call).await.map_err(of_vectors)
}

/// A server of `norikv.v1` alone says `NOT_FOUND` and nothing else where there is no such index.
fn of_vectors(error: Error) -> Error {
    let kind = match error.kind() {
        ErrorKind::NotFound => ErrorKind::VectorIndexNotFound,
        ErrorKind::AlreadyExists => ErrorKind::VectorIndexExists,
        _ => return error,
    };
    let told = Error::new(kind, error.message());
    let told = error.fields().iter().fold(told, |told, (name, field)| told.with(*name, field.clone()));
    told.caused_by(error)
}
