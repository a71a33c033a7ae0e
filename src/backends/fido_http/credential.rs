//! Facts about a card's answer for the result token, read from the JSON that the server has
//! verified. Nothing is verified here, so what cannot be read is left out.

use ciborium::Value;
use fido_relay_proto::CeremonyType;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::lenient_base64::decode;
use crate::core::ceremony::VerifiedAnswer;
use crate::encoding::sha256_base64url;

/// The offset of the flags byte in authenticator data (WebAuthn Level 3 section 6.1).
const FLAGS_AT: usize = 32;
/// "User Verified" in the flags byte.
const USER_VERIFIED: u8 = 0x04;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CredentialJson {
    id: Option<String>,
    raw_id: Option<String>,
    response: Option<ResponseJson>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResponseJson {
    authenticator_data: Option<String>,
    attestation_object: Option<String>,
}

/// The facts of a verified answer. Without a readable credential id the hash is empty.
pub(super) fn approval(ceremony_type: CeremonyType, credential: &RawValue) -> VerifiedAnswer {
    let seen: Option<CredentialJson> = serde_json::from_str(credential.get()).ok();
    let Some(seen) = seen else {
        return VerifiedAnswer { cred_hash: String::new(), user_verified: None, evidence: None };
    };
    let id = seen.raw_id.or(seen.id).and_then(|id| decode(&id));
    let cred_hash = id.map(sha256_base64url).unwrap_or_default();
    let user_verified = seen.response.and_then(|response| user_verified(ceremony_type, &response));
    VerifiedAnswer { cred_hash, user_verified, evidence: None }
}

/// The UV flag that the server verified. An assertion's is in `authenticatorData`, which the card
/// signed. A registration's is in `attestationObject`; servers do not read a copy of
/// `authenticatorData` beside it, so a copy must agree.
fn user_verified(ceremony_type: CeremonyType, response: &ResponseJson) -> Option<bool> {
    let decoded = |text: &Option<String>| text.as_deref().map(decode);
    let flag = |data: Vec<u8>| data.get(FLAGS_AT).map(|flags| flags & USER_VERIFIED != 0);
    let signed = decoded(&response.authenticator_data).map(|data| flag(data?));
    match ceremony_type {
        CeremonyType::Authentication | CeremonyType::Approval => signed?,
        CeremonyType::Registration => {
            let attested = decoded(&response.attestation_object);
            let attested = attested.map(|object| flag(authenticator_data(&object?)?));
            match (attested, signed) {
                (Some(attested), Some(copy)) => attested.filter(|_| attested == copy),
                (attested, copy) => attested.or(copy)?,
            }
        }
    }
}

/// The authenticator data within an attestation object (WebAuthn Level 3 section 6.5).
fn authenticator_data(object: &[u8]) -> Option<Vec<u8>> {
    let object: Value = ciborium::from_reader(object).ok()?;
    let is_named = |(key, _): &(Value, Value)| key.as_text() == Some("authData");
    object.into_map().ok()?.into_iter().find(is_named)?.1.into_bytes().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::base64url;

    const AUTHENTICATION: CeremonyType = CeremonyType::Authentication;
    const REGISTRATION: CeremonyType = CeremonyType::Registration;

    fn of(ceremony_type: CeremonyType, json: &str) -> VerifiedAnswer {
        approval(ceremony_type, &RawValue::from_string(json.to_owned()).unwrap())
    }

    fn data(flags: u8) -> Vec<u8> {
        let mut data = vec![0; 37];
        data[FLAGS_AT] = flags;
        data
    }

    fn attested(key: &str, data: Value) -> String {
        let object = [("fmt", "none".into()), ("attStmt", Value::Map(vec![])), (key, data)];
        let object = object.map(|(key, value)| (key.into(), value)).to_vec();
        let mut bytes = Vec::new();
        ciborium::into_writer(&Value::Map(object), &mut bytes).unwrap();
        base64url(&bytes)
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
            assert_eq!(of(AUTHENTICATION, json).cred_hash, hash);
        }
    }

    #[test]
    fn whether_the_user_was_verified_is_the_signed_flag() {
        for (flags, verified) in [(0x05, true), (0x01, false)] {
            let data = base64url(data(flags));
            let json = format!(r#"{{"id":"AQ","response":{{"authenticatorData":"{data}"}}}}"#);
            for ceremony_type in [AUTHENTICATION, CeremonyType::Approval, REGISTRATION] {
                assert_eq!(of(ceremony_type, &json).user_verified, Some(verified));
            }
        }
    }

    #[test]
    fn a_registrations_flag_is_that_of_its_attestation_object() {
        let (with, without) = (Value::Bytes(data(0x45)), Value::Bytes(data(0x41)));
        let (with, without) = (attested("authData", with), attested("authData", without));
        let (claim, other) = (base64url(data(0x05)), base64url(data(0x01)));
        for (object, copy, registered, signed_in) in [
            (Some(&with), None, Some(true), None),
            (Some(&without), None, Some(false), None),
            (Some(&with), Some(&claim), Some(true), Some(true)),
            // A copy that nothing vouches for must not raise the flag, nor an object in an assertion.
            (Some(&without), Some(&claim), None, Some(true)),
            (Some(&with), Some(&other), None, Some(false)),
            (Some(&attested("authdata", Value::Bytes(data(0x45)))), Some(&claim), None, Some(true)),
            (Some(&attested("authData", "text".into())), Some(&claim), None, Some(true)),
            (Some(&"AQ".to_owned()), Some(&claim), None, Some(true)),
        ] {
            let response = serde_json::json!({
                "id": "AQ", "response": { "attestationObject": object, "authenticatorData": copy },
            })
            .to_string();
            assert_eq!(of(REGISTRATION, &response).user_verified, registered, "{response}");
            assert_eq!(of(AUTHENTICATION, &response).user_verified, signed_in, "{response}");
        }
    }

    #[test]
    fn what_cannot_be_read_stays_untold() {
        for json in [r#"[]"#, r#"{}"#, r#"{"id":"!"}"#, r#"{"id":1}"#] {
            assert_eq!(
                of(AUTHENTICATION, json),
                VerifiedAnswer { cred_hash: String::new(), user_verified: None, evidence: None }
            );
        }
        let short = r#"{"response":{"authenticatorData":"AQ"}}"#;
        assert_eq!(of(AUTHENTICATION, short).user_verified, None);
    }
}
