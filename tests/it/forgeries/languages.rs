//! The same forgeries against verification in another language with a library of its own.

use serde_json::json;
use tokio::process::Command;

use super::Signed;
use crate::support::child::run_with;
use crate::support::needs;

/// What docs/initiators.md tells to check, in Python with PyJWT: the number of tokens that hold.
const IN_PYTHON: &str = r#"
import json, sys, jwt
told = json.load(sys.stdin)
keys = {key["kid"]: jwt.PyJWK(key) for key in told["jwks"]["keys"]}
holds = []
for token in told["tokens"]:
    try:
        header = jwt.get_unverified_header(token)
        if header.get("typ") != "ceremony-result+jwt" or header["alg"] != "ES256":
            raise ValueError("another kind")
        claims = jwt.decode(token, keys[header["kid"]], algorithms=["ES256"],
            issuer=told["issuer"], audience=told["audience"], leeway=5,
            options={"require": ["exp", "iat", "iss", "aud", "sub", "jti"]})
        holds.append(claims["jti"] == told["jti"] and claims["outcome"] == "succeeded"
            and claims["ceremony_type"] == "authentication" and claims["sub"] == "ada"
            and claims["client_nonce"] == told["nonce"])
    except Exception:
        holds.append(False)
print(json.dumps(holds))
"#;

pub(super) async fn pyjwt_refuses_too(signed: &Signed, forged: &[String]) {
    let Some(python) = needs::python("result tokens with PyJWT") else { return };
    let mut tokens = vec![signed.result.clone()];
    tokens.extend_from_slice(forged);
    let told = json!({ "jwks": signed.jwks, "tokens": tokens, "issuer": signed.issuer,
        "audience": signed.audience, "jti": signed.opened.id, "nonce": signed.nonce });
    let mut program = Command::new(python);
    let said = run_with(program.args(["-c", IN_PYTHON]), &told.to_string()).await.json();
    let holds: Vec<bool> = serde_json::from_value(said).unwrap();
    assert_eq!(holds.len(), tokens.len());
    let held: Vec<_> =
        tokens.iter().zip(holds).filter(|(_, holds)| *holds).map(|(token, _)| token).collect();
    // Padding is no part of a JWS (RFC 7515 section 2), and this library passes over it: the same
    // bytes under another spelling say nothing else.
    let spelled = format!("{}==", signed.result);
    assert!(held.iter().all(|held| **held == signed.result || **held == spelled), "{held:#?}");
    assert!(held.contains(&&signed.result), "the genuine one holds");
}
