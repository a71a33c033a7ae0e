//! The upgrade to the device socket, and connections that never come so far.

use std::time::Duration;

use serde_json::json;

use crate::support::fixture::Fixture;
use crate::support::origins::not_listed;
use crate::support::raw_socket::{FIN, PING, RawSocket, UPGRADE, frame};

const LISTED: &str = "https://app.example.com";

/// The proper headers with others in their place, or more of them.
fn with<'a>(changes: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let kept = UPGRADE.into_iter().filter(|(name, _)| !changes.iter().any(|(new, _)| new == name));
    kept.chain(changes.iter().copied()).collect()
}

fn without(name: &str) -> Vec<(&'static str, &'static str)> {
    UPGRADE.into_iter().filter(|(known, _)| *known != name).collect()
}

#[tokio::test]
async fn no_spelling_of_an_origin_opens_the_socket_but_the_listed_one() {
    let fixture = Fixture::with(|config| config.device_origins = vec![LISTED.to_owned()]).await;
    let own = fixture.relay.url();
    for lines in not_listed(LISTED, &own) {
        let headers: Vec<_> = lines.iter().map(|origin| ("Origin", origin.as_str())).collect();
        let (_, head) = RawSocket::ask(&own, &with(&headers)).await;
        assert_eq!(head.status, 403, "{lines:?}: {head:?}");
        assert!(head.body.contains("origin_not_allowed"), "{head:?}");
        let comes_back = |origin: &String| origin.len() > 5 && head.body.contains(origin);
        assert!(!lines.iter().any(comes_back), "it comes back: {head:?}");
    }
    let (_, head) = RawSocket::ask(&own, &with(&[("Origin", LISTED)])).await;
    assert_eq!(head.status, 101);
    fixture.open_ceremony_completes().await;
}

#[tokio::test]
async fn what_is_no_proper_upgrade_is_told_what_is_spoken_here() {
    let fixture = Fixture::new().await;
    let url = fixture.relay.url();
    let cases = [
        ("nothing at all", vec![]),
        ("no subprotocol", without("Sec-WebSocket-Protocol")),
        ("another subprotocol", with(&[("Sec-WebSocket-Protocol", "fido-relay.v2")])),
        ("the watchers' subprotocol", with(&[("Sec-WebSocket-Protocol", "fido-relay.watch.v1")])),
        ("the subprotocol in capitals", with(&[("Sec-WebSocket-Protocol", "FIDO-RELAY.V1")])),
        ("a subprotocol with more in it", with(&[("Sec-WebSocket-Protocol", "fido-relay.v1.1")])),
        ("no version", without("Sec-WebSocket-Version")),
        ("version 8", with(&[("Sec-WebSocket-Version", "8")])),
        ("version 0", with(&[("Sec-WebSocket-Version", "0")])),
        ("no key", without("Sec-WebSocket-Key")),
        ("an empty key", with(&[("Sec-WebSocket-Key", "")])),
        ("a key of another size", with(&[("Sec-WebSocket-Key", "dGhl")])),
        ("a key that is no base64", with(&[("Sec-WebSocket-Key", "????????????????????????")])),
        ("no connection header", without("Connection")),
        ("a connection that closes", with(&[("Connection", "close")])),
        ("no upgrade", without("Upgrade")),
        ("another upgrade", with(&[("Upgrade", "h2c")])),
    ];
    for (name, headers) in cases {
        let (_, head) = RawSocket::ask(&url, &headers).await;
        assert_eq!(head.status, 426, "{name}: {head:?}");
        assert_eq!(head.header("upgrade"), Some("websocket"), "{name}: {head:?}");
        assert_eq!(head.header("content-type"), Some("application/problem+json"), "{name}");
        assert!(head.body.contains("upgrade_required"), "{name}: {head:?}");
    }
    for method in ["POST", "PUT", "HEAD", "OPTIONS"] {
        let (_, head) = RawSocket::ask_by(method, &url, &UPGRADE).await;
        assert_ne!(head.status, 101, "{method}");
    }
    fixture.open_ceremony_completes().await;
}

