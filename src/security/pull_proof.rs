//! Proofs of a device's HTTP requests, in the manner of DPoP (RFC 9449): a JWS by the device's key
//! over the method, the URL, the body's hash and a nonce of the relay. It knows no HTTP and no store.
//!
//! A nonce is stateless: a time of this process and a MAC over it by a key that the process draws at
//! its start, so one of another process or of an earlier life is none. The name of each proof that
//! was used is remembered for as long as a nonce of it could be good, in two generations. Where there
//! is no room for another name all nonces end at once, with the names: nothing is taken twice, and
//! every app repeats once.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::hmac;
use fido_relay_proto::DeviceId;
use fido_relay_proto::device::{PULL_TYP, PullClaims};
use fido_relay_proto::http::P256Jwk;
use tokio::time::Instant;

use super::device_proof::{self, BadProof};
use super::random;
use crate::encoding::{base64url, from_base64url, sha256, sha256_base64url};

/// How long a nonce is good.
const NONCE_LIFE: Duration = Duration::from_secs(5 * 60);
/// Names of proofs that one generation remembers: some 20 MiB.
const NAMES: usize = 262_144;
/// Bytes of a nonce: its time, then the MAC over it.
const TIME: usize = 8;
const MAC: usize = 20;
/// Characters of a proof's name.
const NAME_CHARS: std::ops::RangeInclusive<usize> = 16..=64;

/// What a request is, as far as its proof covers it.
#[derive(Clone, Copy, Debug)]
pub struct SignedRequest<'a> {
    /// The HTTP method, in capitals.
    pub method: &'a str,
    /// Every spelling of the relay's base URL.
    pub bases: &'a [String],
    /// The path as it was asked for, without a query.
    pub path: &'a str,
    /// The bytes of the body, as they were sent.
    pub body: &'a [u8],
}

/// A proof whose every claim is good, and which was not used before.
#[derive(Debug)]
#[must_use = "it may still be a repetition"]
pub struct VerifiedPullProof {
    name: Name,
    /// The life of the nonce key by which it was verified.
    life: u64,
}

/// Device and name of a proof, hashed.
type Name = [u8; 16];

/// Why a proof is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullProofError {
    /// Good, but for a nonce that is not or no more good: the app repeats with another.
    Nonce,
    /// The proof is bad beyond its nonce.
    Proof,
}

impl From<BadProof> for PullProofError {
    fn from(_: BadProof) -> Self {
        Self::Proof
    }
}

/// Gives nonces and verifies proofs.
#[derive(Debug)]
pub struct PullProofs {
    start: Instant,
    most: usize,
    state: Mutex<NonceState>,
}

struct NonceState {
    key: hmac::Key,
    /// How many nonce keys there were before.
    life: u64,
    /// When the older names are forgotten.
    turns_at: Instant,
    used: HashSet<Name>,
    /// Of the generation before.
    older: HashSet<Name>,
}

impl std::fmt::Debug for NonceState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NonceState({} used, {} older)", self.used.len(), self.older.len())
    }
}

impl Default for PullProofs {
    fn default() -> Self {
        Self::with_room(NAMES)
    }
}

impl PullProofs {
    fn with_room(most: usize) -> Self {
        let start = Instant::now();
        let (used, older, turns_at) = (HashSet::new(), HashSet::new(), start + NONCE_LIFE);
        let state = NonceState { key: fresh_key(), life: 0, turns_at, used, older };
        Self { start, most, state: Mutex::new(state) }
    }

    /// A nonce that is good from now on for five minutes.
    #[must_use]
    pub fn nonce(&self) -> String {
        let time = self.millis().to_be_bytes();
        let mac = hmac::sign(&self.state().key, &time);
        base64url([&time, &mac.as_ref()[..MAC]].concat())
    }

