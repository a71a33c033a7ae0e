//! Who is let in, how many, and what the first answer says.

use fido_relay_proto::{Binding, CeremonyId};
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use super::LONG;
use super::roads::{PATIENCE, Road, Watching};
use super::stage::{Opened, Plot, Stage};
use crate::support::actions::operator;
use crate::support::origins::not_listed;
use crate::support::raw_socket::{BINARY, FIN, Head, Heard, PING, RawSocket, frame, header, text};

const LISTED: &str = "https://shop.bank.example";

/// A handshake's headers with these subprotocols.
fn handshake(protocols: &str) -> Vec<(&str, &str)> {
    vec![
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Protocol", protocols),
    ]
}

async fn socket(stage: &Stage, id: CeremonyId, headers: &[(&str, &str)]) -> (RawSocket, Head) {
    let path = format!("/v1/ceremonies/{id}/socket");
    RawSocket::ask_at("GET", &path, &stage.relay.url(), headers).await
}

async fn page(stage: &Stage, opened: &Opened) -> RawSocket {
    let offered = format!("fido-relay.watch.v1, ticket.{}", opened.ticket);
    let (socket, head) = socket(stage, opened.id, &handshake(&offered)).await;
    assert_eq!(head.status, 101, "{head:?}");
    socket
}

#[tokio::test]
async fn a_socket_answers_with_its_subprotocol_and_never_with_the_ticket() {
    let stage = Stage::set().await;
    let opened = stage.open(Binding::Code, LONG).await;
    for offered in [
        format!("fido-relay.watch.v1, ticket.{}", opened.ticket),
        format!("ticket.{},fido-relay.watch.v1", opened.ticket),
        format!("x, ticket.{}, y, fido-relay.watch.v1", opened.ticket),
    ] {
        let (_, head) = socket(&stage, opened.id, &handshake(&offered)).await;
        assert_eq!(head.status, 101, "{offered}");
        assert_eq!(head.header("sec-websocket-protocol"), Some("fido-relay.watch.v1"));
        assert!(!format!("{head:?}").contains(&opened.ticket));
    }
    let key = &stage.initiator.key;
    for (offered, status) in [
        (format!("ticket.{}", opened.ticket), 426),
        (format!("fido-relay.v1, ticket.{}", opened.ticket), 426),
        ("fido-relay.watch.v1".to_owned(), 401),
        ("fido-relay.watch.v1, ticket.".to_owned(), 401),
        ("fido-relay.watch.v1, ticket.tkt_AAAA".to_owned(), 401),
        // A key belongs into a header, of a backend.
        (format!("fido-relay.watch.v1, ticket.{key}"), 401),
    ] {
        let (_, head) = socket(&stage, opened.id, &handshake(&offered)).await;
        assert_eq!(head.status, status, "{offered}: {head:?}");
    }
    let bearer = format!("Bearer {key}");
    let mut headers = handshake("fido-relay.watch.v1");
    headers.push(("Authorization", &bearer));
    assert_eq!(socket(&stage, opened.id, &headers).await.1.status, 101);
}

#[tokio::test]
async fn a_watcher_that_talks_is_closed_and_one_that_pings_is_answered() {
    let stage = Stage::set().await;
    let opened = stage.open(Binding::Code, LONG).await;
    let big = text(&"x".repeat(4_000));
    let unmasked = [header(FIN | 0x1, 1, false), b"x".to_vec()].concat();
    let talks: [(&[u8], u16); 4] =
        [(&text("{}"), 1008), (&frame(FIN | BINARY, b"x"), 1008), (&big, 1008), (&unmasked, 1002)];
    for (bytes, code) in talks {
        let mut socket = page(&stage, &opened).await;
        let Heard::Text(first) = socket.next().await else { panic!("no event") };
        assert!(first.contains("\"opened\""), "{first}");
        socket.send(&frame(FIN | PING, b"?")).await;
        assert_eq!(socket.next().await, Heard::Pong);
        socket.send(bytes).await;
        assert_eq!(socket.closes().await.0, code);
    }
    let mut socket = page(&stage, &opened).await;
    for _ in 0..100 {
        socket.send(&frame(FIN | PING, b"")).await;
    }
    loop {
        match socket.next().await {
            Heard::Text(_) | Heard::Pong => {}
            Heard::Close(code, _) => break assert_eq!(code, 1008),
            other => panic!("{other:?}"),
        }
    }
}

/// Status, headers and body, as far as they tell anything.
async fn whole(response: reqwest::Response) -> String {
    let (status, mut headers) = (response.status(), response.headers().clone());
    headers.remove("date");
    let headers: std::collections::BTreeMap<_, _> =
        headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.clone())).collect();
    format!("{status} {headers:?} {}", response.text().await.unwrap())
}

