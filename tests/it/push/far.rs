//! A push service's side of the line: a server over HTTP/2 and TLS (or HTTP/1.1 without), that keeps
//! every byte it is sent and answers as the test says.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request, Response, Version};
use fido_relay::tasks::Tasks;
use http_body_util::BodyExt as _;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_util::sync::CancellationToken;

use crate::support::authority::Authority;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) version: Version,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) at: Instant,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.unwrap_or_else(|| panic!("{} has no {name}", self.path)).to_str().unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Everything that left the relay, as text.
    pub(crate) fn every_byte(&self) -> String {
        let body = String::from_utf8_lossy(&self.body);
        format!("{}\n{:?}\n{body}", self.path, self.headers)
    }
}

/// What the server answers to one request.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// A status, seconds of `Retry-After`, and a body.
    Status(u16, Option<u64>, String),
    /// Nothing until [`Far::release`], then a 200.
    Held,
    /// The connection breaks off.
    Cut,
}

impl Answer {
    pub(crate) fn status(status: u16) -> Self {
        Self::Status(status, None, String::new())
    }

    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::Status(status, None, body.to_string())
    }
}

#[derive(Default)]
struct Desk {
    received: Mutex<Vec<Received>>,
    next: Mutex<VecDeque<Answer>>,
    tokens: Mutex<VecDeque<Answer>>,
    usual: Mutex<Option<Answer>>,
    under_way: Mutex<(usize, usize)>,
    connections: Mutex<usize>,
}

/// The far end; it ends with this value.
pub(crate) struct Far {
    pub(crate) url: String,
    desk: Arc<Desk>,
    gate: watch::Sender<bool>,
    tasks: Tasks,
}

impl Far {
    /// Over TLS, with HTTP/2 if the client asks for it.
    pub(crate) async fn start(authority: &Authority) -> Self {
        let (certificate, key) = authority.pair();
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let config = ServerConfig::builder().with_no_client_auth();
        let mut config = config.with_single_cert(vec![certificate], key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self::serve("https", Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    /// Without TLS, for Web Push on this machine.
    pub(crate) async fn plain() -> Self {
        Self::serve("http", None).await
    }

    async fn serve(scheme: &str, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("{scheme}://localhost:{}", listener.local_addr().unwrap().port());
        let (desk, tasks, gate) =
            (Arc::new(Desk::default()), Tasks::default(), watch::channel(false).0);
        let (owner, stopping) = (tasks.clone(), tasks.stopping().clone());
        let (served, opened) = (Arc::clone(&desk), gate.subscribe());
        tasks.spawn_untraced(async move {
            while let Some(Ok((stream, _))) = stopping.run_until_cancelled(listener.accept()).await
            {
                let (tls, stopping) = (tls.clone(), stopping.clone());
                let (desk, gate) = (Arc::clone(&served), opened.clone());
                *desk.connections.lock().unwrap() += 1;
                owner.spawn_untraced(async move {
                    let serving = async move {
                        match tls {
                            None => connection(stream, desk, gate).await,
                            Some(tls) => {
                                if let Ok(stream) = tls.accept(stream).await {
                                    connection(stream, desk, gate).await;
                                }
                            }
                        }
                    };
                    stopping.run_until_cancelled(serving).await;
                });
            }
        });
        Self { url, desk, gate, tasks }
    }

    /// The answers to the next requests, in their order.
    pub(crate) fn next(&self, answers: impl IntoIterator<Item = Answer>) {
        self.desk.next.lock().unwrap().extend(answers);
    }

    /// The answers to the next requests for an access token, which is given otherwise.
    pub(crate) fn next_token(&self, answer: Answer) {
        self.desk.tokens.lock().unwrap().push_back(answer);
    }

    /// The answer to every other request; at first 200 without a body.
    pub(crate) fn usually(&self, answer: Answer) {
        *self.desk.usual.lock().unwrap() = Some(answer);
    }

    /// Lets go what is held, now and later.
    pub(crate) fn release(&self) {
        self.gate.send_replace(true);
    }

    /// All requests since the start, in their order.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.desk.received.lock().unwrap().clone()
    }

    /// What was received on paths that begin so.
    pub(crate) fn at(&self, path: &str) -> Vec<Received> {
        self.received().into_iter().filter(|one| one.path.starts_with(path)).collect()
    }

    /// The most requests that were under way together.
    pub(crate) fn most_at_once(&self) -> usize {
        self.desk.under_way.lock().unwrap().1
    }

    pub(crate) fn connections(&self) -> usize {
        *self.desk.connections.lock().unwrap()
    }

    /// Returns once so many requests have come.
    pub(crate) async fn until(&self, count: usize) -> Vec<Received> {
        let all = async {
            while self.desk.received.lock().unwrap().len() < count {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), all).await.expect("so many requests");
        self.received()
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        self.tasks.stopping().cancel();
    }
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    desk: Arc<Desk>,
    gate: watch::Receiver<bool>,
) {
    let cut = CancellationToken::new();
    let service = service_fn(|request: Request<hyper::body::Incoming>| {
        let (desk, gate, cut) = (Arc::clone(&desk), gate.clone(), cut.clone());
        async move { Ok::<_, Infallible>(answer(request, &desk, gate, &cut).await) }
    });
    let builder = auto::Builder::new(TokioExecutor::new());
    let serving = builder.serve_connection(TokioIo::new(stream), service);
    drop(cut.run_until_cancelled(serving).await);
}

async fn answer(
    request: Request<hyper::body::Incoming>,
    desk: &Desk,
    mut gate: watch::Receiver<bool>,
    cut: &CancellationToken,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let path = head.uri.path().to_owned();
    let is_token = path == "/token";
    let received =
        Received { version: head.version, path, headers: head.headers, body, at: Instant::now() };
    {
        let mut under_way = desk.under_way.lock().unwrap();
        under_way.0 += 1;
        under_way.1 = under_way.1.max(under_way.0);
    }
    desk.received.lock().unwrap().push(received);
    let _gone = Gone(desk);
    let queue = if is_token { &desk.tokens } else { &desk.next };
    let scripted = queue.lock().unwrap().pop_front();
    let usual = || desk.usual.lock().unwrap().clone().filter(|_| !is_token);
    let granted = || {
        let token = format!("access-{}", desk.received.lock().unwrap().len());
        let body = serde_json::json!({ "access_token": token, "expires_in": 3600 });
        if is_token { Answer::json(200, &body) } else { Answer::status(200) }
    };
    let chosen = scripted.or_else(usual).unwrap_or_else(granted);
    match chosen {
        Answer::Status(status, retry_after, body) => {
            let mut response = Response::builder().status(status);
            if let Some(seconds) = retry_after {
                response = response.header("retry-after", seconds);
            }
            response.body(Body::from(body)).unwrap()
        }
        Answer::Held => {
            // The far end is gone if this fails.
            let _ = gate.wait_for(|open| *open).await;
            Response::new(Body::empty())
        }
        Answer::Cut => {
            cut.cancel();
            std::future::pending().await
        }
    }
}

/// One request less is under way.
struct Gone<'a>(&'a Desk);

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        self.0.under_way.lock().unwrap().0 -= 1;
    }
}
