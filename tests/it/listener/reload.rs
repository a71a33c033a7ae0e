//! A new certificate while the relay serves.

use std::sync::Arc;

use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::PATIENCE;
use crate::support::authority::{Authority, put};
use crate::support::child_relay::{ChildRelay, Home};

struct Caller {
    connector: TlsConnector,
    address: String,
}

impl Caller {
    fn new(authority: &Authority, url: &str) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(authority.certificate.der().clone()).unwrap();
        let builder = ClientConfig::builder().with_root_certificates(roots);
        let mut config = builder.with_no_client_auth();
        // Who resumes a session sees the certificate with which it began.
        config.resumption = Resumption::disabled();
        let connector = TlsConnector::from(Arc::new(config));
        Self { connector, address: url.replace("http://", "") }
    }

    async fn connect(&self) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(&self.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        self.connector.connect(name, stream).await.unwrap()
    }

    /// Whether a new handshake gets this certificate.
    async fn is_served(&self, pem: &str) -> bool {
        let stream = self.connect().await;
        let served = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
        served == CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
    }
}

async fn answers(stream: &mut TlsStream<TcpStream>) -> bool {
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: relay\r\n\r\n").await.unwrap();
    let mut answer = [0; 1024];
    let read = timeout(PATIENCE, stream.read(&mut answer)).await.unwrap().unwrap();
    answer[..read].starts_with(b"HTTP/1.1 200")
}

#[tokio::test]
async fn a_new_certificate_serves_without_a_restart_and_a_bad_one_never_does() {
    let authority = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    let put = |(cert, key): (&str, &str)| {
        put(directory.path(), "key.pem", key);
        put(directory.path(), "cert.pem", cert);
    };
    let (first, second, third) = (authority.pair(), authority.pair(), authority.pair());
    put((&first.0, &first.1));
    let path = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    let variables = [
        ("FIDO_RELAY_TLS__CERT_FILE", path("cert.pem")),
        ("FIDO_RELAY_TLS__KEY_FILE", path("key.pem")),
        ("FIDO_RELAY_TLS__RELOAD_S", "3600".to_owned()),
        ("FIDO_RELAY_LIMITS__HEADERS_S", "60".to_owned()),
        ("FIDO_RELAY_LIMITS__HANDSHAKES_PER_S_PER_IP", "10000".to_owned()),
    ];
    let mut home = Home::new(&variables.each_ref().map(|(name, value)| (*name, value.as_str())));
    let relay = ChildRelay::start(&home).await;
    let caller = Caller::new(&authority, relay.url());
    let mut standing = caller.connect().await;
    assert!(answers(&mut standing).await);
    assert!(caller.is_served(&first.0).await);

    // By signal.
    put((&second.0, &second.1));
    relay.signal(Signal::HUP);
    relay.logged("new TLS certificate in use", 1).await;
    assert!(caller.is_served(&second.0).await);
    assert!(answers(&mut standing).await, "a connection that stands is not touched");

    // What does not fit, in every way.
    let expired = authority.pair_until(2001);
    let bad: [(&str, &str); 5] = [
        (&third.0, &second.1),
        ("half a certif", &third.1),
        (&third.0, "half a key"),
        ("", ""),
        (&expired.0, &expired.1),
    ];
    for (nth, pair) in bad.into_iter().enumerate() {
        put(pair);
        relay.signal(Signal::HUP);
        relay.logged("the new TLS certificate cannot be used: the old one stays", nth + 1).await;
        assert!(caller.is_served(&second.0).await);
    }
    assert!(relay.written().contains("ERROR"), "an operator is told");
    assert!(answers(&mut standing).await);
    relay.kill().await;

    // By the files themselves.
    put((&second.0, &second.1));
    home.set("FIDO_RELAY_TLS__RELOAD_S", "1");
    let relay = ChildRelay::start(&home).await;
    let caller = Caller::new(&authority, relay.url());
    assert!(caller.is_served(&second.0).await);
    put((&third.0, &third.1));
    relay.logged("new TLS certificate in use", 1).await;
    assert!(caller.is_served(&third.0).await);
    relay.kill().await;
}

#[tokio::test]
async fn a_hangup_signal_without_tls_stops_nothing() {
    let home = Home::new(&[]);
    let relay = ChildRelay::start(&home).await;
    relay.signal(Signal::HUP);
    // A process that the signal ends is gone before this one is served in order.
    relay.stop().await;
}
