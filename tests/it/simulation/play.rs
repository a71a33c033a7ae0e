//! One seed from beginning to end: a world, its people and what befalls them; then everything
//! heals, every deadline passes, and the history is complete.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fido_relay::app::ceremonies::{CeremonyKey, DeviceIdentity, OpenRequest};
use fido_relay::core::ceremony::{Ceremony, Event as Step, Request};
use fido_relay::metrics::{Metrics, NodeGauges};
use fido_relay::node::{Dependencies as Ports, NodeOccupancy, Relay, RelayLimits};
use fido_relay::ports::{Bucket, Clock as _, Store};
use fido_relay::security::encryption::Encryptor;
use fido_relay::tasks::Tasks;
use fido_relay_proto::{
    Binding, CeremonyId, CeremonyType, ClientId, DeviceId, PlainText, TenantId, UnixMillis,
    Username,
};

use super::history::Event;
use super::phone::{MANNERS, Manners, SimPhone};
use super::push::{self, SimPush};
use super::store::{SimStore, outage};
use super::upstream::{SimBus, SimFido};
use super::world::{Faults, HEALED, World, pause};
use crate::support::actions::add_device;
use crate::support::actions::sign_in_request;

/// The wall clock at the beginning.
const START: u64 = 1_800_000_000_000;
/// Turns that a world takes before it heals.
const TURNS: u64 = 16;
/// Longest life that a ceremony asks for, and what the check of its answer may take longer.
const LONGEST_MS: u64 = (60 + 20) * 1000;

/// What kind of days a world has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Climate {
    /// Everything is slow and races. Nothing is down, nothing crashes: every verdict must become the
    /// outcome.
    Calm,
    /// The store and the FIDO2 server fail as well; the clock is set.
    Rough,
    /// And the process crashes, also between a write and its answer.
    Fatal,
}

/// How a life ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Crash,
    Done,
}

pub(super) struct Play {
    world: Arc<World>,
    store: Arc<SimStore>,
    fido: Arc<SimFido>,
    codes: Arc<Mutex<HashMap<CeremonyId, String>>>,
    phones: Vec<Arc<SimPhone>>,
    climate: Climate,
    turns: u64,
    opened: Mutex<Vec<CeremonyId>>,
    left: Mutex<Option<NodeOccupancy>>,
    /// Wakes that a push service took.
    wakes: Arc<AtomicU64>,
    /// Of the life that is lived.
    metrics: Mutex<Option<Metrics>>,
}

/// What is left of a play.
#[derive(Debug)]
pub(super) struct Played {
    pub(super) climate: Climate,
    pub(super) history: Vec<Event>,
    /// What the node held in memory after everything had ended and every phone had gone.
    pub(super) left: NodeOccupancy,
    pub(super) figures: String,
    /// Wakes that a push service took.
    pub(super) wakes: u64,
    /// Whether the relay lived only once.
    pub(super) only_life: bool,
    /// Every ceremony, as it is stored in the end.
    pub(super) stored: Vec<Ceremony>,
    /// What the journal holds, of all lives.
    pub(super) entries: Vec<String>,
    /// Ceremonies that ended otherwise than by their deadline and count as open for their user.
    pub(super) still_counted: Vec<CeremonyId>,
}

fn username(name: &str) -> Username {
    PlainText::new(name).unwrap()
}

/// Two devices of Ada's and one of another user.
fn owners() -> [DeviceIdentity; 3] {
    [(1, "ada"), (2, "ada"), (3, "bob")].map(|(number, name)| DeviceIdentity {
        device: DeviceId::from_bytes([number; 16]),
        tenant: TenantId::default(),
        username: username(name),
    })
}

