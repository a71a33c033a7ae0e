//! A FIDO2 server that cannot show who it is: nothing is taken from it and nothing handed to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fido_relay::core::ceremony::Verdict;
use fido_relay::ports::Fido as _;
use fido_relay_proto::{CeremonyType, Reason};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::{backend, credential, no_cookies, request};

/// A server with a certificate that it made itself, and what it was handed.
struct Impostor {
    url: String,
    handshakes: Arc<AtomicUsize>,
    bytes: Arc<AtomicUsize>,
    serving: tokio::task::JoinHandle<()>,
}

impl Impostor {
    async fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let (handshakes, bytes) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (begun, read) = (Arc::clone(&handshakes), Arc::clone(&bytes));
        #[expect(clippy::disallowed_methods, reason = "the server is this test's own")]
        let serving = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                begun.fetch_add(1, Ordering::Relaxed);
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let mut buffer = [0; 1024];
                    let got = stream.read(&mut buffer).await.unwrap_or(0);
                    read.fetch_add(got, Ordering::Relaxed);
                }
            }
        });
        Self { url, handshakes, bytes, serving }
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[tokio::test]
async fn a_server_with_a_certificate_of_its_own_making_is_neither_asked_nor_believed() {
    let impostor = Impostor::new().await;
    let backend = backend(&impostor.url);
    for ceremony_type in [CeremonyType::Registration, CeremonyType::Authentication] {
        let fault = backend.begin(request(ceremony_type)).await.unwrap_err();
        assert_eq!(fault.reason, Reason::UpstreamUnavailable);
        // What never left may be tried again while there is time: little, here.
        let answer = credential();
        let verdict = backend.complete(ceremony_type, &no_cookies(), &answer, 100).await.verdict;
        assert_eq!(verdict, Verdict::NotAsked);
    }
    assert!(impostor.handshakes.load(Ordering::Relaxed) > 0, "it was called");
    assert_eq!(impostor.bytes.load(Ordering::Relaxed), 0, "and told nothing");
}
