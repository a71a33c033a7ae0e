//! The phones of a simulated world: they show what they are told, type codes rightly and wrongly,
//! answer twice or differently, vanish and return. A person's memory survives every crash.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use fido_relay::app::ceremonies::DeviceIdentity;
use fido_relay::delivery::{Connection, ConnectionAction};
use fido_relay::node::Relay;
use fido_relay::tasks::Tasks;
use fido_relay_proto::device::{
    Ack, AckOf, Answer, Card, CardErrorCode, CardEvent, Claim, Decline, DeclineReason,
    FrameErrorCode,
};
use fido_relay_proto::http::P256Jwk;
use fido_relay_proto::{AttemptId, CeremonyId, ConnectionId, DeviceFrame, DeviceId, RelayFrame};
use serde_json::value::RawValue;

use super::history::Event;
use super::world::{World, pause};

/// What a phone shows of a ceremony.
#[derive(Clone, Debug, Default)]
struct Seen {
    shows: &'static str,
    attempt: Option<AttemptId>,
}

#[derive(Debug, Default)]
struct Memory {
    seen: BTreeMap<CeremonyId, Seen>,
    connection: Option<Arc<Connection>>,
    connections: u64,
    /// Whether the app is awake without a socket.
    pulls: bool,
}

/// Every device's key: nothing is signed here.
pub(super) fn any_key() -> P256Jwk {
    let [kty, crv, x, y] = ["EC", "P-256", "", ""].map(str::to_owned);
    P256Jwk { kty, crv, x, y }
}

/// One device and its person.
#[derive(Debug)]
pub(super) struct SimPhone {
    pub(super) owner: DeviceIdentity,
    world: Arc<World>,
    codes: Arc<Mutex<HashMap<CeremonyId, String>>>,
    memory: Mutex<Memory>,
}

/// How often people do what is not wanted, in cases of a thousand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manners {
    pub(super) idle: u64,
    pub(super) wrong_code: u64,
    pub(super) declines: u64,
    pub(super) card_error: u64,
    pub(super) repeats: u64,
    pub(super) differs: u64,
}

/// How people with phones are here, in cases of a thousand.
pub(super) const MANNERS: Manners = Manners {
    idle: 100,
    wrong_code: 150,
    declines: 40,
    card_error: 60,
    repeats: 300,
    differs: 150,
};

impl SimPhone {
    pub(super) fn new(
        owner: DeviceIdentity,
        world: Arc<World>,
        codes: Arc<Mutex<HashMap<CeremonyId, String>>>,
    ) -> Arc<Self> {
        Arc::new(Self { owner, world, codes, memory: Mutex::default() })
    }

    fn device(&self) -> DeviceId {
        self.owner.device
    }

    pub(super) fn connection(&self) -> Option<Arc<Connection>> {
        self.memory.lock().unwrap().connection.clone()
    }

    /// The ceremonies that it was ever shown.
    pub(super) fn knows(&self) -> Vec<(CeremonyId, Option<AttemptId>)> {
        let memory = self.memory.lock().unwrap();
        memory.seen.iter().map(|(id, seen)| (*id, seen.attempt)).collect()
    }

