//! TLS before a plain server of a test, as a gateway ends it.

use std::net::SocketAddr;
use std::sync::Arc;

use fido_relay::tasks::Tasks;
use tokio::io::{AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// The front; it ends with this value.
#[derive(Debug)]
pub(crate) struct TlsFront {
    url: String,
    tasks: Tasks,
}

impl TlsFront {
    /// Shows this certificate and key (PEM), and takes only clients with a certificate of
    /// `clients`, if that is given.
    pub(crate) async fn before(
        server: SocketAddr,
        (certificate, key): (String, String),
        clients: Option<CertificateDer<'static>>,
    ) -> Self {
        let config = match clients {
            None => ServerConfig::builder().with_no_client_auth(),
            Some(root) => {
                let mut roots = RootCertStore::empty();
                roots.add(root).unwrap();
                let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
                ServerConfig::builder().with_client_cert_verifier(verifier)
            }
        };
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let config = config.with_single_cert(vec![certificate], key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let tasks = Tasks::default();
        let (owner, stopping) = (tasks.clone(), tasks.stopping().clone());
        tasks.spawn_untraced(async move {
            while let Some(Ok((stream, _))) = stopping.run_until_cancelled(listener.accept()).await
            {
                let (acceptor, stopping) = (acceptor.clone(), stopping.clone());
                owner.spawn_untraced(async move {
                    let _ = stopping.run_until_cancelled(pass(acceptor, stream, server)).await;
                });
            }
        });
        Self { url, tasks }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.tasks.stopping().cancel();
    }
}

async fn pass(acceptor: TlsAcceptor, stream: TcpStream, server: SocketAddr) -> std::io::Result<()> {
    let mut outside = match acceptor.accept(stream).into_fallible().await {
        Ok(outside) => outside,
        Err((_, mut refused)) => {
            // What the client still sends would make the kernel drop the alert that it is owed.
            refused.shutdown().await?;
            return tokio::io::copy(&mut refused, &mut tokio::io::sink()).await.map(drop);
        }
    };
    let mut inside = TcpStream::connect(server).await?;
    copy_bidirectional(&mut outside, &mut inside).await.map(drop)
}
