//! Frames over TCP to the real program, which must go on serving honest phones and keep nothing.

use std::time::Duration;

use fido_relay_proto::http::Status;
use fido_relay_proto::{Outcome, RelayFrame};
use fido_relay_rig::phone::Paired;
use serde_json::json;

use super::generator::Generator;
use super::{GROWTH, frames, seed, tell, wire};
use crate::support::accepting_server::{CREDENTIAL, accepting_server};
use crate::support::child_relay::{ChildRelay, Home, pair};
use crate::support::raw_socket::{RawSocket, text};
use crate::support::relay::Initiator;
use crate::support::wire_phone::WirePhone;

/// Messages that one socket sends unless it is closed before.
const PER_SOCKET: u64 = 40;
/// Sockets at a time.
const ATTACKERS: u64 = 8;

/// What one attacker did.
#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    messages: u64,
    bytes: u64,
    sockets: u64,
}

impl std::ops::AddAssign for Sent {
    fn add_assign(&mut self, other: Self) {
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.sockets += other.sockets;
    }
}

/// One socket's life: known or not, until it is closed or has sent its messages.
async fn one_socket(url: &str, device: Option<&Paired>, generator: &mut Generator) -> Sent {
    let mut sent = Sent { sockets: 1, ..Sent::default() };
    let mut socket = RawSocket::upgraded(url).await;
    let nonce = socket.hello().await;
    if let Some(Paired { socket_url, device_id, key }) = device {
        let proof = key.auth_proof(socket_url, &nonce, *device_id).unwrap();
        socket.send(&text(&json!({ "type": "auth", "proof": proof }).to_string())).await;
        socket.next().await;
    }
    for _ in 0..PER_SOCKET {
        let payload = generator.frame();
        let (bytes, _) = wire::message(generator, &payload);
        sent.messages += 1;
        sent.bytes += bytes.len() as u64;
        // In pieces at times, as a slow network brings them.
        let middle = if generator.rng.happens(100) { generator.size(bytes.len()) } else { 0 };
        let (first, rest) = bytes.split_at(middle);
        if !socket.try_send(first).await || !socket.try_send(rest).await {
            break;
        }
        if socket.is_over() {
            break;
        }
    }
    sent
}

/// Sends so many messages with several sockets at a time.
async fn attack(url: &str, devices: &[Paired], messages: u64, seed: u64) -> Sent {
    let attackers = (0..ATTACKERS).map(|attacker| async move {
        let mut generator = Generator::new(seed * 1_000 + attacker, None);
        let mut sent = Sent::default();
        while sent.messages < messages / ATTACKERS {
            // A known device is read further: mostly so.
            let device = devices.get(usize::try_from(attacker).unwrap());
            let device = device.filter(|_| generator.rng.happens(700));
            sent += one_socket(url, device, &mut generator).await;
        }
        sent
    });
    let mut all = Sent::default();
    for sent in futures::future::join_all(attackers).await {
        all += sent;
    }
    all
}

/// A ceremony from open to outcome, by a phone that keeps to the rules.
async fn an_honest_sign_in(bank: &Initiator, ada: &Paired) {
    let mut phone = WirePhone::connect(ada.clone()).await;
    let opened = bank.open(&json!({ "type": "authentication", "username": "ada" })).await;
    assert_eq!(phone.offer().await.ceremony_id, opened.id);
    phone.claim(opened.id, opened.code.as_deref().unwrap()).await;
    let challenge = phone.challenge().await;
    phone.answer(opened.id, challenge.attempt, CREDENTIAL).await;
    while !matches!(phone.next().await, RelayFrame::Closed { .. }) {}
    let view = bank.outcome(opened.id).await;
    assert_eq!(view.status, Status::Ended(Outcome::Succeeded));
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_frames_over_sockets_neither_stop_the_relay_nor_fill_its_memory() {
    let upstream = accepting_server();
    let home = Home::new(&[
        ("FIDO_RELAY_UPSTREAM__URL", &upstream.url()),
        ("FIDO_RELAY_TENANT__RP_ID", "localhost"),
        ("FIDO_RELAY_LOG__LEVEL", "warn,fido_relay::cli=info"),
        // All come from this machine, which no limit of addresses is to stop here.
        ("FIDO_RELAY_LIMITS__UNAUTHENTICATED_PER_IP", "1000"),
        ("FIDO_RELAY_LIMITS__HANDSHAKES_PER_S_PER_IP", "100000"),
        ("FIDO_RELAY_LIMITS__HANDSHAKES_PER_S_PER_NODE", "1000000"),
        ("FIDO_RELAY_LIMITS__CONNECTIONS_PER_IP", "1000000"),
        ("FIDO_RELAY_LIMITS__FRAMES_PER_S", "1000"),
        ("FIDO_RELAY_LIMITS__FRAMES_BURST", "10000"),
    ]);
    let key = home.api_key().await;
    let relay = ChildRelay::start(&home).await;
    let bank = relay.initiator(&key);
    let (ada, _) = pair(&bank, "ada").await;
    let mut devices = Vec::new();
    for attacker in 0..ATTACKERS {
        devices.push(pair(&bank, &format!("attacker{attacker}")).await.0);
    }
    let messages = (frames() / 10).max(20_000);
    // What the relay needs once and keeps: caches, the allocator's arenas.
    let mut all = attack(relay.url(), &devices, messages / 10, seed()).await;
    an_honest_sign_in(&bank, &ada).await;
    let before = relay.resident();
    all += attack(relay.url(), &devices, messages / 2, seed() + 1).await;
    let half = relay.resident();
    let meanwhile = attack(relay.url(), &devices, messages / 2, seed() + 2);
    let honest = async {
        for _ in 0..3 {
            an_honest_sign_in(&bank, &ada).await;
        }
    };
    let (sent, ()) = tokio::time::timeout(Duration::from_secs(3_600), async {
        futures::join!(meanwhile, honest)
    })
    .await
    .unwrap();
    all += sent;
    an_honest_sign_in(&bank, &ada).await;
    let growth = relay.resident().saturating_sub(before);
    tell(&format!(
        "live: {} messages, {} KiB, {} sockets; {} KiB more in RAM after half, {} KiB at the end",
        all.messages,
        all.bytes / 1024,
        all.sockets,
        half.saturating_sub(before) / 1024,
        growth / 1024
    ));
    let log = relay.written();
    assert!(!log.contains("panicked"), "{log}");
    assert!(all.messages >= messages && all.sockets > 100, "{all:?}");
    assert!(growth < GROWTH, "{growth} bytes more");
}