    pub(super) fn shows(&self, ceremony: CeremonyId) -> &'static str {
        self.memory.lock().unwrap().seen.get(&ceremony).map_or("nothing", |seen| seen.shows)
    }

    /// The process at the other end is gone.
    pub(super) fn cut_off(&self) {
        let mut memory = self.memory.lock().unwrap();
        memory.connection = None;
        memory.pulls = false;
        for seen in memory.seen.values_mut() {
            seen.shows = "nothing";
        }
    }

    /// Connects anew; an older socket of this phone is replaced, as after a broken network.
    pub(super) async fn connect(self: Arc<Self>, relay: Relay, tasks: Tasks, manners: Manners) {
        let connection = {
            let mut memory = self.memory.lock().unwrap();
            memory.connections += 1;
            // What is still open comes again; the rest the phone takes down by its own clock.
            for seen in memory.seen.values_mut() {
                seen.shows = "nothing";
            }
            let mut id = [0; 16];
            id[..8].copy_from_slice(&memory.connections.to_be_bytes());
            id[8..].copy_from_slice(&self.device().as_bytes()[..8]);
            let id = ConnectionId::from_bytes(id);
            let connection = Arc::new(Connection::new(id, self.owner.clone()));
            memory.connection = Some(Arc::clone(&connection));
            connection
        };
        for open in relay.delivery.attach(&connection, &any_key()).await {
            relay.delivery.show_again(&open, &connection).await;
        }
        self.listen(connection, relay, tasks, manners).await;
    }

    /// Takes the socket away from both ends.
    pub(super) fn vanish(&self, relay: &Relay) {
        let connection = self.memory.lock().unwrap().connection.take();
        if let Some(connection) = connection {
            relay.delivery.detach(&connection);
            connection.close(fido_relay::core::session::CloseReason::PeerClosed);
        }
    }

    async fn listen(
        self: Arc<Self>,
        connection: Arc<Connection>,
        relay: Relay,
        tasks: Tasks,
        manners: Manners,
    ) {
        loop {
            match connection.next() {
                ConnectionAction::Idle => connection.woken().await,
                // Its key stays the same here.
                ConnectionAction::Renew => {}
                ConnectionAction::Close(_) => {
                    relay.delivery.detach(&connection);
                    let mut memory = self.memory.lock().unwrap();
                    if memory.connection.as_ref().is_some_and(|own| own.id() == connection.id()) {
                        memory.connection = None;
                    }
                    return;
                }
                ConnectionAction::Write(outgoing) => {
                    if self.connection().is_none_or(|own| own.id() != connection.id()) {
                        continue;
                    }
                    let frame = RelayFrame::decode(&outgoing.text).unwrap();
                    let reaction = Arc::clone(&self).hears(frame);
                    if let Some(ceremony) = outgoing.sent {
                        relay.delivery.sent(&connection, ceremony).await;
                    }
                    if let Some((ceremony, attempt)) = reaction {
                        let acts = Arc::clone(&self).acts(
                            ceremony,
                            attempt,
                            relay.clone(),
                            tasks.clone(),
                            manners,
                        );
                        tasks.spawn_untraced(acts);
                    }
                }
            }
        }
    }

    /// The app is awake without a socket from now on; not if it has one or is awake already.
    pub(super) fn begins_to_pull(&self) -> bool {
        let mut memory = self.memory.lock().unwrap();
        let begins = memory.connection.is_none() && !memory.pulls;
        memory.pulls |= begins;
        begins
    }

    /// The app goes back to sleep, and its prompts with it.
    pub(super) fn ends_to_pull(&self) {
        let mut memory = self.memory.lock().unwrap();
        memory.pulls = false;
        if memory.connection.is_none() {
            for seen in memory.seen.values_mut() {
                seen.shows = "nothing";
            }
        }
    }

    /// The ceremonies that it shows a prompt of.
    pub(super) fn prompts(&self) -> Vec<CeremonyId> {
        let memory = self.memory.lock().unwrap();
        let prompts = memory.seen.iter().filter(|(_, seen)| is_prompt(seen.shows));
        prompts.map(|(id, _)| *id).collect()
    }

    /// Takes a frame in that a pull brought, unless it says what is shown already.
    pub(super) fn hears_news(
        self: Arc<Self>,
        frame: RelayFrame,
    ) -> Option<(CeremonyId, Option<AttemptId>)> {
        let shows = |id| {
            let memory = self.memory.lock().unwrap();
            memory.seen.get(&id).map_or(("nothing", None), |seen| (seen.shows, seen.attempt))
        };
        let is_shown = match &frame {
            RelayFrame::Offer(offer) => shows(offer.ceremony_id).0 == "offer",
            RelayFrame::Challenge(challenge) => {
                shows(challenge.offer.ceremony_id) == ("challenge", Some(challenge.attempt))
            }
            _ => false,
        };
        if is_shown { None } else { self.hears(frame) }
    }

    /// Takes a frame in; gives what the person is now asked for.
    fn hears(self: Arc<Self>, frame: RelayFrame) -> Option<(CeremonyId, Option<AttemptId>)> {
        let device = self.device();
        let mut memory = self.memory.lock().unwrap();
        match frame {
            RelayFrame::Offer(offer) => {
                let seen = memory.seen.entry(offer.ceremony_id).or_default();
                seen.shows = "offer";
                Some((offer.ceremony_id, None))
            }
            RelayFrame::Challenge(challenge) => {
                let ceremony = challenge.offer.ceremony_id;
                let seen = memory.seen.entry(ceremony).or_default();
                *seen = Seen { shows: "challenge", attempt: Some(challenge.attempt) };
                let challenge_text = challenge.challenge.clone();
                self.world.tell(Event::Challenged { ceremony, device, challenge: challenge_text });
                Some((ceremony, Some(challenge.attempt)))
            }
            RelayFrame::Closed { ceremony_id, outcome, .. } => {
                memory.seen.entry(ceremony_id).or_default().shows = "closed";
                self.world.tell(Event::ToldClosed { ceremony: ceremony_id, outcome });
                None
            }
            RelayFrame::Error { ceremony_id: Some(ceremony), .. } => {
                memory.seen.entry(ceremony).or_default().shows = "elsewhere";
                None
            }
            RelayFrame::Error { .. }
            | RelayFrame::Hello { .. }
            | RelayFrame::Welcome { .. }
            | RelayFrame::Accepted { .. }
            | RelayFrame::Reauth { .. }
            | RelayFrame::Notice(_)
            | RelayFrame::Pong(_)
            | RelayFrame::Goaway { .. } => None,
        }
    }

    /// What the person does about a prompt.
    pub(super) async fn acts(
        self: Arc<Self>,
        ceremony: CeremonyId,
        attempt: Option<AttemptId>,
        relay: Relay,
        tasks: Tasks,
        manners: Manners,
    ) {
        let of = if attempt.is_some() { AckOf::Challenge } else { AckOf::Offer };
        self.frame(&relay, DeviceFrame::Ack(Ack { ceremony_id: ceremony, of })).await;
        let thinks = self.world.rng().delay_ms(5_000);
        pause(thinks).await;
        if self.world.happens(manners.idle) {
            return;
        }
        if self.world.happens(manners.declines) {
            let reason = match self.world.happens(300) {
                true => DeclineReason::NotMe,
                false => DeclineReason::Declined,
            };
            let decline = Decline { ceremony_id: Some(ceremony), reason };
            self.frame(&relay, DeviceFrame::Decline(decline)).await;
            return;
        }
        if self.world.happens(manners.card_error) {
            let number = [600, 601, 602, 604, 608][self.world.rng().below(5) as usize];
            let code = CardErrorCode::new(number).ok();
            let card = Card { ceremony_id: ceremony, event: CardEvent::Error, code };
            self.frame(&relay, DeviceFrame::Card(card)).await;
        }
        let Some(attempt) = attempt else {
            if self.world.happens(manners.wrong_code) {
                self.claims(&relay, ceremony, false).await;
            }
            self.claims(&relay, ceremony, true).await;
            return;
        };
        let times = if self.world.happens(manners.repeats) { 3 } else { 1 };
        for nth in 0..times {
            let version = u64::from(self.world.happens(manners.differs));
            let phone = Arc::clone(&self);
            let relay = relay.clone();
            tasks.spawn_untraced(async move {
                phone.answers(&relay, ceremony, attempt, version).await;
            });
            let gap = self.world.rng().delay_ms(1_000 * nth);
            pause(gap).await;
        }
    }

    /// Types a code, again while the relay says that it may be worth it.
    pub(super) async fn claims(&self, relay: &Relay, ceremony: CeremonyId, right: bool) {
        let known = self.codes.lock().unwrap().get(&ceremony).cloned();
        let Some(code) = known else { return };
        let typed = if right { code } else { another(&code) };
        let device = self.device();
        self.world.tell(Event::Claiming { ceremony, device, right });
        for _ in 0..5 {
            let claim = Claim { ceremony_id: Some(ceremony), code: typed.clone(), claim_id: None };
            let reply = self.frame(relay, DeviceFrame::Claim(claim)).await;
            if let Some(RelayFrame::Offer(_)) = &reply {
                // It is shown who asks, and the person confirms. On a socket the answer comes before
                // what was queued behind it; here the end may have been heard already.
                {
                    let mut memory = self.memory.lock().unwrap();
                    let seen = memory.seen.entry(ceremony).or_default();
                    if seen.shows != "closed" {
                        seen.shows = "offer";
                    }
                }
                let ack = Ack { ceremony_id: ceremony, of: AckOf::Offer };
                self.frame(relay, DeviceFrame::Ack(ack)).await;
            } else if !is_unavailable(&reply) {
                return;
            }
            pause(700).await;
        }
    }

    /// Answers a challenge, again while the relay says that it may be worth it.
    pub(super) async fn answers(
        &self,
        relay: &Relay,
        ceremony: CeremonyId,
        attempt: AttemptId,
        version: u64,
    ) {
        let credential = format!(r#"{{"id":"{}","version":{version}}}"#, self.device());
        for _ in 0..8 {
            let raw = RawValue::from_string(credential.clone()).unwrap();
            let answer = Answer { ceremony_id: ceremony, attempt, credential: raw };
            let reply = self.frame(relay, DeviceFrame::Answer(answer)).await;
            if let Some(RelayFrame::Accepted { ceremony_id, attempt }) = &reply {
                let (ceremony, attempt) = (*ceremony_id, *attempt);
                let device = self.device();
                self.world.tell(Event::Accepted { ceremony, device, attempt, credential });
                return;
            }
            if !is_unavailable(&reply) {
                return;
            }
            pause(900).await;
        }
    }

    /// Sends a frame over whatever socket there is, and gives the answer if it is heard.
    async fn frame(&self, relay: &Relay, frame: DeviceFrame) -> Option<RelayFrame> {
        let Some(connection) = self.connection() else {
            if !self.memory.lock().unwrap().pulls {
                return None;
            }
            let reply =
                relay.delivery.receive_pulled(&self.owner, [192, 0, 2, 7].into(), frame).await;
            // An app that is asleep again hears no answer.
            return reply.filter(|_| self.memory.lock().unwrap().pulls);
        };
        let reply = relay.delivery.receive(&connection, frame).await;
        // An answer to a socket that is gone is lost.
        let still = self.connection().is_some_and(|own| own.id() == connection.id());
        reply.filter(|_| still)
    }
}

fn is_prompt(shows: &str) -> bool {
    ["offer", "challenge"].contains(&shows)
}

fn is_unavailable(reply: &Option<RelayFrame>) -> bool {
    matches!(reply, Some(RelayFrame::Error { code: FrameErrorCode::Unavailable, .. }))
}

/// Six digits that are not these.
fn another(code: &str) -> String {
    let (first, rest) = code.split_at(1);
    let first = if first == "0" { "1" } else { "0" };
    format!("{first}{rest}")
}
