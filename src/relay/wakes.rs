//! Escalation: a prompt that no app acknowledged wakes the device through its push service. Whether
//! that is needed is decided by the ceremony's history alone, so a socket that is dead and does not
//! know it suppresses nothing; and a wake that a service took is a fact of the ceremony, so no other
//! follows for that device.
//!
//! ```text
//!   a prompt begins to ring ──▶ (after) not acknowledged ──▶ push service ──▶ fact `woken`
//!                                                              │ no longer knows the address
//!                                                              ▼ forgotten; the device hears of it
//! ```
//! The node that opened a ceremony escalates it, and after a restart the node that takes it up. Of a
//! crash between the service's answer and the fact a second wake may come: it takes the place of the
//! first on the device.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dashmap::DashSet;
use fido_relay_proto::{CeremonyId, DeviceId};

use super::ceremonies::CeremonyKey;
use super::open::SHOWN_AFTER;
use super::{Owner, Relay, user_prompts};
use crate::app::devices::{self, Device};
use crate::core::ceremony::{Ceremony, Event, Prompt};
use crate::fault_point::{self, Point};
use crate::ports::{Push, PushFailure, StoreError, Wake};
use crate::security::random;

/// How long a device's socket has for the acknowledgement where others are woken at once.
const SOCKETS_TURN: Duration = Duration::from_secs(2);
/// From a look that the store refused to the next, and between looks at an address.
const AGAIN: Duration = Duration::from_secs(1);

/// From a wake for which its service had no ear to the next look.
const LEFT_ALONE: Duration = Duration::from_secs(5);

/// A look at who has not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WakeCheck {
    key: CeremonyKey,
    /// Whether devices that hold a socket had their time, too.
    is_last: bool,
}

/// Wakes that are under way: of a ceremony one for each device.
#[derive(Debug, Default)]
pub(super) struct UnderWay(DashSet<(CeremonyId, DeviceId)>);

impl UnderWay {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Relay {
    /// Has a ceremony looked at once its devices had their time to acknowledge, counted from now.
    pub(super) fn escalate_later(&self, key: &CeremonyKey) {
        if self.dependencies().push.is_none() {
            return;
        }
        let after = self.node.wake_after;
        let (wait, is_last) = if after.is_zero() { (SHOWN_AFTER, false) } else { (after, true) };
        self.check_wakes_in(wait, WakeCheck { key: key.clone(), is_last });
    }

    fn check_wakes_in(&self, wait: Duration, check: WakeCheck) {
        let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        self.node.wakes.schedule(self.dependencies().clock.now().plus_millis(wait), check);
    }

    /// Looks at each ceremony when its time has come.
    pub(super) async fn follow_wakes(self, push: Arc<dyn Push>) {
        let stopping = self.dependencies().tasks.stopping().clone();
        let due = || self.node.wakes.due(&*self.dependencies().clock);
        while let Some(check) = stopping.run_until_cancelled(due()).await {
            if let Err(error) = self.escalate(&push, &check).await {
                tracing::warn!(ceremony = %check.key.id, %error, "no device was woken yet");
                self.check_wakes_in(AGAIN, check);
            }
        }
    }

    async fn escalate(&self, push: &Arc<dyn Push>, check: &WakeCheck) -> Result<(), StoreError> {
        let WakeCheck { key, is_last } = check;
        let Some(copy) = self.known(key).await? else { return Ok(()) };
        let ceremony = copy.latest();
        if !ceremony.is_unclaimed() {
            return Ok(());
        }
        let (store, request) = (&*self.dependencies().store, &ceremony.request);
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
            self.check_wakes_in(SOCKETS_TURN, WakeCheck { key: key.clone(), is_last: true });
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
        let owner = || Owner { device, tenant: tenant.clone(), username: username.clone() };
        is_prompt
            && !ceremony.is_acked_by(device)
            && !ceremony.has_woken(device)
            && self.rings_for(ceremony, &owner())
    }