/// Plays a seed.
pub(super) fn play(seed: u64) -> Played {
    let world = Arc::new(World::new(seed));
    let climates = [Climate::Calm, Climate::Rough, Climate::Fatal];
    let climate = climates[world.rng().below(3) as usize];
    let codes = Arc::default();
    let phone = |owner| SimPhone::new(owner, Arc::clone(&world), Arc::clone(&codes));
    let mut play = Play {
        store: Arc::new(SimStore::new(Arc::clone(&world))),
        fido: Arc::new(SimFido::new(Arc::clone(&world))),
        phones: owners().map(phone).to_vec(),
        codes,
        climate,
        turns: TURNS,
        opened: Mutex::default(),
        left: Mutex::default(),
        wakes: Arc::default(),
        metrics: Mutex::default(),
        world,
    };
    let mut wall = START;
    loop {
        // A runtime for each life: what it held in memory goes with it.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let end = runtime.block_on(play.live(wall));
        wall = runtime.block_on(async { play.world.now().0 });
        drop(runtime);
        for phone in &play.phones {
            phone.cut_off();
        }
        if end == End::Done {
            let left = play.left.lock().unwrap().unwrap();
            let still_counted = play.store.ended_and_counted();
            let figures = play.metrics.into_inner().unwrap().unwrap().render(NodeGauges::default());
            let records = play.store.contents(Bucket::Ceremonies).into_values();
            let rows = play.store.contents(Bucket::Journal).into_values();
            let rows = rows.map(|row| String::from_utf8(row).unwrap());
            let entries = rows.flat_map(|row| row.lines().map(str::to_owned).collect::<Vec<_>>());
            return Played {
                climate,
                history: play.world.history(),
                left,
                figures,
                wakes: play.wakes.load(Ordering::Relaxed),
                still_counted,
                only_life: play.world.life() == 1,
                stored: records.map(|record| serde_json::from_slice(&record).unwrap()).collect(),
                entries: entries.collect(),
            };
        }
        let down = play.world.rng().below(5_000);
        wall += down;
    }
}

impl Play {
    async fn live(&mut self, wall: u64) -> End {
        self.world.begin_life(wall);
        if self.world.life() == 1 {
            for owner in owners() {
                self.pair(&owner).await;
            }
        }
        let fresh = self.turns == 0;
        self.world.set_faults(if fresh { HEALED } else { self.faults() });
        let (relay, tasks) = self.start();
        self.world.tell(Event::Started { life: self.world.life() });
        if fresh {
            self.return_quietly(&relay, &tasks);
            self.heal(&relay, true).await;
            return End::Done;
        }
        // A node that starts in bad weather takes longer to take up what is open, while phones
        // and initiators go on.
        if self.world.life() > 1 && self.world.happens(300) {
            let ms = self.world.rng().below(4_000);
            self.world.set_outage(Some(outage(ms)));
        }
        // Phones are often back before the node knows what is open for them.
        for phone in 0..self.phones.len() {
            if self.world.happens(700) {
                self.connect(phone, &relay, &tasks);
            }
        }
        let crashed = self.world.crashed();
        while self.turns > 0 {
            self.turns -= 1;
            let wait = self.world.rng().delay_ms(6_000);
            if crashed.run_until_cancelled(pause(wait)).await.is_none() || self.turn(&relay, &tasks)
            {
                return End::Crash;
            }
        }
        if crashed.is_cancelled() || (self.climate == Climate::Fatal && self.world.happens(600)) {
            return End::Crash;
        }
        self.world.set_faults(HEALED);
        self.world.set_outage(None);
        relay.ceremonies.recovered().await;
        pause(3_000).await;
        // Where no notice is lost, who stayed must show the same as who returns.
        let stay = self.climate == Climate::Calm && self.world.happens(700);
        for phone in self.phones.iter().filter(|phone| !stay || phone.connection().is_none()) {
            phone.vanish(&relay);
            phone.cut_off();
        }
        self.return_quietly(&relay, &tasks);
        self.heal(&relay, false).await;
        End::Done
    }

    /// Every phone comes back and only looks.
    fn return_quietly(&self, relay: &Relay, tasks: &Tasks) {
        for phone in self.phones.iter().filter(|phone| phone.connection().is_none()) {
            let quiet = Manners { idle: 1000, ..MANNERS };
            tasks.spawn_untraced(Arc::clone(phone).connect(relay.clone(), tasks.clone(), quiet));
        }
    }

    fn faults(&self) -> Faults {
        let store_ms = [0, 3, 40, 400][self.world.rng().below(4) as usize];
        let upstream_ms = [50, 2_000, 5_000][self.world.rng().below(3) as usize];
        let calm = Faults { upstream: 100, store_ms, upstream_ms, ..Faults::default() };
        match self.climate {
            Climate::Calm => calm,
            Climate::Rough | Climate::Fatal => Faults {
                crash_after_write: if self.climate == Climate::Fatal { 20 } else { 0 },
                refused: 40,
                stale: 30,
                unreadable: 20,
                lost_notice: 60,
                upstream: 250,
                ..calm
            },
        }
    }

    async fn pair(&self, owner: &DeviceIdentity) {
        add_device(&*self.store, &push::device_of(owner, UnixMillis(START))).await;
    }

