//! Wakes: a device whose app has not acknowledged its prompt is woken through its push service.
//! Whether that is needed follows from the ceremony's history alone, so a socket that died unnoticed
//! suppresses no wake; and a wake that a service took is a fact of the ceremony, so no other follows
//! for that device.
//!
//! ```text
//!   a prompt begins to ring ──▶ (after) not acknowledged ──▶ push service ──▶ fact `woken`
//!                                                              │ no longer knows the address
//!                                                              ▼ forgotten; the device hears of it
//! ```
//! The node that opened a ceremony wakes its devices, and after a restart the node that takes it up.
//! After a crash between the service's answer and the fact a second wake may come: it replaces the
//! first on the device.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dashmap::DashSet;
use fido_relay_proto::{CeremonyId, DeviceId};

use super::Delivery;
use crate::app::ceremonies::{CeremonyKey, DELIVERY_DELAY, Deadlines, DeviceIdentity};
use crate::app::devices::{self, Device};
use crate::core::ceremony::{Ceremony, Event, Prompt};
use crate::fault_point::{self, Point};
use crate::ports::{Clock, Push, PushFailure, StoreError, Wake};
use crate::security::random;

/// How long a device's socket has for the acknowledgement where others are woken at once.
const SOCKET_ACK_LIMIT: Duration = Duration::from_secs(2);
/// From a look that the store refused to the next, and between looks at an address.
const LOOK_PAUSE: Duration = Duration::from_secs(1);
/// From a wake that its push service could not take to the next look.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// A look at which devices have not acknowledged a prompt.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct WakeCheck {
    key: CeremonyKey,
    /// Whether the time of devices that hold a socket is over, too.
    is_last: bool,
}

/// When ceremonies are looked at for devices that must be woken.
#[derive(Debug)]
pub(super) struct WakeSchedule {
    checks: Deadlines<WakeCheck>,
    clock: Arc<dyn Clock>,
    /// How long an app has to acknowledge; none: no push service is configured.
    after: Option<Duration>,
}

impl WakeSchedule {
    pub(super) fn new(clock: Arc<dyn Clock>, after: Option<Duration>) -> Self {
        Self { checks: Deadlines::default(), clock, after }
    }

    /// Has a ceremony looked at once its devices had their time to acknowledge, counted from now.
    pub(super) fn schedule_first(&self, key: &CeremonyKey) {
        let Some(after) = self.after else { return };
        let (wait, is_last) = if after.is_zero() { (DELIVERY_DELAY, false) } else { (after, true) };
        self.schedule(wait, WakeCheck { key: key.clone(), is_last });
    }

    fn schedule(&self, wait: Duration, check: WakeCheck) {
        let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        self.checks.schedule(self.clock.now().plus_millis(wait), check);
    }

    async fn due(&self) -> WakeCheck {
        self.checks.due(&*self.clock).await
    }
}

/// Wakes that are under way: of a ceremony one for each device.
#[derive(Debug, Default)]
pub(super) struct WakesUnderWay(DashSet<(CeremonyId, DeviceId)>);

impl WakesUnderWay {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Delivery {
    /// Looks at ceremonies as they are due, until the tasks are stopped.
    pub(crate) async fn follow_wakes(self, push: Arc<dyn Push>) {
        let stopping = self.dependencies().tasks.stopping().clone();
        let schedule = &self.state.devices.wakes;
        while let Some(check) = stopping.run_until_cancelled(schedule.due()).await {
            if let Err(error) = self.check(&push, &check).await {
                tracing::warn!(
                    ceremony = %check.key.id, %error,
                    "devices could not be woken, trying again"
                );
                schedule.schedule(LOOK_PAUSE, check);
            }
        }
    }

    async fn check(&self, push: &Arc<dyn Push>, check: &WakeCheck) -> Result<(), StoreError> {
        let WakeCheck { key, is_last } = check;
        let Some(copy) = self.ceremonies().newest(key).await? else { return Ok(()) };
        let ceremony = copy.latest();
        if !ceremony.is_unclaimed() {
            return Ok(());
        }
        let (store, request) = (self.store(), &ceremony.request);
        let mut others = false;
        for id in devices::of_user(store, &request.tenant, &request.username).await? {
            if !self.is_asleep(ceremony, id) {
                continue;
            }
            if !is_last && self.registry().get(id).is_some() {
                others = true;
                continue;
            }
            if let Some(device) = devices::load(store, &request.tenant, id).await? {
                self.begin_wake(push, ceremony, device);
            }
        }
        if others {
            let check = WakeCheck { key: key.clone(), is_last: true };
            self.state.devices.wakes.schedule(SOCKET_ACK_LIMIT, check);
        }
        Ok(())
    }

