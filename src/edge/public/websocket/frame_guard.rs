//! Checks the headers of incoming WebSocket frames (RFC 6455 section 5.2) before the library reads
//! them, where the library does not: it assembles fragments without a limit on their number,
//! accepts a length in more bytes than it needs, and its size limit cannot be raised once a device
//! has authenticated.
//!
//! Close frames end here: the library would answer the registered code 1014 with 1002, and would
//! report a forbidden code as an orderly end. Every other fault of a frame is found by the library.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::core::session::CloseReason;

/// Fragments of one message. A message of 32 KiB is about two dozen TCP segments of a phone, so no
/// honest sender needs more.
const FRAGMENTS: u32 = 16;
/// From a message's first fragment to the header of its last.
const FRAGMENTS_WITHIN: Duration = Duration::from_secs(5);

const FIN: u8 = 0x80;
const OPCODE: u8 = 0x0f;
const CONTROL: u8 = 0x08;
const MASKED: u8 = 0x80;
const CLOSE: u8 = 0x08;
/// Largest payload of a control frame (RFC 6455 section 5.5).
const CONTROL_MAX: u64 = 125;

/// Why no more frames are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReadEnd {
    /// The peer broke a rule.
    Fault(CloseReason),
    /// The peer sent a Close, with this code if it gave one.
    Closed(Option<u16>),
}

/// A message whose last fragment has not started.
#[derive(Debug)]
struct FragmentedMessage {
    fragments: u32,
    bytes: u64,
    since: Instant,
}

/// The frame headers of one direction of a connection.
#[derive(Debug)]
struct FrameHeaders {
    max_message: u64,
    header: [u8; 10],
    filled: usize,
    /// Bytes of masking key and payload until the next header.
    skip: u64,
    message: Option<FragmentedMessage>,
    /// Masking key and payload, as far as they came, of a Close.
    close: Option<Vec<u8>>,
}

impl FrameHeaders {
    fn new(max_message: usize) -> Self {
        let max_message = u64::try_from(max_message).unwrap_or(u64::MAX);
        Self { max_message, header: [0; 10], filled: 0, skip: 0, message: None, close: None }
    }

