//! Who the client is, where proxies are in front.

use std::time::Duration;

use fido_relay::config::{Config, ForwardedHeader, Proxy};
use tokio::time::timeout;

use super::{PATIENCE, asks, from};
use crate::support::raw_socket::{Head, RawSocket, UPGRADE};
use crate::support::relay::TestRelay;

const SOCKET: &str = "/v1/device/socket";

fn behind(header: ForwardedHeader) -> impl FnOnce(&mut Config) {
    move |config| {
        let trusted = vec!["127.0.0.2/32".parse().unwrap(), "10.0.0.0/8".parse().unwrap()];
        config.proxy = Proxy { trusted, header: Some(header), protocol: false };
        config.limits.unauthenticated_per_ip = 1;
        // No stranger is old enough to make room.
        config.limits.listener.eviction_age = Duration::from_secs(600);
    }
}

/// Asks for a device socket from an address with further headers. While it lives, it has its
/// client's place among strangers.
async fn upgrade(url: &str, ip: [u8; 4], further: &[(&str, &str)]) -> (RawSocket, Head) {
    let mut socket = from(ip, url).await;
    let headers: Vec<_> = UPGRADE.into_iter().chain(further.iter().copied()).collect();
    let head = asks(&mut socket, SOCKET, &headers).await;
    (socket, head)
}

const PROXY: [u8; 4] = [127, 0, 0, 2];
const STRANGER: [u8; 4] = [127, 0, 0, 3];

#[tokio::test]
async fn limits_are_about_the_client_that_a_trusted_proxy_names() {
    let relay = TestRelay::start_with(behind(ForwardedHeader::Forwarded)).await;
    let url = relay.url();
    let by = |text: &'static str| [("Forwarded", text)];
    let (_ada, head) = upgrade(&url, PROXY, &by("for=192.0.2.1;proto=https")).await;
    assert_eq!(head.status, 101, "{head:?}");
    let (_, head) = upgrade(&url, PROXY, &by("for=192.0.2.1;proto=https")).await;
    assert_eq!(head.status, 429, "she has her place already");
    assert!(head.header("retry-after").is_some(), "{head:?}");
    // Whatever she claims to be.
    for claim in ["for=192.0.2.7;proto=https, ", "for=10.1.1.1, ", "for=unknown, ", "for=\"x\", "] {
        let line = format!("{claim}for=192.0.2.1;proto=https");
        let (_, head) = upgrade(&url, PROXY, &[("Forwarded", &line)]).await;
        assert_eq!(head.status, 429, "{line}");
    }
    let lines = [("Forwarded", "for=192.0.2.8"), ("Forwarded", "for=192.0.2.1;proto=https")];
    assert_eq!(upgrade(&url, PROXY, &lines).await.1.status, 429);
    // Through two of our own proxies, IPv6 by its /64.
    let chain = by("for=\"[2001:db8::1]:4711\";proto=https, for=10.0.0.9");
    let (_eve, head) = upgrade(&url, PROXY, &chain).await;
    assert_eq!(head.status, 101, "{head:?}");
    let neighbour = by("for=\"[2001:db8::ffff]\";proto=https");
    assert_eq!(upgrade(&url, PROXY, &neighbour).await.1.status, 429);
    // A line that a client has broken names nobody: all who do so share the proxy's own place.
    let (_proxy, head) = upgrade(&url, PROXY, &by("for=\"x, for=192.0.2.1;proto=https")).await;
    assert_eq!(head.status, 101, "the proxy itself, on loopback");
    assert_eq!(upgrade(&url, PROXY, &by("for=\"y, for=192.0.2.2")).await.1.status, 429);
    // The other header is not read, and from others none is.
    let x = [("X-Forwarded-For", "192.0.2.20"), ("X-Forwarded-Proto", "https")];
    assert_eq!(upgrade(&url, PROXY, &x).await.1.status, 429);
    let (_stranger, head) = upgrade(&url, STRANGER, &by("for=192.0.2.30")).await;
    assert_eq!(head.status, 101);
    assert_eq!(upgrade(&url, STRANGER, &by("for=192.0.2.31")).await.1.status, 429);
}