    /// Verifies a proof of this device's key over a request.
    ///
    /// # Errors
    /// [`PullProofError`].
    pub fn verify(
        &self,
        proof: &str,
        (device, jwk): (DeviceId, &P256Jwk),
        asked: SignedRequest<'_>,
    ) -> Result<VerifiedPullProof, PullProofError> {
        let claims: PullClaims = device_proof::verify(proof, jwk, PULL_TYP)?;
        let PullClaims { aud, htm, htu, device_id, iat: _, jti, nonce, body_sha256 } = claims;
        let SignedRequest { method, bases, path, body } = asked;
        let is_here = bases.iter().any(|base| {
            aud == *base && htu.strip_prefix(base.as_str()).is_some_and(|rest| rest == path)
        });
        let hash = sha256_base64url(body);
        let is_named = NAME_CHARS.contains(&jti.len()) && jti.is_ascii();
        let is_good =
            is_here && htm == method && device_id == device && is_named && body_sha256 == hash;
        if !is_good {
            return Err(PullProofError::Proof);
        }
        let name = name_of(device, &jti);
        let state = self.state();
        if !self.is_fresh(&state, &nonce) {
            return Err(PullProofError::Nonce);
        }
        if state.used.contains(&name) || state.older.contains(&name) {
            return Err(PullProofError::Proof);
        }
        Ok(VerifiedPullProof { name, life: state.life })
    }

    /// Uses a proof up: of any number of the same the first alone.
    ///
    /// # Errors
    /// [`PullProofError::Proof`] for every other, and [`PullProofError::Nonce`] where there is no room to remember
    /// it.
    pub fn use_up(&self, proven: VerifiedPullProof) -> Result<(), PullProofError> {
        let VerifiedPullProof { name, life } = proven;
        let (now, mut state) = (Instant::now(), self.state());
        if life != state.life {
            return Err(PullProofError::Nonce);
        }
        if state.turns_at <= now {
            let used = std::mem::take(&mut state.used);
            // After a silence of two generations both are of the past.
            let is_recent = now < state.turns_at + NONCE_LIFE;
            state.older = if is_recent { used } else { HashSet::new() };
            state.turns_at = now + NONCE_LIFE;
        }
        if state.older.contains(&name) || state.used.contains(&name) {
            return Err(PullProofError::Proof);
        }
        if state.used.len() >= self.most {
            tracing::warn!("too many pull proofs to remember: all nonces are invalidated");
            (state.key, state.life) = (fresh_key(), state.life + 1);
            (state.used, state.older) = (HashSet::new(), HashSet::new());
            return Err(PullProofError::Nonce);
        }
        state.used.insert(name);
        Ok(())
    }

    fn is_fresh(&self, state: &NonceState, nonce: &str) -> bool {
        let Some(bytes) = from_base64url(nonce) else { return false };
        let Some((time, mac)) = bytes.split_first_chunk::<TIME>() else { return false };
        let right = hmac::sign(&state.key, time);
        let is_ours = mac.len() == MAC
            && aws_lc_rs::constant_time::verify_slices_are_equal(mac, &right.as_ref()[..MAC])
                .is_ok();
        let age = self.millis().checked_sub(u64::from_be_bytes(*time));
        is_ours && age.is_some_and(|age| u128::from(age) < NONCE_LIFE.as_millis())
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn state(&self) -> MutexGuard<'_, NonceState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The device id that a proof claims, before it is verified: only to find the key that it must
/// verify with.
///
/// # Errors
/// [`BadProof`] if it says nothing of the kind.
pub fn claimed(proof: &str) -> Result<DeviceId, BadProof> {
    let read = jsonwebtoken::dangerous::insecure_decode::<PullClaims>(proof);
    read.map(|token| token.claims.device_id).map_err(|_| BadProof)
}

fn fresh_key() -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, &random::bytes::<32>())
}

fn name_of(device: DeviceId, jti: &str) -> Name {
    let mut name = [0; 16];
    name.copy_from_slice(&sha256(format!("{device}\n{jti}"))[..16]);
    name
}

#[cfg(test)]
mod tests;
