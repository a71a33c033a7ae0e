//! One run against a relay, collecting every secret that passes through it.

use fido_relay_proto::device::{Auth, Challenge, DeclineReason};
use fido_relay_proto::http::OpenedCeremony;
use fido_relay_proto::{CeremonyType, DeviceFrame, RelayFrame};
use fido_relay_rig::phone::Paired;
use fido_relay_rig::phone::wire::Socket;
use fido_relay_rig::softcard::{Prompt, SoftCard};
use serde_json::{Value, json};

use super::secrets::Secrets;
use crate::support::accepting_server::{accepted_answer, is_completion};
use crate::support::child_relay::{ChildRelay, pair};
use crate::support::raw_socket::{FIN, RawSocket, TEXT, UPGRADE, frame, text};
use crate::support::relay::{Initiator, http};
use crate::support::scripted_upstream::{Answer, Reply, ScriptedUpstream};
use crate::support::wire_phone::WirePhone;

/// A FIDO2 server whose cookies and messages are canaries, and that does at the end what the
/// user's name says.
pub(super) fn upstream() -> ScriptedUpstream {
    ScriptedUpstream::listening(|number, request| {
        let says = |word: &str| {
            request.body.contains(word) || request.all("cookie").iter().any(|c| c.contains(word))
        };
        let page = "canary-page-of-the-upstream";
        if !is_completion(request) {
            let user = serde_json::from_str::<Value>(&request.body).ok();
            let user = user.and_then(|body| Some(body["username"].as_str()?.to_owned()));
            let user = user.unwrap_or_default();
            if says("nobegin") {
                return Reply::Answer(Answer::json(500, page));
            }
            let mut answer = accepted_answer(number, request);
            answer.headers.retain(|(name, _)| *name != "Set-Cookie");
            let cookie = format!("session=canary-session-of-{user}-{number}; Path=/; HttpOnly");
            return Reply::Answer(answer.with("Set-Cookie", cookie));
        }
        let failed = r#"{"status":"failed","errorMessage":"canary-page-of-the-upstream"}"#;
        if says("rejected") {
            Reply::Answer(Answer::json(200, failed))
        } else if says("unknown") {
            Reply::HangUp
        } else if says("broken") {
            Reply::Answer(Answer::json(500, page))
        } else {
            Reply::Answer(Answer::json(200, r#"{"status":"ok","errorMessage":""}"#))
        }
    })
}

pub(super) struct Run {
    pub(super) url: String,
    pub(super) bank: Initiator,
    pub(super) secrets: Secrets,
    /// Bodies that refuse, and close reasons.
    pub(super) refused: Vec<String>,
    /// Debug output of what carries secrets.
    pub(super) debug: Vec<String>,
    answers: usize,
}

impl Run {
    /// The relay was started again.
    pub(super) fn goes_on_with(&mut self, relay: &ChildRelay, key: &str) {
        self.bank = relay.initiator(key);
        relay.url().clone_into(&mut self.url);
    }

    pub(super) fn new(relay: &ChildRelay, key: String) -> Self {
        let mut secrets = Secrets::default();
        secrets.add("API key", &key);
        for name in ["page", "session"] {
            secrets.add("what the FIDO2 server said", &format!("canary-{name}-of-the-upstream"));
        }
        let (refused, debug) = (Vec::new(), Vec::new());
        Self {
            bank: relay.initiator(&key),
            url: relay.url().to_owned(),
            secrets,
            refused,
            debug,
            answers: 0,
        }
    }

    async fn pair(&mut self, user: &str) -> Paired {
        let (paired, token) = pair(&self.bank, user).await;
        self.secrets.add("pairing token", &token);
        self.secrets.add_bytes("device key", paired.key.pkcs8());
        self.secrets.add_bytes("device key's scalar", &paired.key.pkcs8()[36..68]);
        self.debug.push(format!("{paired:?} {:?}", paired.key));
        // Used up: refused, and not repeated in the refusal.
        let proof = paired.key.pairing_proof("http://elsewhere.example/v1/devices", &token);
        let proof = proof.unwrap();
        self.secrets.add("pairing proof", &proof);
        let body = json!({ "pairing_token": token, "jwk": paired.key.jwk(), "proof": proof,
            "name": "Phone", "platform": "android" });
        self.refuse("POST", "/v1/devices", Some(&token), &body).await;
        paired
    }

    async fn connect(&mut self, paired: Paired) -> WirePhone {
        let mut socket = Socket::connect(&paired.socket_url).await.unwrap();
        let RelayFrame::Hello { nonce, .. } = socket.next_frame().await.unwrap() else { panic!() };
        let proof = paired.key.auth_proof(&paired.socket_url, &nonce, paired.device_id).unwrap();
        self.secrets.add("device proof", &proof);
        let auth = DeviceFrame::Auth(Auth { proof });
        self.debug.push(format!("{auth:?}"));
        socket.send(&auth).await.unwrap();
        let mut phone = WirePhone::on(paired, socket);
        assert!(matches!(phone.next().await, RelayFrame::Welcome { .. }));
        phone
    }

    pub(super) async fn open(&mut self, body: &Value) -> OpenedCeremony {
        let opened = self.bank.open(body).await;
        self.secrets.add("ticket", &opened.ticket);
        if let Some(code) = &opened.code {
            self.secrets.add_code(code);
        }
        self.debug.push(format!("{opened:?}"));
        opened
    }

    /// Calls, keeps the body if the call is refused, and gives the status.
    pub(super) async fn refuse(
        &mut self,
        method: &str,
        path: &str,
        key: Option<&str>,
        body: &Value,
    ) -> u16 {
        let url = format!("{}{path}", &self.url);
        let mut request = http().request(method.parse().unwrap(), url);
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }
        if !body.is_null() {
            request = request.json(body);
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let headers = format!("{:?}", response.headers());
        let text = response.text().await.unwrap();
        if status >= 400 {
            self.refused.push(format!("{status} {headers} {text}"));
        }
        status
    }

    /// From the offer to the challenge.
    async fn claimed(&mut self, phone: &mut WirePhone, opened: &OpenedCeremony) -> Challenge {
        let mut offered = phone.next().await;
        // What came before is taken down in between.
        while !matches!(offered, RelayFrame::Offer(_)) {
            offered = phone.next().await;
        }
        self.debug.push(format!("{offered:?}"));
        let code = opened.code.clone().unwrap();
        let claim =
            fido_relay_proto::device::Claim { ceremony_id: Some(opened.id), code, claim_id: None };
        self.debug.push(format!("{:?}", DeviceFrame::Claim(claim.clone())));
        phone.claim(opened.id, &claim.code).await;
        let challenge = phone.challenge().await;
        self.secrets.add("challenge", &challenge.challenge);
        self.debug.push(format!("{challenge:?}"));
        challenge
    }

    /// What the card would have signed, as a canary.
    fn credential(&mut self) -> String {
        self.answers += 1;
        let canary = format!("canary-signature-of-the-card-{:04}", self.answers);
        self.secrets.add("card's answer", &canary);
        json!({ "id": "AQIDBA", "rawId": "AQIDBA", "type": "public-key",
            "response": { "signature": canary } })
        .to_string()
    }

    pub(super) async fn closed(&mut self, opened: &OpenedCeremony) {
        let view = self.bank.outcome(opened.id).await;
        if let Some(result) = &view.result {
            self.secrets.add("result token", result);
        }
        self.debug.push(format!("{view:?}"));
    }

    pub(super) async fn every_type_and_ending(&mut self) {
        let transaction = json!({ "title": "Pay", "fields": [{ "label": "To", "value": "Bob" }] });
        for (kind, user) in [
            ("registration", "ok1"),
            ("authentication", "ok2"),
            ("approval", "ok3"),
            ("registration", "rejected1"),
            ("authentication", "rejected2"),
            ("approval", "rejected3"),
            ("registration", "unknown1"),
            ("authentication", "unknown2"),
            ("approval", "broken3"),
        ] {
            let paired = self.pair(user).await;
            let mut phone = self.connect(paired).await;
            let mut order = json!({ "type": kind, "username": user });
            if kind == "approval" {
                order["transaction"] = transaction.clone();
            }
            let opened = self.open(&order).await;
            let challenge = self.claimed(&mut phone, &opened).await;
            let answer = self.credential();
            phone.answer(opened.id, challenge.attempt, &answer).await;
            self.closed(&opened).await;
            // And a second answer, which comes too late.
            let late = self.credential();
            phone.answer(opened.id, challenge.attempt, &late).await;
            self.refuse("DELETE", &format!("/v1/ceremonies/{}", opened.id), None, &Value::Null)
                .await;
        }
        self.endings_without_an_answer().await;
    }

    async fn endings_without_an_answer(&mut self) {
        for ending in ["declined", "not_me", "wrong_code", "cancelled", "card", "nobegin"] {
            let user = format!("{ending}-user");
            let paired = self.pair(&user).await;
            let mut phone = self.connect(paired).await;
            let order = json!({ "type": "authentication", "username": user });
            let opened = self.open(&order).await;
            match ending {
                "declined" => phone.decline(opened.id, DeclineReason::Declined).await,
                "not_me" => phone.decline(opened.id, DeclineReason::NotMe).await,
                "cancelled" => {
                    let _ = self.bank.delete(&format!("/v1/ceremonies/{}", opened.id)).await;
                }
                "card" => {
                    let challenge = self.claimed(&mut phone, &opened).await;
                    self.debug.push(format!("{challenge:?}"));
                    phone.card_error(opened.id, 608).await;
                }
                "nobegin" => {
                    phone.offer().await;
                    phone.claim(opened.id, opened.code.as_deref().unwrap()).await;
                }
                _ => {
                    for wrong in ["000001", "000002", "000003"] {
                        phone.claim(opened.id, wrong).await;
                    }
                }
            }
            self.closed(&opened).await;
        }
    }

    /// Requests and frames that are refused, each with something secret in it.
    pub(super) async fn hostile_input(&mut self) {
        let paired = self.pair("hostile").await;
        let opened = self.open(&json!({ "type": "authentication", "username": "hostile" })).await;
        let path = format!("/v1/ceremonies/{}", opened.id);
        let key = self.bank.key.clone();
        let canary = "canary-that-a-caller-sent-by-mistake";
        self.secrets.add("input", canary);
        let null = Value::Null;
        for key in [canary, &key.replace("rk_", "rk-"), &format!("{key}{canary}"), ""] {
            assert_eq!(self.refuse("GET", "/v1/clients/self", Some(key), &null).await, 401);
        }
        for (method, path, body) in [
            ("POST", "/v1/ceremonies", json!({ "type": canary, "username": "a" })),
            ("POST", "/v1/ceremonies", json!({ canary: 1 })),
            ("POST", "/v1/ceremonies", json!(canary)),
            ("POST", "/v1/pairings", json!({ "username": format!("{canary}\u{202e}") })),
            ("PUT", "/v1/ceremonies", json!(canary)),
            ("POST", "/v1/devices", json!({ "pairing_token": canary, "proof": canary })),
            ("GET", "/v1/canary-that-a-caller-sent-by-mistake", Value::Null),
            ("GET", "/v1/ceremonies/canary-that-a-caller-sent-by-mistake", Value::Null),
            ("DELETE", "/v1/devices/canary-that-a-caller-sent-by-mistake", Value::Null),
        ] {
            let status = self.refuse(method, path, Some(&key), &body).await;
            assert!((400..500).contains(&status), "{method} {path}: {status}");
        }
        let query = format!("{path}?{canary}={canary}");
        assert_eq!(self.refuse("GET", &query, Some(&opened.ticket), &null).await, 400);
        assert_eq!(self.refuse("DELETE", &path, Some(&opened.ticket), &null).await, 401);
        self.hostile_frames(paired, canary).await;
    }

    async fn hostile_frames(&mut self, paired: Paired, canary: &str) {
        // Proofs that are refused: of another audience, for another nonce, cut.
        for broken in 0..6 {
            let mut socket = RawSocket::upgraded(&self.url).await;
            let nonce = socket.hello().await;
            let (url, id) = (&paired.socket_url, paired.device_id);
            let proof = match broken {
                0 => paired.key.auth_proof("wss://elsewhere.example/", &nonce, id).unwrap(),
                1 => paired.key.auth_proof(url, canary, id).unwrap(),
                2 => paired.key.auth_proof(url, &nonce, id).unwrap().replace('.', ","),
                _ => format!("{}.{canary}.{canary}", "e30"),
            };
            self.secrets.add("refused proof", &proof);
            let sent = match broken {
                4 => text(canary),
                5 => frame(FIN | TEXT, &[canary.as_bytes(), &[0xff]].concat()),
                _ => text(&json!({ "type": "auth", "proof": proof }).to_string()),
            };
            socket.send(&sent).await;
            let (code, reason) = socket.closes().await;
            self.refused.push(format!("{code} {reason}"));
        }
        let with = |name, value| {
            let mut headers = UPGRADE.to_vec();
            headers.push((name, value));
            headers
        };
        let origin = "https://canary-that-a-caller-sent-by-mistake";
        let (_, head) = RawSocket::ask(&self.url, &with("Origin", origin)).await;
        self.refused.push(format!("{head:?}"));
        // A known device sends what is refused, until it is closed.
        let mut phone = self.connect(paired).await;
        let ceremony = "cer_AAAAAAAAAAAAAAAAAAAAAA";
        for refused in [
            canary.to_owned(),
            json!({ "type": canary }).to_string(),
            json!({ "type": "claim", "ceremony_id": ceremony, "code": canary }).to_string(),
            json!({ "type": "answer", "ceremony_id": canary, "credential": { "id": canary } })
                .to_string(),
            "[".repeat(30_000) + canary,
        ] {
            phone.socket.send_text(refused).await.unwrap();
            // Open ceremonies are shown first.
            loop {
                match phone.socket.next_text().await {
                    Ok(heard) if heard.contains("\"error\"") => break self.refused.push(heard),
                    Ok(_) => {}
                    Err(end) => break self.refused.push(format!("{end:?}")),
                }
            }
        }
    }

    /// HTTP/2, and a connection that is none of either.
    pub(super) async fn other_protocols(&mut self) {
        let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
        let url = format!("{}/v1/clients/self", &self.url);
        let response = client.get(url).bearer_auth(&self.bank.key).send().await.unwrap();
        assert_eq!(response.version(), reqwest::Version::HTTP_2);
        let mut socket = RawSocket::tcp(&self.url).await;
        let key = &self.bank.key;
        socket
            .send(format!("GET /{key} HTTP/9.9\r\nAuthorization: {key}\r\n\r\n").as_bytes())
            .await;
        socket.hung_up().await;
    }

    /// Registers, signs in and approves with the built-in server and a card in software.
    pub(super) async fn with_a_card(&mut self) {
        let paired = self.pair("ada").await;
        let mut phone = self.connect(paired).await;
        let mut card = SoftCard::new();
        let transaction = json!({ "title": "Pay", "fields": [{ "label": "To", "value": "Bob" }] });
        for order in [
            json!({ "type": "registration", "username": "ada" }),
            json!({ "type": "authentication", "username": "ada" }),
            json!({ "type": "approval", "username": "ada", "transaction": transaction }),
        ] {
            let opened = self.open(&order).await;
            let challenge = self.claimed(&mut phone, &opened).await;
            let answer = answer_of(&mut card, &challenge);
            let signed: Value = serde_json::from_str(&answer).unwrap();
            for part in ["signature", "attestationObject", "clientDataJSON"] {
                if let Some(part) = signed["response"][part].as_str() {
                    self.secrets.add("card's answer", part);
                }
            }
            phone.answer(opened.id, challenge.attempt, &answer).await;
            self.closed(&opened).await;
        }
    }
}

fn answer_of(card: &mut SoftCard, challenge: &Challenge) -> String {
    let prompt = Prompt {
        rp_id: &challenge.offer.rp_id,
        origin: &challenge.origin,
        challenge: &challenge.challenge,
        username: challenge.offer.username.as_str(),
        display_name: challenge.offer.display_name.as_str(),
        public_key: &challenge.public_key,
    };
    match challenge.offer.ceremony_type {
        CeremonyType::Registration => card.register(&prompt).unwrap(),
        CeremonyType::Authentication | CeremonyType::Approval => {
            card.authenticate(&prompt).unwrap()
        }
    }
}
