//! Streams that go on without an end, many in one `fetch`. A browser has six connections to a server over HTTP/1.1, for
//! all of its pages together: watches that took one each would soon leave none for calls.
//!
//! A server without `norikv.ext.v1.Streams` gets a `fetch` for each, and so does one of several behind one address
//! where another than that of the session answers.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, VecDeque},
    future::poll_fn,
    mem,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use norikv_core::{Error, ErrorKind};
use norikv_proto::ext::{self, piece::What};
use prost::Message as _;

use crate::{
    batch::yield_now,
    fetch::{FetchLink, Fetched, random},
    transport::{Failed, Link as _, MessageStream},
};

const OPEN: &str = "/norikv.ext.v1.Streams/Open";
const TELL: &str = "/norikv.ext.v1.Streams/Tell";
const TELL_TIMEOUT: Duration = Duration::from_secs(10);
/// The most streams in one `fetch`; a server's own limit per connection is above.
const MAX_STREAMS: usize = 200;
/// How many bytes a stream may be ahead of who reads it.
const CREDIT: u64 = 256 * 1024;

/// The streams to one node.
#[derive(Default)]
pub(crate) struct Streams {
    sessions: RefCell<Vec<Rc<Session>>>,
    /// Whether each stream has to have its own.
    apart: Cell<bool>,
}

impl Streams {
    /// Begins a stream, unless streams cannot be together here.
    pub(crate) fn begin(&self, link: &FetchLink, method: &str, message: &Bytes) -> Option<SharedStream> {
        if self.apart.get() {
            return None;
        }
        let free = |session: &&Rc<Session>| session.state.borrow().streams.len() < MAX_STREAMS;
        let found = self.sessions.borrow().iter().find(free).cloned();
        let session = found.unwrap_or_else(|| {
            let session =
                Rc::new(Session { name: random().into(), link: link.clone(), state: RefCell::default() });
            self.sessions.borrow_mut().push(Rc::clone(&session));
            wasm_bindgen_futures::spawn_local(Rc::clone(&session).read());
            session
        });
        let number = {
            let mut state = session.state.borrow_mut();
            state.last += 1;
            let number = state.last;
            let begin = ext::Begin {
                stream: number,
                method: method.to_owned(),
                message: message.clone(),
                credit: CREDIT,
            };
            state.told.begin.push(begin);
            state.streams.insert(number, Incoming::default());
            number
        };
        session.tell_soon();
        Some(SharedStream { session, number, read: 0 })
    }
}

/// One `fetch` with the streams in it.
struct Session {
    name: Bytes,
    link: FetchLink,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    streams: HashMap<u32, Incoming>,
    last: u32,
    /// Whether the server has the session.
    open: bool,
    /// What the server is to be told, and whether it is being told something.
    told: ext::TellRequest,
    telling: bool,
    /// No stream is left. What reads the session is woken to end.
    over: bool,
    reader: Option<Waker>,
}

/// What came of a stream and was not read.
#[derive(Default)]
struct Incoming {
    answers: VecDeque<Result<Option<Bytes>, Failed>>,
    waker: Option<Waker>,
}

impl Session {
    /// Opens the session, with the streams that begin in the same turn, and hands out what comes until it ends.
    async fn read(self: Rc<Self>) {
        yield_now().await;
        let begin = mem::take(&mut self.state.borrow_mut().told.begin);
        let request = ext::OpenRequest { session: self.name.clone(), begin }.encode_to_vec();
        let mut answers = Fetched::begin(self.link.node(), OPEN, &request, None);
        let failed = loop {
            let next = poll_fn(|cx| {
                let mut state = self.state.borrow_mut();
                if state.over {
                    return Poll::Ready(None);
                }
                state.reader = Some(cx.waker().clone());
                drop(state);
                answers.poll_next(cx).map(Some)
            });
            match next.await {
                None => return,
                Some(Ok(Some(message))) => match ext::Pieces::decode(message) {
                    Ok(pieces) => {
                        self.state.borrow_mut().open = true;
                        self.tell_soon();
                        self.deliver(pieces);
                    }
                    Err(_) => break broken("the server's streams are none"),
                },
                Some(Ok(None)) => break broken("the server ended its streams"),
                Some(Err(failed)) if failed.is_unimplemented() => {
                    self.streams().apart.set(true);
                    break broken("the server has no streams in one");
                }
                Some(Err(failed)) => break failed,
            }
        };
        self.leave();
        let numbers: Vec<_> = self.state.borrow().streams.keys().copied().collect();
        for number in numbers {
            self.push(number, Err(failed.clone()));
        }
    }

