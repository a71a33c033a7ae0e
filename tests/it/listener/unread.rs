//! Peers that read nothing of what they asked for. The limits are shorter here than their defaults,
//! which the last test holds.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fido_relay::config::{Config, Proxy, TlsConfig};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::http2::{DATA, HEADERS, Peer, RST_STREAM};
use super::{PATIENCE, refused};
use crate::support::authority::{Authority, put};
use crate::support::fixture::Fixture;
use crate::support::kernel::{Side, at_port, becomes, port_of};
use crate::support::relay::{TestRelay, http};

const UNREAD: Duration = Duration::from_secs(1);
const DOCUMENT: &[u8] = b"GET /openapi.json HTTP/1.1\r\nHost: relay\r\n\r\n";

fn short(config: &mut Config) {
    config.limits.listener.unread = UNREAD;
    config.limits.listener.unread_known = UNREAD;
    config.admin.listen = Some("127.0.0.1:0".parse().unwrap());
}

/// A connection from this address whose receive buffer is as small as can be.
async fn narrow(ip: [u8; 4], port: u16) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(1).unwrap();
    socket.bind(SocketAddr::from((ip, 0))).unwrap();
    socket.connect(SocketAddr::from(([127, 0, 0, 1], port))).await.unwrap()
}

/// The relay's side of connections from this address.
fn with(ip: [u8; 4], port: u16) -> Vec<Side> {
    at_port(port).into_iter().filter(|side| side.remote.ip().octets() == ip).collect()
}

#[tokio::test]
async fn two_hundred_connections_that_read_nothing_pin_little_and_are_gone() {
    const CROWD: usize = 195;
    let fixture = Fixture::with(|config| {
        short(config);
        config.limits.listener.connections_per_ip = 200;
    })
    .await;
    let (ip, port) = ([127, 0, 20, 1], port_of(&fixture.relay.url()));
    let tasks = fixture.relay.running.tasks();
    // The document is made once, before any connection is measured.
    assert_eq!(fixture.initiator.get("/openapi.json").await.status(), 200);
    let before = tasks.alive();
    let began = Instant::now();
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        let mut stream = narrow(ip, port).await;
        stream.write_all(&DOCUMENT.repeat(10)).await.unwrap();
        crowd.push(stream);
    }
    let new = json!({ "type": "authentication", "username": "ada" });
    let (mut most, mut pinned) = (0, 0);
    loop {
        let sides = with(ip, port);
        let queued = sides.iter().map(|side| side.queued).sum::<u64>();
        (most, pinned) = (most.max(sides.len()), pinned.max(queued));
        if sides.is_empty() {
            break;
        }
        // All others are served meanwhile.
        fixture.initiator.open(&new).await;
        assert!(began.elapsed() < Duration::from_secs(15), "{} stand", sides.len());
    }
    assert!(most > CROWD / 2 && pinned > 1024 * 1024, "{most} stood at once with {pinned} bytes");
    assert!(pinned <= 20 * 1024 * 1024, "{pinned} bytes are pinned");
    assert_eq!(refused(&fixture.relay, "stalled").await, CROWD as f64);
    becomes("tasks", || tasks.alive(), |alive| *alive <= before).await;
    println!("{most} at once with {pinned} bytes, gone after {:?}", began.elapsed());
}

#[tokio::test]
async fn a_slow_reader_is_served_to_the_end_unless_it_takes_too_long_over_all() {
    let relay = TestRelay::start_with(|config| {
        short(config);
        config.limits.listener.answer = Duration::from_millis(1_500);
    })
    .await;
    let (ip, port) = ([127, 0, 21, 1], port_of(&relay.url()));
    let whole = http().get(format!("{}/openapi.json", relay.url())).send().await.unwrap();
    let whole = whole.bytes().await.unwrap();
    let mut steady = narrow(ip, port).await;
    steady.write_all(DOCUMENT).await.unwrap();
    let (mut took, mut chunk) = (0, vec![0; 64 * 1024]);
    while took < whole.len() {
        let read = timeout(PATIENCE, steady.read(&mut chunk)).await.unwrap();
        took += read.expect("it reads");
    }
    // Ten answers, of which it takes a little at a time: always some, never all.
    let mut dribbler = narrow([127, 0, 21, 2], port).await;
    dribbler.write_all(&DOCUMENT.repeat(10)).await.unwrap();
    let mut pace = tokio::time::interval(UNREAD / 4);
    let over = async {
        loop {
            pace.tick().await;
            if !matches!(dribbler.read(&mut chunk[..1024]).await, Ok(1..)) {
                return;
            }
        }
    };
    timeout(Duration::from_secs(20), over).await.expect("it dribbles on");
}

