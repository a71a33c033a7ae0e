//! Two different answers to one challenge at the same moment: whichever is stored first counts,
//! the other is refused, and the FIDO2 server hears of one. A hundred copies of the same answer
//! stand in [`crate::ceremony_rules`].

use std::sync::Arc;
use std::sync::atomic::Ordering;

use fido_relay::app::ceremonies::DeviceIdentity;
use fido_relay::backends::embedded::MemoryStore;
use fido_relay::core::ceremony::State;
use fido_relay::delivery::Connection;
use fido_relay_proto::device::{Answer, DeviceFrame, FrameErrorCode};
use fido_relay_proto::{
    AttemptId, Binding, CeremonyId, ConnectionId, DeviceId, Outcome, RelayFrame, TenantId, Username,
};

use crate::support::bare_relay::BareRelay;

const ROUNDS: usize = 1_000;

fn socket(nth: u8) -> Connection {
    let owner = DeviceIdentity {
        device: DeviceId::from_bytes([nth; 16]),
        tenant: TenantId::default(),
        username: Username::new("ada").unwrap(),
    };
    Connection::new(ConnectionId::from_bytes([nth; 16]), owner)
}

fn answer(ceremony_id: CeremonyId, attempt: AttemptId, id: &str) -> DeviceFrame {
    let credential = serde_json::from_str(&format!(r#"{{"id":"{id}"}}"#)).unwrap();
    DeviceFrame::Answer(Answer { ceremony_id, attempt, credential })
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_different_answers_at_once_exactly_one_counts_a_thousand_times() {
    let relay = BareRelay::start(Arc::new(MemoryStore::default())).await;
    let mut won = [0_usize; 2];
    for round in 0..ROUNDS {
        let key = relay.open(Binding::None, None).await;
        let attempt = relay.challenged(&key).await;
        // On two phones' sockets, or both on one.
        let sockets = [socket(1), socket(if round.is_multiple_of(2) { 2 } else { 1 })];
        let frames = ["mine", "theirs"].map(|id| answer(key.id, attempt, id));
        let [mine, theirs] = frames;
        let (first, second) = if round % 4 < 2 {
            tokio::join!(
                relay.relay.delivery.receive(&sockets[0], mine),
                relay.relay.delivery.receive(&sockets[1], theirs)
            )
        } else {
            let (second, first) = tokio::join!(
                relay.relay.delivery.receive(&sockets[1], theirs),
                relay.relay.delivery.receive(&sockets[0], mine)
            );
            (first, second)
        };
        let mut accepted = Vec::new();
        for (nth, told) in [first, second].into_iter().enumerate() {
            match told.expect("each is told") {
                RelayFrame::Accepted { ceremony_id, attempt: of } => {
                    assert_eq!((ceremony_id, of), (key.id, attempt));
                    accepted.push(nth);
                }
                RelayFrame::Error { code, ceremony_id, retryable, .. } => {
                    let late = [FrameErrorCode::AlreadyAnswered, FrameErrorCode::AlreadyClosed];
                    assert!(late.contains(&code), "round {round}: {code:?}");
                    assert_eq!((ceremony_id, retryable), (Some(key.id), false));
                }
                other => panic!("round {round}: {other:?}"),
            }
        }
        assert_eq!(accepted.len(), 1, "round {round}: {accepted:?}");
        won[accepted[0]] += 1;
        let (outcome, by) = relay
            .until(&key, |ceremony| match &ceremony.state {
                State::Closed(closed) => Some((closed.outcome, closed.accepted.unwrap().1)),
                _ => None,
            })
            .await;
        assert_eq!(outcome, Outcome::Succeeded);
        assert_eq!(by, sockets[accepted[0]].identity().device, "the one that was told so");
        assert_eq!(relay.fido.completions.load(Ordering::Relaxed), round + 1);
    }
    assert!(won.iter().all(|won| *won > 0), "they never raced: {won:?}");
}
