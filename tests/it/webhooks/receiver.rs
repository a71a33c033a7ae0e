//! A backend's webhook endpoint over https, under a certificate authority of the test's own.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fido_relay::config::Config;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) path: String,
    pub(crate) headers: serde_json::Map<String, Value>,
    pub(crate) body: String,
    /// Whether the endpoint lived to answer it.
    pub(crate) answered: bool,
}

/// Where an endpoint dies in the middle of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dies {
    BeforeTls,
    BeforeTheRequest,
    InTheRequest,
    BeforeTheAnswer,
    InTheStatusLine,
    InTheHeaders,
    /// The status was sent, which is an answer.
    InTheBody,
    /// It takes the request and says nothing for as long as the connection lives.
    Never,
}

impl Dies {
    /// Those after which the relay cannot know whether it arrived.
    pub(crate) const UNANSWERED: [Self; 6] = [
        Self::BeforeTls,
        Self::BeforeTheRequest,
        Self::InTheRequest,
        Self::BeforeTheAnswer,
        Self::InTheStatusLine,
        Self::InTheHeaders,
    ];
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers[name].as_str().unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

#[derive(Debug, Default)]
struct Desk {
    status: AtomicU16,
    received: Mutex<Vec<Received>>,
    deaths: Mutex<VecDeque<Dies>>,
    more: Notify,
}

/// The endpoint.
#[derive(Debug)]
pub(crate) struct Receiver {
    pub(crate) port: u16,
    desk: Arc<Desk>,
    ca_file: PathBuf,
    _directory: TempDir,
    serving: tokio::task::JoinHandle<()>,
}

impl Receiver {
    /// Answers everything with 204, until [`Self::answers`] sets another status.
    pub(crate) async fn start() -> Self {
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = ca.self_signed(&ca_key).unwrap();
        let issuer = Issuer::from_params(&ca, &ca_key);
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let leaf = leaf.signed_by(&key, &issuer).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let ca_file = directory.path().join("ca.pem");
        std::fs::write(&ca_file, root.pem()).unwrap();

        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let desk = Arc::new(Desk { status: AtomicU16::new(204), ..Desk::default() });
        let served = Arc::clone(&desk);
        #[expect(clippy::disallowed_methods, reason = "the server is this test's own")]
        let serving = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, acceptor.clone(), Arc::clone(&served)));
            }
        });
        Self { port, desk, ca_file, _directory: directory, serving }
    }

    pub(crate) fn answers(&self, status: u16) {
        self.desk.status.store(status, Ordering::SeqCst);
    }

    /// The next connections meet these, one each.
    pub(crate) fn dies(&self, deaths: impl IntoIterator<Item = Dies>) {
        self.desk.deaths.lock().unwrap().extend(deaths);
    }

    /// Deaths that no delivery has met yet.
    pub(crate) fn deaths_left(&self) -> usize {
        self.desk.deaths.lock().unwrap().len()
    }

    /// The variables that have a relay in a process of its own do what [`Receiver::allow`] does.
    pub(crate) fn variables(&self) -> [(&'static str, String); 4] {
        [
            ("FIDO_RELAY_WEBHOOKS__ALLOWED_HOSTS", "localhost".to_owned()),
            ("FIDO_RELAY_WEBHOOKS__ALLOWED_PORTS", self.port.to_string()),
            ("FIDO_RELAY_WEBHOOKS__ALLOWED_NETWORKS", "127.0.0.0/8,::1/128".to_owned()),
            ("FIDO_RELAY_WEBHOOKS__CA_FILE", self.ca_file.to_string_lossy().into_owned()),
        ]
    }

    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}/hook", self.port)
    }

    /// Lets a relay's clients register this endpoint, and trusts its authority.
    pub(crate) fn allow(&self, config: &mut Config) {
        self.allow_distrusted(config);
        config.webhooks.ca_file = Some(self.ca_file.clone());
    }

    /// The same without the trust.
    pub(crate) fn allow_distrusted(&self, config: &mut Config) {
        config.webhooks.allowed_hosts = vec!["localhost".to_owned()];
        config.webhooks.allowed_ports = vec![self.port];
        let networks = ["127.0.0.0/8", "::1/128"].map(|network| network.parse().unwrap());
        config.webhooks.allowed_networks = networks.to_vec();
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.desk.received.lock().unwrap().clone()
    }

    /// Waits until this many have arrived, and gives them all.
    pub(crate) async fn until(&self, count: usize) -> Vec<Received> {
        self.until_those(count, |_| true).await
    }

    /// The same of those that fit; gives them alone.
    pub(crate) async fn until_those(
        &self,
        count: usize,
        fits: impl Fn(&Received) -> bool,
    ) -> Vec<Received> {
        let wait = async {
            loop {
                let more = self.desk.more.notified();
                let mut received = self.received();
                received.retain(&fits);
                if received.len() >= count {
                    return received;
                }
                more.await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(45), wait).await;
        waited.unwrap_or_else(|_| panic!("{} of {count} arrived", self.received().len()))
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// One request on one connection.
async fn serve(stream: TcpStream, acceptor: TlsAcceptor, desk: Arc<Desk>) {
    let dies = desk.deaths.lock().unwrap().pop_front();
    if dies == Some(Dies::BeforeTls) {
        return;
    }
    let Ok(mut stream) = acceptor.accept(stream).await else { return };
    if dies == Some(Dies::BeforeTheRequest) {
        return;
    }
    let mut bytes = Vec::new();
    let mut received = loop {
        if let Some(received) = parse(&bytes) {
            break received;
        }
        let ended = stream.read_buf(&mut bytes).await.unwrap_or(0) == 0;
        if ended || dies == Some(Dies::InTheRequest) {
            return;
        }
    };
    received.answered = dies.is_none_or(|dies| dies == Dies::InTheBody);
    desk.received.lock().unwrap().push(received);
    let status = desk.status.load(Ordering::SeqCst);
    let answer = format!(
        "HTTP/1.1 {status} Said\r\ncontent-length: 0\r\nlocation: https://localhost:1/\r\n\
         connection: close\r\n\r\n"
    );
    let said = match dies {
        None => answer.as_str(),
        Some(Dies::InTheStatusLine) => "HTTP/1.1 20",
        Some(Dies::InTheHeaders) => "HTTP/1.1 200 OK\r\ncontent-len",
        Some(Dies::InTheBody) => "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\ntake",
        Some(Dies::Never) => {
            desk.more.notify_one();
            while stream.read_buf(&mut bytes).await.unwrap_or(0) > 0 {}
            return;
        }
        Some(_) => "",
    };
    let _ = stream.write_all(said.as_bytes()).await;
    if dies.is_none() {
        let _ = stream.shutdown().await;
    } else {
        // Without a word of TLS, as a process that is killed leaves.
        let _ = stream.flush().await;
    }
    desk.more.notify_one();
}

/// A request that is whole.
fn parse(bytes: &[u8]) -> Option<Received> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let path = lines.next()?.strip_prefix("POST ")?.split(' ').next()?.to_owned();
    let headers: serde_json::Map<_, _> = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), Value::from(value)))
        .collect();
    let length: usize = headers["content-length"].as_str()?.parse().ok()?;
    (body.len() >= length).then(|| Received {
        path,
        headers,
        body: body.to_owned(),
        answered: false,
    })
}
