//! Every step of sections 7.1 and 7.2 from both sides, the specification's own vectors, and
//! mutations of honest answers.

mod attestation;
mod authentication;
mod canonical;
mod certificates;
mod cose;
mod differential;
mod forge;
mod formats;
mod metadata;
mod mutation;
mod readme;
mod registration;
mod vectors;

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};

use crate::cose::{EDDSA, ES256, ES384, ML_DSA_44, ML_DSA_65, PS256, RS256};
use crate::{Answer, Expected, UnixTime, VerifyError};

const RP_ID: &str = "example.org";
const ORIGIN: &str = "https://example.org";
/// Every algorithm, those whose keys are quickly made first.
const ALGORITHMS: [i64; 7] = [ES256, EDDSA, ES384, ML_DSA_44, ML_DSA_65, RS256, PS256];
/// How many of them are quickly made.
const QUICK: usize = 5;
/// 2026-01-01.
const NOW: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(1_767_225_600));

fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest(&SHA256, bytes).as_ref().to_vec()
}

fn parse(answer: &serde_json::Value) -> Result<Answer, VerifyError> {
    Answer::parse(answer.to_string().as_bytes())
}

/// What the forged ceremonies are about, with user verification required.
fn expected<'a>(origins: &'a [String], top_origins: &'a [String]) -> Expected<'a> {
    Expected {
        challenge: &forge::CHALLENGE,
        rp_id: RP_ID,
        origins,
        top_origins,
        user_verification: true,
    }
}
