//! Codes that people type. The code is the address: it, and not the prompt that it is typed into,
//! says which ceremony is meant, so an attacker whose prompt came first gains nothing from the code
//! of the page that the person is looking at, and a ceremony that rings on no phone can be answered
//! by the person who sits at its page.
//!
//! ```text
//!   the code of the prompt that it was typed into ───────────▶ claimed: a challenge follows
//!   of another ceremony, or without a prompt ────▶ preview ──▶ claim with id and code: claimed
//!   of two · of another device ──────────────────▶ said so, no try is lost
//!   of none ─────────────────────────────────────▶ wrong: a try of this device, and of the prompt
//! ```
//! A device's claims are looked at one after the other on a node, and a wrong code is counted before
//! anything shows that it was wrong: guessing in parallel buys no further guess.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fido_relay_proto::device::{Claim, FrameErrorCode, Offer, Preview};
use fido_relay_proto::limits::CODE_ATTEMPTS;
use fido_relay_proto::{AttemptId, CeremonyId, PlainText, RelayFrame, WireName, typed_digits};

use crate::app::ceremonies::CeremonyKey;
use crate::app::ceremonies::DriveError;
use crate::app::ceremonies::network;
use crate::app::devices::{self, Device, UserKey};
use crate::core::ceremony::{Ceremony, Event, Reply, State};
use crate::core::prompt_limits::{Blocked, ClaimHash, Lane};
use crate::delivery::connection::{Owner, Shown};
use crate::delivery::frame_source::Contact;
use crate::node::Relay;
use crate::ports::{Batch, Revision, SecurityEvent, SecurityEventKind, StoreError};
use crate::security::random;

/// How often a try is counted anew because another write came first.
const RACES: usize = 64;

/// What a code that was not refused came to.
enum Came {
    /// It is taken up, or was before: a challenge follows.
    Claimed,
    /// It is right for a ceremony that this device has yet to confirm.
    Preview(Box<Offer>),
}

/// Why a code was not taken.
pub(crate) struct Refused {
    code: FrameErrorCode,
    /// In place of the code's own sentence.
    message: Option<String>,
}

impl Refused {
    pub(crate) fn frame(
        self,
        ceremony_id: Option<CeremonyId>,
        claim_id: Option<PlainText<64>>,
    ) -> RelayFrame {
        let Self { code, message } = self;
        RelayFrame::Error {
            code,
            message: message.unwrap_or_else(|| code.message().to_owned()),
            retryable: code.is_retryable(),
            ceremony_id,
            claim_id,
        }
    }
}

impl From<FrameErrorCode> for Refused {
    fn from(code: FrameErrorCode) -> Self {
        Self { code, message: None }
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        tracing::warn!(%error, "a frame could not be looked at or stored");
        FrameErrorCode::Unavailable.into()
    }
}

impl From<Blocked> for Refused {
    fn from(blocked: Blocked) -> Self {
        match blocked {
            Blocked::Today => FrameErrorCode::TooManyCodes.into(),
            Blocked::Locked => FrameErrorCode::DeviceLocked.into(),
        }
    }
}

/// A wrong code, and how many more may be typed.
pub(crate) fn wrong(left: usize, of: &str) -> Refused {
    let tries = if left == 1 { "try" } else { "tries" };
    let message = Some(format!("wrong code, {left} {tries} left{of}"));
    Refused { code: FrameErrorCode::WrongCode, message }
}

impl Relay {
    /// What a claim is answered with; none: it is taken up, and a challenge follows.
    pub(crate) async fn claim(&self, contact: Contact<'_>, claim: Claim) -> Option<RelayFrame> {
        let Claim { ceremony_id, code, claim_id } = claim;
        let came = match typed_digits::code(&code) {
            Some(code) => self.look_at(contact, ceremony_id, code, claim_id.as_ref()).await,
            None => Err(FrameErrorCode::CodeMalformed.into()),
        };
        self.dependencies().counts.claim(&match &came {
            Ok(Came::Claimed) => "claimed".to_owned(),
            Ok(Came::Preview(_)) => "preview".to_owned(),
            Err(refused) => WireName(refused.code).to_string(),
        });
        match came {
            Ok(Came::Claimed) => None,
            Ok(Came::Preview(offer)) => Some(RelayFrame::Offer(offer)),
            Err(refused) => Some(refused.frame(ceremony_id, claim_id)),
        }
    }

