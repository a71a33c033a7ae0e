//! A thousand attackers who guess: ids of ceremonies, and codes of one that they know.

use fido_relay_proto::device::FrameErrorCode;
use fido_relay_proto::http::{OpenedCeremony, Scope};
use fido_relay_proto::{Binding, CeremonyId, RelayFrame};
use fido_relay_rig::phone::Paired;
use futures::{StreamExt as _, stream};
use serde_json::json;

use crate::simulation::rng::Rng;
use crate::support::accepting_server::begins;
use crate::support::fixture::Fixture;
use crate::support::relay::{Initiator, TestRelay};
use crate::support::wire_phone::WirePhone;

const ATTACKERS: u64 = 1_000;
/// Devices that they have between them: each of a user of its own.
const DEVICES: u64 = 20;

fn roomy(config: &mut fido_relay::config::Config) {
    config.limits.unauthenticated_per_ip = 1_000;
    config.limits.frames_per_s = 1_000;
    config.limits.frames_burst = 10_000;
}

/// An id near a known one or anywhere: never one that is open.
fn guessed_id(rng: &mut Rng, known: CeremonyId) -> CeremonyId {
    let mut bytes = *known.as_bytes();
    if rng.happens(500) {
        bytes[usize::try_from(rng.below(16)).unwrap()] ^= 1 << rng.below(8);
    } else {
        bytes[..8].copy_from_slice(&rng.next().to_le_bytes());
        bytes[8..].copy_from_slice(&rng.next().to_le_bytes());
    }
    CeremonyId::from_bytes(bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_attackers_who_guess_ids_and_codes_reach_no_ceremony_of_others() {
    let fixture = Fixture::with(roomy).await;
    let (id, code) = (fixture.open.id, fixture.open.code.clone().unwrap());
    let mut devices: Vec<Paired> = Vec::new();
    for user in 0..DEVICES {
        devices.push(fixture.relay.pair(&fixture.initiator, &format!("attacker{user}")).await);
    }
    let key = fixture.relay.initiator_with(vec![Scope::CeremonyRead], vec![Binding::Code]).await;
    // Each device speaks for fifty of them, who know the id of the open ceremony, its code, and
    // the relay's key format: what they lack is being Ada's phone or the opener.
    let attacks = devices.into_iter().enumerate().map(|(number, paired)| {
        let (code, key, initiator) = (code.clone(), &key, &fixture.initiator);
        async move {
            let mut rng = Rng::new(number as u64);
            let mut phone = WirePhone::connect(paired).await;
            for _ in 0..ATTACKERS / DEVICES {
                for (about, code) in [
                    (id, code.clone()),
                    (id, format!("{:06}", rng.below(1_000_000))),
                    (guessed_id(&mut rng, id), code.clone()),
                ] {
                    phone.claim(about, &code).await;
                    assert_eq!(
                        phone.refused().await,
                        (FrameErrorCode::UnknownCeremony, Some(about))
                    );
                }
                let guessed = guessed_id(&mut rng, id);
                for id in [id, guessed] {
                    assert_eq!(key.get(&format!("/v1/ceremonies/{id}")).await.status(), 404);
                }
                let forged = format!("rk_{}", "A".repeat(43));
                let stranger = Initiator {
                    url: initiator.url.clone(),
                    key: forged,
                    http: initiator.http.clone(),
                };
                let refused = stranger.get(&format!("/v1/ceremonies/{id}")).await;
                assert_eq!(refused.status(), 401);
            }
        }
    });
    let ended = stream::iter(attacks).buffer_unordered(8).collect::<Vec<()>>().await;
    assert_eq!(ended.len() as u64, DEVICES);
    assert_eq!(begins(&fixture.upstream), 0, "nobody got a challenge");
    fixture.open_ceremony_completes().await;
}

/// The codes that one user's stolen phone may try: what is looked at, of what is tried.
async fn tries_of(relay: &TestRelay, initiator: &Initiator, ceremonies: u64) -> u64 {
    let paired = relay.pair(initiator, "ada").await;
    let mut phone = WirePhone::connect(paired).await;
    let mut looked_at = 0;
    for _ in 0..ceremonies {
        let order = json!({ "type": "authentication", "username": "ada" });
        let opened: OpenedCeremony = initiator.open(&order).await;
        let right: u32 = opened.code.as_deref().unwrap().parse().unwrap();
        let mut tries = 0;
        for guess in 1..=5_u32 {
            phone.claim(opened.id, &format!("{:06}", (right + guess) % 1_000_000)).await;
            let refused = loop {
                match phone.next().await {
                    RelayFrame::Error { code, .. } => break code,
                    RelayFrame::Challenge(_) => panic!("a wrong code was taken"),
                    _ => {}
                }
            };
            tries += u64::from(refused == FrameErrorCode::WrongCode);
        }
        assert!(tries <= 3, "{tries} codes of one ceremony were looked at");
        looked_at += tries;
        let _ = initiator.delete(&format!("/v1/ceremonies/{}", opened.id)).await;
    }
    looked_at
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_phone_may_guess_ten_codes_a_day_in_however_many_ceremonies() {
    let fixture = Fixture::with(|config| {
        roomy(config);
        // Other tests ask a person more often than the rules allow.
        config.prompts.wrong_codes_per_day = 10;
    })
    .await;
    fixture.initiator.delete(&format!("/v1/ceremonies/{}", fixture.open.id)).await;
    let looked_at = tries_of(&fixture.relay, &fixture.initiator, 30).await;
    assert!((1..=10).contains(&looked_at), "{looked_at} codes were looked at");
    assert_eq!(begins(&fixture.upstream), 0, "nobody got a challenge");
}
