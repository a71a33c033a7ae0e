//! The three ways to watch a ceremony (long poll, event stream, socket) behind one `next`.

use std::collections::VecDeque;
use std::time::Duration;

use fido_relay_proto::http::{CeremonyView, Status};
use fido_relay_proto::watch::WatchEvent;
use fido_relay_proto::{CeremonyId, Phase, Reason, Step};
use futures::StreamExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::support::relay::Initiator;

/// Nothing that a test waits for takes longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Road {
    Poll,
    Events,
    Socket,
}

impl Road {
    pub(crate) const ALL: [Self; 3] = [Self::Poll, Self::Events, Self::Socket];
}

/// What every road tells of a step, and of the last one how it ended.
pub(crate) type Told = (u32, Step, String, Option<(Status, Option<Reason>)>);

pub(crate) fn told(event: &WatchEvent) -> Told {
    let end = (event.step == Step::Closed).then_some((event.status, event.reason));
    (event.seq, event.step, event.at.clone(), end)
}

/// How a road ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The poll was answered with the present state and a pause, or the stream's body ended.
    InOrder,
    /// The socket was closed with this code.
    Closed(u16),
    /// Without a reason: the relay is gone.
    Broken,
}

pub(crate) struct Watching {
    road: Way,
    ahead: VecDeque<WatchEvent>,
    ended: Option<Ended>,
    /// What each answer said of where the ceremony stood after its last step.
    phases: Vec<(u32, Phase)>,
}

enum Way {
    Poll { http: reqwest::Client, url: String, bearer: String, since: u32 },
    Events { response: reqwest::Response, text: String },
    Socket(Box<WebSocketStream<MaybeTlsStream<TcpStream>>>),
}

impl Watching {
    /// Watches what follows the event with this number.
    pub(crate) async fn after(
        since: u32,
        road: Road,
        by: &Initiator,
        id: CeremonyId,
        bearer: &str,
    ) -> Self {
        Self::try_after(since, road, by, id, bearer).await.expect("the relay answers")
    }

    /// [`Self::after`], or `None` if the connection breaks.
    pub(crate) async fn try_after(
        since: u32,
        road: Road,
        by: &Initiator,
        id: CeremonyId,
        bearer: &str,
    ) -> Option<Self> {
        let url = format!("{}/v1/ceremonies/{id}", by.url);
        let road = match road {
            Road::Poll => {
                Way::Poll { http: by.http.clone(), url, bearer: bearer.to_owned(), since }
            }
            Road::Events => {
                let request = by.http.get(format!("{url}/events")).bearer_auth(bearer);
                let request = request.header("Last-Event-ID", since.to_string());
                let response = timeout(PATIENCE, request.send()).await.unwrap().ok()?;
                assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
                Way::Events { response, text: String::new() }
            }
            Road::Socket => {
                let url = format!("{}/socket?since={since}", url.replacen("http", "ws", 1));
                let mut request = url.into_client_request().unwrap();
                let headers = request.headers_mut();
                let mut offered = "fido-relay.watch.v1".to_owned();
                if bearer.starts_with("tkt_") {
                    offered.push_str(&format!(", ticket.{bearer}"));
                } else {
                    headers.insert("authorization", format!("Bearer {bearer}").parse().unwrap());
                }
                headers.insert("sec-websocket-protocol", offered.parse().unwrap());
                let opening = tokio_tungstenite::connect_async(request);
                let (socket, _) = timeout(PATIENCE, opening).await.unwrap().ok()?;
                Way::Socket(Box::new(socket))
            }
        };
        Some(Self { road, ahead: VecDeque::new(), ended: None, phases: Vec::new() })
    }

    /// The next event, or none where the road ends.
    pub(crate) async fn next(&mut self) -> Option<WatchEvent> {
        while self.ahead.is_empty() && self.ended.is_none() {
            timeout(PATIENCE, self.read()).await.expect("news, or an end");
        }
        self.ahead.pop_front()
    }

