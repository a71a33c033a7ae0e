//! A relay that stops and peers that do not take their answers: it does not wait for them.

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::PATIENCE;
use super::http2::{DATA, HEADERS, Peer};
use crate::support::relay::TestRelay;

#[tokio::test]
async fn a_peer_that_does_not_take_its_answer_does_not_hold_up_a_relay_that_stops() {
    let relay = TestRelay::start().await;
    let url: reqwest::Url = relay.url().parse().unwrap();
    let stream = TcpStream::connect(url.socket_addrs(|| None).unwrap()[0]).await.unwrap();
    // It takes no byte of any body.
    let mut peer = Peer::begin(stream, 0).await;
    peer.ask(1, "/healthz").await;
    let answered = async {
        loop {
            match peer.hears().await.unwrap() {
                (HEADERS, ..) => return,
                (DATA, _, length) => assert_eq!(length, 0, "the window is shut"),
                _ => {}
            }
        }
    };
    timeout(PATIENCE, answered).await.expect("an answer begins");
    assert!(relay.running.stop().await, "everything ended in time, the connection too");
    let mut rest = Vec::new();
    timeout(PATIENCE, peer.0.read_to_end(&mut rest)).await.expect("it is closed").ok();
}