#[tokio::test]
async fn neither_compression_nor_cookies_have_any_effect() {
    let fixture = Fixture::new().await;
    let offers = with(&[
        ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits"),
        ("Cookie", "session=canary7Q; device=canary7Q"),
        ("Authorization", "Bearer canary7Q"),
        ("Sec-WebSocket-Protocol", "chat, fido-relay.v1"),
    ]);
    let (mut socket, head) = RawSocket::ask(&fixture.relay.url(), &offers).await;
    assert_eq!(head.status, 101);
    assert_eq!(head.header("sec-websocket-extensions"), None);
    assert_eq!(head.header("set-cookie"), None);
    assert_eq!(head.header("sec-websocket-protocol"), Some("fido-relay.v1"));
    // RFC 6455 section 1.3 has this very pair.
    assert_eq!(head.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    socket.hello().await;
    fixture.open_ceremony_completes().await;
}

/// Short enough to wait for, long enough for a busy machine.
fn hurried(config: &mut fido_relay::config::Config) {
    config.limits.listener.idle = Duration::from_secs(1);
    config.limits.headers = Duration::from_secs(1);
    config.limits.accept_to_auth = Duration::from_secs(2);
}

#[tokio::test]
async fn a_socket_without_auth_in_time_is_closed_whatever_else_it_does() {
    let fixture = Fixture::with(hurried).await;
    let too_late = (4408, "auth_too_late".to_owned());
    let mut silent = RawSocket::upgraded(&fixture.relay.url()).await;
    silent.hello().await;
    let mut pinging = RawSocket::upgraded(&fixture.relay.url()).await;
    pinging.hello().await;
    pinging.send(&frame(FIN | PING, b"here")).await;
    let mut dribbling = RawSocket::upgraded(&fixture.relay.url()).await;
    dribbling.hello().await;
    // The start of a frame that never comes.
    dribbling.send(&frame(FIN | 1, b"{\"type\":\"auth\"}")[..9]).await;
    assert_eq!(silent.closes().await, too_late);
    assert_eq!(dribbling.closes().await, too_late);
    assert_eq!(pinging.closes().await, too_late);
    // The limit is for strangers alone.
    let limit = fixture.relay.running.config().limits.accept_to_auth;
    let mut device = fixture.raw_ada().await;
    tokio::time::timeout(limit * 2, device.next()).await.expect_err("nothing happens to a device");
    drop(device);
    fixture.open_ceremony_completes().await;
}

#[tokio::test]
async fn connections_that_say_nothing_or_never_finish_are_hung_up_on() {
    let fixture = Fixture::with(hurried).await;
    let beginnings: [(&str, &[u8]); 9] = [
        ("nothing", b""),
        ("one byte", b"G"),
        ("a byte that may begin either protocol", b"P"),
        ("half of HTTP/2's preface", b"PRI * HTTP/2.0\r\n"),
        ("HTTP/2's preface and no more", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("a request line", b"GET /healthz HTTP/1.1\r\n"),
        ("headers without their end", b"GET /healthz HTTP/1.1\r\nHost: relay\r\nX-A: b\r\n"),
        ("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
        ("an idle connection after a request", b"GET /healthz HTTP/1.1\r\nHost: relay\r\n\r\n"),
    ];
    let mut sockets = Vec::new();
    for (name, beginning) in beginnings {
        let mut socket = RawSocket::tcp(&fixture.relay.url()).await;
        socket.send(beginning).await;
        sockets.push((name, socket));
    }
    for (name, mut socket) in sockets {
        let limit = Duration::from_secs(10);
        let hung_up = tokio::time::timeout(limit, socket.hung_up()).await;
        assert!(hung_up.is_ok(), "{name}: it is still held");
    }
    fixture.open_ceremony_completes().await;
}

/// Each byte would restart a limit that only waits for the next one.
#[tokio::test]
async fn a_dribbling_peer_is_hung_up_on_too() {
    let fixture = Fixture::with(hurried).await;
    let body = format!("{:>200}", json!({ "pairing_token": "x" }));
    let header =
        "GET /healthz HTTP/1.1\r\nHost: relay\r\nX-Long: ".to_owned() + "a".repeat(400).as_str();
    let with_body = format!(
        "POST /v1/devices HTTP/1.1\r\nHost: relay\r\nContent-Type: application/json\r\n\
         Content-Length: 4000\r\n\r\n{body}"
    );
    for (name, ahead, text) in [("headers", 0, &header), ("a body", 110, &with_body)] {
        let mut socket = RawSocket::tcp(&fixture.relay.url()).await;
        socket.send(&text.as_bytes()[..ahead]).await;
        let mut bytes = text.as_bytes()[ahead..].iter().cycle();
        let mut pace = tokio::time::interval(Duration::from_millis(50));
        let started = tokio::time::Instant::now();
        loop {
            tokio::select! {
                () = socket.hung_up() => break,
                _ = pace.tick() => {}
            }
            socket.send(&[*bytes.next().unwrap()]).await;
            assert!(started.elapsed() < Duration::from_secs(15), "{name}: it is still held");
        }
    }
    fixture.open_ceremony_completes().await;
}
