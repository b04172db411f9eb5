use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::{Bytes, BytesMut};
use napi::{
    Either, Env, Status,
    bindgen_prelude::{BigInt, Function, Uint8Array},
    threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode},
};
use napi_derive::napi;
use norikv_bridge::{
    ClientConfig, Session,
    frame::Writer,
    reply::{self, ENTRY},
};
use norikv_core::{Consistency, Error, LeaseId, Result};

use crate::{open::NodeEnvironment, runtime::Runtime};

/// Calls JavaScript's `deliver(frame)`. It keeps Node alive from `submit` to `release` only.
type Callback = ThreadsafeFunction<Arc<Outbox>, (), Uint8Array, Status, false, true>;

struct Client {
    session: Session,
    callback: Arc<Callback>,
    /// The page that JavaScript and `getNow` share: keys in, entries out.
    page: Uint8Array,
    /// Whether the callback keeps Node alive.
    held: Cell<bool>,
    _runtime: Arc<Runtime>,
}

#[derive(Default)]
struct Clients {
    next: u32,
    open: HashMap<u32, Client>,
}

thread_local! {
    /// The clients of this JavaScript thread. A free function and a number cost a third of a class method.
    static CLIENTS: RefCell<Clients> = RefCell::default();
}

/// The replies that JavaScript has not taken yet. However many turns the core makes before the event loop gets
/// to it, they are delivered in one call.
#[derive(Default)]
struct Outbox(Mutex<BytesMut>);

impl Outbox {
    /// Adds replies. True if JavaScript has to be called.
    fn add(&self, frame: BytesMut) -> bool {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.is_empty() {
            *waiting = frame;
            return true;
        }
        waiting.extend_from_slice(&frame);
        false
    }

    fn take(&self) -> Vec<u8> {
        let waiting = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        waiting.into()
    }
}

/// Makes a client of a frame of settings. Answers its number, or the frame of an error.
#[napi]
pub fn create_client(
    config: &[u8],
    page: Uint8Array,
    deliver: Function<'_, Uint8Array, ()>,
) -> napi::Result<Either<u32, Uint8Array>> {
    match try_create(config, page, &deliver)? {
        Ok(id) => Ok(Either::A(id)),
        Err(error) => Ok(Either::B(error_frame(&error))),
    }
}

fn try_create(
    config: &[u8],
    page: Uint8Array,
    deliver: &Function<'_, Uint8Array, ()>,
) -> napi::Result<Result<u32>> {
    let callback: Arc<Callback> = Arc::new(
        deliver
            .build_threadsafe_function::<Arc<Outbox>>()
            .weak::<true>()
            .build_callback(|context| Ok(Uint8Array::from(context.value.take())))?,
    );
    Ok((|| {
        let config = ClientConfig::read(Bytes::copy_from_slice(config))?;
        let runtime = Runtime::current()?;
        let timeout = config.timeout;
        let outbox = Arc::new(Outbox::default());
        let to_javascript = callback.clone();
        let (session, driver) = Session::new(
            Box::new(NodeEnvironment(config)),
            timeout,
            Box::new(move |frame| {
                if outbox.add(frame) {
                    to_javascript.call(outbox.clone(), ThreadsafeFunctionCallMode::NonBlocking);
                }
            }),
        )?;
        runtime.handle().spawn(driver);
        let client = Client { session, callback, page, held: Cell::new(false), _runtime: runtime };
        Ok(CLIENTS.with_borrow_mut(|clients| {
            clients.next += 1;
            clients.open.insert(clients.next, client);
            clients.next
        }))
    })())
}

/// Lets go of a client. Its calls get no answer; `Close` answers them before.
#[napi]
pub fn destroy_client(id: u32) {
    CLIENTS.with_borrow_mut(|clients| clients.open.remove(&id));
}

/// Sends a frame of calls, and keeps Node alive until `release`. An empty frame only does the latter.
#[napi]
pub fn submit(env: Env, id: u32, frame: &[u8]) {
    with_client(id, |client| {
        if !client.held.replace(true) {
            // SAFETY: called on the thread of `env`, with a function that was made there and that `client`
            // holds. Its status says only that the environment is going down, when nothing is to be kept alive.
            let _ = unsafe { napi::sys::napi_ref_threadsafe_function(env.raw(), client.callback.raw()) };
        }
        if !frame.is_empty() {
            client.session.submit(Bytes::copy_from_slice(frame));
        }
    });
}

