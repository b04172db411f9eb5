use std::{
    cell::RefCell,
    collections::HashMap,
    net::{SocketAddr, ToSocketAddrs},
    sync::Arc,
    thread,
    time::Duration,
};

use napi::{
    Either, Env, JsDeferred,
    bindgen_prelude::{Object, Uint8Array},
};
use napi_derive::napi;
use norikv_core::{Address, Durability, Error, ErrorKind, Result, StoreRef};
use norikv_embedded::Settings;
use norikv_server::{Server, ServerSettings};
use norikv_tls::{Identity, Pem, ServerTls};
use serde::Deserialize;

use crate::{
    client::error_frame,
    open::{embedded, etcd_with_vectors},
    runtime::Runtime,
};

/// How long a server that is stopped may take to answer what it has taken on.
const GRACE: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Options {
    store: String,
    listen: Option<String>,
    advertise: Option<String>,
    durability: Option<String>,
    max_value_bytes: Option<usize>,
    #[serde(default)]
    cors_origins: Vec<String>,
    #[serde(default)]
    etcd_api: bool,
    tls: Option<TlsOptions>,
}

/// What a port speaks TLS with, in PEM.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TlsOptions {
    cert: Option<String>,
    key: Option<String>,
    client_ca: Option<String>,
}

impl TlsOptions {
    fn settings(self) -> Result<ServerTls> {
        let (Some(certificate), Some(key)) = (self.cert, self.key) else {
            return Err(Error::invalid_argument(
                "the server's options are wrong: tls has a cert and a key, in PEM; give both",
            ));
        };
        let pem = |name: &str, text: String| Pem::new(name, text.into_bytes());
        Ok(ServerTls {
            identity: Identity { certificate: pem("tls.cert", certificate), key: pem("tls.key", key) },
            client_ca: self.client_ca.map(|ca| pem("tls.clientCa", ca)),
        })
    }
}

struct Running {
    server: Server,
    store: StoreRef,
    runtime: Arc<Runtime>,
}

#[derive(Default)]
struct Servers {
    next: u32,
    running: HashMap<u32, Arc<Running>>,
}

thread_local! {
    /// The servers of this JavaScript thread.
    static SERVERS: RefCell<Servers> = RefCell::default();
}

/// What becomes of a promise, made on JavaScript's thread.
type Resolve<T> = Box<dyn FnOnce(Env) -> napi::Result<T> + Send>;

/// A server that was started.
#[napi(object)]
pub struct StartedServer {
    pub id: u32,
    pub address: String,
}

/// Starts a server of settings in JSON. Resolves with its number and address, or the frame of an error.
#[napi]
pub fn start_server(env: &Env, settings: String) -> napi::Result<Object<'_>> {
    type Started = Either<StartedServer, Uint8Array>;
    let (deferred, promise): (JsDeferred<Started, Resolve<Started>>, _) = env.create_deferred()?;
    let runtime = match Runtime::current() {
        Ok(runtime) => runtime,
        Err(error) => {
            deferred.resolve(Box::new(move |_| Ok(Either::B(error_frame(&error)))));
            return Ok(promise);
        }
    };
    let owned = runtime.clone();
    runtime.handle().spawn(async move {
        let result = start(&settings).await;
        deferred.resolve(Box::new(move |_| {
            Ok(match result {
                Ok((server, store)) => Either::A(register(server, store, owned)),
                Err(error) => Either::B(error_frame(&error)),
            })
        }));
    });
    Ok(promise)
}

/// Runs on JavaScript's thread, whose servers these are.
fn register(server: Server, store: StoreRef, runtime: Arc<Runtime>) -> StartedServer {
    SERVERS.with_borrow_mut(|servers| {
        servers.next += 1;
        let id = servers.next;
        let address = server.local_addr().to_string();
        let running = Running { server, store, runtime };
        servers.running.insert(id, Arc::new(running));
        StartedServer { id, address }
    })
}

/// Stops a server and closes its store. Resolves with null, or the frame of an error.
#[napi]
pub fn stop_server(env: &Env, id: u32) -> napi::Result<Object<'_>> {
    type Stopped = Option<Uint8Array>;
    let (deferred, promise): (JsDeferred<Stopped, Resolve<Stopped>>, _) = env.create_deferred()?;
    let Some(running) = SERVERS.with_borrow_mut(|servers| servers.running.remove(&id)) else {
        deferred.resolve(Box::new(|_| Ok(None)));
        return Ok(promise);
    };
    let runtime = running.runtime.clone();
    runtime.handle().spawn(async move {
        let stopped = running.server.shutdown(GRACE).await;
        let closed = running.store.close().await;
        let failed = stopped.and(closed).err();
        deferred.resolve(Box::new(move |_| {
            // The runtime goes with the last of its servers and clients, here and not on its own thread.
            drop(running);
            Ok(failed.as_ref().map(error_frame))
        }));
    });
    Ok(promise)
}

async fn start(settings: &str) -> Result<(Server, StoreRef)> {
    let options: Options = serde_json::from_str(settings)
        .map_err(|error| Error::invalid_argument(format!("the server's options are wrong: {error}")))?;
    let defaults = Settings::default();
    let durability = options.durability.as_deref().map_or(Ok(Durability::Fsync), Durability::for_disk)?;
    if options.max_value_bytes == Some(0) {
        return Err(Error::invalid_argument("maxValueBytes is a whole number from 1; got 0"));
    }
    let store_settings = Settings {
        durability,
        max_value_bytes: options.max_value_bytes.unwrap_or(defaults.max_value_bytes),
        ..defaults
    };
    // Before a store is opened that would have to be closed again.
    let tls = options.tls.map(TlsOptions::settings).transpose()?;
    let listen = match &options.listen {
        Some(text) => resolve(text)?,
        None => ServerSettings::default().listen,
    };
    let store = match options.store.parse()? {
        Address::Memory => embedded(None, store_settings).await?,
        Address::File(path) => embedded(Some(path.into()), store_settings).await?,
        Address::Etcd(address) => etcd_with_vectors(&address, &store_settings).await?,
        Address::Node(_) => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "{:?} is a server already; a server serves \"memory:\", \"file:<directory>\" or \"etcd://host:port,…\"",
                    options.store
                ),
            ));
        }
    };
    let server_settings = ServerSettings {
        listen,
        advertise: options.advertise,
        cors_origins: options.cors_origins,
        etcd_api: options.etcd_api,
        tls,
        ..ServerSettings::default()
    };
    match Server::start(store.clone(), server_settings).await {
        Ok(server) => Ok((server, store)),
        Err(error) => {
            // What stopped the server from starting is what the caller has to know.
            let _ = store.close().await;
            Err(error)
        }
    }
}

fn resolve(text: &str) -> Result<SocketAddr> {
    text.to_socket_addrs().ok().and_then(|mut addresses| addresses.next()).ok_or_else(|| {
        Error::invalid_argument(format!(
            "{text:?} is no address to listen on; write host:port, like 127.0.0.1:7447"
        ))
    })
}

/// Runs the `norikv` command on a thread of its own, and resolves with its exit code.
#[napi]
pub fn run_cli(env: &Env, args: Vec<String>) -> napi::Result<Object<'_>> {
    let (deferred, promise): (JsDeferred<i32, Resolve<i32>>, _) = env.create_deferred()?;
    thread::Builder::new()
        .name("norikv-cli".to_owned())
        .spawn(move || {
            let code = norikv_cli::main_with(args);
            deferred.resolve(Box::new(move |_| Ok(code)));
        })
        .map_err(|error| napi::Error::from_reason(error.to_string()))?;
    Ok(promise)
}
