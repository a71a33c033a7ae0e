//! A Web Push receiver on loopback: push service (RFC 8030) and browser in one, as far as a wake needs
//! them. It accepts messages, decrypts them and passes their text on.
//!
//! It must know nothing of the relay, nor of what a message means.

mod keys;

use std::convert::Infallible;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dashmap::DashMap;
use fido_relay_kit::random;
use fido_relay_kit::tasks::Tasks;
use fido_relay_proto::PlainText;
use fido_relay_proto::http::{PushService, PushTarget, WebPushKeys};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::keys::ReceiverKeys;
#[cfg(test)]
pub(super) use self::keys::tests::seal;
use super::key::KeyError;

/// Largest message that a push service has to take (RFC 8030 section 7.2).
const MAX_MESSAGE: usize = 4096;
/// Unread messages of a subscription. Further ones are dropped: a wake only says "pull", and the
/// earlier ones say the same.
const WAITING: usize = 8;
/// Limit for a request's headers.
const HEADERS_LIMIT: Duration = Duration::from_secs(5);
/// Pause after a failed accept, such as without free file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Subscriptions by the path of their address.
type Mailboxes = Arc<DashMap<String, Arc<Mailbox>>>;

struct Mailbox {
    keys: ReceiverKeys,
    texts: mpsc::Sender<String>,
}

/// Receives the messages of any number of subscriptions.
pub struct PushReceiver {
    address: SocketAddr,
    mailboxes: Mailboxes,
}

impl fmt::Debug for PushReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushReceiver").field("address", &self.address).finish_non_exhaustive()
    }
}

impl PushReceiver {
    /// Listens on any port of loopback until the tasks stop.
    ///
    /// # Errors
    /// If no port is free.
    pub async fn listen(tasks: &Tasks) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let mailboxes = Mailboxes::default();
        let (served, connections) = (Arc::clone(&mailboxes), tasks.clone());
        tasks.spawn("push receiver", async move {
            loop {
                let accepted = tokio::select! {
                    () = connections.stopping().cancelled() => return,
                    accepted = listener.accept() => accepted,
                };
                match accepted {
                    Ok((stream, _)) => {
                        let stopping = connections.stopping().clone();
                        connections.spawn_untraced(serve(stream, Arc::clone(&served), stopping));
                    }
                    Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
                }
            }
        });
        Ok(Self { address, mailboxes })
    }

    /// A new address with keys of its own, valid until the subscription is dropped.
    ///
    /// # Errors
    /// [`KeyError`] if the cryptographic library fails.
    pub fn subscribe(&self) -> Result<PushSubscription, KeyError> {
        let keys = ReceiverKeys::generate()?;
        let path = format!("/{}", URL_SAFE_NO_PAD.encode(random::bytes::<16>()));
        let plain = |text: &str| PlainText::new(text).map_err(|_| KeyError("makes no address"));
        let target = PushTarget {
            service: PushService::Webpush,
            token: plain(&format!("http://{}{path}", self.address))?,
            app: None,
            keys: Some(WebPushKeys {
                p256dh: PlainText::new(&keys.p256dh()).map_err(|_| KeyError("is too long"))?,
                auth: PlainText::new(&keys.auth()).map_err(|_| KeyError("is too long"))?,
            }),
        };
        let (texts, inbox) = mpsc::channel(WAITING);
        self.mailboxes.insert(path.clone(), Arc::new(Mailbox { keys, texts }));
        Ok(PushSubscription { target, path, inbox, mailboxes: Arc::clone(&self.mailboxes) })
    }
}

/// One address and its messages.
pub struct PushSubscription {
    target: PushTarget,
    path: String,
    inbox: mpsc::Receiver<String>,
    mailboxes: Mailboxes,
}

impl fmt::Debug for PushSubscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushSubscription").field("target", &self.target).finish_non_exhaustive()
    }
}

impl PushSubscription {
    /// The address and its public keys, for the sender.
    #[must_use]
    pub fn target(&self) -> &PushTarget {
        &self.target
    }

    /// The next message's text. Cancel safe.
    pub async fn next(&mut self) -> String {
        match self.inbox.recv().await {
            Some(text) => text,
            // The mailbox lives as long as the subscription, so the channel stays open.
            None => std::future::pending().await,
        }
    }
}

impl Drop for PushSubscription {
    fn drop(&mut self) {
        self.mailboxes.remove(&self.path);
    }
}

