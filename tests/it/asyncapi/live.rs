//! One relay that is made to say everything that it can say by itself: every text of it is held
//! against the message that the document has for it, and every message must have come.

use std::collections::BTreeSet;
use std::time::Duration;

use fido_relay::ports::{Batch, SecurityEvent, SecurityEventKind};
use fido_relay_proto::http::OpenedCeremony;
use fido_relay_proto::webhook::{CreatedWebhook, WebhookEvent};
use fido_relay_proto::{CardId, TenantId, Username};
use fido_relay_rig::phone::Paired;
use serde_json::{Value, json};

use super::{ask, message};
use crate::support::accepting_server::{CREDENTIAL, accepting_server, upstream_at};
use crate::support::raw_socket::{Heard, RawSocket, text};
use crate::support::relay::{Initiator, TestRelay};
use crate::webhooks::receiver::Receiver;

/// A device that keeps the texts it hears and the types it sends.
struct Device {
    paired: Paired,
    socket: RawSocket,
    heard: Vec<String>,
    sent: BTreeSet<String>,
}

impl Device {
    async fn connect(relay: &TestRelay, paired: Paired) -> Self {
        let socket = RawSocket::upgraded(&relay.url()).await;
        let mut device = Self { paired, socket, heard: Vec::new(), sent: BTreeSet::new() };
        let hello = device.hear("hello").await;
        device.signs(&hello).await;
        device.hear("welcome").await;
        device
    }

    async fn signs(&mut self, asked: &Value) {
        let Paired { socket_url, device_id, key } = &self.paired;
        let nonce = asked["nonce"].as_str().unwrap();
        let proof = key.auth_proof(socket_url, nonce, *device_id).unwrap();
        self.says(json!({ "type": "auth", "proof": proof })).await;
    }

    async fn says(&mut self, frame: Value) {
        self.sent.insert(frame["type"].as_str().unwrap().to_owned());
        self.socket.send(&text(&frame.to_string())).await;
    }

    /// Keeps all that comes up to the next frame of this type, and signs when asked to.
    async fn hear(&mut self, kind: &str) -> Value {
        loop {
            match self.socket.next().await {
                Heard::Text(text) => {
                    let frame: Value = serde_json::from_str(&text).unwrap();
                    self.heard.push(text);
                    if frame["type"] == "reauth" {
                        Box::pin(self.signs(&frame)).await;
                    }
                    if frame["type"] == kind {
                        return frame;
                    }
                }
                Heard::Ping | Heard::Pong => {}
                other => panic!("no {kind} but {other:?}"),
            }
        }
    }

    async fn acknowledges(&mut self, frame: &Value) {
        let id = &frame["ceremony_id"];
        self.says(json!({ "type": "ack", "ceremony_id": id, "of": frame["type"] })).await;
    }

    /// One ceremony from the offer to its end, with one wrong code.
    async fn answers(&mut self, opened: &OpenedCeremony) {
        let offer = self.hear("offer").await;
        self.acknowledges(&offer).await;
        let right = opened.code.as_deref().unwrap();
        let wrong = if right == "000000" { "000001" } else { "000000" };
        for code in [wrong, right] {
            self.says(json!({ "type": "claim", "ceremony_id": opened.id, "code": code })).await;
        }
        assert_eq!(self.hear("error").await["code"], "wrong_code");
        let challenge = self.hear("challenge").await;
        self.acknowledges(&challenge).await;
        self.says(json!({ "type": "card", "ceremony_id": opened.id, "event": "present" })).await;
        let credential: Value = serde_json::from_str(CREDENTIAL).unwrap();
        let answer = json!({
            "type": "answer",
            "ceremony_id": opened.id,
            "attempt": challenge["attempt"],
            "credential": credential,
        });
        self.says(answer).await;
        self.hear("accepted").await;
        let closed = self.hear("closed").await;
        self.acknowledges(&closed).await;
    }
}

/// The stream of a ceremony that is over: names and data of its events.
async fn events(initiator: &Initiator, id: &str) -> Vec<(String, String)> {
    let stream = initiator.get(&format!("/v1/ceremonies/{id}/events")).await;
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let stream = stream.text().await.unwrap();
    let field = |event: &str, name: &str| {
        event.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned)
    };
    let blocks = stream.split("\n\n");
    blocks.filter_map(|event| Some((field(event, "event: ")?, field(event, "data: ")?))).collect()
}