    /// Every event until the road ends.
    pub(crate) async fn rest(&mut self) -> Vec<WatchEvent> {
        let mut all = Vec::new();
        while let Some(event) = self.next().await {
            all.push(event);
        }
        all
    }

    /// The phases that it received, each with the number of the step that led to it.
    pub(crate) fn phases(&self) -> &[(u32, Phase)] {
        &self.phases
    }

    pub(crate) fn ended(&self) -> Option<Ended> {
        self.ended
    }

    async fn read(&mut self) {
        if self.read_whole().await.is_none() {
            self.ended = Some(Ended::Broken);
        }
    }

    /// Reads on; nothing where the connection breaks.
    async fn read_whole(&mut self) -> Option<()> {
        match &mut self.road {
            Way::Poll { http, url, bearer, since } => {
                let url = format!("{url}?wait=55&since={since}");
                let response = http.get(url).bearer_auth(&*bearer).send().await.ok()?;
                assert_eq!(response.status(), 200);
                let stops = response.headers().contains_key("retry-after");
                let view: CeremonyView = response.json().await.ok()?;
                self.ahead.extend(after(&view, *since));
                self.phases.push((view.seq, view.phase));
                *since = view.seq;
                if stops || view.phase == Phase::Closed {
                    self.ended = Some(Ended::InOrder);
                }
            }
            Way::Events { response, text } => match response.chunk().await.ok()? {
                Some(chunk) => {
                    text.push_str(std::str::from_utf8(&chunk).unwrap());
                    while let Some((block, rest)) = text.split_once("\n\n") {
                        let event = parsed(block);
                        self.phases.extend(event.iter().map(|event| (event.seq, event.phase)));
                        self.ahead.extend(event);
                        *text = rest.to_owned();
                    }
                }
                None => self.ended = Some(Ended::InOrder),
            },
            Way::Socket(socket) => match socket.next().await?.ok()? {
                Message::Text(text) => {
                    let event: WatchEvent = serde_json::from_str(&text).unwrap();
                    self.phases.push((event.seq, event.phase));
                    self.ahead.push_back(event);
                }
                Message::Close(frame) => {
                    self.ended = Some(Ended::Closed(frame.unwrap().code.into()));
                    // Answers with a close of its own.
                    let _ = socket.next().await;
                }
                Message::Ping(_) => {}
                other => panic!("{other:?}"),
            },
        }
        Some(())
    }
}

/// The events that follow number `since`. A watcher with a number that the ceremony does not have
/// reads the last one anew.
pub(crate) fn after(view: &CeremonyView, since: u32) -> Vec<WatchEvent> {
    let known = view.progress.iter().position(|entry| entry.seq == since);
    let start = match known {
        Some(at) => at + 1,
        None if since == 0 => 0,
        None => view.progress.len() - 1,
    };
    view.progress[start..].iter().map(|entry| event(view, entry.seq)).collect()
}

/// The number of the last event that was seen.
pub(crate) fn last(seen: &[Told]) -> u32 {
    seen.last().map_or(0, |(seq, ..)| *seq)
}

fn event(view: &CeremonyView, seq: u32) -> WatchEvent {
    let entry = view.progress.iter().find(|entry| entry.seq == seq).unwrap();
    let closed = entry.step == Step::Closed;
    WatchEvent {
        seq,
        step: entry.step,
        at: entry.at.clone(),
        status: if closed { view.status } else { Status::Pending },
        phase: view.phase,
        reason: view.reason.filter(|_| closed),
    }
}

/// One block of an event stream, as the HTML standard reads it, held to what its data say.
pub(crate) fn parsed(block: &str) -> Option<WatchEvent> {
    let field = |name: &str| {
        let lines = block.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(known, _)| *known == name).map(|(_, value)| value).next()
    };
    let data = field("data")?;
    let event: WatchEvent = serde_json::from_str(data).unwrap();
    assert_eq!(field("id").unwrap(), event.seq.to_string());
    let name = if event.step == Step::Closed { "closed" } else { "progress" };
    assert_eq!(field("event").unwrap(), name);
    Some(event)
}
