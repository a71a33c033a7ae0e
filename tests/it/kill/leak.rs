//! Kills around the end of ceremonies, where each user may have one open at a time: none that has
//! ended keeps a later one from ringing. `LEAK_KILLS=200` in the environment kills so often.

use std::time::Duration;

use fido_relay::fault_point::Point;
use fido_relay::security::random;
use fido_relay_proto::{CeremonyId, Phase, RelayFrame};
use fido_relay_rig::phone::Paired;
use futures::future::join_all;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::simulation::number;
use crate::support::accepting_server::accepting_server;
use crate::support::child_relay::{ChildRelay, Home, pair};
use crate::support::own_port::OwnPort;
use crate::support::relay::Initiator;
use crate::support::wire_phone::WirePhone;

/// Kills in an ordinary run of the tests, and users whose ceremonies end around each.
const KILLS: u64 = 6;
const USERS: u64 = 5;
/// The latest kill after the end was asked for; a ceremony has ended well before.
const LATEST: u64 = 20_000;
/// A relay that is to stand still at its point does so within this.
const PATIENCE: Duration = Duration::from_secs(60);

/// A user whose ceremony was ending when the relay was killed.
struct User {
    name: String,
    paired: Paired,
    ending: CeremonyId,
}

fn order(user: &str) -> Value {
    json!({ "type": "authentication", "username": user, "prior_auth": "session" })
}

impl User {
    async fn opens(bank: &Initiator, name: String) -> Self {
        let (paired, _) = pair(bank, &name).await;
        let ending = bank.open(&order(&name)).await.id;
        Self { name, paired, ending }
    }

    /// Ends the ceremony; the relay may be gone before it answers.
    async fn ends(&self, bank: &Initiator) {
        let url = format!("{}/v1/ceremonies/{}", bank.url, self.ending);
        drop(bank.http.delete(url).bearer_auth(&bank.key).send().await);
    }

    /// The next ceremony is shown, once the last one has ended.
    async fn rings_next(self, bank: &Initiator) {
        self.ends(bank).await;
        assert_eq!(bank.read(self.ending).await.phase, Phase::Closed);
        let mut phone = WirePhone::connect(self.paired).await;
        let opened = bank.open(&order(&self.name)).await;
        let shown = async {
            loop {
                if let RelayFrame::Offer(offer) = phone.next().await
                    && offer.ceremony_id == opened.id
                {
                    return;
                }
            }
        };
        let shown = timeout(PATIENCE, shown).await;
        shown.unwrap_or_else(|_| panic!("{} does not ring after {}", opened.id, self.ending));
        bank.delete(&format!("/v1/ceremonies/{}", opened.id)).await;
    }
}

#[tokio::test]
async fn no_ended_ceremony_keeps_a_later_one_from_ringing_however_the_relay_was_killed() {
    let (port, upstream) = (OwnPort::reserve(), accepting_server());
    let home = Home::new(&[
        ("FIDO_RELAY_LISTEN", &port.address.to_string()),
        ("FIDO_RELAY_UPSTREAM__URL", &upstream.url()),
        ("FIDO_RELAY_TENANT__RP_ID", "localhost"),
        ("FIDO_RELAY_PROMPTS__LIVE", "1"),
        ("FIDO_RELAY_LIMITS__ATTEMPTS_BURST", "100000"),
        ("FIDO_RELAY_LIMITS__OPENS_BURST", "100000"),
    ]);
    let key = home.api_key().await;
    let mut users: Vec<User> = Vec::new();
    for kill in 0..=number("LEAK_KILLS", KILLS) {
        let mut relay = ChildRelay::start(&home).await;
        let bank = relay.initiator(&key);
        join_all(users.drain(..).map(|user| user.rings_next(&bank))).await;
        let opening = (0..USERS).map(|nth| User::opens(&bank, format!("user-{kill}-{nth}")));
        users = join_all(opening).await;
        let at_point = kill % 2 == 0;
        if at_point {
            relay.kill().await;
            let mut armed = home.command(&["serve"]);
            relay = ChildRelay::start_by(armed.env("FAULT_POINT", Point::Closed.name())).await;
        }
        let ends = join_all(users.iter().map(|user| user.ends(&bank)));
        let moment = async {
            if at_point {
                relay.prints("fault point reached").await;
            } else {
                sleep(Duration::from_micros(random::below(LATEST))).await;
            }
        };
        tokio::select! {
            () = moment => {}
            // The moment comes, also when all have ended.
            () = async { drop(ends.await); std::future::pending().await } => {}
        }
        relay.kill().await;
    }
}
