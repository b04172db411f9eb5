//! Calls that go by themselves, to a server of `norikv.v1` alone.

use std::time::Duration;

use bytes::Bytes;
use norikv_core::{Error, ErrorKind, FieldName, NodeAddress};
use norikv_proto::{
    ext::{self, BatchOp, batch_op::Op, batch_result::Result as Answer},
    v1,
};
use prost::{DecodeError, Message};

use crate::{
    node::Node,
    transport::{Failed, Link},
};

/// What a server of `norikv.v1` alone lacks.
pub(crate) const EXT: &str = "norikv.ext.v1";

/// Makes a call of a batch by itself.
pub(crate) async fn call<L: Link>(
    node: &Node<L>,
    body: &BatchOp,
    timeout: Duration,
) -> Result<Answer, Failed> {
    let timeout = Some(timeout);
    match &body.op {
        Some(Op::Get(get)) => {
            let answer = node.link.unary("/norikv.v1.Kv/Get", encode(get), timeout).await?;
            let answer: v1::GetResponse = decode(&node.address, answer)?;
            // A present key always has a version; an empty value says nothing.
            let entry = answer.version.map(|version| ext::Entry {
                value: answer.value,
                version: Some(version),
                ..Default::default()
            });
            Ok(Answer::Get(ext::GetResult { entry }))
        }
        Some(Op::Put(ext::Put { put: Some(_), lease: 1.., .. })) => {
            Err(Failed::Answered(lacking(&node.address, "put a key with a lease")))
        }
        Some(Op::Put(ext::Put { put: Some(_), prev_entry: true, .. })) => {
            Err(Failed::Answered(lacking(&node.address, "answer the previous entry of a put")))
        }
        Some(Op::Put(ext::Put { put: Some(put), .. })) => {
            let answer = node.link.unary("/norikv.v1.Kv/Put", encode(put), timeout).await?;
            let answer: v1::PutResponse = decode(&node.address, answer)?;
            Ok(Answer::Put(ext::PutResult { version: answer.version, prev_entry: None }))
        }
        Some(Op::Delete(delete)) => {
            let answer = node.link.unary("/norikv.v1.Kv/Delete", encode(delete), timeout).await?;
            Ok(Answer::Delete(decode(&node.address, answer)?))
        }
        _ => Err(Failed::NotSent(Error::internal("a call without an operation"))),
    }
}

/// The refusal of what a server cannot do that lacks a part of the protocol.
pub(crate) fn unsupported(address: &NodeAddress, what: &str, lacks: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("the server at {address} cannot {what}; that needs a server with {lacks}"),
    )
    .with(FieldName::Address, address.to_string().as_str())
}

fn lacking(address: &NodeAddress, what: &str) -> ext::Failure {
    norikv_proto::failure_from_error(&unsupported(address, what, EXT))
}

fn encode(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

/// The answer of a call.
pub(crate) fn decode<M: Message + Default>(address: &NodeAddress, answer: Bytes) -> Result<M, Failed> {
    M::decode(answer).map_err(|error| confused(address, &error))
}

/// An answer that is none.
pub(crate) fn confused(address: &NodeAddress, error: &DecodeError) -> Failed {
    let message = format!("{address} answered something else than was asked for ({error})");
    let error = Error::new(ErrorKind::Unavailable, message);
    Failed::Lost(error.with(FieldName::Address, address.to_string().as_str()))
}
