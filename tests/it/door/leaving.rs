//! A relay that stops and peers that do not take their answers: it does not wait for them.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::PATIENCE;
use crate::support::relay::TestRelay;

/// Frame types of RFC 9113 section 6.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The next frame's type and length.
async fn hears(stream: &mut TcpStream) -> (u8, usize) {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.unwrap();
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    stream.read_exact(&mut vec![0; length]).await.unwrap();
    (head[3], length)
}

#[tokio::test]
async fn a_peer_that_does_not_take_its_answer_does_not_hold_up_a_relay_that_stops() {
    let relay = TestRelay::start().await;
    let url: reqwest::Url = relay.url().parse().unwrap();
    let address: SocketAddr = url.socket_addrs(|| None).unwrap()[0];
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut said = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // SETTINGS_INITIAL_WINDOW_SIZE is 0: it takes no byte of any body.
    said.extend(frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]));
    // RFC 7541: GET, http, a path and an authority in literals. END_HEADERS and END_STREAM.
    let mut headers = vec![0x82, 0x86, 0x04, 8];
    headers.extend(b"/healthz");
    headers.extend([0x01, 5]);
    headers.extend(b"relay");
    said.extend(frame(HEADERS, 0x05, 1, &headers));
    stream.write_all(&said).await.unwrap();
    let answered = async {
        loop {
            match hears(&mut stream).await {
                (HEADERS, _) => return,
                (DATA, length) => assert_eq!(length, 0, "the window is shut"),
                _ => {}
            }
        }
    };
    timeout(PATIENCE, answered).await.expect("an answer begins");
    assert!(relay.running.stop().await, "everything ended in time, the connection too");
    let mut rest = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("it is closed").ok();
}
