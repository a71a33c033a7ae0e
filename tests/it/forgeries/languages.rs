//! The same forgeries against verification in other languages: PyJWT, and the samples of
//! `examples/verify`.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use fido_relay::security::device_proof;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use super::Signed;
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

pub(super) fn pyjwt_refuses_too(signed: &Signed, forged: &[String]) {
    let Some(python) = needs::python("result tokens with PyJWT") else { return };
    let mut process = std::process::Command::new(python)
        .args(["-c", IN_PYTHON])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut tokens = vec![signed.result.clone()];
    tokens.extend_from_slice(forged);
    let told = json!({ "jwks": signed.jwks, "tokens": tokens, "issuer": signed.issuer,
        "audience": signed.audience, "jti": signed.opened.id, "nonce": signed.nonce });
    process.stdin.take().unwrap().write_all(told.to_string().as_bytes()).unwrap();
    let output = process.wait_with_output().unwrap();
    assert!(output.status.success());
    let holds: Vec<bool> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(holds.len(), tokens.len());
    let held: Vec<_> =
        tokens.iter().zip(holds).filter(|(_, holds)| *holds).map(|(token, _)| token).collect();
    // Padding is no part of a JWS (RFC 7515 section 2), and this library passes over it: the same
    // bytes under another spelling say nothing else.
    let spelled = format!("{}==", signed.result);
    assert!(held.iter().all(|held| **held == signed.result || **held == spelled), "{held:#?}");
    assert!(held.contains(&&signed.result), "the genuine one holds");
}

/// Runs a program of `examples/verify`: one question a line, one answer a line.
fn asked(program: &Path, arguments: &[&str], questions: &[Value]) -> Vec<String> {
    let mut process = Command::new(program)
        .args(arguments)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/verify"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = process.stdin.take().unwrap();
    let lines: String = questions.iter().map(|question| format!("{question}\n")).collect();
    // Beside reading: a program may answer before it has read everything.
    let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = process.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", program.display());
    writer.join().unwrap().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// The claims of this token with another `amr`, by a key of the test's own, and its key set.
fn signed_by_another(token: &str, amr: &Value) -> (String, Value) {
    let (mut header, mut claims, _) = super::parts(token);
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let mut jwk =
        serde_json::to_value(device_proof::jwk(pair.public_key().as_ref()).unwrap()).unwrap();
    (header["kid"], jwk["kid"], claims["amr"]) = ("own".into(), "own".into(), amr.clone());
    let key = EncodingKey::from_ec_der(pair.to_pkcs8v1().unwrap().as_ref());
    let header: Header = serde_json::from_value(header).unwrap();
    let token = jsonwebtoken::encode(&header, &claims, &key).unwrap();
    (token, json!({ "keys": [jwk] }))
}

/// What each sample is asked: the genuine token, the same with one expectation, the time or the
/// PIN changed, and the forgeries; and how many of them, at the beginning, hold.
fn questions(signed: &Signed, forged: &[String]) -> (Vec<Value>, usize) {
    let payload: Value = super::parts(&signed.result).1;
    let (issued, expires) = (payload["iat"].as_i64().unwrap(), payload["exp"].as_i64().unwrap());
    let question = |token: &str, expected: &Value, now: i64| {
        json!({ "token": token,
        "jwks": signed.jwks, "expected": expected, "now": now })
    };
    let expected = json!({
        "iss": signed.issuer, "aud": signed.audience, "jti": signed.opened.id, "sub": "ada",
        "client_nonce": signed.nonce, "ceremony_type": "authentication", "binding": "code",
    });
    let mut all = vec![
        question(&signed.result, &expected, issued),
        question(&signed.result, &expected, issued - 5),
        question(&signed.result, &expected, expires + 4),
    ];
    let own = |amr: &Value| {
        let (token, jwks) = signed_by_another(&signed.result, amr);
        json!({ "token": token, "jwks": jwks, "expected": expected, "now": issued })
    };
    all.push(own(&json!(["pop", "user", "pin", "mfa"])));
    let holding = all.len();
    for amr in [json!(["pop", "user"]), json!([]), json!(["pinned"])] {
        all.push(own(&amr));
    }
    all.push(question(&signed.result, &expected, issued - 6));
    all.push(question(&signed.result, &expected, expires + 5));
    for name in expected.as_object().unwrap().keys() {
        let mut another = expected.clone();
        another[name] = "another".into();
        all.push(question(&signed.result, &another, issued));
    }
    let mut approval = expected.clone();
    approval["tx_hash"] = "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU".into();
    all.push(question(&signed.result, &approval, issued));
    let mut without_nonce = expected.clone();
    without_nonce.as_object_mut().unwrap().remove("client_nonce");
    all.push(question(&signed.result, &without_nonce, issued));
    // Of the tokens with one character changed each sixteenth: what the others meet is the same
    // base64 and the same signature check, and a cold virtual machine takes its time.
    let is_flip = |token: &str| {
        let pairs = token.bytes().zip(signed.result.bytes());
        token.len() == signed.result.len() && pairs.filter(|(one, other)| one != other).count() == 1
    };
    let tried = forged.iter().enumerate().filter(|(at, token)| at % 16 == 0 || !is_flip(token));
    all.extend(tried.map(|(_, token)| question(token, &expected, issued)));
    assert!(all.len() > 120, "{}", all.len());
    (all, holding)
}

pub(super) fn samples_refuse_too(signed: &Signed, forged: &[String]) {
    let programs = [
        (needs::node_alone("result tokens in Node"), vec!["verify.mjs"]),
        (needs::java("result tokens in Java"), vec!["-XX:TieredStopAtLevel=1", "Verify.java"]),
        (needs::go("result tokens in Go"), vec!["run", "verify.go"]),
    ];
    let (questions, holding) = questions(signed, forged);
    let hold = |program: &Path, arguments: &[&str]| {
        let answers = asked(program, arguments, &questions);
        assert_eq!(answers.len(), questions.len(), "{arguments:?}");
        for (at, (question, answer)) in questions.iter().zip(&answers).enumerate() {
            let right = if at < holding { answer == "ok" } else { answer.starts_with("refused: ") };
            assert!(right, "{arguments:?}: {answer} to {question}");
        }
    };
    std::thread::scope(|scope| {
        for (program, arguments) in &programs {
            if let Some(program) = program {
                scope.spawn(|| hold(program, arguments));
            }
        }
    });
}
