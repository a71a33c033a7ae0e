//! Codes that people type. The code is the address: it, and not the prompt that it is typed into,
//! says which ceremony is meant, so an attacker whose prompt came first gains nothing from the code
//! of the page that the person is looking at, and a ceremony that rings on no device can be answered
//! by the person who sits at its page.
//!
//! ```text
//!   the code of the prompt that it was typed into ───────────▶ claimed: a challenge follows
//!   of another ceremony, or without a prompt ────▶ preview ──▶ claim with id and code: claimed
//!   of two · of another device ──────────────────▶ refused by name, no try is lost
//!   of none ─────────────────────────────────────▶ wrong: a try of this device, and of the prompt
//! ```
//! A device's claims are looked at one after the other on a node, and a wrong code is counted before
//! anything shows that it was wrong: guessing in parallel buys no further guess.

use std::net::IpAddr;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fido_relay_proto::device::{Claim, FrameErrorCode, Preview};
use fido_relay_proto::limits::CODE_ATTEMPTS;
use fido_relay_proto::{AttemptId, CeremonyId, PlainText, typed_digits};

use super::{Ceremonies, CeremonyKey, DeviceIdentity, FrameRefusal, network, user_of};
use crate::app::RACES;
use crate::app::devices::{self, Device};
use crate::core::ceremony::{Ceremony, Event, Reply, State};
use crate::core::prompt_limits::{AttemptsExhausted, ClaimHash, Lane};
use crate::ports::{Batch, Revision, SecurityEvent, SecurityEventKind, StoreError};
use crate::security::random;

/// What a code that was not refused came to.
pub(crate) enum ClaimOutcome {
    /// The ceremony is claimed: a challenge follows.
    Claimed,
    /// The same claim again, perhaps because the challenge was lost: it is shown again.
    Repeated(Arc<Ceremony>),
    /// It is right for a ceremony that this device has yet to confirm.
    Preview(Arc<Ceremony>, Preview),
}

impl Ceremonies {
    /// Takes a claim of a device at this address, where that is known.
    ///
    /// # Errors
    /// [`FrameRefusal`].
    pub(crate) async fn claim(
        &self,
        identity: &DeviceIdentity,
        address: Option<IpAddr>,
        claim: &Claim,
    ) -> Result<ClaimOutcome, FrameRefusal> {
        let code = typed_digits::code(&claim.code).ok_or(FrameErrorCode::CodeMalformed)?;
        let claim_id = claim.claim_id.as_ref();
        let named = match claim.ceremony_id {
            Some(id) => Some(self.answerable(identity, id).await?),
            None => None,
        };
        let _turn = self.state.claims.take(&identity.device.to_string()).await;
        let (device, revision) = self.with_tries(identity).await?;
        let now = self.dependencies().clock.now();
        if let Some(blocked) = device.tries.exhausted(&self.state.policy, now) {
            return Err(blocked.into());
        }
        if let Some(ceremony) = &named {
            match &ceremony.state {
                State::Offered { code: right, .. } if !right.matches(&code) => {}
                // No challenge goes to a device whose app does not have the offer.
                State::Offered { .. } if !ceremony.is_acked_by(identity.device) => {
                    return self.preview(Arc::clone(ceremony), claim_id).await;
                }
                State::Offered { .. }
                | State::Preparing { .. }
                | State::Challenged(_)
                | State::Verifying { .. }
                | State::Closed(_) => {
                    return self.claim_named(address, ceremony, code, (device, revision)).await;
                }
            }
        }
        let hash = claim_id.map(|claim_id| hash(claim_id, named.as_deref(), &code));
        let has_counted = hash.as_ref().is_some_and(|hash| device.tries.has_counted(hash));
        if self.store_refuses() {
            // A preview says that a code is right. It needs a store that counts those that are not.
            self.commit_noted(devices::put(Batch::new(), &device, revision)?).await?;
        }
        // A claim that was wrong once may be right for what was opened since.
        if !has_counted && let Some(found) = self.find_by_code(identity, &code).await? {
            return self.preview(found, claim_id).await;
        }
        Err(self.count_wrong(identity, named.as_deref(), code, hash).await?)
    }

