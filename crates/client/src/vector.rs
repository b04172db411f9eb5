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
use prost::{DecodeError, Message};

use crate::{
    calls::{AnyCall, Decode, ask_any},
    core::Core,
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
    let (ask, read): (_, Read<bool>) = match vector_create_index_to_v1(request) {
        Ok(plain) => (write.ask("/norikv.v1.Vector/CreateIndex", &plain, WHAT), |answer| {
            v1::CreateVectorIndexResponse::decode(answer).map(|answer| answer.created)
        }),
        Err(whole) => {
            let message = vector_create_index_to_ext(whole);
            let what = "quantize the vectors of an index";
            (write.ask("/norikv.ext.v1.Vectors/CreateIndex", &message, what), |answer| {
                ext::VectorCreateIndexResponse::decode(answer).map(|answer| answer.created)
            })
        }
    };
    answer(core, Vec::new(), ask, call, read).await
}

pub(crate) async fn drop_index<T: Transport>(
    core: &Arc<Core<T>>,
    request: VectorDropIndex,
    call: Call,
) -> Result<bool> {
    request.check()?;
    let write = Write::of(&request.namespace, request.idempotency_key.is_some());
    let ask = write.ask("/norikv.v1.Vector/DropIndex", &vector_drop_index_to_wire(request), WHAT);
    let read = |answer| v1::DropVectorIndexResponse::decode(answer).map(|answer| answer.dropped);
    match answer(core, Vec::new(), ask, call, read).await {
        // How some servers say that it was not there. After a lost reply it may be ours that dropped it.
        Err(error)
            if error.kind() == ErrorKind::VectorIndexNotFound
                && error.field(FieldName::Outcome).is_none() =>
        {
            Ok(false)
        }
        answered => answered,
    }
}

pub(crate) async fn insert<T: Transport>(
    core: &Arc<Core<T>>,
    request: VectorInsert,
    call: Call,
) -> Result<Version> {
    request.check()?;
    let write = Write::of(&request.namespace, request.idempotency_key.is_some());
    let keys = request.vectors.iter().map(|item| key(&request.namespace, &item.id)).collect();
    let (ask, read): (_, Read<Option<v1::Version>>) = match vector_insert_to_v1(request) {
        Ok(plain) => (write.ask("/norikv.v1.Vector/Insert", &plain, WHAT), |answer| {
            v1::VectorInsertResponse::decode(answer).map(|answer| answer.version)
        }),
        Err(whole) => {
            let message = vector_insert_to_ext(whole);
            let what = "insert several vectors in one transaction";
            (write.ask("/norikv.ext.v1.Vectors/InsertMany", &message, what), |answer| {
                ext::VectorInsertManyResponse::decode(answer).map(|answer| answer.version)
            })
        }
    };
    let version = answer(core, keys, ask, call, read).await?.map(Version::from);
    // It was answered, so it may well have happened.
    version.ok_or_else(|| confused("vector insert").with(FieldName::Outcome, "unknown"))
}

pub(crate) async fn delete<T: Transport>(
    core: &Arc<Core<T>>,
    request: VectorDelete,
    call: Call,
) -> Result<bool> {
    request.check()?;
    let write = Write::of(&request.namespace, request.idempotency_key.is_some());
    let keys = vec![key(&request.namespace, &request.id)];
    let ask = write.ask("/norikv.v1.Vector/Delete", &vector_delete_to_wire(request), WHAT);
    let read = |answer| v1::VectorDeleteResponse::decode(answer).map(|answer| answer.deleted);
    answer(core, keys, ask, call, read).await
}

pub(crate) async fn get<T: Transport>(
    core: &Arc<Core<T>>,
    request: VectorGet,
    call: Call,
) -> Result<Option<Vec<f32>>> {
    request.check()?;
    let hash = xxhash64(request.namespace.as_bytes());
    let keys = vec![key(&request.namespace, &request.id)];
    let message = vector_get_to_wire(request);
    let ask = AnyCall { hash, ..AnyCall::read("/norikv.v1.Vector/Get", &message, WHAT) };
    let read = |answer| v1::VectorGetResponse::decode(answer).map(|got| got.found.then_some(got.vector));
    answer(core, keys, ask, call, read).await
}

pub(crate) async fn search<T: Transport>(
    core: &Arc<Core<T>>,
    request: VectorSearch,
    call: Call,
) -> Result<Vec<VectorSearchResult>> {
    request.check()?;
    let (hash, queries) = (xxhash64(request.namespace.as_bytes()), request.queries.len());
    let (ask, read): (_, Read<Vec<VectorSearchResult>>) = match vector_search_to_v1(request) {
        Ok(plain) => (AnyCall::read("/norikv.v1.Vector/Search", &plain, WHAT), |answer| {
            v1::VectorSearchResponse::decode(answer).map(|found| vec![found.into()])
        }),
        Err(whole) => {
            let message = vector_search_to_ext(whole);
            let what = "search with several queries at once, maxDistance, efSearch or idPrefix";
            (AnyCall::read("/norikv.ext.v1.Vectors/Search", &message, what), |answer| {
                let found = ext::VectorSearchResponse::decode(answer)?;
                Ok(found.results.into_iter().map(Into::into).collect())
            })
        }
    };
    let results = answer(core, Vec::new(), AnyCall { hash, ..ask }, call, read).await?;
    if results.len() == queries { Ok(results) } else { Err(confused("vector search")) }
}

pub(crate) async fn list<T: Transport>(core: &Arc<Core<T>>, call: Call) -> Result<Vec<VectorIndexInfo>> {
    let message = ext::VectorListRequest {};
    let ask = AnyCall::read("/norikv.ext.v1.Vectors/List", &message, "list its vector indexes");
    let list = answer(core, Vec::new(), ask, call, ext::VectorListResponse::decode).await?;
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

/// What stands for a vector among the calls on each, as if it were a key. Which it is not on the wire; a key that has
/// the hash of one merely waits for it.
fn key(namespace: &str, id: &str) -> Bytes {
    Bytes::from([&namespace.len().to_le_bytes(), namespace.as_bytes(), id.as_bytes()].concat())
}

/// Reads what is wanted of an answer.
type Read<R> = fn(Bytes) -> Result<R, DecodeError>;

/// Asks, once it is its turn on each of its vectors.
async fn answer<T: Transport, R: Send>(
    core: &Arc<Core<T>>,
    keys: Vec<Bytes>,
    ask: AnyCall,
    call: Call,
    read: Read<R>,
) -> Result<R> {
    let mut answer = None;
    let mut decode = |bytes| {
        answer = Some(read(bytes)?);
        Ok(())
    };
    exchange(core, &keys, ask, call, &mut decode).await?;
    answer.ok_or_else(|| Error::closed("the client"))
}

/// The same for every kind of answer, and takes a bare status for what it means of vectors.
async fn exchange<T: Transport>(
    core: &Arc<Core<T>>,
    keys: &[Bytes],
    ask: AnyCall,
    call: Call,
    decode: Decode<'_>,
) -> Result<()> {
    let keys = keys.iter().map(|key| (key, ask.write));
    let _places = core.places(keys, call.deadline()).await?;
    ask_any(core, ask, call, decode).await.map_err(of_vectors)
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
