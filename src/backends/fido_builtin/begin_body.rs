//! The body of a client-direct begin call, in the spellings of the vendor's reference, of its
//! Python sample (which sends `username` and `rpId` alone) and of the FIDO Alliance's interface.
//! Unknown members are ignored; a known member with an invalid value is refused.

use fido_relay_proto::http::{Algorithm, UpstreamOptions};
use fido_relay_proto::{DisplayName, Username};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Longest relying party id: a DNS name.
const RP_ID_BYTES: usize = 253;
/// Algorithms in one request.
const ALGORITHMS: usize = 32;

/// A parsed begin call.
pub(super) struct BeginBody {
    pub(super) username: Username,
    /// The username if it is missing.
    pub(super) display_name: DisplayName,
    pub(super) rp_id: Option<String>,
    pub(super) options: UpstreamOptions,
    /// Client extensions (WebAuthn section 9), which are copied into the options object.
    pub(super) extensions: Option<Value>,
}

impl BeginBody {
    /// Reads the JSON text. The error is a sentence that repeats no input.
    pub(super) fn parse(body: &[u8]) -> Result<Self, &'static str> {
        let body: Value =
            serde_json::from_slice(body).map_err(|_| "the body must be a JSON object")?;
        if !body.is_object() {
            return Err("the body must be a JSON object");
        }
        let username = text(&body, &["username", "userName"])?.ok_or("username is missing")?;
        let username =
            Username::new(username).map_err(|_| "username must be 1 to 255 plain characters")?;
        let display_name = match text(&body, &["displayName", "display_name"])? {
            Some(name) if !name.is_empty() => DisplayName::new(name)
                .map_err(|_| "displayName must be at most 255 plain characters")?,
            Some(_) | None => username.clone().into(),
        };
        let rp_id = text(&body, &["rpId", "rp_id"])?.or(text(&body["rp"], &["id"])?);
        // Some programs send members without a value as empty texts.
        let rp_id = rp_id.filter(|id| !id.is_empty());
        if rp_id.is_some_and(|id| id.len() > RP_ID_BYTES) {
            return Err("rpId must be at most 253 characters");
        }
        let selection = &body["authenticatorSelection"];
        let resident_key = requirement(
            &[&body, selection],
            &["discoverable_credential", "discoverableCredential", "residentKey"],
        )?;
        let must_reside = selection["requireResidentKey"] == true;
        let options = UpstreamOptions {
            user_verification: requirement(
                &[&body, selection],
                &["userVerification", "user_verification"],
            )?,
            attestation: requirement(&[&body], &["attestation"])?,
            attachment: requirement(
                &[&body, selection],
                &["attachment", "authenticatorAttachment"],
            )?,
            algorithms: algorithms(&body["algorithms"])?,
            discoverable_credential: if must_reside {
                Some(fido_relay_proto::http::Requirement::Required)
            } else {
                resident_key
            },
            rp_id: None,
        };
        let extensions = member(&body, &["extensions"]).cloned();
        if extensions.as_ref().is_some_and(|extensions| !extensions.is_object()) {
            return Err("extensions must be an object");
        }
        Ok(Self { username, display_name, rp_id: rp_id.map(str::to_owned), options, extensions })
    }
}

/// The first of these members that exists.
fn member<'a>(object: &'a Value, names: &[&str]) -> Option<&'a Value> {
    names.iter().find_map(|name| object.get(name)).filter(|value| !value.is_null())
}

fn text<'a>(object: &'a Value, names: &[&str]) -> Result<Option<&'a str>, &'static str> {
    member(object, names)
        .map(|value| value.as_str().ok_or("a text member is not a text"))
        .transpose()
}

/// An enumerated option, from the first object that has it.
fn requirement<T: DeserializeOwned>(
    objects: &[&Value],
    names: &[&str],
) -> Result<Option<T>, &'static str> {
    let Some(value) = objects.iter().find_map(|object| member(object, names)) else {
        return Ok(None);
    };
    if value == "" {
        return Ok(None);
    }
    serde_json::from_value(value.clone()).map(Some).map_err(|_| "an option has no known value")
}

/// Algorithm names in any case; unknown ones are ignored, since callers may list all they support.
fn algorithms(value: &Value) -> Result<Option<Vec<Algorithm>>, &'static str> {
    if value.is_null() {
        return Ok(None);
    }
    let list = value.as_array().filter(|list| list.len() <= ALGORITHMS);
    let list = list.ok_or("algorithms must be a list of names")?;
    let mut known = Vec::new();
    for name in list {
        let name = name.as_str().ok_or("algorithms must be a list of names")?;
        let name = name.to_ascii_lowercase().replace('-', "_");
        let name = if name == "ed25519" { "eddsa".to_owned() } else { name };
        let Ok(algorithm) = serde_json::from_value(name.into()) else { continue };
        if !known.contains(&algorithm) {
            known.push(algorithm);
        }
    }
    if known.is_empty() && !list.is_empty() {
        return Err("none of these algorithms is known here");
    }
    Ok(Some(known))
}