    /// The ceremony of a prompt that this device may answer.
    pub(crate) async fn answerable(
        &self,
        device: &DeviceIdentity,
        id: CeremonyId,
    ) -> Result<Arc<Ceremony>, FrameRefusal> {
        let key = device.ceremony_key(id);
        let copy = match self.copy(&key) {
            Some(copy) => Some(copy),
            None => self.read(&key).await?,
        };
        let ceremony = copy.map(|copy| Arc::clone(copy.latest()));
        // Another user's ceremony and one that does not exist look the same.
        ceremony
            .filter(|ceremony| device.may_answer(ceremony))
            .ok_or(FrameErrorCode::UnknownCeremony.into())
    }

    async fn with_tries(
        &self,
        identity: &DeviceIdentity,
    ) -> Result<(Device, Revision), FrameRefusal> {
        let device = devices::find(self.store(), &identity.tenant, identity.device).await?;
        // It was revoked a moment ago, and its socket is about to close.
        device.ok_or(FrameErrorCode::UnknownCeremony.into())
    }

    /// The one ceremony that waits for this code on this device.
    async fn find_by_code(
        &self,
        device: &DeviceIdentity,
        code: &str,
    ) -> Result<Option<Arc<Ceremony>>, FrameRefusal> {
        let matches = self.state.open.matches(&device.user(), code);
        let is_here = |only: Option<_>| only.is_none_or(|only| only == device.device);
        let is_elsewhere = matches.iter().any(|found| !is_here(found.device));
        let is_hidden = matches.iter().any(|found| found.hidden);
        let mut here = Vec::new();
        for found in matches.iter().filter(|found| is_here(found.device) && !found.hidden) {
            let Some(copy) = self.newest(&found.key).await? else { continue };
            let ceremony = copy.latest();
            if ceremony.code().is_some_and(|right| right.matches(code)) {
                here.push(Arc::clone(ceremony));
            }
        }
        match (here.pop(), here.is_empty()) {
            (Some(found), true) => Ok(Some(found)),
            (Some(_), false) => Err(FrameErrorCode::CodeAmbiguous.into()),
            // The page's own code, and not the person's mistake: the page is to begin anew.
            (None, _) if is_hidden => Err(FrameErrorCode::CodeAmbiguous.into()),
            (None, _) if is_elsewhere => Err(FrameErrorCode::OtherDevice.into()),
            // A node that has just started does not know all that is open yet.
            (None, _) if !self.state.recovered.is_cancelled() => {
                Err(FrameErrorCode::Unavailable.into())
            }
            (None, _) => Ok(None),
        }
    }

    /// Who asks and what for, for this device alone. The FIDO2 server is not asked yet.
    async fn preview(
        &self,
        ceremony: Arc<Ceremony>,
        claim_id: Option<&PlainText<64>>,
    ) -> Result<ClaimOutcome, FrameRefusal> {
        let preview = Preview {
            by_code: true,
            rang: ceremony.rang(),
            known_browser: matches!(ceremony.request.lane, Lane::Known(_)),
            after_not_me: self.is_after_not_me(&user_of(&ceremony.request)).await?,
            claim_id: claim_id.cloned(),
        };
        Ok(ClaimOutcome::Preview(ceremony, preview))
    }

    /// A code for the prompt that it was typed into, which is right or comes after the right one.
    async fn claim_named(
        &self,
        address: Option<IpAddr>,
        ceremony: &Ceremony,
        code: String,
        (mut device, revision): (Device, Revision),
    ) -> Result<ClaimOutcome, FrameRefusal> {
        let key = CeremonyKey::from(ceremony);
        let attempt = AttemptId::from_bytes(random::bytes());
        let compares = self.state.policy.same_network;
        let context = ceremony.request.context.as_ref();
        let same_network = compares.then(|| network::compare(address, context));
        let event = Event::Claim { device: device.id, attempt, code, same_network };
        // While the store refuses, a wrong code is answered by `unavailable` and not counted: no
        // answer would say that a code is right.
        let advanced = if self.store_refuses() {
            self.advance(&key, event).await
        } else {
            self.advance_soon(&key, event).await
        }?;
        match advanced.reply {
            Reply::Done | Reply::Accepted { .. } => {
                if device.tries.reset_row() {
                    let batch = devices::put(Batch::new(), &device, revision)?;
                    // The row goes on if it is lost: the next right code ends it.
                    if let Err(error) = self.commit_noted(batch).await {
                        tracing::warn!(
                            device = %device.id, %error,
                            "a right code could not be stored"
                        );
                    }
                }
                Ok(ClaimOutcome::Claimed)
            }
            Reply::Ignored => Ok(ClaimOutcome::Repeated(advanced.ceremony)),
            Reply::Refused(refusal) => Err(refusal.into()),
        }
    }

