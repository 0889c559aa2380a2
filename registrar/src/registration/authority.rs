//! Makes the kubelet's requests acceptable to an HTTP/2 server that reads them strictly.
//!
//! The kubelet connects by the path of the socket, and its gRPC library puts that path, percent-encoded, where the host should be
//! (`:authority: %2Fvar%2Flib%2Fkubelet%2F…`). That is no host, and h2 resets such a stream with PROTOCOL_ERROR, so
//! the driver would never be registered. Here `localhost` takes its place before h2 sees it.
//!
//! Only the lengths in a header block must be understood for that, not the strings. Both sides number the fields that
//! they remember in the same way, whatever the values are, so later requests on the connection need no care.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tonic::transport::server::Connected;

/// What a client begins with, before its first frame.
const PREFACE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();
/// Length, type, flags and stream of a frame.
const FRAME_HEAD: usize = 9;
/// The longest frame that a server takes that has not said otherwise.
const FRAME_LIMIT: usize = 16_384;
/// The type of a frame with header fields.
const HEADERS: u8 = 1;
/// Flags of such a frame: it is the whole block; it has padding; it has a priority of five bytes.
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// The number of `:authority` in HPACK's static table.
const AUTHORITY: usize = 1;
const HOST: &[u8] = b"localhost";

/// A connection of the kubelet.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: UnixStream,
    frames: Frames,
}

impl From<UnixStream> for Connection {
    fn from(stream: UnixStream) -> Self {
        Self { stream, frames: Frames::default() }
    }
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.frames.ready.is_empty() {
            let mut bytes = [0; 4096];
            let mut read = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut this.stream).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.frames.push(read.filled());
        }
        let count = buf.remaining().min(this.frames.ready.len());
        let rest = this.frames.ready.split_off(count);
        buf.put_slice(&this.frames.ready);
        this.frames.ready = rest;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// What a client sends, frame by frame.
#[derive(Debug)]
struct Frames {
    /// Bytes of the preface that are still to come.
    preface: usize,
    /// A frame that is not complete.
    partial: Vec<u8>,
    /// What the server may read.
    ready: Vec<u8>,
    /// The client does not speak as expected: everything is passed on, and the server finds the words for it.
    transparent: bool,
}

impl Default for Frames {
    fn default() -> Self {
        Self { preface: PREFACE, partial: Vec::new(), ready: Vec::new(), transparent: false }
    }
}

impl Frames {
    fn push(&mut self, bytes: &[u8]) {
        let (preface, rest) = bytes.split_at(bytes.len().min(self.preface));
        self.preface -= preface.len();
        self.ready.extend(preface);
        self.partial.extend(rest);
        while !self.transparent && self.partial.len() >= FRAME_HEAD {
            let length = self.partial.iter().take(3).fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            self.transparent = length > FRAME_LIMIT;
            if self.transparent || self.partial.len() < FRAME_HEAD + length {
                break;
            }
            let rest = self.partial.split_off(FRAME_HEAD + length);
            let frame = std::mem::replace(&mut self.partial, rest);
            self.ready.extend(with_host(&frame).unwrap_or(frame));
        }
        if self.transparent {
            self.ready.append(&mut self.partial);
        }
    }
}

/// A whole frame with another authority; `None` for one that needs none, or is not understood.
fn with_host(frame: &[u8]) -> Option<Vec<u8>> {
    let (head, payload) = frame.split_at_checked(FRAME_HEAD)?;
    let (kind, flags) = (*head.get(3)?, *head.get(4)?);
    if kind != HEADERS || flags & END_HEADERS == 0 || flags & PADDED != 0 {
        return None;
    }
    let priority = if flags & PRIORITY == 0 { 0 } else { 5 };
    let (priority, block) = payload.split_at_checked(priority)?;
    let block = block_with_host(block)?;
    let length = u32::try_from(priority.len() + block.len()).ok()?.to_be_bytes();
    Some([length.get(1..)?, head.get(3..)?, priority, &block].concat())
}

/// A header block (RFC 7541, section 6) with another authority.
fn block_with_host(block: &[u8]) -> Option<Vec<u8>> {
    let mut made = Vec::with_capacity(block.len());
    let mut rest = block;
    while let Some(&first) = rest.first() {
        let mut reader = Reader(rest);
        let literal = match first {
            0x80.. => {
                reader.integer(7)?;
                None
            }
            0x40.. => Some(reader.integer(6)?),
            0x20.. => {
                reader.integer(5)?;
                None
            }
            _ => Some(reader.integer(4)?),
        };
        if literal == Some(0) {
            reader.string()?;
        }
        if literal == Some(AUTHORITY) {
            made.extend(rest.get(..rest.len() - reader.0.len())?);
            // Not Huffman's code, and a length that fits into the byte.
            made.push(u8::try_from(HOST.len()).ok()?);
            made.extend(HOST);
            reader.string()?;
        } else {
            if literal.is_some() {
                reader.string()?;
            }
            made.extend(rest.get(..rest.len() - reader.0.len())?);
        }
        rest = reader.0;
    }
    Some(made)
}

/// What is left of a header block.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// An integer whose first byte has this many bits of it (RFC 7541, section 5.1).
    fn integer(&mut self, bits: u32) -> Option<usize> {
        let mask = (1_usize << bits) - 1;
        let mut value = usize::from(self.byte()?) & mask;
        if value < mask {
            return Some(value);
        }
        for shift in (0..28).step_by(7) {
            let byte = self.byte()?;
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// Passes over a string.
    fn string(&mut self) -> Option<()> {
        let length = self.integer(7)?;
        self.0 = self.0.get(length..)?;
        Some(())
    }
}

#[cfg(test)]
mod tests;
