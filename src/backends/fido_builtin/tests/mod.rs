//! The built-in server's tests: every step of sections 7.1 and 7.2 from both sides, the
//! specification's own vectors, and the two doors over a store in memory.

mod attestation;
mod authentication;
mod bench;
mod certificates;
mod certify;
mod cose;
mod fido;
mod forge;
mod memory;
mod mutation;
mod registration;
mod vectors;

use aws_lc_rs::digest::{SHA256, digest};

use super::answer::Answer;
use super::client_data::Expected;
use super::failure::VerifyError;

const RP_ID: &str = "example.org";
const ORIGIN: &str = "https://example.org";
const ES256: i64 = -7;
const EDDSA: i64 = -8;
const RS256: i64 = -257;
const ALGORITHMS: [i64; 3] = [ES256, EDDSA, RS256];
/// 2026-01-01.
const NOW: fido_relay_proto::UnixMillis = fido_relay_proto::UnixMillis(1_767_225_600_000);

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