    /// Whether a prompt is this device's, its app has not acknowledged it, and no wake was taken.
    fn is_asleep(&self, ceremony: &Ceremony, device: DeviceId) -> bool {
        let is_prompt = match ceremony.prompt_for(device) {
            Prompt::Offer | Prompt::Challenge(_) => true,
            Prompt::Nothing | Prompt::Wait | Prompt::Elsewhere | Prompt::Closed(_) => false,
        };
        let (tenant, username) = (&ceremony.request.tenant, &ceremony.request.username);
        let identity =
            || DeviceIdentity { device, tenant: tenant.clone(), username: username.clone() };
        is_prompt
            && !ceremony.is_acked_by(device)
            && !ceremony.has_woken(device)
            && self.rings_on(ceremony, &identity())
    }

    /// Hands a wake over in a task of its own: a service that is slow delays nothing else.
    fn begin_wake(&self, push: &Arc<dyn Push>, ceremony: &Ceremony, device: Device) {
        let Some(target) = device.push.clone() else { return };
        let now = self.dependencies().clock.now();
        let ttl_s = ceremony.request.deadline.secs_left(now);
        let entry = (ceremony.request.id, device.id);
        if ttl_s == 0 || !self.state.wakes.0.insert(entry) {
            return;
        }
        let (delivery, push, key) = (self.clone(), Arc::clone(push), CeremonyKey::from(ceremony));
        let id = URL_SAFE_NO_PAD.encode(random::bytes::<16>());
        let wake = Wake { target, id, ttl_s };
        self.dependencies().tasks.spawn_untraced(async move {
            let _done = WakeGuard(&delivery.state.wakes, entry);
            let service = wake.target.service.as_str();
            let result = tokio::select! {
                biased;
                () = delivery.dependencies().tasks.stopping().cancelled() => return,
                () = delivery.is_moot(&key, &device) => {
                    return delivery.dependencies().counts.wake(service, "moot");
                }
                result = push.wake(wake.clone()) => result,
            };
            delivery
                .dependencies()
                .counts
                .wake(service, result.map_or_else(PushFailure::name, |()| "taken"));
            match result {
                Ok(()) => {
                    fault_point::reached(Point::Woken);
                    delivery.note(&key, Event::Woken { device: device.id }).await;
                }
                Err(PushFailure::Gone) => delivery.forget_push(&device, &wake).await,
                Err(error) => {
                    tracing::warn!(ceremony = %key.id, service, %error, "a device was not woken");
                    if matches!(error, PushFailure::Failing | PushFailure::Full) {
                        let check = WakeCheck { key, is_last: true };
                        delivery.state.devices.wakes.schedule(RETRY_PAUSE, check);
                    }
                }
            }
        });
    }

    /// Waits until a wake is moot: the app has the prompt, the prompt is gone, or the address is no
    /// longer this device's. That is looked at every [`LOOK_PAUSE`].
    async fn is_moot(&self, key: &CeremonyKey, device: &Device) {
        let mut watch = self.watch(key);
        loop {
            match self.is_wanted(key, device).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => tracing::debug!(
                    ceremony = %key.id, %error,
                    "a ceremony could not be read"
                ),
            }
            tokio::select! {
                _ = watch.changed() => {}
                () = tokio::time::sleep(LOOK_PAUSE) => {}
            }
        }
    }

    async fn is_wanted(&self, key: &CeremonyKey, device: &Device) -> Result<bool, StoreError> {
        let copy = self.ceremonies().newest(key).await?;
        if !copy.is_some_and(|copy| self.is_asleep(copy.latest(), device.id)) {
            return Ok(false);
        }
        let now = devices::load(self.store(), &device.tenant, device.id).await?;
        Ok(now.is_some_and(|now| now.push == device.push))
    }

    /// The service no longer knows the address: the device is to set another.
    async fn forget_push(&self, device: &Device, wake: &Wake) {
        let (store, now) = (self.store(), self.dependencies().clock.now());
        match devices::forget_push(store, &device.tenant, device.id, &wake.target, now).await {
            Ok(true) => tracing::info!(
                device = %device.id,
                "push address rejected by its service: removed"
            ),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "a rejected push address could not be removed"),
        }
    }
}

/// Removes a wake from those under way, however it ends.
struct WakeGuard<'a>(&'a WakesUnderWay, (CeremonyId, DeviceId));

impl Drop for WakeGuard<'_> {
    fn drop(&mut self) {
        self.0.0.remove(&self.1);
    }
}
