//! The requests of one connection, and the answers that its peer takes.
//!
//! Over HTTP/1.1 an answer waits for its peer in the TCP stream ([`super::peer`]). Over HTTP/2 it
//! may wait above that, for the stream's window (RFC 9113 section 5.2), while nothing waits to be
//! written, so each HTTP/2 stream has a timer.

use std::cell::Cell;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Error;
use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use hyper::rt::Executor;
use tokio::time::{Instant, sleep};

use super::handle::ConnectionHandle;
use super::listener_refusal::ListenerRefusal;
use crate::tasks::Tasks;

/// Bytes of an answer that HTTP/2 is given at a time. It takes a piece once the window has room for
/// a byte, so with 64 streams this bounds what one connection holds at 256 KiB.
pub(super) const PIECE: usize = 4 * 1024;

/// Counts the requests of one connection.
#[derive(Debug, Default)]
pub(super) struct RequestCounters {
    begun: AtomicUsize,
    /// Answers that are being made.
    running: AtomicUsize,
    /// Answers that have begun and whose body is not all handed over.
    sending: AtomicUsize,
    http2: AtomicBool,
}

impl RequestCounters {
    pub(super) fn begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }

    pub(super) fn are_running(&self) -> bool {
        self.running.load(Ordering::Relaxed) > 0
    }

    pub(super) fn are_sending(&self) -> bool {
        self.sending.load(Ordering::Relaxed) > 0
    }

    pub(super) fn is_http2(&self) -> bool {
        self.http2.load(Ordering::Relaxed)
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct AnswerGuard {
    requests: Arc<RequestCounters>,
    is_sent: bool,
}

impl AnswerGuard {
    pub(super) fn begin(requests: &Arc<RequestCounters>, http2: bool) -> Self {
        requests.begun.fetch_add(1, Ordering::Relaxed);
        requests.running.fetch_add(1, Ordering::Relaxed);
        requests.http2.store(http2, Ordering::Relaxed);
        Self { requests: Arc::clone(requests), is_sent: false }
    }

    /// Turns the guard into one of an answer that is being sent.
    pub(super) fn sends(mut self, body: Body) -> AnswerBody {
        self.requests.sending.fetch_add(1, Ordering::Relaxed);
        self.requests.running.fetch_sub(1, Ordering::Relaxed);
        self.is_sent = true;
        // A stream of events has no end, so it has no deadline either.
        if !body.is_end_stream() && body.size_hint().exact().is_some() {
            of_stream(|stream| stream.began.set(Some(Instant::now())));
        }
        AnswerBody {
            in_pieces: self.requests.is_http2(),
            body,
            rest: Bytes::new(),
            _answering: self,
        }
    }
}

impl Drop for AnswerGuard {
    fn drop(&mut self) {
        let counter = if self.is_sent { &self.requests.sending } else { &self.requests.running };
        counter.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An answer's body, which records what of it was sent.
#[derive(Debug)]
pub(super) struct AnswerBody {
    body: Body,
    in_pieces: bool,
    /// The unsent part of the last frame.
    rest: Bytes,
    _answering: AnswerGuard,
}

impl AnswerBody {
    /// The next piece of what was read from the body. An answer's last byte goes alone: it is
    /// asked for only when the window has room for all the others, so that the body is not over
    /// while they wait.
    fn piece(&mut self) -> Bytes {
        let left = self.rest.len();
        let bytes = match left {
            _ if left > PIECE => PIECE,
            2.. if self.body.is_end_stream() => left - 1,
            _ => left,
        };
        self.rest.split_to(bytes)
    }
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        of_stream(|stream| stream.handed.set(None));
        if self.rest.is_empty() {
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
                return Poll::Pending;
            };
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(bytes))) if self.in_pieces => self.rest = bytes,
                Some(Ok(Ok(bytes))) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Some(Ok(Err(other))) => return Poll::Ready(Some(Ok(other))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        of_stream(|stream| stream.handed.set(Some(Instant::now())));
        Poll::Ready(Some(Ok(Frame::data(self.piece()))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, mut hint) = (self.rest.len() as u64, self.body.size_hint());
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}

tokio::task_local! {
    static STREAM: StreamProgress;
}

/// How far the answer on one HTTP/2 stream is.
#[derive(Debug, Default)]
struct StreamProgress {
    /// When an answer of known length began.
    began: Cell<Option<Instant>>,
    /// When a piece was handed over that was not taken yet.
    handed: Cell<Option<Instant>>,
}

/// Changes the progress of the HTTP/2 stream that runs; over HTTP/1.1 there is none.
fn of_stream(change: impl FnOnce(&StreamProgress)) {
    let _ = STREAM.try_with(change);
}

impl StreamProgress {
    fn deadline(&self, connection: &ConnectionHandle) -> Option<Instant> {
        let handed = self.handed.get()?;
        let moves_by = handed + connection.unread();
        let over_by = self.began.get().zip(connection.answer()).map(|(began, limit)| began + limit);
        Some(over_by.map_or(moves_by, |over_by| over_by.min(moves_by)))
    }
}

/// Runs the HTTP/2 streams of one connection.
#[derive(Clone, Debug)]
pub(super) struct StreamExecutor {
    pub(super) tasks: Tasks,
    pub(super) connection: Arc<ConnectionHandle>,
}

impl<F> Executor<F> for StreamExecutor
where
    F: Future + Send + 'static,
{
    fn execute(&self, stream: F) {
        let watched = watched(stream, Arc::clone(&self.connection));
        self.tasks.spawn_untraced(STREAM.scope(StreamProgress::default(), watched));
    }
}

/// Runs a stream until its answer is sent, or resets it: other streams of the connection may belong
/// to other clients, if the peer is a proxy. An unauthenticated peer loses its whole connection.
async fn watched(stream: impl Future, connection: Arc<ConnectionHandle>) {
    let mut stream = pin!(stream);
    let mut timer = pin!(sleep(Duration::ZERO));
    std::future::poll_fn(|cx| {
        if stream.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let Some(by) = STREAM.with(|progress| progress.deadline(&connection)) else {
            return Poll::Pending;
        };
        if timer.deadline() != by {
            timer.as_mut().reset(by);
        }
        if timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        if connection.is_authenticated() {
            connection.hang_up().count(ListenerRefusal::Stalled);
        } else {
            connection.hang_up().hang_up(ListenerRefusal::Stalled);
        }
        Poll::Ready(())
    })
    .await;
}
