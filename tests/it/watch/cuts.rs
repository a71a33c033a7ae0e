//! Connections that break between any two bytes: in an answer's head, between head and body, in
//! the middle of an event. A watcher that resumes after the last whole event misses none.

use std::collections::BTreeSet;
use std::time::Duration;

use fido_relay::core::ceremony::Event;
use fido_relay_proto::device::{AckOf, CardEvent};
use fido_relay_proto::http::CeremonyView;
use fido_relay_proto::watch::WatchEvent;
use fido_relay_proto::{Binding, Step};
use futures::future::{join, join_all};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use super::LONG;
use super::roads::{PATIENCE, Road, Told, Watching, after, last, parsed, told};
use super::stage::{DEVICE, Opened, Plot, Stage};

/// Of each road; each breaks off at other bytes than the others.
const WATCHERS: usize = 9;
/// Bytes that a connection lives longer than the one before, until an event comes whole. Together
/// with [`WATCHERS`] it has every ninth byte be somebody's last.
const MORE: usize = 81;

/// Where connections ended, by what had arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cut {
    InTheHead,
    AfterTheHead,
    InAnEvent,
    AfterAnEvent,
}

fn request(road: Road, opened: &Opened, since: u32) -> String {
    let (id, ticket) = (opened.id, &opened.ticket);
    let (end, headers) = match road {
        Road::Poll => {
            (format!("?wait=55&since={since}"), format!("Authorization: Bearer {ticket}"))
        }
        Road::Events => (
            "/events".to_owned(),
            format!("Authorization: Bearer {ticket}\r\nLast-Event-ID: {since}"),
        ),
        Road::Socket => (
            format!("/socket?since={since}"),
            format!(
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                 Sec-WebSocket-Protocol: fido-relay.watch.v1, ticket.{ticket}"
            ),
        ),
    };
    format!("GET /v1/ceremonies/{id}{end} HTTP/1.1\r\nHost: relay\r\n{headers}\r\n\r\n")
}

/// The events that are whole in these bytes, and what of them is not part of one.
fn understood(road: Road, bytes: &[u8], since: u32) -> (Vec<WatchEvent>, Cut) {
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let Some(head) = head else { return (Vec::new(), Cut::InTheHead) };
    let (head, body) = bytes.split_at(head + 4);
    let head = std::str::from_utf8(head).unwrap();
    let well = if road == Road::Socket { "HTTP/1.1 101" } else { "HTTP/1.1 20" };
    assert!(head.starts_with(well), "{head}");
    if body.is_empty() {
        return (Vec::new(), Cut::AfterTheHead);
    }
    let (events, rest) = match road {
        Road::Poll => match serde_json::from_slice::<CeremonyView>(body) {
            Ok(view) => (after(&view, since), 0),
            Err(error) => {
                assert!(error.is_eof(), "{error}");
                (Vec::new(), body.len())
            }
        },
        Road::Events => {
            // Chunks end where blocks end: their lengths and ends stand between these.
            let text = std::str::from_utf8(body).unwrap();
            let blocks: Vec<_> = text.split_inclusive("\n\n").collect();
            let whole = blocks.iter().filter(|block| block.ends_with("\n\n"));
            let rest = blocks.iter().filter(|block| !block.ends_with("\n\n"));
            let inside = rest.filter(|rest| rest.contains("id: ")).map(|rest| rest.len()).sum();
            (whole.filter_map(|block| parsed(block)).collect(), inside)
        }
        Road::Socket => frames(body),
    };
    let cut = if rest > 0 { Cut::InAnEvent } else { Cut::AfterAnEvent };
    (events, cut)
}

/// The text frames that are whole, and how many bytes of the next are here.
fn frames(mut bytes: &[u8]) -> (Vec<WatchEvent>, usize) {
    let mut events = Vec::new();
    loop {
        let (length, start) = match bytes {
            [_, 126, high, low, ..] => (usize::from(u16::from_be_bytes([*high, *low])), 4),
            [_, length, ..] if *length < 126 => (usize::from(*length), 2),
            _ => return (events, bytes.len()),
        };
        let Some(payload) = bytes.get(start..start + length) else {
            return (events, bytes.len());
        };
        if bytes[0] == 0x81 {
            events.push(serde_json::from_slice(payload).unwrap());
        }
        bytes = &bytes[start + length..];
    }
}