#[tokio::test]
async fn tls_changes_nothing() {
    let authority = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    let (cert, key) = authority.pair();
    put(directory.path(), "cert.pem", &cert);
    put(directory.path(), "key.pem", &key);
    let relay = TestRelay::start_with(|config| {
        short(config);
        let [cert_file, key_file] = ["cert.pem", "key.pem"].map(|name| directory.path().join(name));
        config.tls = Some(TlsConfig { cert_file, key_file, reload: Duration::from_secs(30) });
        config.public_url = "https://localhost:0".parse().unwrap();
    })
    .await;
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate.der().clone()).unwrap();
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let (ip, port) = ([127, 0, 22, 1], port_of(&relay.url()));
    let connector = TlsConnector::from(Arc::new(client));
    let stream = narrow(ip, port).await;
    let mut stream = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
    stream.write_all(&DOCUMENT.repeat(10)).await.unwrap();
    stream.flush().await.unwrap();
    becomes("connections", || with(ip, port), Vec::is_empty).await;
    assert_eq!(refused(&relay, "stalled").await, 1.0);
}

#[tokio::test]
async fn an_http2_peer_with_too_small_a_window_is_hung_up_on() {
    let relay = TestRelay::start_with(short).await;
    let (ip, port) = ([127, 0, 23, 1], port_of(&relay.url()));
    let health = http().get(format!("{}/healthz", relay.url())).send().await.unwrap();
    let length = u32::try_from(health.bytes().await.unwrap().len()).unwrap();
    // Nothing of the answer fits, or all but its last byte.
    for (number, window) in [0, 1, length - 1].into_iter().enumerate() {
        let mut peer = Peer::begin(narrow(ip, port).await, window).await;
        peer.ask(1, "/healthz").await;
        let over = async { while peer.hears().await.is_some() {} };
        timeout(PATIENCE, over).await.expect("it stands");
        assert_eq!(refused(&relay, "stalled").await, (number + 1) as f64, "window {window}");
    }
}

#[tokio::test]
async fn of_a_proxys_connection_the_stalled_stream_alone_is_reset() {
    let relay = TestRelay::start_with(|config| {
        short(config);
        let trusted = vec!["127.0.24.1/32".parse().unwrap()];
        config.proxy = Proxy { trusted, header: None, protocol: false };
    })
    .await;
    let mut peer = Peer::begin(narrow([127, 0, 24, 1], port_of(&relay.url())).await, 0).await;
    peer.ask(1, "/healthz").await;
    let reset = async { while peer.hears().await.unwrap().0 != RST_STREAM {} };
    timeout(PATIENCE, reset).await.expect("the stream is reset");
    peer.ask(3, "/healthz").await;
    peer.widen(3, 65_535).await;
    let mut seen = Vec::new();
    let answered = async {
        while !seen.contains(&DATA) {
            let (kind, stream, _) = peer.hears().await.expect("other streams go on");
            if stream == 3 {
                seen.push(kind);
            }
        }
    };
    timeout(PATIENCE, answered).await.expect("it is answered");
    assert_eq!(seen, [HEADERS, DATA]);
}

#[tokio::test]
async fn watchers_that_read_nothing_give_their_places_back() {
    let fixture = Fixture::with(|config| {
        short(config);
        config.limits.listener.answer = UNREAD;
    })
    .await;
    let (ip, port) = ([127, 0, 25, 1], port_of(&fixture.relay.url()));
    let (id, ticket) = (fixture.open.id, &fixture.open.ticket);
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: fido-relay.watch.v1\r\n";
    let census = || fixture.relay.running.relay().occupancy().watched;
    // Answers that fill their receive buffers: what comes after them waits in the relay's kernel.
    let before = "GET /healthz HTTP/1.1\r\nHost: relay\r\n\r\n".repeat(32);
    let mut watchers = Vec::new();
    for (road, further) in [("events", ""), ("socket", upgrade)] {
        for _ in 0..8 {
            let mut stream = narrow(ip, port).await;
            let request = format!(
                "{before}GET /v1/ceremonies/{id}/{road} HTTP/1.1\r\nHost: relay\r\n\
                 Authorization: Bearer {ticket}\r\n{further}\r\n"
            );
            stream.write_all(request.as_bytes()).await.unwrap();
            watchers.push(stream);
        }
    }
    becomes("watched", census, |watched| *watched == 1).await;
    becomes("watched", || (census(), with(ip, port)), |(watched, _)| *watched == 0).await;
    drop(watchers);
}

#[test]
fn the_defaults_are_ten_seconds_for_a_stranger_and_thirty_for_others() {
    let listener = Config::default().limits.listener;
    let limits = [listener.unread, listener.unread_known, listener.answer, listener.eviction_age];
    assert_eq!(limits.map(|limit| limit.as_secs()), [10, 30, 60, 2]);
}