#[tokio::test]
async fn what_is_unknown_and_what_is_somebody_elses_look_the_same_before_anything_streams() {
    let stage = Stage::set().await;
    let opened = stage.open(Binding::Code, LONG).await;
    let stranger = stage.relay.initiator().await;
    let other = stage.open(Binding::Code, LONG).await;
    let mut seen = std::collections::BTreeSet::new();
    let ids = [opened.id.to_string(), CeremonyId::from_bytes([0; 16]).to_string(), "x".to_owned()];
    for id in ids {
        let path = format!("/v1/ceremonies/{id}");
        for bearer in [&stranger.key, &other.ticket] {
            for end in ["", "/events", "/socket"] {
                let url = format!("{}{path}{end}", stage.relay.url());
                let request = stage.initiator.http.get(url).bearer_auth(bearer);
                seen.insert(whole(request.send().await.unwrap()).await);
            }
            let url = format!("{}{path}/events/ticket", stage.relay.url());
            seen.insert(
                whole(stage.initiator.http.post(url).bearer_auth(bearer).send().await.unwrap())
                    .await,
            );
        }
    }
    // The socket's path answers no page, so it says nothing of origins.
    let seen: std::collections::BTreeSet<_> =
        seen.into_iter().map(|one| one.replace(", \"vary\": \"Origin\"", "")).collect();
    assert_eq!(seen.len(), 1, "{seen:#?}");
    assert!(seen.first().unwrap().starts_with("404"));
}

#[tokio::test]
async fn so_many_watch_one_ceremony_by_whichever_road_and_a_place_comes_back() {
    let stage = Stage::set_with(|config| {
        config.limits.watchers_per_ceremony = 2;
        config.limits.watchers_per_node = 3;
    })
    .await;
    let [one, two] = [stage.open(Binding::Code, LONG).await, stage.open(Binding::Code, LONG).await];
    let base = stage.relay.url();
    let status = async |opened: &Opened, end: &str| {
        let url = format!("{base}/v1/ceremonies/{}{end}", opened.id);
        let response =
            stage.initiator.http.get(url).bearer_auth(&opened.ticket).send().await.unwrap();
        let told_when = response.headers().contains_key("retry-after");
        let status = response.status().as_u16();
        assert_eq!(told_when, matches!(status, 429 | 503));
        status
    };
    let first = Watching::after(0, Road::Events, &stage.initiator, one.id, &one.ticket).await;
    let _second = Watching::after(0, Road::Socket, &stage.initiator, one.id, &one.ticket).await;
    assert_eq!(status(&one, "/events").await, 429);
    assert_eq!(status(&one, "?wait=55&since=10").await, 429);
    assert_eq!(status(&one, "?wait=0").await, 200, "who is not held needs no place");
    assert_eq!(status(&one, "?wait=55&since=0").await, 200, "nor who is told at once");
    let offered = format!("fido-relay.watch.v1, ticket.{}", one.ticket);
    assert_eq!(socket(&stage, one.id, &handshake(&offered)).await.1.status, 429);
    let _third = Watching::after(0, Road::Socket, &stage.initiator, two.id, &two.ticket).await;
    assert_eq!(status(&two, "/events").await, 503, "the node has three places");
    drop(first);
    let freed = async {
        while status(&two, "/events").await != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, freed).await.unwrap();
}

