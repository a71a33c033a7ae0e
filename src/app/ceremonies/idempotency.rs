//! Idempotency keys: the same key opens the same ceremony for a day.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fido_relay_proto::{CeremonyId, UnixMillis};
use serde::{Deserialize, Serialize};

use super::Ceremonies;
use crate::core::ceremony::Request;
use crate::ports::{Batch, Bucket, Due, DueRule, Record, Revision, StoreError, records};

/// How long an idempotency key names its ceremony, in seconds.
const IDEMPOTENCY_S: u64 = 24 * 60 * 60;

/// An idempotency key is removed after the day for which it names its ceremony.
pub(super) const KEYS: DueRule =
    DueRule { bucket: Bucket::Idempotency, due: records::due_of::<IdempotencyRecord> };

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct IdempotencyRecord {
    /// SHA-256 of the request's body.
    body: [u8; 32],
    ceremony: CeremonyId,
    at: UnixMillis,
}

impl Record for IdempotencyRecord {
    fn due(&self) -> Option<Due> {
        Some(Due::removal(self.at.plus_secs(IDEMPOTENCY_S)))
    }
}

/// Which ceremony an idempotency key names.
pub(super) enum IdempotencyKey {
    /// This ceremony. It may be missing: earlier versions stored the key first.
    Known(CeremonyId),
    /// One that was opened with another body.
    OfAnotherBody,
    /// None yet: the batch gives it the ceremony that is being opened.
    New(Batch),
}

impl Ceremonies {
    pub(super) async fn idempotency(
        &self,
        request: &Request,
        key: &str,
        body: [u8; 32],
    ) -> Result<IdempotencyKey, StoreError> {
        let hash = URL_SAFE_NO_PAD.encode(digest(&SHA256, key.as_bytes()));
        let key = format!("{}.{}.{hash}", request.tenant, request.client_id);
        let found =
            records::load::<IdempotencyRecord>(self.store(), Bucket::Idempotency, &key).await?;
        let expected = match found {
            Some((known, _)) if request.opened_at < known.at.plus_secs(IDEMPOTENCY_S) => {
                return Ok(if known.body == body {
                    IdempotencyKey::Known(known.ceremony)
                } else {
                    IdempotencyKey::OfAnotherBody
                });
            }
            Some((_, revision)) => revision,
            None => Revision::ABSENT,
        };
        let fresh = IdempotencyRecord { body, ceremony: request.id, at: request.opened_at };
        Ok(IdempotencyKey::New(records::put(
            Batch::new(),
            Bucket::Idempotency,
            &key,
            expected,
            &fresh,
        )?))
    }
}
