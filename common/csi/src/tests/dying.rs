//! What a call ends with when its peer dies or misbehaves, at every point of the answer. The peer is
//! written out frame by frame: no server library sends what a killed process leaves behind.

use std::io;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tonic::{Code, Status};

use super::scripted::SECOND;
use crate::{CallLog, Client, Connection, ErrorClass, class, v1};
use base::metrics::Metrics;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// `ProbeResponse { ready: Some(true) }` behind its five bytes of gRPC.
const READY: [u8; 9] = [0, 0, 0, 0, 4, 0x0a, 2, 8, 1];

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
}

/// A header field as HPACK writes it without tables.
fn field(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    [vec![0], text(name), text(value)].concat()
}

fn settings() -> Vec<u8> {
    [frame(SETTINGS, 0, 0, &[]), frame(SETTINGS, ACK, 0, &[])].concat()
}

/// `:status 200` is field 8 of HPACK's static table.
fn headers() -> Vec<u8> {
    frame(HEADERS, END_HEADERS, 1, &[vec![0x88], field("content-type", "application/grpc")].concat())
}

fn message() -> Vec<u8> {
    frame(DATA, 0, 1, &READY)
}

fn trailers() -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, 1, &field("grpc-status", "0"))
}

fn reset(reason: u8) -> Vec<u8> {
    frame(RST_STREAM, 0, 1, &[0, 0, 0, reason])
}

fn go_away(last_stream: u8, reason: u8) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[0, 0, 0, last_stream, 0, 0, 0, reason])
}

/// How much of the call the peer takes in before it answers.
#[derive(Clone, Copy)]
enum Hears {
    /// The whole request.
    All,
    /// Nothing: what was sent to it is lost with it, and the socket says "connection reset".
    Nothing,
}

/// One call to a peer that sends these bytes and is gone; a second connection is refused.
async fn call(hears: Hears, answer: Vec<u8>) -> Result<v1::ProbeResponse, Status> {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let ours = Arc::new(Mutex::new(Some(ours)));
    let connection = Connection::from_connector(move || {
        let ours = ours.lock().unwrap().take();
        async move { ours.ok_or(io::ErrorKind::ConnectionRefused.into()) }
    });
    let peer = tokio::spawn(async move {
        let mut wire = theirs;
        match hears {
            Hears::All => hear_request(&mut wire).await.unwrap(),
            Hears::Nothing => wire.readable().await.unwrap(),
        }
        wire.write_all(&answer).await.unwrap();
    });
    let driver = Client::new(connection, Metrics::new(), CallLog::default());
    let outcome = driver.call(v1::ProbeRequest {}, 100 * SECOND).await;
    peer.await.unwrap();
    outcome
}

async fn hear_request(wire: &mut UnixStream) -> io::Result<()> {
    wire.read_exact(&mut [0; "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len()]).await?;
    loop {
        let mut head = [0; 9];
        wire.read_exact(&mut head).await?;
        let [high, middle, low, kind, flags, ..] = head;
        let length = u32::from_be_bytes([0, high, middle, low]);
        wire.read_exact(&mut vec![0; usize::try_from(length).unwrap()]).await?;
        if (kind == DATA || kind == HEADERS) && flags & END_STREAM != 0 {
            return Ok(());
        }
    }
}

#[tokio::test]
async fn a_peer_that_dies_at_any_byte_of_its_answer_is_unavailable() {
    let whole = [settings(), headers(), message(), trailers()].concat();
    for sent in 0..whole.len() {
        let status = call(Hears::All, whole[..sent].to_vec()).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "after {sent} of {} bytes: {status:?}", whole.len());
    }
    let reply = call(Hears::All, whole).await.unwrap();
    assert_eq!(reply.ready, Some(true), "the answer that was cut is a good one");
}

#[tokio::test]
async fn a_peer_that_dies_without_hearing_the_request_is_unavailable() {
    for sent in 0..=settings().len() {
        let status = call(Hears::Nothing, settings()[..sent].to_vec()).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "after {sent} bytes: {status:?}");
    }
}

/// A peer that stops gracefully says so with GOAWAY: nothing may be concluded from that about a request
/// which an earlier one, whose outcome is unknown, repeats.
#[tokio::test]
async fn a_peer_that_says_good_bye_is_unavailable_whatever_its_reason() {
    let begun = [headers(), message()].concat();
    for reason in 0..=13 {
        for (begun, last_stream) in [(vec![], 0), (vec![], 1), (headers(), 1), (begun.clone(), 1)] {
            let answer = [settings(), begun, go_away(last_stream, reason)].concat();
            let status = call(Hears::All, answer).await.unwrap_err();
            let case = format!("reason {reason}, last stream {last_stream}: {status:?}");
            assert_eq!(status.code(), Code::Unavailable, "{case}");
            assert_eq!(class(&status), ErrorClass::InProgress, "{case}");
        }
    }
}

#[tokio::test]
async fn garbage_on_the_wire_is_unavailable() {
    let answer = [settings(), frame(DATA, 0, 0, &READY)].concat();
    let status = call(Hears::All, answer).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
}

/// The codes of grpc-go's `http2ErrConvTab`, by HTTP/2 error code.
#[tokio::test]
async fn a_stream_that_is_reset_has_the_code_of_its_reason() {
    let codes = [
        Code::Internal,
        Code::Internal,
        Code::Internal,
        Code::ResourceExhausted,
        Code::Internal,
        Code::Internal,
        Code::Internal,
        Code::Unavailable,
        Code::Cancelled,
        Code::Internal,
        Code::Internal,
        Code::ResourceExhausted,
        Code::PermissionDenied,
        Code::Internal,
    ];
    for (reason, code) in (0..).zip(codes) {
        let status = call(Hears::All, [settings(), reset(reason)].concat()).await.unwrap_err();
        assert_eq!(status.code(), code, "reason {reason}: {status:?}");
        assert_eq!(class(&status), ErrorClass::InProgress, "the driver has not said so: {status:?}");
    }
}

#[tokio::test]
async fn only_a_code_that_the_driver_sent_is_final() {
    let refused = |code| frame(HEADERS, END_HEADERS | END_STREAM, 1, &field("grpc-status", code));
    let status = call(Hears::All, [settings(), headers(), refused("13")].concat()).await.unwrap_err();
    assert_eq!((status.code(), class(&status)), (Code::Internal, ErrorClass::Final), "{status:?}");
    // A message of one byte that protobuf cannot read.
    let garbage = frame(DATA, 0, 1, &[0, 0, 0, 0, 1, 0xff]);
    let status = call(Hears::All, [settings(), headers(), garbage, trailers()].concat()).await.unwrap_err();
    assert_eq!((status.code(), class(&status)), (Code::Internal, ErrorClass::InProgress), "{status:?}");
}

/// Not a death but a broken driver: it says itself that this is all.
#[tokio::test]
async fn an_answer_that_ends_without_a_status_settles_nothing() {
    let end = frame(DATA, END_STREAM, 1, &[]);
    for begun in [headers(), [headers(), message()].concat()] {
        let status = call(Hears::All, [settings(), begun, end.clone()].concat()).await.unwrap_err();
        assert_eq!(status.code(), Code::Unknown, "{status:?}");
        assert_eq!(class(&status), ErrorClass::InProgress);
    }
}
