//! Webhook endpoints in this process, which record the arrival of deliveries. Over http, so that TLS is
//! not measured.

use std::collections::HashSet;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use fido_relay_kit::clock::Clock as _;
use fido_relay_kit::clock::SystemClock;
use fido_relay_kit::tasks::Tasks;
use fido_relay_proto::UnixMillis;
use fido_relay_proto::webhook::{CreateWebhook, WebhookBody, WebhookEvent, WebhookScheme};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::child::RelayUnderTest;
use crate::command::Failure;
use crate::demo::web;

/// Deliveries that wait to be read.
const QUEUE: usize = 1024;

type Arrival = (usize, String, UnixMillis, WebhookBody);

#[derive(Debug)]
pub(super) struct WebhookEndpoints {
    arrivals: mpsc::Receiver<Arrival>,
    known: HashSet<(usize, String)>,
}

impl WebhookEndpoints {
    /// Listens, and registers `count` endpoints at the relay.
    pub(super) async fn register(
        server: &RelayUnderTest,
        count: usize,
        tasks: &Tasks,
    ) -> Result<Self, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(Failure::failed)?;
        let address = listener.local_addr().map_err(Failure::failed)?;
        let (sender, arrivals) = mpsc::channel(QUEUE);
        let site = Router::new().route("/{endpoint}", post(receive)).with_state(sender);
        web::serve(listener, site, tasks).map_err(Failure::failed)?;
        for endpoint in 0..count {
            let webhook = CreateWebhook {
                url: format!("http://{address}/{endpoint}"),
                events: vec![WebhookEvent::CeremonyClosed],
                schemes: vec![WebhookScheme::V1a],
            };
            server.initiator.register_webhook(&webhook).await.map_err(Failure::failed)?;
        }
        Ok(Self { arrivals, known: HashSet::new() })
    }

    /// The next delivery that is no repetition, with its time of arrival.
    pub(super) async fn next(&mut self) -> Option<(UnixMillis, WebhookBody)> {
        loop {
            let (endpoint, id, at, body) = self.arrivals.recv().await?;
            if self.known.insert((endpoint, id)) {
                return Some((at, body));
            }
        }
    }
}

async fn receive(
    State(arrivals): State<mpsc::Sender<Arrival>>,
    Path(endpoint): Path<usize>,
    headers: HeaderMap,
    body: String,
) -> StatusCode {
    let at = SystemClock.now();
    let id = headers.get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
    let Ok(body) = serde_json::from_str(&body) else { return StatusCode::BAD_REQUEST };
    // A closed channel means that the measurement is over.
    drop(arrivals.send((endpoint, id.to_owned(), at, body)).await);
    StatusCode::NO_CONTENT
}