#[tokio::test]
async fn a_device_socket_off_loopback_needs_tls_up_to_the_proxy() {
    let relay = TestRelay::start_with(behind(ForwardedHeader::XForwardedFor)).await;
    let url = relay.url();
    let plain: [&[(&str, &str)]; 4] = [
        &[("X-Forwarded-For", "192.0.2.1")],
        &[("X-Forwarded-For", "192.0.2.1"), ("X-Forwarded-Proto", "http")],
        &[("X-Forwarded-For", "192.0.2.1"), ("X-Forwarded-Proto", "https, http")],
        &[("X-Forwarded-For", "192.0.2.1"), ("Forwarded", "for=192.0.2.1;proto=https")],
    ];
    for headers in plain {
        let (_, head) = upgrade(&url, PROXY, headers).await;
        assert_eq!(head.status, 426, "{headers:?}: {head:?}");
        assert!(head.body.contains("TLS"), "{head:?}");
    }
    let secure = [("X-Forwarded-For", "192.0.2.1"), ("X-Forwarded-Proto", "https")];
    assert_eq!(upgrade(&url, PROXY, &secure).await.1.status, 101);
    assert_eq!(upgrade(&url, STRANGER, &[]).await.1.status, 101, "loopback itself");
}

#[tokio::test]
async fn a_proxy_protocol_header_is_needed_from_the_proxy_and_taken_from_nobody_else() {
    let relay = TestRelay::start_with(|config| {
        let trusted = vec!["127.0.0.2/32".parse().unwrap()];
        config.proxy = Proxy { trusted, header: None, protocol: true };
        config.limits.unauthenticated_per_ip = 1;
        // No stranger is old enough to make room.
        config.limits.listener.eviction_age = Duration::from_secs(600);
        config.limits.headers = Duration::from_secs(2);
        config.allow_plaintext = true;
    })
    .await;
    let url = relay.url();
    let mut second = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".to_vec();
    second.extend_from_slice(&[192, 0, 2, 2, 127, 0, 0, 2, 1, 1, 2, 2]);
    let first = b"PROXY TCP4 192.0.2.1 127.0.0.2 4711 443\r\n".to_vec();
    let mut standing = Vec::new();
    for header in [&first, &second] {
        for expected in [101, 429] {
            let mut socket = from(PROXY, &url).await;
            socket.send(header).await;
            let head = asks(&mut socket, SOCKET, &UPGRADE).await;
            assert_eq!(head.status, expected, "{head:?}");
            standing.push(socket);
        }
    }
    let mut long = b"PROXY UNKNOWN ".to_vec();
    long.extend_from_slice(&[b'x'; 200]);
    let bad: [&[u8]; 5] =
        [b"", b"PROXY TCP4 192.0.2.9\r\n", &long, b"PROXY TCP4 192.0.2.9 127", &second[..14]];
    for beginning in bad {
        let mut socket = from(PROXY, &url).await;
        socket.send(beginning).await;
        // Those that stop in the middle wait for their time to be over.
        if beginning.len() != 24 && beginning.len() != 14 {
            socket.send(b"GET /healthz HTTP/1.1\r\nHost: relay\r\n\r\n").await;
        }
        let silent = timeout(PATIENCE, socket.says_nothing()).await;
        assert_eq!(silent, Ok(true), "{beginning:?}");
    }
    let mut stranger = from(STRANGER, &url).await;
    stranger.send(&first).await;
    stranger.send(b"GET /healthz HTTP/1.1\r\nHost: relay\r\n\r\n").await;
    let answered = timeout(PATIENCE, stranger.heard()).await.expect("it is told or hung up on");
    assert!(!answered.contains("200 OK"), "{answered}");
    let mut stranger = from(STRANGER, &url).await;
    assert_eq!(asks(&mut stranger, "/healthz", &[]).await.status, 200);
}
