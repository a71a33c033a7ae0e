//! What a device without a socket asks for: the frames that a socket would have brought it, at once
//! or once they say something new. Nothing of it is remembered here; what the device got and
//! acknowledged is in each ceremony's history.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dashmap::DashMap;
use fido_relay_proto::device::{DeviceFrame, FrameErrorCode};
use fido_relay_proto::http::Pulled;
use fido_relay_proto::{CeremonyId, DeviceId, RelayFrame};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::app::ceremonies::CeremonyKey;
use crate::app::ceremonies::claims::Refused;
use crate::app::devices::{self, UserKey};
use crate::core::ceremony::{Ceremony, Prompt};
use crate::delivery::Owner;
use crate::delivery::frame_source::Contact;
use crate::delivery::notices;
use crate::node::Relay;
use crate::ports::StoreError;

/// How long a device waits for a node that has just started to know what is open.
const RECOVERY_WAIT: Duration = Duration::from_secs(5);

/// What a device asks to be given.
#[derive(Clone, Debug, Default)]
pub struct PullOrder {
    /// The ceremonies that the app shows: the answer names those that are no longer its own.
    pub shown: Vec<CeremonyId>,
    /// The state that the app has, as its last answer named it.
    pub since: Option<String>,
    /// How long to wait for another state.
    pub wait: Duration,
}

/// Devices that wait for news: of each the last request alone.
#[derive(Debug, Default)]
pub(crate) struct Pullers {
    users: DashMap<UserKey, Vec<(DeviceId, Arc<Notify>)>>,
}

impl Pullers {
    /// Wakes what waits for this user.
    pub(crate) fn wake(&self, user: &UserKey) {
        if let Some(waiting) = self.users.get(user) {
            waiting.iter().for_each(|(_, notify)| notify.notify_one());
        }
    }

    /// Requests that wait on this node.
    pub(crate) fn len(&self) -> usize {
        self.users.iter().map(|waiting| waiting.len()).sum()
    }
}

/// A request that waits; it gives its place up when it is dropped.
struct Waiting<'a> {
    pullers: &'a Pullers,
    user: UserKey,
    notify: Arc<Notify>,
}

impl<'a> Waiting<'a> {
    /// A newer request takes the place of an older one, which is answered at once.
    fn new(pullers: &'a Pullers, user: UserKey, device: DeviceId) -> Self {
        let notify = Arc::new(Notify::new());
        let mut waiting = pullers.users.entry(user.clone()).or_default();
        if let Some((_, older)) = waiting.iter_mut().find(|(of, _)| *of == device) {
            std::mem::replace(older, Arc::clone(&notify)).notify_one();
        } else {
            waiting.push((device, Arc::clone(&notify)));
        }
        drop(waiting);
        Self { pullers, user, notify }
    }

    fn has_place(&self) -> bool {
        let waiting = self.pullers.users.get(&self.user);
        waiting.is_some_and(|waiting| waiting.iter().any(|(_, own)| Arc::ptr_eq(own, &self.notify)))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.pullers.users.remove_if_mut(&self.user, |_, waiting| {
            waiting.retain(|(_, own)| !Arc::ptr_eq(own, &self.notify));
            waiting.is_empty()
        });
    }
}

/// The frames of a device, as they may be answered.
#[derive(Default)]
struct PullState {
    frames: Vec<RelayFrame>,
    /// Prompts among the frames: once they are answered they were sent.
    prompts: Vec<CeremonyId>,
}

impl PullState {
    /// Names what the frames say.
    fn state(&self) -> String {
        let names: Vec<_> = self.frames.iter().map(name_of).collect();
        let hash = digest(&SHA256, names.join("\n").as_bytes());
        URL_SAFE_NO_PAD.encode(&hash.as_ref()[..16])
    }
}

impl Relay {
    /// What a device is to be given, once its state is not `since` or the wait is over. A newer
    /// request of the device ends the wait of an older one.
    ///
    /// # Errors
    /// The store's; also while this node does not know yet what is open.
    pub async fn pull(&self, owner: &Owner, order: &PullOrder) -> Result<Pulled, StoreError> {
        let until = Instant::now() + order.wait;
        let recovered = tokio::time::timeout(RECOVERY_WAIT, self.recovered()).await;
        recovered.map_err(|_| StoreError::Unavailable("the node is starting".to_owned()))?;
        let user = UserKey::new(&owner.tenant, &owner.username);
        let waiting = Waiting::new(&self.node.pullers, user, owner.device);
        let draining = self.dependencies().tasks.draining();
        let (standing, state) = loop {
            let standing = self.standing_for(owner, &order.shown).await?;
            let is_revoked = standing.is_none();
            let standing = standing.unwrap_or_default();
            let state = standing.state();
            let is_news = is_revoked || order.since.as_ref() != Some(&state);
            if is_news || !waiting.has_place() || draining.is_cancelled() {
                break (standing, state);
            }
            tokio::select! {
                () = waiting.notify.notified() => {}
                () = draining.cancelled() => {}
                () = tokio::time::sleep_until(until) => break (standing, state),
            }
        };
        for ceremony in standing.prompts {
            self.note_sent(owner, ceremony).await;
        }
        Ok(Pulled { frames: standing.frames, state })
    }

