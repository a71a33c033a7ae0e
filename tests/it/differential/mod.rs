//! The built-in FIDO2 server against another verifier, Yubico's fido2 library: the same answers,
//! honest, forged and with single bits changed, and every difference between the two verdicts with
//! its reason.

pub(crate) mod attestation;
mod authentications;
mod bits;
mod forge;
mod registrations;

use fido_relay_proto::CeremonyType::{self, Authentication, Registration};
use serde_json::{Value, json};

use crate::support::child::ChildProcess;
use crate::support::client_direct::ClientDirect;
use crate::support::key_pair::base64;
use crate::support::needs;
use crate::support::relay::TestRelay;
use forge::Forged;

const RP_ID: &str = "localhost";

/// What both verifiers say of an answer: whether they accept it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Verdicts {
    ours: bool,
    theirs: bool,
}

/// How the verdicts over an answer are allowed to differ.
#[derive(Clone, Copy, Debug)]
enum Difference {
    /// Both accept it, or both refuse it.
    Not,
    /// Refused here, accepted there, for this reason.
    Stricter(&'static str),
    /// Accepted here, refused there, for this reason.
    Laxer(&'static str),
}

impl Difference {
    /// What is wrong with the verdicts over this case, if anything.
    fn complaint(self, case: &str, verdicts: Verdicts) -> Option<String> {
        let (fits, expected) = match self {
            Self::Not => (verdicts.ours == verdicts.theirs, "the same"),
            Self::Stricter(why) => (!verdicts.ours && verdicts.theirs, why),
            Self::Laxer(why) => (verdicts.ours && !verdicts.theirs, why),
        };
        (!fits).then(|| format!("{case}: {verdicts:?}, expected: {expected}"))
    }
}

/// A way in which an answer is bent, and how the verdicts over it may differ.
type Case = (&'static str, fn(&mut Forged), Difference);

struct Judges {
    app: ClientDirect,
    origin: String,
    library: ChildProcess,
    users: u32,
    _relay: TestRelay,
}

impl Judges {
    /// `None`, and said so, where there is no Python for the library.
    async fn start(what: &str) -> Option<Self> {
        let python = needs::python_with("fido2", what)?;
        let relay = TestRelay::start_with(|config| {
            (config.client_direct, config.allow_uv_weaken) = (true, true);
        })
        .await;
        Some(Self {
            app: ClientDirect::of(&relay.url()),
            origin: relay.running.config().tenant.origins[0].clone(),
            library: ChildProcess::script(&python, "tests/fido2_server/judge.py"),
            users: 0,
            _relay: relay,
        })
    }

    /// A name that has no card yet.
    fn user(&mut self) -> String {
        self.users += 1;
        format!("user-{}", self.users)
    }

    /// Has an answer made to a challenge of the relay and judged by both, after `change` changed
    /// what was finished.
    async fn judge(
        &mut self,
        user: &str,
        forged: &mut Forged,
        change: impl FnOnce(&mut Value),
    ) -> Verdicts {
        let ceremony = if forged.registration { Registration } else { Authentication };
        let verification = if forged.required { "required" } else { "preferred" };
        let wishes = json!({ "username": user, "userVerification": verification });
        let begun = self.app.begin(ceremony, &wishes).await;
        let challenge = begun.options["challenge"].as_str().unwrap();
        let mut answer = forged.finish(challenge, &self.origin);
        change(&mut answer);
        let mut case = json!({
            "challenge": challenge, "rp_id": RP_ID, "origin": self.origin,
            "required": forged.required, "answer": answer,
        });
        if ceremony == Authentication {
            let (id, key) = forged.card.registered();
            case["credential"] = json!({ "id": base64(id), "public_key": base64(key) });
        }
        let theirs = self.library.asks(&case).await["refused"].is_null();
        Verdicts { ours: self.accepts(ceremony, &begun.cookie, &answer).await, theirs }
    }

    async fn accepts(&self, ceremony: CeremonyType, cookie: &str, answer: &Value) -> bool {
        match self.app.complete(ceremony, cookie, answer).await {
            200 => true,
            400 | 401 => false,
            other => panic!("{other} is no verdict over {answer}"),
        }
    }
}