    /// Reads the next bytes of the stream. An error comes with the number of bytes before the frame
    /// that caused it.
    fn observe(&mut self, now: Instant, bytes: &[u8]) -> Result<(), (usize, ReadEnd)> {
        let (mut rest, mut frame_at) = (bytes, 0);
        while let Some((first, after)) = rest.split_first() {
            if self.skip > 0 {
                let here = usize::try_from(self.skip).unwrap_or(usize::MAX).min(rest.len());
                let (payload, after) = rest.split_at(here);
                self.skip -= u64::try_from(here).unwrap_or(0);
                rest = after;
                if let Some(close) = &mut self.close {
                    close.extend_from_slice(payload);
                    if self.skip == 0 {
                        return Err((frame_at, closed(close)));
                    }
                }
            } else {
                self.header[self.filled] = *first;
                self.filled += 1;
                rest = after;
                let Some(length) = self.payload() else { continue };
                self.begins(now, length).map_err(|fault| (frame_at, ReadEnd::Fault(fault)))?;
                let masked = self.header[1] & MASKED != 0;
                self.skip = length.saturating_add(if masked { 4 } else { 0 });
                self.filled = 0;
            }
            if self.skip == 0 {
                frame_at = bytes.len() - rest.len();
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
        let shortest = match self.header[1] & !MASKED {
            126 => length > CONTROL_MAX,
            // The most significant bit of 64 must be 0.
            127 => length > u64::from(u16::MAX) && length >> 63 == 0,
            _ => true,
        };
        if !shortest {
            return Err(CloseReason::Protocol);
        }
        let opcode = self.header[0] & OPCODE;
        if opcode & CONTROL != 0 {
            return self.begins_control(opcode, length);
        }
        let fresh = FragmentedMessage { fragments: 0, bytes: 0, since: now };
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

    fn begins_control(&mut self, opcode: u8, length: u64) -> Result<(), CloseReason> {
        if length > CONTROL_MAX {
            return Err(CloseReason::Protocol);
        }
        if opcode == CLOSE {
            let plain = self.header[0] == FIN | CLOSE && self.header[1] & MASKED != 0;
            self.close = Some(plain.then(Vec::new).ok_or(CloseReason::Protocol)?);
        }
        Ok(())
    }
}

/// RFC 6455 section 5.5.1: what a Close says, its masking key before its payload.
fn closed(masked: &[u8]) -> ReadEnd {
    let (key, payload) = masked.split_at(4);
    let plain = payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key);
    let plain: Vec<u8> = plain.collect();
    match plain.split_at_checked(2) {
        None if plain.is_empty() => ReadEnd::Closed(None),
        None => ReadEnd::Fault(CloseReason::Protocol),
        Some((code, reason)) => match u16::from_be_bytes([code[0], code[1]]) {
            code if !may_be_sent(code) => ReadEnd::Fault(CloseReason::Protocol),
            _ if std::str::from_utf8(reason).is_err() => ReadEnd::Fault(CloseReason::NotUtf8),
            code => ReadEnd::Closed(Some(code)),
        },
    }
}

/// Whether a Close may carry this code: those that RFC 6455 section 7.4 and its IANA registry
/// define for the wire, libraries' (3000 to 3999) and applications' (4000 to 4999).
fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// A connection whose incoming frames are looked at.
#[derive(Debug)]
pub(in crate::edge) struct FrameGuard<S> {
    inner: S,
    frames: FrameHeaders,
    stop: Option<ReadEnd>,
}

impl<S> FrameGuard<S> {
    /// Messages may have so many bytes.
    pub(in crate::edge) fn new(inner: S, max_message: usize) -> Self {
        Self { inner, frames: FrameHeaders::new(max_message), stop: None }
    }

    /// From now on messages may have so many bytes.
    pub(in crate::edge) fn allow(&mut self, max_message: usize) {
        self.frames.max_message = u64::try_from(max_message).unwrap_or(u64::MAX);
    }

    /// Why a read failed, if it did for what came and not for the connection.
    pub(in crate::edge) fn fault(&self) -> Option<CloseReason> {
        self.stop.map(|stop| match stop {
            ReadEnd::Fault(reason) => reason,
            ReadEnd::Closed(_) => CloseReason::PeerClosed,
        })
    }

    /// The Close that the peer sent: its code, or `None` inside for one without.
    pub(in crate::edge) fn peer_close(&self) -> Option<Option<u16>> {
        match self.stop? {
            ReadEnd::Closed(code) => Some(code),
            ReadEnd::Fault(_) => None,
        }
    }

    /// The connection itself, to read what is not judged any more.
    pub(in crate::edge) fn inner_mut(&mut self) -> &mut S {
        &mut self.inner
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FrameGuard<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let over = || io::Error::new(io::ErrorKind::InvalidData, "no more frames are read");
        if this.stop.is_some() {
            return Poll::Ready(Err(over()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(context, buffer))?;
        let came = &buffer.filled()[before..];
        if let Err((good, stop)) = this.frames.observe(Instant::now(), came) {
            this.stop = Some(stop);
            // What came before this frame still counts, such as a decline before a goodbye.
            buffer.set_filled(before + good);
            if good == 0 {
                return Poll::Ready(Err(over()));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FrameGuard<S> {
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

    /// The verdict, which is the same whether the bytes come at once or one by one.
    #[track_caller]
    fn stopped(bytes: &[u8]) -> Result<(), ReadEnd> {
        let now = Instant::now();
        let at_once = FrameHeaders::new(70_000).observe(now, bytes).map_err(|(_, stop)| stop);
        let mut frames = FrameHeaders::new(70_000);
        let one_by_one = bytes.chunks(1).try_for_each(|byte| frames.observe(now, byte));
        assert_eq!(at_once, one_by_one.map_err(|(_, stop)| stop));
        at_once
    }

    #[track_caller]
    fn judged(bytes: &[u8]) -> Result<(), CloseReason> {
        stopped(bytes).map_err(|stop| match stop {
            ReadEnd::Fault(reason) => reason,
            ReadEnd::Closed(_) => CloseReason::PeerClosed,
        })
    }

    /// A Close with this payload, masked.
    fn close(payload: &[u8]) -> Vec<u8> {
        let mut frame = frame(FIN | CLOSE, payload.len());
        frame[2..6].copy_from_slice(&[1, 2, 3, 4]);
        let masked = payload.iter().zip([1, 2, 3, 4].iter().cycle()).map(|(byte, key)| byte ^ key);
        frame.splice(6.., masked);
        frame
    }

    #[test]
    fn a_close_is_judged_by_its_code_and_its_reason() {
        let registered = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014];
        for code in (0..=5000).chain([u16::MAX]) {
            let right = registered.contains(&code) || (3000..5000).contains(&code);
            let verdict = if right {
                ReadEnd::Closed(Some(code))
            } else {
                ReadEnd::Fault(CloseReason::Protocol)
            };
            assert_eq!(stopped(&close(&code.to_be_bytes())), Err(verdict), "{code}");
        }
        let protocol = Err(ReadEnd::Fault(CloseReason::Protocol));
        assert_eq!(stopped(&close(b"")), Err(ReadEnd::Closed(None)));
        assert_eq!(stopped(&close(b"\x03")), protocol);
        assert_eq!(stopped(&close(b"\x03\xe8b\xc3\xbcro")), Err(ReadEnd::Closed(Some(1000))));
        let bad_text = Err(ReadEnd::Fault(CloseReason::NotUtf8));
        assert_eq!(stopped(&close(b"\x03\xe8b\xfcro")), bad_text);
        assert_eq!(
            stopped(&close(&[b"\x03\xe8".as_slice(), &[b'a'; 123]].concat())),
            Err(ReadEnd::Closed(Some(1000)))
        );
        for first in [CLOSE, FIN | CLOSE | 0x40, FIN | CLOSE | 0x10] {
            let mut frame = close(b"\x03\xe8");
            frame[0] = first;
            assert_eq!(stopped(&frame), protocol, "{first:#x}");
        }
        assert_eq!(stopped(&[FIN | CLOSE, 2, 3, 0xe8]), protocol, "not masked");
        assert_eq!(stopped(&frame(FIN | CLOSE, 126)), protocol);
    }

    #[test]
    fn frames_before_a_close_are_still_read() {
        let (message, now) = (frame(FIN | 1, 14), Instant::now());
        let both = [message.clone(), close(b"\x03\xe8")].concat();
        let stop = Err((message.len(), ReadEnd::Closed(Some(1000))));
        assert_eq!(FrameHeaders::new(100).observe(now, &both), stop);
        let mut frames = FrameHeaders::new(100);
        assert_eq!(frames.observe(now, &both[..message.len() + 1]), Ok(()));
        assert_eq!(
            frames.observe(now, &both[message.len() + 1..]),
            Err((0, ReadEnd::Closed(Some(1000))))
        );
    }

    #[test]
    fn a_length_in_more_bytes_than_it_needs_is_no_frame() {
        let sent_in_16 =
            |length: u16| [&[FIN | 1, MASKED | 126][..], &length.to_be_bytes()].concat();
        let sent_in_64 =
            |length: u64| [&[FIN | 1, MASKED | 127][..], &length.to_be_bytes()].concat();
        for length in [0, 14, 125] {
            assert_eq!(judged(&sent_in_16(length)), Err(CloseReason::Protocol), "{length}");
        }
        assert_eq!(judged(&sent_in_16(126)), Ok(()));
        for length in [0, 14, 125, 126, 65_535, 1 << 63, u64::MAX] {
            assert_eq!(judged(&sent_in_64(length)), Err(CloseReason::Protocol), "{length}");
        }
        assert_eq!(judged(&sent_in_64(65_536)), Ok(()));
        assert_eq!(judged(&sent_in_64((1 << 63) - 1)), Err(CloseReason::TooBig));
        assert_eq!(judged(&frame(FIN | 9, 126)), Err(CloseReason::Protocol), "a long ping");
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
        let (start, mut frames) = (Instant::now(), FrameHeaders::new(100));
        assert_eq!(frames.observe(start, &frame(1, 1)), Ok(()));
        let just = start + FRAGMENTS_WITHIN;
        assert_eq!(frames.observe(just, &frame(0, 1)), Ok(()));
        let late = just + Duration::from_millis(1);
        let slow = ReadEnd::Fault(CloseReason::Fragments);
        assert_eq!(frames.observe(late, &frame(FIN, 1)), Err((0, slow)));
    }
}
