//! Push services that refuse, are slow, and lose, double and delay the wakes that they took; and the
//! phones that they wake, which pull without a socket.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fido_relay::app::ceremonies::DeviceIdentity;
use fido_relay::app::devices::Device;
use fido_relay::core::prompt_limits::CodeAttempts;
use fido_relay::delivery::PullRequest;
use fido_relay::node::Relay;
use fido_relay::ports::{BoxFuture, Push, PushFailure, Unpushable, Wake};
use fido_relay::tasks::Tasks;
use fido_relay_proto::UnixMillis;
use fido_relay_proto::http::{Platform, PushTarget};
use tokio::sync::mpsc;

use super::phone::{Manners, SimPhone, any_key};
use super::world::{World, pause};
use crate::support::stub_push::target;

/// Longest that a service takes, and that a wake is under way.
const LONGEST_MS: u64 = 8_000;
/// Looks of a phone that was woken, each as long as a wait.
const LOOKS: usize = 8;

#[derive(Debug)]
pub(super) struct SimPush {
    world: Arc<World>,
    tasks: Tasks,
    woken: mpsc::Sender<String>,
    /// Wakes that were taken, in all lives.
    taken: Arc<AtomicU64>,
}

impl SimPush {
    /// Services whose wakes arrive at the receiver, by their token.
    pub(super) fn new(
        world: Arc<World>,
        tasks: Tasks,
        taken: Arc<AtomicU64>,
    ) -> (Arc<Self>, mpsc::Receiver<String>) {
        let (woken, wakes) = mpsc::channel(64);
        (Arc::new(Self { world, tasks, woken, taken }), wakes)
    }
}

impl Push for SimPush {
    fn permits(&self, _: &PushTarget) -> Result<(), Unpushable> {
        Ok(())
    }

    fn wake(&self, wake: Wake) -> BoxFuture<'_, Result<(), PushFailure>> {
        Box::pin(async move {
            self.world.take(LONGEST_MS).await;
            if self.world.happens(self.world.faults().upstream) {
                return Err(PushFailure::Failing);
            }
            self.taken.fetch_add(1, Ordering::Relaxed);
            let copies = match self.world.rng().below(10) {
                0 => 0,
                1 => 2,
                _ => 1,
            };
            for _ in 0..copies {
                let late = self.world.rng().delay_ms(LONGEST_MS);
                let (woken, token) = (self.woken.clone(), wake.target.token.as_str().to_owned());
                self.tasks.spawn_untraced(async move {
                    pause(late).await;
                    drop(woken.try_send(token));
                });
            }
            Ok(())
        })
    }
}

/// The stored device of a phone, with its address at the services.
pub(super) fn device_of(owner: &DeviceIdentity, paired_at: UnixMillis) -> Device {
    Device {
        id: owner.device,
        tenant: owner.tenant.clone(),
        username: owner.username.clone(),
        jwk: any_key(),
        name: None,
        platform: Platform::Android,
        push: Some(target(&owner.device.to_string())),
        push_removed: None,
        paired_at,
        revoked_at: None,
        rotated: None,
        tries: CodeAttempts::default(),
    }
}

/// Wakes phones, until the life ends.
pub(super) async fn follow(
    mut wakes: mpsc::Receiver<String>,
    phones: Vec<Arc<SimPhone>>,
    (relay, tasks, manners): (Relay, Tasks, Manners),
) {
    while let Some(token) = wakes.recv().await {
        let phone = phones.iter().find(|phone| phone.owner.device.to_string() == token);
        let Some(phone) = phone.map(Arc::clone) else { continue };
        // One that holds a socket has what there is.
        if phone.begins_to_pull() {
            let (relay, again) = (relay.clone(), tasks.clone());
            tasks.spawn_untraced(async move { pull(phone, &relay, &again, manners).await });
        }
    }
}

/// What an app does that was woken: it pulls until nothing is open, or its socket is there.
async fn pull(phone: Arc<SimPhone>, relay: &Relay, tasks: &Tasks, manners: Manners) {
    let mut order = PullRequest::default();
    for _ in 0..LOOKS {
        order.shown = phone.prompts();
        let pulled = relay.delivery.pull(&phone.owner, &order).await;
        if phone.connection().is_some() {
            break;
        }
        let Ok(pulled) = pulled else {
            pause(1_500).await;
            continue;
        };
        for frame in pulled.frames {
            if let Some((ceremony, attempt)) = Arc::clone(&phone).hears_news(frame) {
                let phone = Arc::clone(&phone);
                let (relay, again) = (relay.clone(), tasks.clone());
                tasks.spawn_untraced(phone.acts(ceremony, attempt, relay, again, manners));
            }
        }
        if phone.prompts().is_empty() && order.since.is_some() {
            break;
        }
        order.since = Some(pulled.state);
        order.wait = Duration::from_secs(15);
    }
    phone.ends_to_pull();
}
