//! Each weakness shows by its own setting and by nothing else.

use std::path::Path;

use super::*;
use crate::config::from_texts;

/// A relay on the internet without a weakness: whatever a case adds is what makes it weak.
const STRONG: &[(&str, &str)] = &[
    ("public_url", "\"https://relay.example.com\""),
    ("tenant.rp_id", "\"example.com\""),
    ("attestation.roots_file", "\"roots.pem\""),
];
/// The same with a FIDO2 server of its own.
const EXTERNAL: &[(&str, &str)] = &[
    ("public_url", "\"https://relay.example.com\""),
    ("upstream.url", "\"https://fido.example.com\""),
];

fn weaknesses(base: &[(&str, &str)], changes: &[(&str, &str)]) -> Vec<Weakness> {
    let given = |key: &str| changes.iter().any(|(changed, _)| *changed == key);
    let kept = base.iter().filter(|(key, _)| !given(key)).chain(changes);
    let lines: Vec<_> =
        kept.filter(|(_, v)| !v.is_empty()).map(|(k, v)| format!("{k} = {v}")).collect();
    let text = lines.join("\n");
    let loaded = from_texts(Some((Path::new("relay.toml"), &text)), &[]);
    loaded.unwrap_or_else(|mistakes| panic!("{text}: {mistakes}")).config.weaknesses()
}

type Case =
    (&'static [(&'static str, &'static str)], &'static [(&'static str, &'static str)], Shows);
/// The key, and how its text begins.
type Shows = (&'static str, &'static str);

const CASES: &[Case] = &[
    (
        STRONG,
        &[
            ("listen", "\"0.0.0.0:8080\""),
            ("public_url", "\"http://relay.example.com\""),
            ("allow_plaintext", "true"),
        ],
        ("allow_plaintext", "other machines reach"),
    ),
    (STRONG, &[("listen", "\"0.0.0.0:8080\"")], ("listen", "other machines reach")),
    (
        STRONG,
        &[("proxy.trusted", "[\"10.1.0.0/23\"]"), ("proxy.header", "\"x-forwarded-for\"")],
        ("proxy.trusted", "a network of many"),
    ),
    (
        STRONG,
        &[("admin.listen", "\"0.0.0.0:9090\""), ("admin.allow_remote", "true")],
        ("admin.listen", "other machines read"),
    ),
    (
        EXTERNAL,
        &[("upstream.url", "\"http://fido.example.com\"")],
        ("upstream.url", "the FIDO2 server is called"),
    ),
    (
        EXTERNAL,
        &[("upstream.origin", "\"http://pages.example.com\"")],
        ("upstream.origin", "cards sign for a page"),
    ),
    (
        STRONG,
        &[("client_direct", "true"), ("allow_open_registration", "true")],
        ("client_direct", "/fidoapi/"),
    ),
    (EXTERNAL, &[("client_direct", "true")], ("client_direct", "/fidoapi/")),
    (STRONG, &[("allow_uv_weaken", "true")], ("allow_uv_weaken", "programs at /fidoapi/")),
    (
        STRONG,
        &[("device_origins", "[\"https://a.example\"]")],
        ("device_origins", "pages of these origins"),
    ),
    (
        STRONG,
        &[("tenant.rp_id", "\"localhost\"")],
        ("tenant.rp_id", "cards are registered for localhost"),
    ),
    (
        STRONG,
        &[("attestation.roots_file", "")],
        ("attestation.accept", "a registration with no statement"),
    ),
    (
        STRONG,
        &[("attestation.roots_file", ""), ("attestation.accept", "[\"certified\"]")],
        ("attestation.roots_file", "cards must have"),
    ),
    (
        STRONG,
        &[("webhooks.allowed_networks", "[\"10.1.2.3/32\"]")],
        ("webhooks.allowed_networks", "an initiator that"),
    ),
    (
        &[],
        &[("webhooks.allow_loopback_http", "true")],
        ("webhooks.allow_loopback_http", "webhooks may go"),
    ),
    (
        &[],
        &[
            ("push.webpush.key_file", "\"vapid.pem\""),
            ("push.webpush.contact", "\"mailto:ops@example.com\""),
            ("push.webpush.allow_loopback_http", "true"),
        ],
        ("push.webpush.allow_loopback_http", "a device can have"),
    ),
    (STRONG, &[("log.level", "\"debug\"")], ("log.level", "debug and trace")),
    (STRONG, &[("log.level", "\"warn,hyper=trace\"")], ("log.level", "debug and trace")),
    (STRONG, &[("audit.enabled", "false")], ("audit.enabled", "there is no record")),
    (STRONG, &[("log.level", "\"off\"")], ("log.level", "nothing is logged")),
];

