//! Requests that name no server or several, and handshakes that are none, byte for byte.

use crate::support::fixture::Fixture;
use crate::support::raw_socket::RawSocket;

/// A request and what it is answered with: the status, and a word of the body.
async fn asked(url: &str, lines: &[&str]) -> crate::support::raw_socket::Head {
    let mut socket = RawSocket::tcp(url).await;
    socket.send(format!("{}\r\n\r\n", lines.join("\r\n")).as_bytes()).await;
    socket.head().await
}

#[tokio::test]
async fn a_request_names_one_server_and_has_one_of_each_field() {
    let fixture = Fixture::new().await;
    let url = fixture.relay.url();
    let key = format!("Authorization: Bearer {}", fixture.initiator.key);
    let other = "Authorization: Bearer rk_x";
    let (health, me) = ("GET /healthz HTTP/1.1", "GET /v1/clients/self HTTP/1.1");
    let table: [(&[&str], u16); 22] = [
        (&[health, "Host: relay"], 200),
        (&[health, "host:relay:8080"], 200),
        (&[health, "Host: [::1]:8080"], 200),
        (&["GET /healthz HTTP/1.0"], 200),
        (&["GET http://relay/healthz HTTP/1.1", "Host: relay"], 200),
        (&[health], 400),
        (&["GET http://relay/healthz HTTP/1.1"], 400),
        (&[health, "Host: relay", "Host: relay"], 400),
        (&[health, "Host: relay", "Host: evil.example"], 400),
        (&["GET /healthz HTTP/1.0", "Host: a", "Host: b"], 400),
        (&[health, "Host:"], 400),
        (&[health, "Host: a b"], 400),
        (&[health, "Host: user@relay"], 400),
        (&[health, "Host: relay/path"], 400),
        (&[health, "Host: a, b"], 400),
        (&[me, "Host: relay", &key], 200),
        (&[me, "Host: relay", &key, &key], 400),
        (&[me, "Host: relay", &key, other], 400),
        (&[me, "Host: relay", other, &key], 400),
        (&["GET /nothing HTTP/1.1"], 400),
        (&["OPTIONS /v1/ceremonies HTTP/1.1"], 400),
        (&["POST /v1/device/key HTTP/1.1", "Content-Length: 0"], 400),
    ];
    for (lines, status) in table {
        let head = asked(&url, lines).await;
        assert_eq!(head.status, status, "{lines:?}: {head:?}");
        if status == 400 {
            assert_eq!(head.header("content-type"), Some("application/problem+json"), "{lines:?}");
            assert!(head.body.contains("\"invalid_request\""), "{head:?}");
            assert!(head.header("strict-transport-security").is_none(), "without TLS");
        }
    }
    fixture.open_ceremony_completes().await;
}

#[tokio::test]
async fn a_handshake_has_one_key_and_the_one_version() {
    let fixture = Fixture::new().await;
    let url = fixture.relay.url();
    let id = fixture.open.id;
    let ticket =
        format!("Sec-WebSocket-Protocol: fido-relay.watch.v1, ticket.{}", fixture.open.ticket);
    let device = "Sec-WebSocket-Protocol: fido-relay.v1".to_owned();
    let paths = [
        ("GET /v1/device/socket HTTP/1.1".to_owned(), device),
        (format!("GET /v1/ceremonies/{id}/socket HTTP/1.1"), ticket),
    ];
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    let (thirteen, eight) = ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 8");
    let table: [(&[&str], u16); 9] = [
        (&[key, thirteen], 101),
        (&[key, key, thirteen], 400),
        (&[key, "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", thirteen], 400),
        (&[key, thirteen, thirteen], 400),
        (&[key, thirteen, eight], 400),
        (&[key, eight], 426),
        (&[key, "Sec-WebSocket-Version: 13, 8"], 426),
        (&[key, "Sec-WebSocket-Version: 014"], 426),
        (&[key], 426),
    ];
    for (path, protocol) in &paths {
        for (fields, status) in table {
            let mut lines =
                vec![&**path, "Host: relay", "Connection: Upgrade", "Upgrade: websocket", protocol];
            lines.extend(fields);
            let head = asked(&url, &lines).await;
            assert_eq!(head.status, status, "{lines:?}: {head:?}");
            let offers = head.header("sec-websocket-version");
            assert_eq!(offers, (status == 426).then_some("13"), "{lines:?}: {head:?}");
            if status == 426 {
                assert_eq!(head.header("connection"), Some("upgrade"), "{lines:?}: {head:?}");
            }
        }
    }
    fixture.open_ceremony_completes().await;
}
