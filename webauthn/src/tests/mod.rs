//! Every step of sections 7.1 and 7.2 from both sides, the specification's own vectors, and
//! mutations of honest answers.

mod attestation;
mod authentication;
mod certificates;
mod cose;
mod forge;
mod mutation;
mod registration;
mod vectors;

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};

use crate::cose::{EDDSA, ES256, RS256};
use crate::{Answer, Expected, UnixTime, VerifyError};

const RP_ID: &str = "example.org";
const ORIGIN: &str = "https://example.org";
const ALGORITHMS: [i64; 3] = [ES256, EDDSA, RS256];
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