async fn serve(stream: TcpStream, mailboxes: Mailboxes, stopping: CancellationToken) {
    let service = service_fn(move |request| {
        let mailboxes = Arc::clone(&mailboxes);
        async move {
            let mut response = Response::new(Empty::<Bytes>::new());
            *response.status_mut() = receive(request, &mailboxes).await;
            Ok::<_, Infallible>(response)
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_LIMIT)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        () = stopping.cancelled() => {}
        // A sender may hang up at any time.
        _ = serving => {}
    }
}

/// Receives one message. A real push service cannot decrypt it; this one is the browser as well and
/// refuses what does not decrypt, so that a wrong sender fails visibly.
async fn receive(request: Request<Incoming>, mailboxes: &Mailboxes) -> StatusCode {
    let Some(mailbox) = mailboxes.get(request.uri().path()).map(|found| Arc::clone(&found)) else {
        return StatusCode::GONE;
    };
    if request.method() != Method::POST {
        return StatusCode::METHOD_NOT_ALLOWED;
    }
    let text = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    if text("ttl").and_then(|ttl| ttl.parse::<u32>().ok()).is_none() {
        return StatusCode::BAD_REQUEST;
    }
    if text(header::CONTENT_ENCODING.as_str()) != Some("aes128gcm") {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE;
    }
    let Ok(body) = Limited::new(request.into_body(), MAX_MESSAGE).collect().await else {
        return StatusCode::PAYLOAD_TOO_LARGE;
    };
    let opened = mailbox.keys.open(&body.to_bytes());
    let Some(text) = opened.and_then(|text| String::from_utf8(text).ok()) else {
        return StatusCode::BAD_REQUEST;
    };
    // Full or closed: see WAITING.
    let _ = mailbox.texts.try_send(text);
    StatusCode::CREATED
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn posted(
        url: &str,
        headers: &[(&'static str, &str)],
        body: Vec<u8>,
    ) -> reqwest::StatusCode {
        let client = fido_relay_kit::trust::http_client().no_proxy().build().unwrap();
        let mut request = client.post(url).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap().status()
    }

    const AS_IT_SHOULD: [(&str, &str); 2] = [("TTL", "60"), ("Content-Encoding", "aes128gcm")];

    fn sealed_for(target: &PushTarget, text: &[u8]) -> Vec<u8> {
        let keys = target.keys.as_ref().unwrap();
        seal(keys.p256dh.as_str(), keys.auth.as_str(), text)
    }

    #[tokio::test]
    async fn a_message_to_an_address_arrives_there_and_nowhere_else() {
        let tasks = Tasks::default();
        let receiver = PushReceiver::listen(&tasks).await.unwrap();
        let mut one = receiver.subscribe().unwrap();
        let mut other = receiver.subscribe().unwrap();
        assert_ne!(one.target().token, other.target().token);
        for (subscription, text) in [(&mut other, "for the other"), (&mut one, "for the one")] {
            let sealed = sealed_for(subscription.target(), text.as_bytes());
            let status = posted(subscription.target().token.as_str(), &AS_IT_SHOULD, sealed).await;
            assert_eq!(status, StatusCode::CREATED);
            assert_eq!(subscription.next().await, text);
        }
        tasks.stop(Duration::from_secs(5)).await;
    }

    #[tokio::test]
    async fn an_address_that_was_given_up_is_gone() {
        let tasks = Tasks::default();
        let receiver = PushReceiver::listen(&tasks).await.unwrap();
        let subscription = receiver.subscribe().unwrap();
        let sealed = sealed_for(subscription.target(), b"wake");
        let url = subscription.target().token.as_str().to_owned();
        drop(subscription);
        assert_eq!(posted(&url, &AS_IT_SHOULD, sealed).await, StatusCode::GONE);
        tasks.stop(Duration::from_secs(5)).await;
    }

    #[tokio::test]
    async fn what_is_no_push_message_is_refused_and_arrives_nowhere() {
        let tasks = Tasks::default();
        let receiver = PushReceiver::listen(&tasks).await.unwrap();
        let mut subscription = receiver.subscribe().unwrap();
        let other = receiver.subscribe().unwrap();
        let url = subscription.target().token.as_str().to_owned();
        let sealed = || sealed_for(subscription.target(), b"wake");
        let for_another = sealed_for(other.target(), b"wake");
        for (headers, body, status) in [
            (&AS_IT_SHOULD[1..], sealed(), StatusCode::BAD_REQUEST),
            (&AS_IT_SHOULD[..1], sealed(), StatusCode::UNSUPPORTED_MEDIA_TYPE),
            (&AS_IT_SHOULD[..], b"in the clear".to_vec(), StatusCode::BAD_REQUEST),
            (&AS_IT_SHOULD[..], for_another, StatusCode::BAD_REQUEST),
            (&AS_IT_SHOULD[..], vec![0; MAX_MESSAGE + 1], StatusCode::PAYLOAD_TOO_LARGE),
        ] {
            assert_eq!(posted(&url, headers, body).await, status);
        }
        let last = sealed_for(subscription.target(), b"the only one");
        assert_eq!(posted(&url, &AS_IT_SHOULD, last).await, StatusCode::CREATED);
        assert_eq!(subscription.next().await, "the only one");
        tasks.stop(Duration::from_secs(5)).await;
    }
}