    /// A frame of a device that came by HTTP: gives what a socket would answer, if anything.
    pub async fn receive_pulled(
        &self,
        owner: &Owner,
        address: IpAddr,
        frame: DeviceFrame,
    ) -> Option<RelayFrame> {
        let contact = Contact { owner, address: Some(address), socket: None };
        self.receive_of(contact, frame).await
    }

    /// What ended comes first: an app that has room for one prompt takes the old one down before it
    /// shows the next. None: the device was revoked.
    async fn standing_for(
        &self,
        owner: &Owner,
        shown: &[CeremonyId],
    ) -> Result<Option<PullState>, StoreError> {
        let store = &*self.dependencies().store;
        let Some(device) = devices::load(store, &owner.tenant, owner.device).await? else {
            return Ok(None);
        };
        let (prompts, offered) = self.prompts_for(owner).await?;
        let mut frames = Vec::new();
        for id in shown.iter().filter(|id| !prompts.contains(id)) {
            frames.extend(self.end_of(*id, owner).await?);
        }
        frames.extend(offered);
        let news = devices::news(store, &owner.tenant, &owner.username).await?;
        let now = self.dependencies().clock.now();
        frames.extend(notices::frames(&device, &news, now).map(|(_, frame)| frame));
        frames.extend(notices::own(&device, now));
        Ok(Some(PullState { frames, prompts }))
    }

    /// The prompts that are this device's now, with their frames.
    async fn prompts_for(
        &self,
        owner: &Owner,
    ) -> Result<(Vec<CeremonyId>, Vec<RelayFrame>), StoreError> {
        let user = UserKey::new(&owner.tenant, &owner.username);
        let mut prompts = (Vec::new(), Vec::new());
        for key in self.node.open_ceremonies.of(&user) {
            let Some(copy) = self.known(&key).await? else { continue };
            let ceremony = &*copy.stored;
            let is_prompt = match ceremony.prompt_for(owner.device) {
                Prompt::Offer | Prompt::Challenge(_) => self.is_for(ceremony, owner),
                Prompt::Nothing | Prompt::Wait | Prompt::Elsewhere | Prompt::Closed(_) => false,
            };
            if let Some(frame) = self.frame_for(ceremony, owner.device).filter(|_| is_prompt) {
                prompts.0.push(key.id);
                prompts.1.push(frame);
            }
        }
        Ok(prompts)
    }

    /// The frame by which an app that shows this ceremony takes its prompt down, if it is to.
    async fn end_of(
        &self,
        id: CeremonyId,
        owner: &Owner,
    ) -> Result<Option<RelayFrame>, StoreError> {
        let key = CeremonyKey { tenant: owner.tenant.clone(), id };
        let copy = self.known(&key).await?.filter(|copy| owner.has(&copy.stored));
        Ok(match &copy {
            Some(copy) => match copy.stored.prompt_for(owner.device) {
                Prompt::Closed(_) | Prompt::Elsewhere => self.frame_for(&copy.stored, owner.device),
                Prompt::Nothing | Prompt::Wait | Prompt::Offer | Prompt::Challenge(_) => None,
            },
            None => Some(Refused::from(FrameErrorCode::UnknownCeremony).frame(Some(id), None)),
        })
    }

    /// Whether the prompt is this device's: it rings there, the app has it already, a wake brought
    /// the app, or no other device can take it any more.
    pub(crate) fn is_for(&self, ceremony: &Ceremony, owner: &Owner) -> bool {
        !ceremony.is_unclaimed()
            || ceremony.is_acked_by(owner.device)
            || ceremony.has_woken(owner.device)
            || self.rings_for(ceremony, owner)
    }
}

/// What makes a frame another than the last one of its kind: not how much time is left.
fn name_of(frame: &RelayFrame) -> String {
    match frame {
        RelayFrame::Offer(offer) => format!("offer {}", offer.ceremony_id),
        RelayFrame::Challenge(challenge) => {
            format!("challenge {} {}", challenge.offer.ceremony_id, challenge.attempt)
        }
        RelayFrame::Closed { ceremony_id, .. } => format!("closed {ceremony_id}"),
        RelayFrame::Error { ceremony_id, .. } => format!("error {ceremony_id:?}"),
        RelayFrame::Notice(notice) => format!("notice {}", notice.notice_id),
        RelayFrame::Hello { .. }
        | RelayFrame::Welcome { .. }
        | RelayFrame::Accepted { .. }
        | RelayFrame::Reauth { .. }
        | RelayFrame::Pong(_)
        | RelayFrame::Goaway { .. } => String::new(),
    }
}