#[test]
fn nothing_is_weak_by_default_and_a_strong_relay_on_the_internet_can_be_had() {
    for base in [&[], STRONG, EXTERNAL] {
        assert_eq!(weaknesses(base, &[]), [], "{base:?}");
    }
}

#[test]
fn each_weakness_shows_by_its_own_setting_and_alone() {
    for (base, changes, (key, begins)) in CASES {
        let found = weaknesses(base, changes);
        assert_eq!(found.len(), 1, "{changes:?}: {found:?}");
        assert_eq!(found[0].key, *key, "{changes:?}");
        assert!(found[0].text.starts_with(begins), "{changes:?}: {found:?}");
    }
    let plain = weaknesses(STRONG, &[("device_origins", "[\"http://a.example\"]")]);
    let keys: Vec<_> = plain.iter().map(|weakness| weakness.key).collect();
    assert_eq!(keys, ["device_origins"; 2], "listed at all, and without https");
}

#[test]
fn a_limit_is_weak_past_its_bound_and_not_at_it() {
    for limit in limits() {
        let Some((safe, _)) = limit.weakness else { continue };
        let at = |value: u64| weaknesses(STRONG, &[(limit.key, &value.to_string())]);
        assert_eq!(at(safe), [], "{} = {safe}", limit.key);
        let keys: Vec<_> = at(safe + 1).iter().map(|weakness| weakness.key).collect();
        assert_eq!(keys, [limit.key], "{} = {}", limit.key, safe + 1);
    }
}

#[test]
fn no_weakness_is_without_a_case_here() {
    let mut untested = Weakness::all();
    let shown = |weakness: &Weakness| {
        CASES
            .iter()
            .any(|(_, _, (key, begins))| weakness.key == *key && weakness.text.starts_with(begins))
            || limits().any(|limit| limit.weakness.is_some_and(|(_, of)| of == *weakness))
    };
    untested.retain(|weakness| !shown(weakness));
    let left: Vec<_> = untested.iter().map(|weakness| weakness.text).collect();
    assert_eq!(left.len(), 1, "the one that shows only beside another: {left:?}");
    assert!(left[0].starts_with("an origin without https"), "{left:?}");
}

#[test]
fn what_stays_on_this_machine_is_not_weak_for_being_plain() {
    for changes in [
        &[("upstream.url", "\"http://localhost:9\"")],
        &[("upstream.url", "\"http://127.0.0.2\"")],
        &[("upstream.url", "\"http://[::1]\"")],
        &[("log.level", "\"trace\"")],
        &[("client_direct", "true")],
    ] {
        assert_eq!(weaknesses(&[], changes), [], "{changes:?}");
    }
}

#[test]
fn a_relay_that_others_reach_is_not_weak_with_tls_or_a_named_proxy() {
    let open = ("listen", "\"0.0.0.0:8080\"");
    let tls = [open, ("tls.cert_file", "\"c.pem\""), ("tls.key_file", "\"k.pem\"")];
    assert_eq!(weaknesses(STRONG, &tls), []);
    let proxy = ("proxy.trusted", "[\"10.1.2.3\"]");
    let named = [open, proxy, ("proxy.header", "\"x-forwarded-for\"")];
    assert_eq!(weaknesses(STRONG, &named), []);
}

#[test]
fn a_proxy_in_front_is_reason_enough_to_keep_client_direct_off() {
    let direct = |text: &str| {
        let loaded = from_texts(Some((Path::new("relay.toml"), text)), &[]);
        loaded.unwrap().config.client_direct
    };
    assert!(direct(""));
    assert!(!direct("public_url = \"https://relay.example.com\""));
    assert!(!direct("listen = \"0.0.0.0:1\"\nallow_plaintext = true"));
}

#[test]
fn a_weakness_names_its_key_and_its_remedy() {
    for weakness in Weakness::all() {
        let text = weakness.to_string();
        assert!(text.starts_with(weakness.key) && text.ends_with(weakness.remedy), "{text}");
    }
}