    async fn look_at(
        &self,
        contact: Contact<'_>,
        named: Option<CeremonyId>,
        code: String,
        claim_id: Option<&PlainText<64>>,
    ) -> Result<Came, Refused> {
        let owner = contact.owner;
        let named = match named {
            Some(id) => Some(self.own(contact.owner, id).await?),
            None => None,
        };
        let _turn = self.node.claims.take(&owner.device.to_string()).await;
        let (device, revision) = self.with_tries(owner).await?;
        if let Some(blocked) =
            device.tries.blocked(&self.node.policy, self.dependencies().clock.now())
        {
            return Err(blocked.into());
        }
        if let Some(ceremony) = &named {
            match &ceremony.state {
                State::Offered { code: right, .. } if !right.matches(&code) => {}
                // No challenge goes to a device whose app does not have the offer.
                State::Offered { .. } if !ceremony.is_acked_by(owner.device) => {
                    return self.preview(contact, ceremony, claim_id).await;
                }
                State::Offered { .. }
                | State::Preparing { .. }
                | State::Challenged(_)
                | State::Verifying { .. }
                | State::Closed(_) => {
                    return self.take_claim(contact, ceremony, code, (device, revision)).await;
                }
            }
        }
        let hash = claim_id.map(|claim_id| hash(claim_id, named.as_deref(), &code));
        let has_counted = hash.as_ref().is_some_and(|hash| device.tries.has_counted(hash));
        if self.node.is_refused.load(Ordering::Relaxed) {
            // A preview says that a code is right. It needs a store that counts those that are not.
            self.commit_noted(devices::put(Batch::new(), &device, revision)?).await?;
        }
        // What was wrong once is not held against what was opened since.
        if !has_counted && let Some(found) = self.found_by(owner, &code).await? {
            return self.preview(contact, &found, claim_id).await;
        }
        Err(self.count_wrong(owner, named.as_deref(), code, hash).await?)
    }

    /// The ceremony of a prompt that this device may answer.
    pub(crate) async fn own(
        &self,
        owner: &Owner,
        id: CeremonyId,
    ) -> Result<Arc<Ceremony>, Refused> {
        let key = CeremonyKey { tenant: owner.tenant.clone(), id };
        let copy = match self.node.copies.get(&key) {
            Some(copy) => Some(copy),
            None => self.read(&key).await?,
        };
        let ceremony = copy.map(|copy| Arc::clone(copy.latest()));
        // Another user's ceremony and one that does not exist look the same.
        ceremony
            .filter(|ceremony| owner.has(ceremony))
            .ok_or(FrameErrorCode::UnknownCeremony.into())
    }

    async fn with_tries(&self, owner: &Owner) -> Result<(Device, Revision), Refused> {
        let store = &*self.dependencies().store;
        let device = devices::find(store, &owner.tenant, owner.device).await?;
        // It was revoked a moment ago, and its socket is about to close.
        device.ok_or(FrameErrorCode::UnknownCeremony.into())
    }

    /// The one ceremony that waits for this code on this device.
    async fn found_by(&self, owner: &Owner, code: &str) -> Result<Option<Arc<Ceremony>>, Refused> {
        let user = UserKey::new(&owner.tenant, &owner.username);
        let matches = self.node.open_ceremonies.matches(&user, code);
        let is_here = |device: &Option<_>| device.is_none_or(|only| only == owner.device);
        let is_elsewhere = matches.iter().any(|found| !is_here(&found.device));
        let is_hidden = matches.iter().any(|found| found.hidden);
        let mut here = Vec::new();
        for found in matches.iter().filter(|found| is_here(&found.device) && !found.hidden) {
            let Some(copy) = self.known(&found.key).await? else { continue };
            let ceremony = copy.latest();
            if matches!(&ceremony.state, State::Offered { code: right, .. } if right.matches(code))
            {
                here.push(Arc::clone(ceremony));
            }
        }
        match (here.pop(), here.is_empty()) {
            (Some(found), true) => Ok(Some(found)),
            (Some(_), false) => Err(FrameErrorCode::CodeAmbiguous.into()),
            // The page's own code, and no fault of the person's: the page is to begin anew.
            (None, _) if is_hidden => Err(FrameErrorCode::CodeAmbiguous.into()),
            (None, _) if is_elsewhere => Err(FrameErrorCode::OtherDevice.into()),
            // A node that has just started does not know all that is open yet.
            (None, _) if !self.node.recovered.is_cancelled() => {
                Err(FrameErrorCode::Unavailable.into())
            }
            (None, _) => Ok(None),
        }
    }

    /// Shows who asks and what for, on this device alone. The FIDO2 server is not asked yet.
    async fn preview(
        &self,
        contact: Contact<'_>,
        ceremony: &Ceremony,
        claim_id: Option<&PlainText<64>>,
    ) -> Result<Came, Refused> {
        let request = &ceremony.request;
        let user = UserKey::new(&request.tenant, &request.username);
        let preview = Preview {
            by_code: true,
            rang: ceremony.rang(),
            known_browser: matches!(request.lane, Lane::Known(_)),
            after_not_me: self.is_after_not_me(&user).await?,
            claim_id: claim_id.cloned(),
        };
        let before = contact.shown(request.id);
        if before != Some(Shown::Offer) {
            contact.show(request.id, Shown::Preview);
        }
        let now = self.known(&CeremonyKey::from(ceremony)).await?;
        if now.is_none_or(|now| now.latest().closed().is_some()) {
            // What the app showed before, the end itself takes down.
            if before.is_none() {
                contact.unshow(request.id);
            }
            return Err(FrameErrorCode::AlreadyClosed.into());
        }
        Ok(Came::Preview(Box::new(self.offer(ceremony, Some(preview)))))
    }