/// Reads so many bytes of an answer, or until it ends or an event is whole, and breaks off.
async fn broken_off(
    stage: &Stage,
    (road, opened): (Road, &Opened),
    since: u32,
    bytes: usize,
) -> (Vec<WatchEvent>, Cut) {
    let address = stage.relay.url().replace("http://", "");
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request(road, opened, since).as_bytes()).await.unwrap();
    let mut heard = Vec::new();
    let reading = async {
        while heard.len() < bytes {
            let mut buffer = vec![0; bytes - heard.len()];
            let read = stream.read(&mut buffer).await.unwrap();
            heard.extend_from_slice(&buffer[..read]);
            // Without this a watcher that has what there is would wait for more bytes, not break.
            if read == 0 || !understood(road, &heard, since).0.is_empty() {
                return;
            }
        }
    };
    timeout(PATIENCE, reading).await.unwrap();
    understood(road, &heard, since)
}

/// Goes on from the last whole event until the end; tells each, and gives where it broke off.
async fn watch_in_pieces(
    stage: &Stage,
    (road, opened): (Road, &Opened),
    nth: usize,
    tell: &watch::Sender<u32>,
) -> (Vec<Told>, BTreeSet<Cut>) {
    let (mut seen, mut cuts) = (Vec::<Told>::new(), BTreeSet::new());
    let first = nth * MORE / WATCHERS;
    let mut bytes = first;
    while !matches!(seen.last(), Some((_, Step::Closed, ..))) {
        let since = last(&seen);
        let (events, cut) = broken_off(stage, (road, opened), since, bytes).await;
        cuts.insert(cut);
        bytes = if events.is_empty() { bytes + MORE } else { first };
        seen.extend(events.iter().map(told));
        tell.send_replace(u32::try_from(seen.len()).unwrap());
    }
    (seen, cuts)
}

#[tokio::test]
async fn a_connection_that_breaks_between_any_two_bytes_costs_no_event_and_tells_none_twice() {
    let stage = Stage::set_with(|config| config.limits.watchers_per_ceremony = 10_000).await;
    let opened = stage.open(Binding::Code, LONG).await;
    let (id, opened) = (opened.id, &opened);
    let everybody =
        Road::ALL.into_iter().flat_map(|road| (0..WATCHERS).map(move |nth| (road, nth)));
    let (mut watching, mut told_of) = (Vec::new(), Vec::new());
    for (road, nth) in everybody {
        let (tell, told) = watch::channel(0);
        told_of.push(told);
        let stage = &stage;
        watching
            .push(async move { (road, watch_in_pieces(stage, (road, opened), nth, &tell).await) });
    }
    // Each step only once all watchers have the one before, so that they break off at this one too.
    let play = async {
        for step in 1..=5 {
            for told in &mut told_of {
                let known = told.wait_for(|seen| *seen >= step);
                timeout(PATIENCE, known).await.unwrap().unwrap();
            }
            match step {
                1 => stage.drive(id, Event::Sent { device: DEVICE }).await,
                2 => stage.drive(id, Event::Acked { device: DEVICE, of: AckOf::Offer }).await,
                3 => stage.claim(opened, true).await,
                4 => {}
                _ => {
                    let (event, code) = (CardEvent::Present, None);
                    stage.drive(id, Event::Card { device: DEVICE, event, code }).await;
                }
            }
        }
        stage.answer(id, Plot::Succeeds).await;
    };
    let (all, ()) = join(join_all(watching), play).await;
    let whole = Watching::after(0, Road::Poll, &stage.initiator, id, &opened.ticket).await;
    let mut whole = whole;
    let whole: Vec<_> = whole.rest().await.iter().map(told).collect();
    assert_eq!(whole.len(), 8, "every step there is");
    let mut cuts = BTreeSet::new();
    for (road, (seen, cut)) in all {
        assert_eq!(seen, whole, "{road:?}");
        cuts.extend(cut.into_iter().map(|cut| format!("{road:?} {cut:?}")));
    }
    for road in Road::ALL {
        for cut in [Cut::InTheHead, Cut::InAnEvent, Cut::AfterAnEvent] {
            assert!(cuts.contains(&format!("{road:?} {cut:?}")), "{road:?} {cut:?}: {cuts:?}");
        }
    }
    // The places of those who broke off are free again.
    let freed = async {
        while stage.relay.running.relay().occupancy().watched > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, freed).await.unwrap();
}
