//! Streams that go on without an end, many in one `fetch`. A browser has six connections to a server over HTTP/1.1, for
//! all of its pages together: watches that took one each would soon leave none for calls.
//!
//! A server without `norikv.ext.v1.Streams` gets a `fetch` for each, and so does one of several behind one address
//! where another than that of the session answers.
//!
//! A session of which anything is in doubt is given up whole, which ends its streams at the server too; who follows
//! them begins them again.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, VecDeque},
    future::poll_fn,
    mem,
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use norikv_core::{Error, ErrorKind, PROGRESS_INTERVAL};
use norikv_proto::ext::{self, piece::What};
use prost::Message as _;

use crate::{
    batch::yield_now,
    fetch::{FetchLink, Fetched, random, sleep},
    transport::{Failed, Link as _, MessageStream},
};

const OPEN: &str = "/norikv.ext.v1.Streams/Open";
const TELL: &str = "/norikv.ext.v1.Streams/Tell";
const TELL_TIMEOUT: Duration = Duration::from_secs(10);
/// The most streams in one `fetch`; a server's own limit per connection is above.
const MAX_STREAMS: usize = 200;
/// The most `fetch`es with streams in them, of the six that a browser has to a server.
const MAX_SESSIONS: usize = 3;
/// A server that says nothing for so long, not even that it is there, is not: connections die without a word when a
/// machine sleeps or changes its network.
const SILENCE: Duration = Duration::from_millis(PROGRESS_INTERVAL.as_secs() * 2_200);
/// How long a server may take to begin to answer. Where one connection died, the browser's others may have, too.
const OPENING: Duration = Duration::from_secs(5);
/// How many bytes a stream may be ahead of who reads it.
const CREDIT: u64 = 256 * 1024;

/// The streams to one node.
#[derive(Default)]
pub(crate) struct Streams {
    sessions: RefCell<Vec<Rc<Session>>>,
    /// Each stream has to have its own, as was found out when the node was reached for the so-many-th time.
    apart: Cell<Option<u64>>,
}

impl Streams {
    /// Begins a stream; `None` if streams cannot be together here.
    ///
    /// # Errors
    /// `ResourceExhausted` where more would leave no connection for calls.
    pub(crate) fn begin(
        &self,
        link: &FetchLink,
        method: &'static str,
        message: &Bytes,
    ) -> Result<Option<SharedStream>, Failed> {
        if self.apart.get() == Some(link.generation()) {
            return Ok(None);
        }
        let free = |session: &&Rc<Session>| session.state.borrow().streams.len() < MAX_STREAMS;
        let found = self.sessions.borrow().iter().find(free).cloned();
        let session = match found {
            Some(session) => session,
            None if self.sessions.borrow().len() < MAX_SESSIONS => {
                let session =
                    Rc::new(Session { name: random().into(), link: link.clone(), state: RefCell::default() });
                self.sessions.borrow_mut().push(Rc::clone(&session));
                wasm_bindgen_futures::spawn_local(Rc::clone(&session).read());
                session
            }
            None => return Err(Failed::TooLarge(too_many())),
        };
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
        Ok(Some(SharedStream { session, number, read: 0 }))
    }
}

fn too_many() -> Error {
    let most = MAX_STREAMS * MAX_SESSIONS;
    let message = format!(
        "{most} watches of different ranges are open to one server, which is the most that a page has; end some, or watch a larger range with one"
    );
    Error::new(ErrorKind::ResourceExhausted, message)
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
    /// No stream is left, or the session failed. What reads it is woken to end.
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
            let open = self.state.borrow().open;
            let mut silence = pin!(sleep(if open { SILENCE } else { OPENING }));
            let next = poll_fn(|cx| {
                let mut state = self.state.borrow_mut();
                if state.over {
                    return Poll::Ready(None);
                }
                state.reader = Some(cx.waker().clone());
                drop(state);
                if silence.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Some(Err(broken("the server is silent"))));
                }
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
                Some(Err(failed)) => {
                    if failed.is_unimplemented() {
                        self.apart();
                    }
                    break failed;
                }
            }
        };
        self.fail(&failed);
    }

    /// Ends every stream of the session, and with them the session.
    fn fail(&self, failed: &Failed) {
        self.leave();
        let (numbers, reader) = {
            let mut state = self.state.borrow_mut();
            state.over = true;
            state.told = ext::TellRequest::default();
            (state.streams.keys().copied().collect::<Vec<_>>(), state.reader.take())
        };
        if let Some(reader) = reader {
            reader.wake();
        }
        for number in numbers {
            self.push(number, Err(failed.clone()));
        }
    }

    fn deliver(&self, pieces: ext::Pieces) {
        let few = pieces.pieces.len() <= 2;
        for ext::Piece { stream, what } in pieces.pieces {
            match what {
                // It may wait for its reader, and is not to keep the others that it came with.
                Some(What::Message(message)) if few => self.push(stream, Ok(Some(message))),
                Some(What::Message(message)) => {
                    self.push(stream, Ok(Some(Bytes::copy_from_slice(&message))));
                }
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
            // Whether it was told is not known; a stream that got no credit would be silent for ever.
            let why = match &failed {
                Failed::Answered(failure) => {
                    let elsewhere = ErrorKind::from_code(&failure.reason) == Some(ErrorKind::NotFound);
                    if elsewhere && !self.state.borrow().over {
                        // The session is open: another server than the one that has it answers under its address.
                        self.apart();
                    }
                    failure.message.clone()
                }
                _ => failed.into_error().message().to_owned(),
            };
            return self.fail(&broken(&why));
        }
    }

    /// Streams are not together any more.
    fn apart(&self) {
        self.streams().apart.set(Some(self.link.generation()));
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
