//! Pulls: a device without a socket asks for the frames that a socket would have brought it, at once
//! or once they are others. Nothing of it is remembered here; what the device got and acknowledged is
//! in each ceremony's history.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dashmap::DashMap;
use fido_relay_proto::device::FrameErrorCode;
use fido_relay_proto::http::Pulled;
use fido_relay_proto::{CeremonyId, DeviceId, RelayFrame};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::frames::frame_for;
use super::{Delivery, notices};
use crate::app::ceremonies::{DeviceIdentity, FrameRefusal};
use crate::app::devices::{self, UserKey};
use crate::core::ceremony::{Ceremony, Prompt};
use crate::ports::StoreError;

/// Limit for which a device waits until a newly started node has read the open ceremonies.
const RECOVERY_WAIT: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, Default)]
pub struct PullRequest {
    /// The ceremonies that the app shows: the answer names those that are no longer this device's.
    pub shown: Vec<CeremonyId>,
    /// The state that the app has, as its last answer named it.
    pub since: Option<String>,
    /// How long to wait for another state.
    pub wait: Duration,
}

/// Pulls that wait for another state: of each device the newest alone.
#[derive(Debug, Default)]
pub(super) struct PullWaits {
    users: DashMap<UserKey, Vec<(DeviceId, Arc<Notify>)>>,
}

impl PullWaits {
    /// Wakes the pulls of this user's devices.
    pub(super) fn wake(&self, user: &UserKey) {
        if let Some(waiting) = self.users.get(user) {
            waiting.iter().for_each(|(_, notify)| notify.notify_one());
        }
    }

    pub(super) fn len(&self) -> usize {
        self.users.iter().map(|waiting| waiting.len()).sum()
    }
}

/// One pull that waits, until it is dropped.
struct PullWait<'a> {
    waits: &'a PullWaits,
    user: UserKey,
    notify: Arc<Notify>,
}

impl<'a> PullWait<'a> {
    /// Replaces an older pull of the device, which is answered at once.
    fn new(waits: &'a PullWaits, user: UserKey, device: DeviceId) -> Self {
        let notify = Arc::new(Notify::new());
        let mut waiting = waits.users.entry(user.clone()).or_default();
        if let Some((_, older)) = waiting.iter_mut().find(|(of, _)| *of == device) {
            std::mem::replace(older, Arc::clone(&notify)).notify_one();
        } else {
            waiting.push((device, Arc::clone(&notify)));
        }
        drop(waiting);
        Self { waits, user, notify }
    }

    fn is_newest(&self) -> bool {
        let waiting = self.waits.users.get(&self.user);
        waiting.is_some_and(|waiting| waiting.iter().any(|(_, own)| Arc::ptr_eq(own, &self.notify)))
    }
}

impl Drop for PullWait<'_> {
    fn drop(&mut self) {
        self.waits.users.remove_if_mut(&self.user, |_, waiting| {
            waiting.retain(|(_, own)| !Arc::ptr_eq(own, &self.notify));
            waiting.is_empty()
        });
    }
}

/// The frames that a device is to have.
#[derive(Default)]
struct PullState {
    frames: Vec<RelayFrame>,
    /// Prompts among the frames: they count as sent once the pull is answered.
    prompts: Vec<CeremonyId>,
}

impl PullState {
    /// A hash of what the frames say.
    fn name(&self) -> String {
        let names: Vec<_> = self.frames.iter().map(name_of).collect();
        let hash = digest(&SHA256, names.join("\n").as_bytes());
        URL_SAFE_NO_PAD.encode(&hash.as_ref()[..16])
    }
}

