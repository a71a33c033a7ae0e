//! Looks at the headers of WebSocket frames (RFC 6455 section 5.2) on their way in, before the
//! library does: it assembles fragments by itself and tells nobody how many there were, and its
//! size limit cannot be raised once a device is known.
//!
//! It judges sizes and fragments alone. Whatever else is wrong with a frame is the library's to say.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::session::CloseReason;

/// Fragments of one message. A frame of 32 KiB fits into two of a phone's TCP segments a dozen
/// times; more parts than this are made, not needed.
const FRAGMENTS: u32 = 16;
/// From a message's first fragment to the header of its last.
const FRAGMENTS_WITHIN: Duration = Duration::from_secs(5);

const FIN: u8 = 0x80;
const OPCODE: u8 = 0x0f;
const CONTROL: u8 = 0x08;
const MASKED: u8 = 0x80;

/// A message whose last fragment has not begun.
#[derive(Debug)]
struct Unfinished {
    fragments: u32,
    bytes: u64,
    since: Instant,
}

/// The headers of one direction of a connection.
#[derive(Debug)]
struct Frames {
    max_message: u64,
    header: [u8; 10],
    filled: usize,
    /// Bytes of masking key and payload until the next header.
    skip: u64,
    message: Option<Unfinished>,
}

impl Frames {
    fn new(max_message: usize) -> Self {
        let max_message = u64::try_from(max_message).unwrap_or(u64::MAX);
        Self { max_message, header: [0; 10], filled: 0, skip: 0, message: None }
    }

    /// Takes in what came.
    fn observe(&mut self, now: Instant, mut bytes: &[u8]) -> Result<(), CloseReason> {
        while let Some((first, rest)) = bytes.split_first() {
            if self.skip > 0 {
                let here = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
                self.skip -= u64::try_from(here).unwrap_or(0);
                bytes = &bytes[here..];
                continue;
            }
            self.header[self.filled] = *first;
            self.filled += 1;
            bytes = rest;
            if let Some(length) = self.payload() {
                let masked = self.header[1] & MASKED != 0;
                self.begins(now, length)?;
                self.skip = length.saturating_add(if masked { 4 } else { 0 });
                self.filled = 0;
            }
        }
        Ok(())
    }

    /// The payload's length, once the header is whole but for the masking key.
    fn payload(&self) -> Option<u64> {
        let extended = |from: usize| {
            let bytes = self.header.get(2..from).filter(|_| self.filled >= from)?;
            Some(bytes.iter().fold(0, |length, byte| length << 8 | u64::from(*byte)))
        };
        match self.header[1] & !MASKED {
            _ if self.filled < 2 => None,
            126 => extended(4),
            127 => extended(10),
            short => Some(u64::from(short)),
        }
    }

    /// A frame's header is whole.
    fn begins(&mut self, now: Instant, length: u64) -> Result<(), CloseReason> {
        let opcode = self.header[0] & OPCODE;
        if opcode & CONTROL != 0 {
            return Ok(());
        }
        let fresh = Unfinished { fragments: 0, bytes: 0, since: now };
        let before = self.message.take().filter(|_| opcode == 0);
        let mut message = before.unwrap_or(fresh);
        message.fragments += 1;
        message.bytes = message.bytes.saturating_add(length);
        if message.bytes > self.max_message {
            return Err(CloseReason::TooBig);
        }
        if message.fragments > FRAGMENTS || now - message.since > FRAGMENTS_WITHIN {
            return Err(CloseReason::Fragments);
        }
        if self.header[0] & FIN == 0 {
            self.message = Some(message);
        }
        Ok(())
    }
}

/// A connection whose incoming frames are looked at.
#[derive(Debug)]
pub(super) struct Guarded<S> {
    inner: S,
    frames: Frames,
    fault: Option<CloseReason>,
}

impl<S> Guarded<S> {
    /// Messages may have so many bytes.
    pub(super) fn new(inner: S, max_message: usize) -> Self {
        Self { inner, frames: Frames::new(max_message), fault: None }
    }

    /// From now on messages may have so many bytes.
    pub(super) fn allow(&mut self, max_message: usize) {
        self.frames.max_message = u64::try_from(max_message).unwrap_or(u64::MAX);
    }

    /// What was wrong, after a read failed for it.
    pub(super) fn fault(&self) -> Option<CloseReason> {
        self.fault
    }

    /// The connection itself, for reading what nobody looks at any more.
    pub(super) fn unguarded(&mut self) -> &mut S {
        &mut self.inner
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let refused = || io::Error::new(io::ErrorKind::InvalidData, "a frame over the limits");
        if this.fault.is_some() {
            return Poll::Ready(Err(refused()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(context, buffer))?;
        let came = &buffer.filled()[before..];
        if let Err(fault) = this.frames.observe(Instant::now(), came) {
            this.fault = Some(fault);
            buffer.set_filled(before);
            return Poll::Ready(Err(refused()));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A masked frame with a payload of zeros.
    fn frame(first: u8, length: usize) -> Vec<u8> {
        let mut frame = vec![first];
        match length {
            0..126 => frame.push(MASKED | u8::try_from(length).unwrap()),
            126..65_536 => {
                frame.push(MASKED | 126);
                frame.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            _ => {
                frame.push(MASKED | 127);
                frame.extend(u64::try_from(length).unwrap().to_be_bytes());
            }
        }
        frame.extend(std::iter::repeat_n(0, 4 + length));
        frame
    }

    /// The verdict, whether the bytes come at once or one by one.
    #[track_caller]
    fn judged(bytes: &[u8]) -> Result<(), CloseReason> {
        let now = Instant::now();
        let at_once = Frames::new(70_000).observe(now, bytes);
        let mut frames = Frames::new(70_000);
        let one_by_one = bytes.chunks(1).try_for_each(|byte| frames.observe(now, byte));
        assert_eq!(at_once, one_by_one);
        at_once
    }

    #[test]
    fn a_message_at_the_limits_passes_and_one_past_them_does_not() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
            assert_eq!(judged(&frame(FIN | 1, length).repeat(3)), Ok(()), "{length}");
        }
        assert_eq!(judged(&frame(FIN | 1, 70_001)[..10]), Err(CloseReason::TooBig));
        let parts = |count: usize| [frame(1, 1), frame(0, 1).repeat(count - 1)].concat();
        assert_eq!(judged(&parts(16)), Ok(()));
        assert_eq!(judged(&parts(17)), Err(CloseReason::Fragments));
        let halves = [frame(2, 40_000), frame(FIN | 9, 100), frame(FIN, 30_001)].concat();
        assert_eq!(judged(&halves), Err(CloseReason::TooBig));
    }

    #[test]
    fn every_message_is_counted_anew() {
        let fifteen = [frame(1, 4_000), frame(0, 4_000).repeat(13), frame(FIN, 4_000)].concat();
        assert_eq!(judged(&fifteen.repeat(4)), Ok(()));
    }

    #[test]
    fn a_message_must_not_take_long_to_begin_its_last_part() {
        let (start, mut frames) = (Instant::now(), Frames::new(100));
        assert_eq!(frames.observe(start, &frame(1, 1)), Ok(()));
        let just = start + FRAGMENTS_WITHIN;
        assert_eq!(frames.observe(just, &frame(0, 1)), Ok(()));
        let late = just + Duration::from_millis(1);
        assert_eq!(frames.observe(late, &frame(FIN, 1)), Err(CloseReason::Fragments));
    }
}
