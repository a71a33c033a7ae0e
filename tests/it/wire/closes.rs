//! The closing handshake (RFC 6455 sections 5.5.1, 7.1 and 7.4) and frames that are none, over
//! every socket: before a device is known, after it is, and a watcher's.

use std::time::Duration;

use fido_relay_proto::Outcome;
use fido_relay_proto::http::Status;
use serde_json::json;

use crate::support::fixture::Fixture;
use crate::support::raw_socket::{CLOSE, FIN, Heard, RawSocket, TEXT, frame, text};

/// Codes that a peer may send (section 7.4 and its registry).
const REGISTERED: [u16; 15] =
    [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4000, 4999];
/// Codes that a peer must not send.
const FORBIDDEN: [u16; 11] = [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 40_000, u16::MAX];

#[derive(Clone, Copy, Debug)]
enum Place {
    Stranger,
    Device,
    Watcher,
}

async fn socket(fixture: &Fixture, place: Place) -> RawSocket {
    match place {
        Place::Stranger => {
            let mut socket = RawSocket::upgraded(&fixture.relay.url()).await;
            socket.hello().await;
            socket
        }
        Place::Device => fixture.raw_ada().await,
        Place::Watcher => {
            let offered = format!("fido-relay.watch.v1, ticket.{}", fixture.open.ticket);
            let headers = [
                ("Connection", "Upgrade"),
                ("Upgrade", "websocket"),
                ("Sec-WebSocket-Version", "13"),
                ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
                ("Sec-WebSocket-Protocol", &offered),
            ];
            let path = format!("/v1/ceremonies/{}/socket", fixture.open.id);
            let (socket, head) =
                RawSocket::ask_at("GET", &path, &fixture.relay.url(), &headers).await;
            assert_eq!(head.status, 101, "{head:?}");
            socket
        }
    }
}

/// The relay's Close, with what it sent before left out.
async fn close_of(socket: &mut RawSocket) -> u16 {
    loop {
        match socket.next().await {
            Heard::Close(code, _) => break code,
            Heard::End => panic!("the connection ended without a Close"),
            _ => {}
        }
    }
}

fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(FIN | CLOSE, &[&code.to_be_bytes(), reason].concat())
}

/// A masked text frame whose length of 14 is sent in `bytes` bytes.
fn long_form(bytes: usize) -> Vec<u8> {
    let marker = if bytes == 2 { 126 } else { 127 };
    let mut frame = vec![FIN | TEXT, 0x80 | marker];
    frame.extend(std::iter::repeat_n(0, bytes - 1));
    frame.push(14);
    frame.extend([0; 4 + 14]);
    frame
}

#[tokio::test]
async fn a_close_is_answered_by_its_code_and_a_bad_frame_by_what_is_wrong() {
    let fixture = Fixture::new().await;
    let mut table: Vec<(String, Vec<u8>, u16)> = vec![
        ("an empty Close".to_owned(), frame(FIN | CLOSE, b""), 1005),
        ("a Close with a reason".to_owned(), close(4000, "über".as_bytes()), 4000),
        ("a Close of one byte".to_owned(), frame(FIN | CLOSE, b"\x03"), 1002),
        ("a reason that is not UTF-8".to_owned(), close(1000, b"\xff\xfe"), 1007),
        ("a Close in parts".to_owned(), frame(CLOSE, b"\x03\xe8"), 1002),
        ("a Close over 125 bytes".to_owned(), close(1000, &[b'a'; 124]), 1002),
        ("a Close without a mask".to_owned(), vec![FIN | CLOSE, 2, 3, 0xe8], 1002),
        ("14 bytes, sent in 16 bits".to_owned(), long_form(2), 1002),
        ("14 bytes, sent in 64 bits".to_owned(), long_form(8), 1002),
        ("2^63 bytes".to_owned(), vec![FIN | TEXT, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0], 1002),
    ];
    table.extend(REGISTERED.map(|code| (format!("a Close {code}"), close(code, b""), code)));
    table.extend(FORBIDDEN.map(|code| (format!("a Close {code}"), close(code, b""), 1002)));
    let judge = async |place: Place| {
        for (name, bytes, code) in &table {
            let mut socket = socket(&fixture, place).await;
            socket.send(bytes).await;
            assert_eq!(close_of(&mut socket).await, *code, "{place:?}: {name}");
            // RFC 6455 section 7.1.1: the server ends the connection first.
            if name.starts_with("a Close") && *code == REGISTERED[0] {
                assert_eq!(socket.next().await, Heard::End, "{place:?}: {name}");
            }
        }
    };
    // One device has one socket: what is after the other must be.
    futures::join!(judge(Place::Stranger), judge(Place::Device), judge(Place::Watcher));
    fixture.open_ceremony_completes().await;
}

#[tokio::test]
async fn what_was_sent_before_a_close_in_one_segment_still_counts() {
    let fixture = Fixture::new().await;
    let mut device = fixture.raw_ada().await;
    let id = fixture.open.id;
    let no = json!({ "type": "decline", "ceremony_id": id, "reason": "declined" }).to_string();
    device.send(&[text(&no), close(1000, b"")].concat()).await;
    assert_eq!(close_of(&mut device).await, 1000);
    let status = fixture.initiator.outcome(id).await.status;
    assert_eq!(status, Status::Ended(Outcome::Denied));
}

#[tokio::test]
async fn a_peer_that_says_goodbye_and_stays_is_not_waited_for() {
    let fixture = Fixture::new().await;
    let stays = async |place: Place| {
        let mut socket = socket(&fixture, place).await;
        socket.send(&close(1000, b"")).await;
        assert_eq!(close_of(&mut socket).await, 1000, "{place:?}");
        assert_eq!(socket.next().await, Heard::End, "{place:?}");
        // Half closed now: the relay reads what still comes within its limit, then resets.
        let mut pace = tokio::time::interval(Duration::from_millis(100));
        let gone = async {
            while socket.try_send(b"more").await {
                pace.tick().await;
            }
        };
        let limit = Duration::from_secs(10);
        assert!(tokio::time::timeout(limit, gone).await.is_ok(), "{place:?} is still held");
    };
    futures::join!(stays(Place::Stranger), stays(Place::Device), stays(Place::Watcher));
}
