//! A relay with a ceremony open in the background: whatever a test does to the relay, the ceremony
//! must still come to its end.

use fido_relay::config::Config;
use fido_relay_proto::http::{OpenedCeremony, Status};
use fido_relay_proto::{Outcome, RelayFrame};
use fido_relay_rig::phone::Paired;
use serde_json::json;

use super::accepting_server::{CREDENTIAL, accepting_server, completions, upstream_at};
use super::raw_socket::{Heard, RawSocket, text};
use super::relay::{Initiator, TestRelay};
use super::scripted_upstream::ScriptedUpstream;
use super::wire_phone::WirePhone;

pub(crate) struct Fixture {
    pub(crate) relay: TestRelay,
    pub(crate) initiator: Initiator,
    pub(crate) upstream: ScriptedUpstream,
    /// Ada's device.
    pub(crate) ada: Paired,
    /// Open for Ada, offered and not claimed.
    pub(crate) open: OpenedCeremony,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let upstream = accepting_server();
        let agree = upstream_at(&upstream.url());
        let relay = TestRelay::start_with(|config| {
            agree(config);
            change(config);
        })
        .await;
        let initiator = relay.initiator().await;
        let ada = relay.pair(&initiator, "ada").await;
        let open = initiator.open(&json!({ "type": "authentication", "username": "ada" })).await;
        Self { relay, initiator, upstream, ada, open }
    }

    /// Ada's device on a raw socket: welcomed, and shown the open ceremony.
    pub(crate) async fn raw_ada(&self) -> RawSocket {
        let mut socket = RawSocket::upgraded(&self.relay.url()).await;
        let nonce = socket.hello().await;
        let Paired { socket_url, device_id, key } = &self.ada;
        let proof = key.auth_proof(socket_url, &nonce, *device_id).unwrap();
        socket.send(&text(&json!({ "type": "auth", "proof": proof }).to_string())).await;
        for expected in ["\"welcome\"", "\"offer\""] {
            let Heard::Text(frame) = socket.next().await else { panic!("no {expected}") };
            assert!(frame.contains(expected), "{frame}");
        }
        socket
    }

    /// The ceremony that was open all the time comes to its end, with one call to the server.
    pub(crate) async fn open_ceremony_completes(&self) {
        let before = completions(&self.upstream);
        let (id, code) = (self.open.id, self.open.code.clone().unwrap());
        let mut phone = WirePhone::connect(self.ada.clone()).await;
        assert_eq!(phone.offer().await.ceremony_id, id);
        phone.claim(id, &code).await;
        let challenge = phone.challenge().await;
        phone.answer(id, challenge.attempt, CREDENTIAL).await;
        // Either may be first: the one answers the frame, the other follows from the state.
        let (mut accepted, mut closed) = (false, false);
        while !(accepted && closed) {
            match phone.next().await {
                RelayFrame::Accepted { attempt, .. } => accepted = attempt == challenge.attempt,
                RelayFrame::Closed { outcome, .. } => closed = outcome == Outcome::Succeeded,
                other => panic!("{other:?}"),
            }
        }
        let view = self.initiator.outcome(id).await;
        assert_eq!(view.status, Status::Ended(Outcome::Succeeded));
        assert_eq!(completions(&self.upstream), before + 1);
    }
}
