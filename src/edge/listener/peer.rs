//! The TCP stream of one peer, below TLS and HTTP: every byte passes here, so that one mechanism
//! covers answers, event streams and sockets, in the clear and over TLS.
//!
//! - A peer that reads nothing of what waits for it is hung up on [`ConnectionHandle::unread`]
//!   after its last byte, and before it has authenticated [`ConnectionHandle::answer`] after the
//!   writes began to wait.
//! - The kernel buffers little that the peer has not read, and gives up on the peer after
//!   [`ConnectionHandle::kernel_limit`] (for the layers above, buffered bytes are written).
//! - [`HangUp`](super::hang_up::HangUp) ends the connection at whatever layer it is.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

use super::handle::ConnectionHandle;
use super::listener_refusal::ListenerRefusal;

/// Bytes that the kernel may hold for a peer, sent or not; Linux doubles it for its own overhead.
/// It asks for more once a third of that has drained, which is what shows that a peer reads
/// (`TCP_NOTSENT_LOWAT` would make it ask only after a whole segment of up to 64 KiB).
const SEND_BUFFER: usize = 32 * 1024;

/// A TCP stream that holds its peer to the limits; the layers above keep it until it ends.
#[derive(Debug)]
pub(super) struct PeerStream {
    stream: TcpStream,
    connection: Arc<ConnectionHandle>,
    stall: Option<Box<Stall>>,
    /// Whether the kernel has the limit of an authenticated peer.
    is_patient: bool,
}

/// Writes that wait, from the first that did until everything was flushed.
#[derive(Debug)]
struct Stall {
    began: Instant,
    /// When the peer last took bytes.
    moved: Instant,
    timer: Pin<Box<Sleep>>,
}

impl PeerStream {
    /// # Errors
    /// The operating system's, for a peer that is gone already.
    pub(super) fn new(stream: TcpStream, connection: Arc<ConnectionHandle>) -> io::Result<Self> {
        // Prompts are small and urgent.
        stream.set_nodelay(true)?;
        let socket = SockRef::from(&stream);
        socket.set_send_buffer_size(SEND_BUFFER)?;
        let mut peer = Self { stream, connection, stall: None, is_patient: false };
        peer.set_kernel_limit();
        Ok(peer)
    }

    /// The stream itself, before anything else reads from it.
    pub(super) fn tcp(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// RFC 5482: how long sent bytes may stay unacknowledged, and unsent ones unsent.
    fn set_kernel_limit(&mut self) {
        self.is_patient = self.connection.is_authenticated();
        #[cfg(target_os = "linux")]
        if let Err(error) =
            SockRef::from(&self.stream).set_tcp_user_timeout(Some(self.connection.kernel_limit()))
        {
            tracing::trace!(%error, "TCP_USER_TIMEOUT is not set");
        }
    }

    /// Fails a read or write on a connection that was hung up on.
    fn check_open(&mut self, cx: &Context<'_>) -> io::Result<()> {
        // Registered first, so that a hang-up after the check wakes the task.
        self.connection.hang_up().driver().register(cx.waker());
        if self.connection.hang_up().is_hung_up() {
            return Err(ErrorKind::ConnectionAborted.into());
        }
        if self.is_patient != self.connection.is_authenticated() {
            self.set_kernel_limit();
        }
        Ok(())
    }

    /// Hangs up where the kernel gave up on the peer.
    fn hang_up_on_timeout<T>(&self, done: io::Result<T>) -> io::Result<T> {
        if done.as_ref().is_err_and(|error| error.kind() == ErrorKind::TimedOut) {
            self.connection.hang_up().hang_up(ListenerRefusal::Stalled);
        }
        done
    }

    /// The result of a write, with the limits of one that waits.
    fn wrote<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if let Poll::Ready(done) = written {
            if let Some(stall) = &mut self.stall {
                stall.moved = Instant::now();
            }
            return Poll::Ready(self.hang_up_on_timeout(done));
        }
        let stall = self.stall.get_or_insert_with(|| {
            let now = Instant::now();
            Box::new(Stall { began: now, moved: now, timer: Box::pin(sleep_until(now)) })
        });
        self.connection.set_blocked(true);
        let moves_by = stall.moved + self.connection.unread();
        let over_by = self.connection.answer().map(|limit| stall.began + limit);
        let by = over_by.map_or(moves_by, |over_by| over_by.min(moves_by));
        if stall.timer.deadline() != by {
            stall.timer.as_mut().reset(by);
        }
        if stall.timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.connection.hang_up().hang_up(ListenerRefusal::Stalled);
        Poll::Ready(Err(ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for PeerStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check_open(cx)?;
        let before = buffer.filled().len();
        let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(cx, buffer) else {
            return Poll::Pending;
        };
        if buffer.filled().len() > before {
            self.connection.hears();
        }
        Poll::Ready(self.hang_up_on_timeout(read))
    }
}

impl AsyncWrite for PeerStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check_open(cx)?;
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check_open(cx)?;
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.wrote(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// The layers above flush once everything they had is written: nothing waits any more.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check_open(cx)?;
        self.stall = None;
        self.connection.set_blocked(false);
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Drop for PeerStream {
    /// A reset discards what the peer did not read; without one the kernel would go on sending it
    /// after the connection is gone from the limits.
    fn drop(&mut self) {
        if self.connection.hang_up().is_hung_up() {
            drop(self.stream.set_zero_linger());
        }
    }
}
