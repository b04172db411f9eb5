use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
};

use bytes::{Bytes, BytesMut};
use js_sys::{Function, Uint8Array};
use norikv_bridge::{ClientConfig, Session, frame::Writer, reply};
use norikv_core::{Error, LeaseId, Result};
use wasm_bindgen::{JsValue, prelude::wasm_bindgen};

use crate::open::WebEnvironment;

#[derive(Default)]
struct Clients {
    next: u32,
    open: HashMap<u32, Session>,
}

thread_local! {
    static CLIENTS: RefCell<Clients> = RefCell::default();
}

/// The replies that JavaScript has not taken yet. However many turns the core makes before the page's next task, they
/// are delivered in one call.
#[derive(Default)]
struct Outbox {
    waiting: RefCell<BytesMut>,
    called: Cell<bool>,
}

/// Makes a client of a frame of settings. Answers its number, or the frame of an error.
#[wasm_bindgen(js_name = createClient)]
pub fn create_client(config: &[u8], deliver: Function) -> JsValue {
    match try_create(config, deliver) {
        Ok(id) => JsValue::from(id),
        Err(error) => error_frame(&error).into(),
    }
}

fn try_create(config: &[u8], deliver: Function) -> Result<u32> {
    let config = ClientConfig::read(Bytes::copy_from_slice(config))?;
    let timeout = config.timeout;
    let outbox = Rc::new(Outbox::default());
    let (session, driver) = Session::new(
        Box::new(WebEnvironment(config)),
        timeout,
        Box::new(move |frame| {
            outbox.waiting.borrow_mut().extend_from_slice(&frame);
            if outbox.called.replace(true) {
                return;
            }
            let (outbox, deliver) = (Rc::clone(&outbox), deliver.clone());
            // Not from within the core: what JavaScript does with replies may call it again.
            wasm_bindgen_futures::spawn_local(async move {
                outbox.called.set(false);
                let frame = outbox.waiting.take();
                // `src/web.ts` tells the page what is thrown there.
                let _ = deliver.call1(&JsValue::NULL, &Uint8Array::from(&frame[..]));
            });
        }),
    )?;
    wasm_bindgen_futures::spawn_local(driver);
    Ok(CLIENTS.with_borrow_mut(|clients| {
        clients.next += 1;
        clients.open.insert(clients.next, session);
        clients.next
    }))
}

/// Lets go of a client. Its calls get no answer; `Close` answers them before.
#[wasm_bindgen(js_name = destroyClient)]
pub fn destroy_client(id: u32) {
    let client = CLIENTS.with_borrow_mut(|clients| clients.open.remove(&id));
    drop(client);
}

/// Sends a frame of calls.
#[wasm_bindgen]
pub fn submit(id: u32, frame: &[u8]) {
    with_client(id, |client| client.submit(Bytes::copy_from_slice(frame)));
}

/// How many milliseconds a lease that the client holds has left; 0 if it is lost, -1 if the client does not hold it.
#[wasm_bindgen(js_name = leaseLeft)]
pub fn lease_left(id: u32, lease: u64) -> f64 {
    let left =
        LeaseId::new(lease).and_then(|lease| with_client(id, |client| client.lease_left(lease)).flatten());
    left.map_or(-1.0, |left| left.as_secs_f64() * 1e3)
}

/// What the client counted of its own work.
#[wasm_bindgen]
pub fn stats(id: u32) -> Option<Vec<u8>> {
    with_client(id, |client| client.stats().into())
}

/// The cluster's view, if it is known.
#[wasm_bindgen(js_name = clusterView)]
pub fn cluster_view(id: u32) -> Option<Vec<u8>> {
    with_client(id, Session::cluster_view).flatten().map(Into::into)
}

fn with_client<T>(id: u32, f: impl FnOnce(&Session) -> T) -> Option<T> {
    CLIENTS.with_borrow(|clients| clients.open.get(&id).map(f))
}

/// An error as the frame that JavaScript reads.
fn error_frame(error: &Error) -> Uint8Array {
    let mut out = Writer(BytesMut::new());
    reply::write_error(&mut out, error);
    Uint8Array::from(&out.0[..])
}