    fn deliver(&self, pieces: ext::Pieces) {
        for ext::Piece { stream, what } in pieces.pieces {
            match what {
                Some(What::Message(message)) => self.push(stream, Ok(Some(message))),
                Some(What::Ended(failure)) if failure.code == 0 => self.push(stream, Ok(None)),
                Some(What::Ended(failure)) => self.push(stream, Err(self.link.answered(failure))),
                None => {}
            }
        }
    }

    fn push(&self, number: u32, answer: Result<Option<Bytes>, Failed>) {
        let waker = self.state.borrow_mut().streams.get_mut(&number).and_then(|stream| {
            stream.answers.push_back(answer);
            stream.waker.take()
        });
        // Not while the state is borrowed: who is woken reads it.
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Tells the server what there is to tell, with all that comes up in the same turn.
    fn tell_soon(self: &Rc<Self>) {
        let mut state = self.state.borrow_mut();
        if state.open && state.told != ext::TellRequest::default() && !mem::replace(&mut state.telling, true)
        {
            wasm_bindgen_futures::spawn_local(Rc::clone(self).tell());
        }
    }

    async fn tell(self: Rc<Self>) {
        loop {
            yield_now().await;
            let mut told = {
                let mut state = self.state.borrow_mut();
                let told = mem::take(&mut state.told);
                if state.over || told == ext::TellRequest::default() {
                    state.telling = false;
                    return;
                }
                told
            };
            told.session = self.name.clone();
            let Err(failed) = self.link.unary(TELL, told.encode_to_vec().into(), Some(TELL_TIMEOUT)).await
            else {
                continue;
            };
            // Whether it was told is not known. A stream that has no credit would be silent for ever.
            let why = match &failed {
                Failed::Answered(failure) => {
                    // Another server than the one that has the session answers under the same address.
                    self.streams().apart.set(true);
                    failure.message.clone()
                }
                _ => failed.into_error().message().to_owned(),
            };
            let begun = told.begin.iter().map(|begin| begin.stream);
            for number in begun.chain(told.credit.iter().map(|credit| credit.stream)) {
                self.push(number, Err(broken(&why)));
            }
        }
    }

    /// Takes no further stream.
    fn leave(&self) {
        self.streams().sessions.borrow_mut().retain(|other| !std::ptr::eq(&**other, self));
    }

    fn streams(&self) -> &Streams {
        self.link.streams()
    }
}

fn broken(why: &str) -> Failed {
    Failed::Lost(Error::new(ErrorKind::Unavailable, why))
}

/// A stream among others.
pub struct SharedStream {
    session: Rc<Session>,
    number: u32,
    /// The bytes that were read since the server was last given credit.
    read: u64,
}

impl MessageStream for SharedStream {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Failed>> {
        let session = Rc::clone(&self.session);
        let mut state = session.state.borrow_mut();
        let Some(stream) = state.streams.get_mut(&self.number) else { return Poll::Ready(Ok(None)) };
        let Some(answer) = stream.answers.pop_front() else {
            stream.waker = Some(cx.waker().clone());
            return Poll::Pending;
        };
        if let Ok(Some(message)) = &answer {
            self.read += message.len() as u64;
            if self.read >= CREDIT / 2 {
                let bytes = mem::take(&mut self.read);
                state.told.credit.push(ext::Credit { stream: self.number, bytes });
                drop(state);
                session.tell_soon();
            }
        } else {
            state.streams.remove(&self.number);
        }
        Poll::Ready(answer)
    }
}

impl Drop for SharedStream {
    fn drop(&mut self) {
        let session = &self.session;
        let mut state = session.state.borrow_mut();
        let begun = state.told.begin.len();
        let number = self.number;
        state.told.begin.retain(|begin| begin.stream != number);
        let unsent = state.told.begin.len() < begun;
        if state.streams.remove(&number).is_some() && !unsent {
            state.told.end.push(number);
        }
        if state.streams.is_empty() {
            state.over = true;
            let reader = state.reader.take();
            drop(state);
            session.leave();
            if let Some(reader) = reader {
                reader.wake();
            }
        } else {
            drop(state);
            session.tell_soon();
        }
    }
}