    /// Hands a wake over in a task of its own: a service that is slow delays nothing else.
    fn begin_wake(&self, push: &Arc<dyn Push>, ceremony: &Ceremony, device: Device) {
        let Some(target) = device.push.clone() else { return };
        let now = self.dependencies().clock.now();
        let ttl_s = ceremony.request.deadline.secs_left(now);
        let entry = (ceremony.request.id, device.id);
        if ttl_s == 0 || !self.node.waking.0.insert(entry) {
            return;
        }
        let (relay, push, key) = (self.clone(), Arc::clone(push), CeremonyKey::from(ceremony));
        let id = URL_SAFE_NO_PAD.encode(random::bytes::<16>());
        let wake = Wake { target, id, ttl_s };
        self.dependencies().tasks.spawn_untraced(async move {
            let _done = Done(&relay.node.waking, entry);
            let service = wake.target.service.as_str();
            let came = tokio::select! {
                biased;
                () = relay.dependencies().tasks.stopping().cancelled() => return,
                () = relay.is_moot(&key, &device) => {
                    return relay.dependencies().counts.wake(service, "moot");
                }
                came = push.wake(wake.clone()) => came,
            };
            relay
                .dependencies()
                .counts
                .wake(service, came.map_or_else(PushFailure::name, |()| "taken"));
            match came {
                Ok(()) => {
                    fault_point::reached(Point::Woken);
                    relay.note_woken(&key, device.id).await;
                }
                Err(PushFailure::Gone) => relay.forget_push(&device, &wake).await,
                Err(error) => {
                    tracing::warn!(ceremony = %key.id, service, %error, "a device was not woken");
                    if matches!(error, PushFailure::Failing | PushFailure::Full) {
                        relay.check_wakes_in(LEFT_ALONE, WakeCheck { key, is_last: true });
                    }
                }
            }
        });
    }

    /// Waits until a wake would be for nothing: the app has the prompt, it is none any more, or the
    /// address is no longer this device's. That is looked at every [`AGAIN`].
    async fn is_moot(&self, key: &CeremonyKey, device: &Device) {
        let mut watch = self.watch(key);
        loop {
            match self.is_wanted(key, device).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => tracing::debug!(ceremony = %key.id, %error, "not looked at"),
            }
            tokio::select! {
                _ = watch.changed() => {}
                () = tokio::time::sleep(AGAIN) => {}
            }
        }
    }

    async fn is_wanted(&self, key: &CeremonyKey, device: &Device) -> Result<bool, StoreError> {
        let copy = self.known(key).await?;
        if !copy.is_some_and(|copy| self.is_asleep(copy.latest(), device.id)) {
            return Ok(false);
        }
        let now = devices::load(&*self.dependencies().store, &device.tenant, device.id).await?;
        Ok(now.is_some_and(|now| now.push == device.push))
    }

    async fn note_woken(&self, key: &CeremonyKey, device: DeviceId) {
        let woken = self.drive_soon(key, Event::Woken { device }).await;
        if let Err(error) = woken {
            tracing::debug!(ceremony = %key.id, %error, "a step was not noted");
        }
    }

    /// The service no longer knows the address: the device is to set another.
    async fn forget_push(&self, device: &Device, wake: &Wake) {
        let (store, now) = (&*self.dependencies().store, self.dependencies().clock.now());
        match devices::forget_push(store, &device.tenant, device.id, &wake.target, now).await {
            Ok(true) => tracing::info!(device = %device.id, "its push address is no longer known"),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "a dead push address was not forgotten"),
        }
    }

    /// The user's other ceremonies, which may ring now that this one no longer does.
    pub(super) fn escalate_others(&self, ceremony: &Ceremony) {
        if self.dependencies().push.is_some() {
            for key in self.node.open_ceremonies.of(&user_prompts::user(&ceremony.request)) {
                self.escalate_later(&key);
            }
        }
    }
}

/// Takes a wake out of those under way, however it ends.
struct Done<'a>(&'a UnderWay, (CeremonyId, DeviceId));

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.0.remove(&self.1);
    }
}
