//! Pages that a browser was led to under a name of their own (DNS rebinding) against a relay on
//! this machine, and pages of other sites.

use fido_relay::config::Config;
use serde_json::json;

use crate::support::raw_socket::{Head, RawSocket};
use crate::support::relay::TestRelay;

/// Posts a JSON body with exactly these headers besides.
async fn posts(relay: &TestRelay, path: &str, headers: &[(&str, &str)]) -> Head {
    let body = json!({ "username": "ada" }).to_string();
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    let mut socket = RawSocket::tcp(&relay.url()).await;
    socket.send(format!("{request}\r\n{body}").as_bytes()).await;
    socket.head().await
}

#[tokio::test]
async fn client_direct_is_served_to_its_own_hosts_and_listed_pages_alone() {
    let relay = TestRelay::start_with(|config: &mut Config| {
        config.tenant.origins =
            vec!["http://localhost:8080".to_owned(), "https://bank.example".to_owned()];
    })
    .await;
    let relay_origins = ["http://localhost:8080", "https://bank.example"];
    let (host, page) = (Some("host_not_allowed"), Some("origin_not_allowed"));
    let table: [(&str, &[&str], Option<&str>); 19] = [
        ("127.0.0.1", &[], None),
        ("127.0.0.1:9", &[], None),
        ("LOCALHOST:8080", &[], None),
        ("localhost.:8080", &[], None),
        ("[::1]:8080", &[], None),
        ("bank.example", &[], None),
        ("localhost", &["http://localhost:8080"], None),
        ("bank.example", &["https://bank.example"], None),
        ("evil.example", &[], host),
        ("evil.example", &["http://evil.example"], host),
        ("evil.example", &["https://bank.example"], host),
        ("localhost.evil.example", &[], host),
        ("127.0.0.1.evil.example", &[], host),
        ("0.0.0.0", &[], host),
        ("localhost", &["http://evil.example"], page),
        ("localhost", &["null"], page),
        ("localhost", &["https://localhost:8080"], page),
        ("localhost", &["https://bank.example.evil.example"], page),
        ("localhost", &["https://bank.example", "https://bank.example"], page),
    ];
    let paths = ["/fidoapi/certify/attestation/options", "/fidoapi/register/begin"];
    for path in paths {
        for (host, origins, refused) in table {
            let mut headers = vec![("Host", host)];
            headers.extend(origins.iter().map(|origin| ("Origin", *origin)));
            let head = posts(&relay, path, &headers).await;
            let what = format!("{path} {headers:?}: {head:?}");
            // A script of a listed page may read the answer, also a refusal of the host, and use
            // the session's cookie.
            let listed = |origin: &&&str| relay_origins.contains(*origin) && origins.len() == 1;
            let readable = origins.first().filter(listed).copied();
            assert_eq!(head.header("access-control-allow-origin"), readable, "{what}");
            let cookies = readable.map(|_| "true");
            assert_eq!(head.header("access-control-allow-credentials"), cookies, "{what}");
            match refused {
                None => assert_eq!(head.status, 200, "{what}"),
                Some(code) => {
                    assert_eq!(head.status, 403, "{what}");
                    assert!(head.body.contains(code), "{what}");
                    assert!(head.header("set-cookie").is_none(), "{what}");
                }
            }
        }
    }
    for (origin, status) in [("https://bank.example", 204), ("http://evil.example", 403)] {
        let mut socket = RawSocket::tcp(&relay.url()).await;
        let path = paths[0];
        let preflight = format!(
            "OPTIONS {path} HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\n\
             Access-Control-Request-Method: POST\r\n\
             Access-Control-Request-Headers: content-type\r\n\r\n"
        );
        socket.send(preflight.as_bytes()).await;
        let head = socket.head().await;
        assert_eq!(head.status, status, "{head:?}");
        let allowed = (status == 204).then_some("Content-Type");
        assert_eq!(head.header("access-control-allow-headers"), allowed, "{head:?}");
    }
    for path in ["assertion/options", "assertion/result", "attestation/result"] {
        let headers = [("Host", "evil.example"), ("Origin", "http://evil.example")];
        let head = posts(&relay, &format!("/fidoapi/certify/{path}"), &headers).await;
        assert_eq!(head.status, 403, "{path}: {head:?}");
    }
}

#[tokio::test]
async fn a_page_that_is_not_listed_posts_nothing_as_a_device() {
    const LISTED: &str = "https://app.example.com";
    let relay =
        TestRelay::start_with(|config| config.device_origins = vec![LISTED.to_owned()]).await;
    for path in ["/v1/devices", "/v1/device/key"] {
        for (origin, status) in [(LISTED, 400), ("http://evil.example", 403), ("null", 403)] {
            let head = posts(&relay, path, &[("Host", "localhost"), ("Origin", origin)]).await;
            assert_eq!(head.status, status, "{path} {origin}: {head:?}");
        }
        let head = posts(&relay, path, &[("Host", "localhost")]).await;
        assert_eq!(head.status, 400, "an app's body is read: {head:?}");
    }
}