    fn start(&self) -> (Relay, Tasks) {
        let tasks = Tasks::default();
        let metrics = Metrics::default();
        *self.metrics.lock().unwrap() = Some(metrics.clone());
        let (push, wakes) =
            SimPush::new(Arc::clone(&self.world), tasks.clone(), Arc::clone(&self.wakes));
        let ports = Ports {
            store: Arc::clone(&self.store) as Arc<dyn Store>,
            revocations: Arc::new(fido_relay::backends::embedded::RevocationList::in_memory()),
            bus: Arc::new(SimBus::new(Arc::clone(&self.world), tasks.clone())),
            fido: Arc::clone(&self.fido) as _,
            cards: None,
            clock: Arc::clone(&self.world) as _,
            encryptor: Encryptor::new(&[7; 32]).unwrap(),
            journal: crate::support::journal(),
            recording: crate::support::recording(),
            push: Some(push),
            counts: metrics.ceremonies(),
            tasks: tasks.clone(),
        };
        let wake_after = Duration::from_secs(self.world.rng().below(2) * 2);
        let relay = Relay::start(ports, RelayLimits { wake_after, ..crate::support::patient() });
        let handles = (relay.clone(), tasks.clone(), MANNERS);
        tasks.spawn_untraced(push::follow(wakes, self.phones.clone(), handles));
        (relay, tasks)
    }

    fn connect(&self, phone: usize, relay: &Relay, tasks: &Tasks) {
        let phone = Arc::clone(&self.phones[phone]);
        tasks.spawn_untraced(phone.connect(relay.clone(), tasks.clone(), MANNERS));
    }

    /// Something happens; tells whether it was a crash.
    fn turn(&self, relay: &Relay, tasks: &Tasks) -> bool {
        let (drawn, phone) = {
            let mut rng = self.world.rng();
            (rng.below(100), rng.below(3) as usize)
        };
        let opened = self.opened.lock().unwrap().clone();
        let some = match opened.len() {
            0 => None,
            many => Some(opened[self.world.rng().below(many as u64) as usize]),
        };
        match (drawn, some) {
            (0..25, _) => self.open(relay, tasks),
            (25..45, _) => self.connect(phone, relay, tasks),
            (45..52, _) => self.phones[phone].vanish(relay),
            (52..60, Some(id)) => {
                // Often while a phone is just coming.
                if self.world.happens(700) {
                    self.connect(phone, relay, tasks);
                }
                let relay = relay.clone();
                tasks.spawn_untraced(async move {
                    drop(relay.ceremonies.advance(&key(id), Step::Cancel).await);
                });
            }
            (60..70, Some(id)) => self.read(relay, tasks, id),
            // Old news and strangers.
            (70..78, Some(id)) => {
                let (phone, relay) = (Arc::clone(&self.phones[phone]), relay.clone());
                let right = self.world.happens(500);
                tasks.spawn_untraced(async move { phone.claims(&relay, id, right).await });
            }
            (78..86, Some(id)) => {
                let attempts = self.phones.iter().flat_map(|phone| phone.knows());
                let attempt = attempts.filter(|(of, _)| *of == id).find_map(|(_, attempt)| attempt);
                if let Some(attempt) = attempt {
                    let (phone, relay) = (Arc::clone(&self.phones[phone]), relay.clone());
                    tasks
                        .spawn_untraced(async move { phone.answers(&relay, id, attempt, 2).await });
                }
            }
            (86..90, _) if self.climate != Climate::Calm => {
                let by = self.world.rng().below(40_000);
                let back = self.world.happens(500);
                let by = i64::try_from(by).unwrap();
                self.world.jump(if back { -by } else { by });
            }
            (90..95, _) if self.climate != Climate::Calm => {
                let ms = self.world.rng().below(8_000);
                self.world.set_outage(Some(outage(ms)));
            }
            (95.., _) => return self.climate == Climate::Fatal,
            _ => {}
        }
        false
    }

    /// Ids in the order of their making, so that chance has no part in them.
    fn fresh_id(&self) -> CeremonyId {
        let mut opened = self.opened.lock().unwrap();
        let id = CeremonyId::from_bytes([u8::try_from(opened.len()).unwrap() + 1; 16]);
        opened.push(id);
        id
    }

    fn order(&self, username: &str, ceremony_type: CeremonyType, binding: Binding) -> Request {
        let id = self.fresh_id();
        let now = self.world.now();
        let (seconds, only, client) = {
            let mut rng = self.world.rng();
            (30 + rng.below(31), rng.happens(100), rng.below(2))
        };
        Request {
            id,
            client_id: ClientId::from_bytes([u8::try_from(client).unwrap() + 1; 16]),
            ceremony_type,
            username: self::username(username),
            display_name: self::username(username).into(),
            device_id: only.then(|| self.phones[0].owner.device),
            binding,
            ..sign_in_request(now, seconds * 1000)
        }
    }

