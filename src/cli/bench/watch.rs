//! How long after a ceremony ends its watchers know, by each road: many watch with tickets, all
//! ceremonies are cancelled at once, and every watcher's clock stops when it has the outcome.
//! Beside it, when the call that cancels is answered: it is stored by then, and nobody can be told
//! before.

use std::sync::OnceLock;
use std::time::Duration;

use fido_relay_proto::http::{OpenCeremony, OpenedCeremony, Status};
use fido_relay_proto::life::PriorAuth;
use fido_relay_proto::limits::WATCH_SUBPROTOCOL;
use fido_relay_proto::{Binding, CeremonyType};
use futures::StreamExt as _;
use futures::future::{join, try_join_all};
use futures::stream::{self, TryStreamExt as _};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;

use super::child::Server;
use super::phones;
use super::report::{Latencies, Progress};
use crate::cli::Failure;
use crate::cli::demo::initiator::Wait;
use crate::security::random;

/// Watchers of one ceremony: fewer than the relay's default allows.
const EACH: usize = 10;
/// Calls under way at once before the clock runs.
const AT_ONCE: usize = 32;
/// For the last watchers to be held before the ceremonies end.
const SETTLE: Duration = Duration::from_secs(2);

/// What was found.
#[derive(Debug)]
pub(super) struct Figures {
    /// Of each road.
    pub(super) watchers: usize,
    /// The calls that cancel.
    pub(super) answered: Latencies,
    /// Long polls.
    pub(super) poll: Latencies,
    /// Server-sent events.
    pub(super) events: Latencies,
    /// Sockets.
    pub(super) socket: Latencies,
}

#[derive(Clone, Copy, Debug)]
enum Road {
    Poll,
    Events,
    Socket,
}

/// Measures with so many watchers, by one road after the other.
pub(super) async fn measure(watchers: usize) -> Result<Figures, Failure> {
    let server = Server::start().await?;
    let (poll, mut answered) = road(&server, Road::Poll, watchers).await?;
    let (events, more) = road(&server, Road::Events, watchers).await?;
    answered.extend(more);
    let (socket, more) = road(&server, Road::Socket, watchers).await?;
    answered.extend(more);
    let latencies = |each| Latencies::new(each, Duration::from_secs(1));
    Ok(Figures {
        watchers,
        answered: latencies(answered),
        poll: latencies(poll),
        events: latencies(events),
        socket: latencies(socket),
    })
}

/// How long each watcher and each cancelling call took.
async fn road(
    server: &Server,
    road: Road,
    watchers: usize,
) -> Result<(Vec<Duration>, Vec<Duration>), Failure> {
    let progress = Progress::new("watching", watchers);
    let ceremonies = stream::iter(0..watchers.div_ceil(EACH)).map(|user| open(server, user));
    let ceremonies: Vec<_> = ceremonies.buffer_unordered(AT_ONCE).try_collect().await?;
    let began = OnceLock::new();
    let http = reqwest::Client::builder().no_proxy().build().map_err(Failure::failed)?;
    let watching = (0..watchers).map(|number| {
        let (opened, progress, began) = (&ceremonies[number / EACH], &progress, &began);
        let http = &http;
        async move {
            let ended = watch(server, http, road, opened, progress).await?;
            // Whoever hears of an end before there is one is told by somebody else.
            let began = began.get().ok_or_else(|| Failure::failed("a ceremony ended early"))?;
            Ok(ended.duration_since(*began))
        }
    });
    let ending = async {
        while progress.done() < watchers {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(SETTLE).await;
        let now = *began.get_or_init(Instant::now);
        try_join_all(ceremonies.iter().map(|opened| async move {
            server.initiator.cancel(opened.id).await.map_err(Failure::failed)?;
            Ok(now.elapsed())
        }))
        .await
    };
    let (watched, answered) = join(try_join_all(watching), ending).await;
    progress.end();
    Ok((watched?, answered?))
}

async fn open(server: &Server, user: usize) -> Result<OpenedCeremony, Failure> {
    let body = OpenCeremony {
        ceremony_type: CeremonyType::Authentication,
        username: phones::username(user)?,
        display_name: None,
        device_id: None,
        timeout_s: Some(600),
        binding: Binding::Code,
        message: None,
        transaction: None,
        context: None,
        client_nonce: None,
        prior_auth: PriorAuth::Password,
        options: Default::default(),
    };
    server.initiator.open(&body, &random::token()).await.map_err(Failure::failed)
}

/// Watches with the ticket until the outcome is there; gives when it was.
async fn watch(
    server: &Server,
    http: &reqwest::Client,
    road: Road,
    opened: &OpenedCeremony,
    progress: &Progress,
) -> Result<Instant, Failure> {
    let (id, ticket) = (opened.id, &opened.ticket);
    match road {
        Road::Poll => {
            progress.step();
            loop {
                let wait = Wait { seconds: 55, since: 1 };
                let view = server.initiator.view_with_ticket(id, ticket, wait).await;
                if view.map_err(Failure::failed)?.status != Status::Pending {
                    return Ok(Instant::now());
                }
            }
        }
        Road::Events => {
            let url = format!("{}v1/ceremonies/{id}/events", server.url);
            let stream = http.get(url).bearer_auth(ticket).send().await;
            let mut stream = stream.and_then(reqwest::Response::error_for_status);
            progress.step();
            let stream = stream.as_mut().map_err(|error| Failure::failed(&*error))?;
            let mut text = String::new();
            while let Some(chunk) = stream.chunk().await.map_err(Failure::failed)? {
                text.push_str(&String::from_utf8_lossy(&chunk));
                if text.contains("event: closed\n") {
                    return Ok(Instant::now());
                }
            }
            Err(Failure::failed("a stream ended without an outcome"))
        }
        Road::Socket => {
            let url = format!("{}v1/ceremonies/{id}/socket", server.url);
            let url = url.replacen("http", "ws", 1);
            let mut request = url.into_client_request().map_err(Failure::failed)?;
            let offered = format!("{WATCH_SUBPROTOCOL}, ticket.{ticket}");
            let offered = HeaderValue::from_str(&offered).map_err(Failure::failed)?;
            request.headers_mut().insert("sec-websocket-protocol", offered);
            let opening = tokio_tungstenite::connect_async(request).await;
            let (mut socket, _) = opening.map_err(Failure::failed)?;
            progress.step();
            while let Some(message) = socket.next().await {
                match message.map_err(Failure::failed)? {
                    Message::Text(text) if text.contains("\"step\":\"closed\"") => {
                        return Ok(Instant::now());
                    }
                    Message::Text(_)
                    | Message::Binary(_)
                    | Message::Ping(_)
                    | Message::Pong(_)
                    | Message::Close(_)
                    | Message::Frame(_) => {}
                }
            }
            Err(Failure::failed("a socket ended without an outcome"))
        }
    }
}
