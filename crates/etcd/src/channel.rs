//! The way to a member: a connection that is made when it is needed, and again when it is lost.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use norikv_core::{Error, ErrorKind, FieldName, NodeAddress, Result};
use norikv_tls::{Connector, Fault, Sense, Unmade, Wire};
use tonic::{
    codegen::http::Uri,
    transport::{Channel, Endpoint},
};
use tower::service_fn;

/// How long it may take to connect to a member.
pub(crate) const CONNECT: Duration = Duration::from_secs(2);
/// How often a connection with calls under way is probed, and how long the answer may take. Members end connections that probe
/// more often than every 5 s, or without a call.
const PROBE: Duration = Duration::from_secs(6);
const PROBE_ANSWER: Duration = Duration::from_secs(3);
/// How long the first word of a member is waited for, where TLS is spoken: with it, or in its place, comes whether it takes
/// the client's certificate. What waits for the client to speak first is not waited for longer.
const FIRST_WORD: Duration = Duration::from_millis(250);

/// How long it may take to find out whether a port speaks TLS.
const PROBE_TLS: Duration = Duration::from_millis(500);

/// What the connections to a member had to say.
#[derive(Debug, Default)]
pub(crate) struct Heard(Mutex<Last>);

#[derive(Debug, Default)]
struct Last {
    sense: Option<Arc<Sense>>,
    /// Some connection understood the member, and was understood.
    ever: bool,
}

impl Last {
    fn look(&mut self) {
        self.ever |= self.sense.as_ref().is_some_and(|sense| sense.heard() && sense.fault().is_none());
    }
}

impl Heard {
    fn next(&self, sense: Arc<Sense>) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.look();
        last.sense = Some(sense);
    }

    /// Finds out whether a member that never said a word, and hung up, does not do so because TLS is spoken there.
    pub(crate) async fn ask_for_tls(&self, address: &str) {
        let sense = {
            let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            last.look();
            last.sense.clone().filter(|sense| !last.ever && !sense.heard())
        };
        let (Some(sense), Ok(node)) = (sense, address.parse::<NodeAddress>()) else { return };
        if norikv_tls::speaks_tls(node.host(), node.port(), PROBE_TLS).await {
            sense.misunderstood(Fault::SpeaksTls);
        }
    }

    /// Why the member was never understood. What was asked of it then cannot have been carried out.
    pub(crate) fn fault(&self) -> Option<Fault> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.look();
        if last.ever {
            return None;
        }
        last.sense.as_ref().and_then(|sense| sense.fault().cloned())
    }
}

/// The way to a member of this address.
///
/// # Errors
/// `InvalidArgument` for what is no address.
pub(crate) fn channel(address: &str, tls: Option<&Connector>, heard: &Arc<Heard>) -> Result<Channel> {
    let node: NodeAddress = address.parse()?;
    let wrong = |error: &dyn std::fmt::Display| {
        Error::invalid_argument(format!("{address} is no endpoint of etcd: {error}"))
    };
    let scheme = if tls.is_some() { "https" } else { "http" };
    let origin: Uri = format!("{scheme}://{address}").parse().map_err(|error| wrong(&error))?;
    // TLS is what the connector below speaks, and nothing that tonic knows of.
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| wrong(&error))?
        .origin(origin)
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(PROBE)
        .keep_alive_timeout(PROBE_ANSWER)
        .keep_alive_while_idle(false);
    let (tls, heard) = (tls.cloned(), Arc::clone(heard));
    let connector = service_fn(move |_: Uri| {
        let (node, tls, heard) = (node.clone(), tls.clone(), Arc::clone(&heard));
        async move {
            let mut wire = Wire::connect(node.host(), node.port(), tls.as_ref())
                .await
                .map_err(|unmade| unmade_error(&node, unmade))?;
            if tls.is_some() {
                wire.first_word(FIRST_WORD).await.map_err(|unmade| unmade_error(&node, unmade))?;
            }
            heard.next(wire.sense());
            Ok::<_, Error>(TokioIo::new(wire))
        }
    });
    Ok(endpoint.connect_with_connector_lazy(connector))
}

fn unmade_error(node: &NodeAddress, unmade: Unmade) -> Error {
    match unmade {
        Unmade::Io(error) => unreachable(&node.to_string(), &error),
        Unmade::Fault(fault) => faulty(&node.to_string(), fault),
        Unmade::Wrong(error) => error,
    }
}

/// That there is no connection to a member.
pub(crate) fn unreachable(address: &str, why: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Connection, format!("{address} cannot be reached: {why}"))
        .with(FieldName::Address, address)
}

/// That TLS does not come about with a member, or is not what it speaks.
pub(crate) fn faulty(address: &str, fault: Fault) -> Error {
    unreachable(address, &fault).caused_by(fault)
}