    fn open(&self, relay: &Relay, tasks: &Tasks) {
        let (none, bob, registers, keyed, repeats, many) = {
            let mut rng = self.world.rng();
            let mut one = |per_mille| rng.happens(per_mille);
            (one(300), one(100), one(300), one(400), one(500), one(200))
        };
        let binding = if none { Binding::None } else { Binding::Code };
        let kind = match registers {
            true => CeremonyType::Registration,
            false => CeremonyType::Authentication,
        };
        let request = self.order(if bob { "bob" } else { "ada" }, kind, binding);
        // Two keys, and two bodies for them: repeats, mismatches, and another client's.
        let mut rng = self.world.rng();
        let idempotency =
            keyed.then(|| (format!("key-{}", rng.below(3)), [rng.below(4) as u8 / 3; 32]));
        drop(rng);
        let copies = if many && idempotency.is_some() { 3 } else { 1 };
        for nth in 0..copies {
            let mut request = request.clone();
            if nth > 0 {
                request.id = self.fresh_id();
            }
            tasks.spawn_untraced(self.opening(relay, request, idempotency.clone(), repeats));
        }
    }

    /// Opens; an initiator with an idempotency key repeats an opening that failed.
    fn opening(
        &self,
        relay: &Relay,
        request: Request,
        idempotency: Option<(String, [u8; 32])>,
        repeats: bool,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (relay, world, codes) =
            (relay.clone(), Arc::clone(&self.world), Arc::clone(&self.codes));
        async move {
            let by = request.client_id;
            for _ in 0..3 {
                let order =
                    OpenRequest { request: request.clone(), idempotency: idempotency.clone() };
                match relay.ceremonies.open(order).await {
                    Ok(ceremony) => {
                        let (id, of) = (ceremony.id, ceremony.client_id);
                        if let Some(code) = &ceremony.code {
                            codes.lock().unwrap().insert(id, code.0.clone());
                        }
                        world.tell(Event::Opened { ceremony: id, by, of });
                        return;
                    }
                    Err(_) if repeats && idempotency.is_some() => pause(1_000).await,
                    Err(_) => return,
                }
            }
        }
    }

    fn read(&self, relay: &Relay, tasks: &Tasks, id: CeremonyId) {
        let (relay, world) = (relay.clone(), Arc::clone(&self.world));
        tasks.spawn_untraced(async move {
            let asked = world.events();
            if let Ok(found) = relay.ceremonies.load(&key(id)).await {
                let outcome = found.as_deref().and_then(Ceremony::closed).map(|end| end.outcome);
                world.tell(Event::Read { ceremony: id, outcome, found: found.is_some(), asked });
            }
        });
    }

    /// Faults end, all devices are connected, and every deadline passes.
    async fn heal(&self, relay: &Relay, fresh: bool) {
        relay.ceremonies.recovered().await;
        pause(2_000).await;
        self.world.tell(Event::Healed { fresh });
        let last = self.look_at_phones();
        // The clock may have been set back: by its own time, a deadline may be far away.
        pause(last.millis_since(self.world.now()).max(LONGEST_MS) + 25_000).await;
        self.world.tell(Event::Rested);
        self.look_at_phones();
        for phone in &self.phones {
            phone.vanish(relay);
        }
        pause(1_000).await;
        let mut left = relay.occupancy();
        // A deadline that was set by a clock gone ahead is the last to go; nothing else may wait.
        for _ in 0..120 {
            if left.deadlines == 0 {
                break;
            }
            pause(60_000).await;
            left.deadlines = relay.occupancy().deadlines;
        }
        *self.left.lock().unwrap() = Some(left);
    }

    /// Tells what every phone shows, and when time alone will last change a ceremony.
    fn look_at_phones(&self) -> UnixMillis {
        let records = self.store.contents(Bucket::Ceremonies);
        let at = self.world.now();
        let mut last = UnixMillis(0);
        for record in records.into_values() {
            let ceremony: Ceremony = serde_json::from_slice(&record).unwrap();
            let Request { id, username, .. } = &ceremony.request;
            for phone in self.phones.iter().filter(|phone| phone.owner.username == *username) {
                let (prompt, device) = (phone.shows(*id), phone.owner.device);
                self.world.tell(Event::Shows { ceremony: *id, device, prompt, at });
            }
            last = last.max(ceremony.wakes_at().unwrap_or_default());
        }
        last
    }
}

fn key(id: CeremonyId) -> CeremonyKey {
    CeremonyKey { tenant: TenantId::default(), id }
}