#[tokio::test]
async fn a_stream_says_what_it_is_where_it_goes_on_and_when_there_is_nothing_more() {
    let stage = Stage::set().await;
    let opened = stage.open(Binding::Code, LONG).await;
    let url = format!("{}/v1/ceremonies/{}/events", stage.relay.url(), opened.id);
    let asked = |query: &str, last: Option<&str>| {
        let request = stage.initiator.http.get(format!("{url}{query}")).bearer_auth(&opened.ticket);
        match last {
            Some(last) => request.header("Last-Event-ID", last),
            None => request,
        }
    };
    let response = asked("", None).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let says = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(says("content-type"), "text/event-stream");
    assert_eq!(says("cache-control"), "no-store, no-transform");
    assert_eq!(says("x-accel-buffering"), "no");
    assert_eq!(says("x-content-type-options"), "nosniff");
    for (query, last) in [
        ("?since=x", None),
        ("?since=-1", None),
        ("?later=1", None),
        ("", Some("x")),
        ("", Some("")),
        ("", Some("4294967296")),
    ] {
        let refused = asked(query, last).send().await.unwrap();
        assert_eq!(refused.status(), 400, "{query} {last:?}");
    }
    stage.play(&opened, Plot::Cancelled).await;
    let mut text = response.text().await.unwrap();
    assert!(text.starts_with("retry: "), "{text}");
    let retry: u64 = text.lines().next().unwrap()[7..].parse().unwrap();
    assert!((1_000..5_000).contains(&retry), "{retry}");
    for secret in ["ada", "dev_", "cli_", "eyJ"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
    let numbers = |text: &str| {
        let ids = text.lines().filter_map(|line| line.strip_prefix("id: "));
        ids.map(|id| id.parse::<u32>().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(numbers(&text), [10, 60]);
    text = asked("?since=10", None).send().await.unwrap().text().await.unwrap();
    assert_eq!(numbers(&text), [60]);
    // A browser that reconnects asks by its first URL, and says what it has seen since.
    let again = asked("?since=10", Some("60")).send().await.unwrap();
    assert_eq!(again.status(), StatusCode::NO_CONTENT, "there is nothing more to come");
}

#[tokio::test]
async fn a_stream_over_http_2_tells_the_same_as_one_over_http_1() {
    let stage = Stage::set().await;
    let opened = stage.open(Binding::Code, LONG).await;
    let url = format!("{}/v1/ceremonies/{}/events", stage.relay.url(), opened.id);
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    // Several on one connection.
    let mut streams = Vec::new();
    for _ in 0..5 {
        let response = client.get(&url).bearer_auth(&opened.ticket).send().await.unwrap();
        assert_eq!(
            (response.status(), response.version()),
            (StatusCode::OK, reqwest::Version::HTTP_2)
        );
        streams.push(response);
    }
    let events = |text: String| -> Vec<String> {
        text.lines().filter(|line| line.starts_with("data: ")).map(str::to_owned).collect()
    };
    stage.play(&opened, Plot::Succeeds).await;
    let plain = stage.initiator.http.get(&url).bearer_auth(&opened.ticket).send().await.unwrap();
    let plain = events(plain.text().await.unwrap());
    assert!(plain.last().unwrap().contains("\"succeeded\""), "{plain:?}");
    for stream in streams {
        assert_eq!(events(stream.text().await.unwrap()), plain);
    }
}

#[tokio::test]
async fn no_spelling_of_an_origin_watches_by_any_road_but_the_listed_one() {
    let stage = Stage::set_with(|config| config.limits.watchers_per_ceremony = 500).await;
    let me: Value = stage.initiator.get("/v1/clients/self").await.json().await.unwrap();
    let id = serde_json::from_value(me["client_id"].clone()).unwrap();
    let change = fido_relay::app::clients::ClientChange {
        page_origins: Some(vec![LISTED.parse().unwrap()]),
        ..Default::default()
    };
    let app = stage.relay.running.app();
    fido_relay::app::clients::alter(app, &operator(), id, &change).await.unwrap();
    let opened = stage.open(Binding::Code, LONG).await;
    let url = format!("{}/v1/ceremonies/{}/events", stage.relay.url(), opened.id);
    let origins = |lines: &[String]| {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("origin", HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        headers
    };
    let exchange = async |lines: &[String]| {
        let request =
            stage.initiator.http.post(format!("{url}/ticket")).bearer_auth(&opened.ticket);
        request.headers(origins(lines)).send().await.unwrap()
    };
    let offered = format!("fido-relay.watch.v1, ticket.{}", opened.ticket);
    let upgrade = async |lines: &[String]| {
        let mut headers = origins(lines);
        for (name, value) in handshake(&offered) {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.insert(name, value.parse().unwrap());
        }
        let url = format!("{}/v1/ceremonies/{}/socket", stage.relay.url(), opened.id);
        stage.initiator.http.get(url).headers(headers).send().await.unwrap()
    };
    let for_url = async || {
        let event_ticket: Value = exchange(&[]).await.json().await.unwrap();
        format!("{url}?ticket={}", event_ticket["ticket"].as_str().unwrap())
    };
    let mut by_url = String::new();
    for lines in not_listed(LISTED, &stage.relay.url()) {
        let stream =
            stage.initiator.http.get(&url).bearer_auth(&opened.ticket).headers(origins(&lines));
        by_url = for_url().await;
        let from_source = stage.initiator.http.get(&by_url).headers(origins(&lines));
        for response in [
            stream.send().await.unwrap(),
            from_source.send().await.unwrap(),
            exchange(&lines).await,
            upgrade(&lines).await,
        ] {
            assert_eq!(response.status(), 403, "{lines:?} {}", response.url());
            assert!(!response.headers().contains_key("access-control-allow-origin"));
        }
    }
    let listed = [LISTED.to_owned()];
    assert_eq!(upgrade(&listed).await.status(), 101);
    assert_eq!(exchange(&listed).await.status(), 201);
    // No refusal used it up.
    let seen = stage.initiator.http.get(&by_url).headers(origins(&listed)).send().await.unwrap();
    assert_eq!(seen.status(), 200);
    assert_eq!(seen.headers()["access-control-allow-origin"], LISTED);
}