/// The texts of the watchers' socket of a ceremony that is over, and its close code.
async fn frames(initiator: &Initiator, id: &str, subprotocol: &str) -> (Vec<String>, u16) {
    let bearer = format!("Bearer {}", initiator.key);
    let headers = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Protocol", subprotocol),
        ("Authorization", &bearer),
    ];
    let path = format!("/v1/ceremonies/{id}/socket");
    let (mut socket, head) = RawSocket::ask_at("GET", &path, &initiator.url, &headers).await;
    assert_eq!(head.status, 101, "{head:?}");
    let mut texts = Vec::new();
    loop {
        match socket.next().await {
            Heard::Text(text) => texts.push(text),
            Heard::Close(code, _) => return (texts, code),
            Heard::Ping | Heard::Pong => {}
            Heard::End => panic!("no goodbye"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_the_relay_says_by_itself_is_in_the_document_and_all_of_the_document_is_said() {
    let upstream = accepting_server();
    let receiver = Receiver::start().await;
    let relay = TestRelay::start_with(|config| {
        upstream_at(&upstream.url())(config);
        receiver.allow(config);
        config.limits.auth_lifetime = Duration::from_secs(10);
        config.limits.drain = Duration::from_secs(1);
    })
    .await;
    let initiator = relay.initiator().await;
    let served = initiator.get("/asyncapi.json").await.text().await.unwrap();
    let document: Value = serde_json::from_str(&served).unwrap();
    let names = WebhookEvent::ALL;
    let order = json!({ "url": receiver.url(), "events": names, "schemes": ["v1a", "v1"] });
    let hook: CreatedWebhook = initiator.post("/v1/webhooks", &order).await.json().await.unwrap();
    let test = format!("/v1/webhooks/{}/test", hook.webhook.id);
    assert_eq!(initiator.post(&test, &json!({})).await.status(), 200);

    let paired = relay.pair(&initiator, "ada").await;
    let mut device = Device::connect(&relay, paired).await;
    let mut last = String::new();
    let transaction = json!({ "title": "Rent", "fields": [{ "label": "To", "value": "Grace" }] });
    for ceremony in [
        json!({ "type": "registration", "username": "ada" }),
        json!({ "type": "authentication", "username": "ada", "message": "Sign in" }),
        json!({ "type": "approval", "username": "ada", "transaction": transaction,
                "context": { "ip": "192.0.2.7" } }),
    ] {
        let opened = initiator.open(&ceremony).await;
        device.answers(&opened).await;
        last = opened.id.to_string();
    }
    let unasked = initiator.open(&json!({ "type": "authentication", "username": "ada" })).await;
    device.hear("offer").await;
    let no = json!({ "type": "decline", "ceremony_id": unasked.id, "reason": "not_me" });
    device.says(no).await;
    assert_eq!(device.hear("closed").await["outcome"], "denied");
    let second = relay.pair(&initiator, "ada").await;
    device.hear("notice").await;
    let gone = initiator.delete(&format!("/v1/devices/{}", second.device_id)).await;
    assert!(gone.status().is_success());
    // The FIDO2 server of this relay is another's: its cards are not this relay's to tell of.
    let (card_id, username) = (CardId::from_bytes([9; 32]), Username::new("ada").unwrap());
    for what in [
        SecurityEventKind::CardRegistered { card_id, username: username.clone() },
        SecurityEventKind::CardRemoved { card_id, username: username.clone(), client_id: None },
        SecurityEventKind::CloneSuspected { card_id, username },
    ] {
        let world = relay.running.relay().dependencies();
        let event = SecurityEvent::new(TenantId::default(), world.clock.now(), what);
        world.store.commit(Batch::new().entry(event.entry())).await.unwrap();
    }
    device.says(json!({ "type": "ping", "id": "probe-7" })).await;
    device.hear("pong").await;
    device.hear("reauth").await;

    let mut messages = Vec::new();
    for (name, data) in events(&initiator, &last).await {
        messages.push(message(&format!("watch.{name}"), &data));
    }
    let offered = &document["channels"]["ceremonySocket"]["x-subprotocols"][0];
    let (texts, code) = frames(&initiator, &last, offered.as_str().unwrap()).await;
    let codes = document["channels"]["ceremonySocket"]["x-close-codes"].as_array().unwrap();
    assert!(codes.iter().any(|known| known["code"] == code), "{code}");
    let (end, progress) = texts.split_last().unwrap();
    messages.push(message("watch.closed", end));
    messages.extend(progress.iter().map(|text| message("watch.progress", text)));
    // Four ends, two pairings, one revocation, one alarm, three of cards, one test.
    for sent in receiver.until(12).await {
        let key = format!("webhook.{}", sent.json()["type"].as_str().unwrap());
        messages.push(message(&key, &sent.body));
        messages.push(json!({ "message": key, "headers": sent.headers }));
    }
    // A device with a socket gets a frame before it is closed.
    let ((), _stopped) = tokio::join!(async { drop(device.hear("goaway").await) }, relay.stop());

    for text in &device.heard {
        let frame: Value = serde_json::from_str(text).unwrap();
        assert!(frame["type"] != "error" || frame["code"] == "wrong_code", "{text}");
        messages.push(message(&format!("device.{}", frame["type"].as_str().unwrap()), text));
    }
    let came = messages.iter().map(|message| message["message"].as_str().unwrap().to_owned());
    let sent = device.sent.iter().map(|kind| format!("device.{kind}"));
    let came: BTreeSet<String> = came.chain(sent).collect();
    let known = document["components"]["messages"].as_object().unwrap();
    let known: BTreeSet<String> = known.keys().cloned().collect();
    assert_eq!(came, known, "what came, and what the document has");
    let Some(said) = ask("the AsyncAPI document against a relay", &messages).await else { return };
    for (message, verdict) in messages.iter().zip(said.verdicts) {
        assert_eq!(verdict, None, "{message}");
    }
}
