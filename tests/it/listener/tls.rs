//! TLS on the relay's own listener, from both sides.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fido_relay::config::{Config, TlsConfig};
use fido_relay_proto::Outcome;
use fido_relay_proto::http::Status;
use fido_relay_rig::phone::wire::Socket;
use fido_relay_rig::phone::{Codes, DeviceKey, PairingClient, Phone, PhoneEvent};
use fido_relay_rig::softcard::SoftCard;
use reqwest::Version;
use serde_json::json;
use tempfile::TempDir;
use tokio::time::timeout;

use super::PATIENCE;
use crate::support::authority::{Authority, put};
use crate::support::raw_socket::RawSocket;
use crate::support::relay::{Initiator, TestPhone, TestRelay};

/// A directory with a pair of this authority.
fn directory_of(authority: &Authority) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let (cert, key) = authority.pair();
    put(directory.path(), "cert.pem", &cert);
    put(directory.path(), "key.pem", &key);
    directory
}

fn serve_with(directory: &TempDir) -> impl FnOnce(&mut Config) + use<> {
    let (cert_file, key_file) =
        (directory.path().join("cert.pem"), directory.path().join("key.pem"));
    |config| {
        config.tls = Some(TlsConfig { cert_file, key_file, reload: Duration::from_secs(30) });
        config.public_url = "https://localhost:0".parse().unwrap();
    }
}

#[tokio::test]
async fn a_phone_and_a_backend_come_to_the_end_over_tls_of_the_relays_own() {
    let authority = Authority::new();
    let directory = directory_of(&authority);
    let relay = TestRelay::start_with(serve_with(&directory)).await;
    assert!(relay.url().starts_with("https://localhost:"), "{}", relay.url());
    let http = authority.http().build().unwrap();
    let initiator = Initiator { http, ..relay.initiator().await };
    let pairing = initiator.pairing("ada").await;
    let (url, key) = (relay.url().parse().unwrap(), DeviceKey::generate().unwrap());
    let client = PairingClient::trusting(&authority.roots()).unwrap();
    let paired = client.pair(&url, &pairing.pairing_token, None, key).await.unwrap();
    assert!(paired.socket_url.starts_with("wss://"), "{}", paired.socket_url);
    let stranger = Socket::connect_trusting(&Authority::new().roots(), &paired.socket_url).await;
    assert!(stranger.is_err(), "a phone that does not know the authority stays away");
    let codes = Codes::default();
    let card = Arc::new(Mutex::new(SoftCard::new()));
    let (handle, events) = Phone::new(paired, card, Arc::new(codes.clone()))
        .with_roots(authority.roots())
        .connect(relay.running.tasks());
    let mut phone = TestPhone { handle, events, codes };
    phone.until(|event| matches!(event, PhoneEvent::Connected { .. })).await;
    let opened = initiator.open(&json!({ "type": "registration", "username": "ada" })).await;
    phone.types(&opened);
    let view = initiator.outcome(opened.id).await;
    assert_eq!(view.status, Status::Ended(Outcome::Succeeded));
}

#[tokio::test]
async fn http2_and_http1_are_both_spoken_over_both_versions_of_tls() {
    let authority = Authority::new();
    let directory = directory_of(&authority);
    let relay = TestRelay::start_with(serve_with(&directory)).await;
    let url = format!("{}/healthz", relay.url());
    for tls in [reqwest::tls::Version::TLS_1_2, reqwest::tls::Version::TLS_1_3] {
        let client = || authority.http().tls_version_min(tls).tls_version_max(tls);
        let asked = client().build().unwrap().get(&url).send().await.unwrap();
        assert_eq!((asked.version(), asked.status().as_u16()), (Version::HTTP_2, 200));
        assert_eq!(asked.headers()["strict-transport-security"], "max-age=31536000");
        let asked = client().http1_only().build().unwrap().get(&url).send().await.unwrap();
        assert_eq!((asked.version(), asked.status().as_u16()), (Version::HTTP_11, 200));
    }
    let mut plain = RawSocket::tcp(&relay.url().replace("https://", "http://")).await;
    plain.send(b"GET /healthz HTTP/1.1\r\nHost: relay\r\n\r\n").await;
    let heard = timeout(PATIENCE, plain.heard()).await.unwrap();
    assert!(!heard.contains("HTTP"), "nothing is served without TLS, but {heard}");
}

#[tokio::test]
async fn a_handshake_that_stalls_is_gone() {
    let authority = Authority::new();
    let directory = directory_of(&authority);
    let serve = serve_with(&directory);
    let relay = TestRelay::start_with(|config| {
        serve(config);
        config.limits.listener.tls = Duration::from_secs(1);
        // Nothing else may be what ends it.
        config.limits.headers = Duration::from_secs(60);
        config.limits.accept_to_auth = Duration::from_secs(60);
    })
    .await;
    let url = relay.url().replace("https://", "http://");
    for beginning in [&b""[..], b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"] {
        let mut socket = RawSocket::tcp(&url).await;
        socket.send(beginning).await;
        timeout(PATIENCE, socket.hung_up()).await.expect("it is still held");
    }
}

#[tokio::test]
async fn doctor_and_health_know_the_certificate() {
    use crate::support::child_relay::{ChildRelay, Home};

    let authority = Authority::new();
    let directory = directory_of(&authority);
    let path = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    let variables = [
        ("FIDO_RELAY_TLS__CERT_FILE", path("cert.pem")),
        ("FIDO_RELAY_TLS__KEY_FILE", path("key.pem")),
    ];
    let mut home = Home::new(&variables.each_ref().map(|(name, value)| (*name, value.as_str())));
    let relay = ChildRelay::start(&home).await;
    let listen = relay.url().replace("http://", "");
    home.set("FIDO_RELAY_LISTEN", &listen);
    let told = home.run(&["health"]).await.text();
    assert_eq!(told, "", "it is alive");
    relay.kill().await;
    let told = home.run(&["health"]).await.text();
    assert!(told.contains("no relay answers"), "{told}");

    let ails = async |home: &Home, wrong: &str, remedy: &str| {
        let told = home.run(&["doctor"]).await.text();
        let (_, rest) = told.split_once(wrong).unwrap_or_else(|| panic!("{wrong} not in {told}"));
        let advice = rest.split("→ ").nth(1).unwrap_or_default();
        assert!(advice.contains(remedy), "{remedy} is not advised: {told}");
    };
    let told = home.run(&["doctor"]).await.text();
    assert!(told.contains("and its key match; valid for"), "{told}");
    assert!(told.contains("the certificate covers 127.0.0.1"), "{told}");
    home.set("FIDO_RELAY_PUBLIC_URL", "https://relay.example.com");
    ails(
        &home,
        "the certificate does not cover relay.example.com",
        "get a certificate for that name",
    )
    .await;
    put(directory.path(), "key.pem", &authority.pair().1);
    ails(&home, "is not that of the certificate", "name the private key of this certificate").await;
    put(directory.path(), "cert.pem", &authority.pair_until(2001).0);
    ails(&home, "it ended at", "renew the certificate").await;
    put(directory.path(), "cert.pem", "nothing of the kind");
    ails(&home, "holds no certificate that can be used", "as PEM").await;
    std::fs::remove_file(directory.path().join("cert.pem")).unwrap();
    ails(&home, "cannot be read", "correct the path").await;
    let told = home.run(&["serve"]).await.text();
    assert!(told.contains("tls: ") && told.contains("cannot be read"), "{told}");
}