/// Reads a key whose prefix and bytes are on the shared page, and writes the entry there.
///
/// Answers the entry's length on the page, 0 if the key is missing, -1 if the read cannot be answered at once,
/// -2 if the page has the frame of an error.
#[napi]
pub fn get_now(id: u32, prefix_length: u32, key_length: u32, consistency: u32) -> i32 {
    CLIENTS.with_borrow_mut(|clients| {
        let Some(client) = clients.open.get_mut(&id) else {
            return NOT_NOW;
        };
        // SAFETY: the page is a buffer that JavaScript made for this client and that `client.page` keeps alive.
        // It is touched by JavaScript's thread only, which is this one and is in this call; `client` is borrowed
        // exclusively, so no other slice of the page exists.
        let page = unsafe { client.page.as_mut() };
        let (prefix_end, key_end) = (prefix_length as usize, prefix_length as usize + key_length as usize);
        let Some((prefix, key)) = page.get(..prefix_end).zip(page.get(prefix_end..key_end)) else {
            return NOT_NOW;
        };
        let consistency = match consistency {
            0 => Consistency::Lease,
            1 => Consistency::Linearizable,
            _ => Consistency::StaleOk,
        };
        match client.session.get_now(prefix, key, consistency) {
            None => NOT_NOW,
            Some(Ok(None)) => 0,
            Some(Ok(Some(entry))) => {
                let length = 1 + reply::entry_len(&entry);
                if length > page.len() {
                    return NOT_NOW;
                }
                let mut out = Writer(page);
                out.u8(ENTRY);
                reply::write_entry(&mut out, &entry);
                i32::try_from(length).unwrap_or(NOT_NOW)
            }
            Some(Err(error)) => {
                let frame = error_bytes(&error);
                match page.get_mut(..frame.len()) {
                    Some(target) => {
                        target.copy_from_slice(&frame);
                        FAILED
                    }
                    None => NOT_NOW,
                }
            }
        }
    })
}

const NOT_NOW: i32 = -1;
const FAILED: i32 = -2;

/// Lets Node exit: no call is pending.
#[napi]
pub fn release(env: Env, id: u32) {
    with_client(id, |client| {
        if client.held.replace(false) {
            // SAFETY: as in `submit`.
            let _ = unsafe { napi::sys::napi_unref_threadsafe_function(env.raw(), client.callback.raw()) };
        }
    });
}

/// How long a lease of the client has left without a keep-alive, in milliseconds: 0 if it is lost, -1 if the client
/// does not hold it.
#[napi]
pub fn lease_left(id: u32, lease: BigInt) -> f64 {
    let (negative, lease, exact) = lease.get_u64();
    if negative || !exact {
        return UNKNOWN;
    }
    let left = LeaseId::new(lease)
        .and_then(|lease| with_client(id, |client| client.session.lease_left(lease)).flatten());
    left.map_or(UNKNOWN, |left| left.as_secs_f64() * 1e3)
}

const UNKNOWN: f64 = -1.0;

/// What the client counted of its own work.
#[napi]
pub fn stats(id: u32) -> Option<Uint8Array> {
    with_client(id, |client| Uint8Array::from(Vec::from(client.session.stats())))
}

/// The cluster's view, if it is known.
#[napi]
pub fn cluster_view(id: u32) -> Option<Uint8Array> {
    with_client(id, |client| client.session.cluster_view()).flatten().map(|view| Vec::from(view).into())
}

fn with_client<T>(id: u32, f: impl FnOnce(&Client) -> T) -> Option<T> {
    CLIENTS.with_borrow(|clients| clients.open.get(&id).map(f))
}

fn error_bytes(error: &Error) -> BytesMut {
    let mut out = Writer(BytesMut::new());
    reply::write_error(&mut out, error);
    out.0
}

/// An error as the frame that JavaScript reads.
pub(crate) fn error_frame(error: &Error) -> Uint8Array {
    Uint8Array::from(Vec::from(error_bytes(error)))
}