    /// Counts a wrong code on this device, and on the ceremony of the prompt that it was typed into.
    /// A claim that was counted before gets the same answer again.
    async fn count_wrong(
        &self,
        identity: &DeviceIdentity,
        named: Option<&Ceremony>,
        code: String,
        hash: Option<ClaimHash>,
    ) -> Result<FrameRefusal, FrameRefusal> {
        let (policy, now) = (&self.state.policy, self.dependencies().clock.now());
        for _ in 0..RACES {
            let (mut device, revision) = self.with_tries(identity).await?;
            if hash.as_ref().is_some_and(|hash| device.tries.has_counted(hash)) {
                return Ok(match named.map(|ceremony| &ceremony.state) {
                    Some(State::Offered { wrong_codes, .. }) => {
                        let left = CODE_ATTEMPTS.saturating_sub(*wrong_codes);
                        FrameRefusal::wrong_code(left.into(), "")
                    }
                    Some(_) => FrameRefusal::wrong_code(0, ""),
                    None => {
                        FrameRefusal::wrong_code(device.tries.left_today(policy, now), " today")
                    }
                });
            }
            device.tries.count_wrong(policy, now, hash.clone())?;
            let mut batch = devices::put(Batch::new(), &device, revision)?;
            let (device_id, username) = (identity.device, identity.username.clone());
            let blocked = device.tries.exhausted(policy, now).map(|blocked| match blocked {
                AttemptsExhausted::Today => SecurityEventKind::CodesSpent { device_id, username },
                AttemptsExhausted::Locked => {
                    SecurityEventKind::DeviceLocked { device_id, username }
                }
            });
            let is_blocked = blocked.is_some();
            if let Some(what) = blocked {
                let event = SecurityEvent::new(identity.tenant.clone(), now, what);
                batch = batch.entry(event.entry());
            }
            match self.commit_noted(batch).await {
                Ok(_) => {}
                Err(StoreError::Conflict(_)) => continue,
                Err(error) => return Err(error.into()),
            }
            if is_blocked {
                tracing::warn!(
                    device = %identity.device,
                    "codes of this device are no longer accepted"
                );
            }
            let Some(ceremony) = named else {
                let left = device.tries.left_today(policy, now);
                return Ok(FrameRefusal::wrong_code(left, " today"));
            };
            let attempt = AttemptId::from_bytes(random::bytes());
            let event = Event::Claim { device: device.id, attempt, code, same_network: None };
            let advanced = self.advance(&CeremonyKey::from(ceremony), event).await?;
            return Ok(match advanced.reply {
                Reply::Refused(refusal) => refusal.into(),
                // Another device gave the right code in between.
                Reply::Done | Reply::Accepted { .. } | Reply::Ignored => {
                    FrameErrorCode::ClaimedElsewhere.into()
                }
            });
        }
        Err(StoreError::too_many_races().into())
    }
}

/// Names a claim by the app's name for it and what it says.
fn hash(claim_id: &PlainText<64>, named: Option<&Ceremony>, code: &str) -> ClaimHash {
    let id = named.map(|ceremony| ceremony.request.id.to_string()).unwrap_or_default();
    let said = format!("{}\n{id}\n{code}", claim_id.as_str());
    ClaimHash(URL_SAFE_NO_PAD.encode(&digest(&SHA256, said.as_bytes()).as_ref()[..16]))
}