    /// A code for the prompt that it was typed into, which is right or comes after the right one.
    async fn take_claim(
        &self,
        contact: Contact<'_>,
        ceremony: &Ceremony,
        code: String,
        (mut device, revision): (Device, Revision),
    ) -> Result<Came, Refused> {
        let (key, id) = (CeremonyKey::from(ceremony), ceremony.request.id);
        let attempt = AttemptId::from_bytes(random::bytes());
        let compares = self.node.policy.same_network;
        let context = ceremony.request.context.as_ref();
        let same_network = compares.then(|| network::compare(contact.address, context));
        let event = Event::Claim { device: device.id, attempt, code, same_network };
        // While the store refuses, a wrong code is answered by `unavailable` and not counted: silence
        // would say that a code is right.
        let driven = if self.node.is_refused.load(Ordering::Relaxed) {
            self.drive(&key, event).await
        } else {
            self.drive_soon(&key, event).await
        };
        let driven = driven.map_err(of_drive)?;
        match driven.reply {
            Reply::Done | Reply::Accepted { .. } => {
                if device.tries.right() {
                    let batch = devices::put(Batch::new(), &device, revision)?;
                    // The row goes on if it is lost: the next right code ends it.
                    if let Err(error) = self.commit_noted(batch).await {
                        tracing::warn!(device = %device.id, %error, "a right code was not noted");
                    }
                }
                Ok(Came::Claimed)
            }
            // Sent again, perhaps because the challenge was lost: it is shown again.
            Reply::Ignored => {
                contact.unshow(id);
                contact.show(id, Shown::Wait);
                if let Some(socket) = contact.socket {
                    self.show(&driven.ceremony, socket);
                }
                Ok(Came::Claimed)
            }
            Reply::Refused(refusal) => Err(crate::delivery::sockets::refused(refusal)),
        }
    }

    /// Counts a wrong code on this device, and on the ceremony of the prompt that it was typed into.
    /// A claim that was counted before is answered again.
    async fn count_wrong(
        &self,
        owner: &Owner,
        named: Option<&Ceremony>,
        code: String,
        hash: Option<ClaimHash>,
    ) -> Result<Refused, Refused> {
        let (policy, now) = (&self.node.policy, self.dependencies().clock.now());
        for _ in 0..RACES {
            let (mut device, revision) = self.with_tries(owner).await?;
            if hash.as_ref().is_some_and(|hash| device.tries.has_counted(hash)) {
                return Ok(match named.map(|ceremony| &ceremony.state) {
                    Some(State::Offered { wrong_codes, .. }) => {
                        wrong(CODE_ATTEMPTS.saturating_sub(*wrong_codes).into(), "")
                    }
                    Some(_) => wrong(0, ""),
                    None => wrong(device.tries.left_today(policy, now), " today"),
                });
            }
            device.tries.spend(policy, now, hash.clone())?;
            let mut batch = devices::put(Batch::new(), &device, revision)?;
            let (device_id, username) = (owner.device, owner.username.clone());
            let news = match device.tries.blocked(policy, now) {
                Some(Blocked::Today) => Some(SecurityEventKind::CodesSpent { device_id, username }),
                Some(Blocked::Locked) => {
                    Some(SecurityEventKind::DeviceLocked { device_id, username })
                }
                None => None,
            };
            if let Some(what) = &news {
                let event = SecurityEvent::new(owner.tenant.clone(), now, what.clone());
                batch = batch.entry(event.entry());
            }
            match self.commit_noted(batch).await {
                Ok(_) => {}
                Err(StoreError::Conflict(_)) => continue,
                Err(error) => return Err(error.into()),
            }
            if news.is_some() {
                tracing::warn!(device = %owner.device, "no more codes of this device are taken");
            }
            let Some(ceremony) = named else {
                return Ok(wrong(device.tries.left_today(policy, now), " today"));
            };
            let attempt = AttemptId::from_bytes(random::bytes());
            let event = Event::Claim { device: device.id, attempt, code, same_network: None };
            let driven = self.drive(&CeremonyKey::from(ceremony), event).await.map_err(of_drive)?;
            return match driven.reply {
                Reply::Refused(refusal) => Ok(crate::delivery::sockets::refused(refusal)),
                // Another device gave the right code in between.
                Reply::Done | Reply::Accepted { .. } | Reply::Ignored => {
                    Ok(FrameErrorCode::ClaimedElsewhere.into())
                }
            };
        }
        Err(StoreError::too_many_races().into())
    }
}

pub(crate) fn of_drive(error: DriveError) -> Refused {
    match error {
        DriveError::NotFound => FrameErrorCode::UnknownCeremony.into(),
        DriveError::Unavailable(error) => {
            tracing::warn!(error, "a claim could not be stored");
            FrameErrorCode::Unavailable.into()
        }
    }
}

/// Names a claim by the app's name for it and what it says.
fn hash(claim_id: &PlainText<64>, named: Option<&Ceremony>, code: &str) -> ClaimHash {
    let id = named.map(|ceremony| ceremony.request.id.to_string()).unwrap_or_default();
    let said = format!("{}\n{id}\n{code}", claim_id.as_str());
    ClaimHash(URL_SAFE_NO_PAD.encode(&digest(&SHA256, said.as_bytes()).as_ref()[..16]))
}