impl Delivery {
    /// The frames that a device is to have, once its state is not `since` or the wait is over. A newer
    /// pull of the device ends the wait of an older one.
    ///
    /// # Errors
    /// The store's; also while this node has not read the open ceremonies yet.
    pub async fn pull(
        &self,
        identity: &DeviceIdentity,
        request: &PullRequest,
    ) -> Result<Pulled, StoreError> {
        let until = Instant::now() + request.wait;
        let recovered = tokio::time::timeout(RECOVERY_WAIT, self.ceremonies().recovered()).await;
        recovered.map_err(|_| StoreError::Unavailable("the node is starting".to_owned()))?;
        let wait = PullWait::new(&self.state.pulls, identity.user(), identity.device);
        let draining = self.dependencies().tasks.draining();
        let (pulled, state) = loop {
            let pulled = self.state_for(identity, &request.shown).await?;
            let is_revoked = pulled.is_none();
            let pulled = pulled.unwrap_or_default();
            let state = pulled.name();
            let is_new = is_revoked || request.since.as_ref() != Some(&state);
            if is_new || !wait.is_newest() || draining.is_cancelled() {
                break (pulled, state);
            }
            tokio::select! {
                () = wait.notify.notified() => {}
                () = draining.cancelled() => {}
                () = tokio::time::sleep_until(until) => break (pulled, state),
            }
        };
        for ceremony in pulled.prompts {
            self.note_sent(identity, ceremony).await;
        }
        Ok(Pulled { frames: pulled.frames, state })
    }

    /// What ended comes first: an app that has room for one prompt takes the old one down before it
    /// shows the next. None: the device was revoked.
    async fn state_for(
        &self,
        identity: &DeviceIdentity,
        shown: &[CeremonyId],
    ) -> Result<Option<PullState>, StoreError> {
        let store = self.store();
        let Some(device) = devices::load(store, &identity.tenant, identity.device).await? else {
            return Ok(None);
        };
        let offered = self.prompts_for(identity).await?;
        let prompts: Vec<_> = offered.iter().map(|(id, _)| *id).collect();
        let mut frames = Vec::new();
        for id in shown.iter().filter(|id| !prompts.contains(id)) {
            frames.extend(self.end_of(*id, identity).await?);
        }
        frames.extend(offered.into_iter().map(|(_, frame)| frame));
        let notices = devices::notices_of_user(store, &identity.tenant, &identity.username).await?;
        let now = self.dependencies().clock.now();
        frames.extend(notices::frames(&device, &notices, now).map(|(_, frame)| frame));
        frames.extend(notices::own(&device, now));
        Ok(Some(PullState { frames, prompts }))
    }

    /// The prompts that are this device's now, with their frames.
    async fn prompts_for(
        &self,
        identity: &DeviceIdentity,
    ) -> Result<Vec<(CeremonyId, RelayFrame)>, StoreError> {
        let mut prompts = Vec::new();
        for key in self.ceremonies().open_for(identity) {
            let Some(copy) = self.ceremonies().newest(&key).await? else { continue };
            let ceremony = copy.for_device(identity.device);
            let is_prompt = match ceremony.prompt_for(identity.device) {
                Prompt::Offer | Prompt::Challenge(_) => self.is_prompt_of(ceremony, identity),
                Prompt::Nothing | Prompt::Wait | Prompt::Elsewhere | Prompt::Closed(_) => false,
            };
            let frame = self.frame(ceremony, identity).filter(|_| is_prompt);
            prompts.extend(frame.map(|frame| (key.id, frame)));
        }
        Ok(prompts)
    }

    /// The frame by which an app that shows this ceremony takes its prompt down, if it is to.
    async fn end_of(
        &self,
        id: CeremonyId,
        identity: &DeviceIdentity,
    ) -> Result<Option<RelayFrame>, StoreError> {
        let copy = self.ceremonies().newest(&identity.ceremony_key(id)).await?;
        Ok(match copy.filter(|copy| identity.may_answer(&copy.stored)) {
            Some(copy) => match copy.stored.prompt_for(identity.device) {
                Prompt::Closed(_) | Prompt::Elsewhere => self.frame(&copy.stored, identity),
                Prompt::Nothing | Prompt::Wait | Prompt::Offer | Prompt::Challenge(_) => None,
            },
            None => Some(FrameRefusal::from(FrameErrorCode::UnknownCeremony).frame(Some(id), None)),
        })
    }

    fn frame(&self, ceremony: &Ceremony, identity: &DeviceIdentity) -> Option<RelayFrame> {
        frame_for(ceremony, identity.device, self.dependencies().clock.now())
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
