//! What the result token tells of a card's answer: a look into the JSON that the server has
//! verified. It judges nothing, so whatever it cannot read stays untold.

use aws_lc_rs::digest;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::encoding;
use crate::ceremony::Approval;

/// The flags byte of authenticator data lies behind the 32 bytes of the relying party id's hash
/// (WebAuthn Level 3 section 6.1).
const FLAGS_AT: usize = 32;
/// "User Verified" in the flags byte.
const USER_VERIFIED: u8 = 0x04;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Credential {
    id: Option<String>,
    raw_id: Option<String>,
    response: Option<Response>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    authenticator_data: Option<String>,
}

/// What is known of a verified answer. Without a readable credential id the hash is empty.
pub(super) fn approval(credential: &RawValue) -> Approval {
    let seen: Option<Credential> = serde_json::from_str(credential.get()).ok();
    let Some(seen) = seen else {
        return Approval { cred_hash: String::new(), user_verified: None, evidence: None };
    };
    let id = seen.raw_id.or(seen.id).and_then(|id| encoding::decoded(&id));
    let cred_hash = id.map_or_else(String::new, |id| {
        encoding::encoded(digest::digest(&digest::SHA256, &id).as_ref())
    });
    let data = seen.response.and_then(|response| response.authenticator_data);
    let data = data.and_then(|data| encoding::decoded(&data));
    let user_verified =
        data.and_then(|data| data.get(FLAGS_AT).map(|flags| flags & USER_VERIFIED != 0));
    Approval { cred_hash, user_verified, evidence: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> Approval {
        approval(&RawValue::from_string(json.to_owned()).unwrap())
    }

    #[test]
    fn the_hash_is_of_the_decoded_id_in_any_base64() {
        // printf '\1\2\3\4' | openssl dgst -sha256 -binary | basenc --base64url
        let hash = "n2SnR-G5fxMfq7a0Rylsm28CAeefs8U1bmx36JtqgGo";
        for json in [
            r#"{"id":"AQIDBA"}"#,
            r#"{"rawId":"AQIDBA=="}"#,
            r#"{"id":"another","rawId":"AQIDBA","clientExtensionResults":{}}"#,
        ] {
            assert_eq!(of(json).cred_hash, hash);
        }
    }

    #[test]
    fn whether_the_user_was_verified_is_the_signed_flag() {
        for (flags, verified) in [(0x05, true), (0x01, false)] {
            let mut data = vec![0; 37];
            data[FLAGS_AT] = flags;
            let data = encoding::encoded(&data);
            let json = format!(r#"{{"id":"AQ","response":{{"authenticatorData":"{data}"}}}}"#);
            assert_eq!(of(&json).user_verified, Some(verified));
        }
    }

    #[test]
    fn what_cannot_be_read_stays_untold() {
        for json in [r#"[]"#, r#"{}"#, r#"{"id":"!"}"#, r#"{"id":1}"#] {
            assert_eq!(
                of(json),
                Approval { cred_hash: String::new(), user_verified: None, evidence: None }
            );
        }
        assert_eq!(of(r#"{"response":{"authenticatorData":"AQ"}}"#).user_verified, None);
    }
}
