//! The policy of `deny.toml` (licences, bans, sources) over what `Cargo.lock` resolves to. The test
//! needs cargo alone, so the policy also holds where cargo-deny is not installed.

use std::collections::BTreeSet;
use std::process::Command;

use spdx::{Expression, LicenseReq, ParseMode};

/// The sections of `deny.toml` that are checked here.
struct Policy {
    targets: Vec<String>,
    licences: BTreeSet<String>,
    banned: BTreeSet<String>,
}

impl Policy {
    fn read() -> Self {
        let text = std::fs::read_to_string("deny.toml").unwrap();
        let table: toml::Table = text.parse().unwrap();
        let texts = |section: &str, key: &str| -> Vec<String> {
            table[section][key].clone().try_into().unwrap()
        };
        let registries = texts("sources", "allow-registry");
        assert!(registries.iter().all(|url| url.ends_with("crates.io-index")), "{registries:?}");
        let denied = table["bans"]["deny"].as_array().unwrap();
        Self {
            targets: texts("graph", "targets"),
            licences: texts("licenses", "allow").into_iter().collect(),
            banned: denied.iter().map(|ban| ban["crate"].as_str().unwrap().to_owned()).collect(),
        }
    }

    /// What is wrong with a package, as `cargo tree` prints it: `name v1.0.0 (source)`, without a
    /// source where it is crates.io.
    fn violations(&self, package: &str, licence: &str) -> Vec<String> {
        let (name, rest) = package.split_once(' ').unwrap();
        let mut violations = Vec::new();
        if self.banned.contains(name) {
            violations.push(format!("{name} is banned"));
        }
        let allowed = |required: &LicenseReq| self.licences.contains(&required.to_string());
        let expression = Expression::parse_mode(licence, ParseMode::LAX);
        if !expression.is_ok_and(|expression| expression.evaluate(allowed)) {
            violations.push(format!("{name}: the licence {licence:?} is not allowed"));
        }
        let own = format!("({}", env!("CARGO_MANIFEST_DIR"));
        let source =
            rest.split_once(' ').map(|(_, source)| source.trim_start_matches("(proc-macro)"));
        if let Some(source) = source.map(str::trim)
            && !source.is_empty()
            && !source.starts_with(&own)
        {
            violations.push(format!("{name} comes from {source}"));
        }
        violations
    }
}

/// The packages that a build for this target uses, build and development dependencies included,
/// each with its licence.
fn packages(target: &str) -> BTreeSet<(String, String)> {
    let cargo = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--workspace", "--all-features", "--target", target])
        .args(["--edges", "normal,build,dev", "--no-dedupe", "--prefix", "none"])
        .args(["--format", "{p}|{l}"])
        .output()
        .unwrap();
    assert!(cargo.status.success(), "{}", String::from_utf8_lossy(&cargo.stderr));
    let tree = String::from_utf8(cargo.stdout).unwrap();
    // The mark of a package that depends on itself, for its tests.
    let lines = tree.lines().map(|line| line.trim_end_matches(" (*)"));
    let lines = lines.filter_map(|line| line.split_once('|'));
    lines.map(|(package, licence)| (package.to_owned(), licence.to_owned())).collect()
}

#[test]
fn every_dependency_keeps_the_policy_of_licences_bans_and_sources() {
    let policy = Policy::read();
    for target in &policy.targets {
        let packages = packages(target);
        assert!(packages.len() > 100, "{target}: only {} packages", packages.len());
        let violations =
            packages.iter().flat_map(|(name, licence)| policy.violations(name, licence));
        let violations: Vec<_> = violations.collect();
        assert!(violations.is_empty(), "{target}: {violations:#?}");
    }
}

#[test]
fn a_package_that_breaks_the_policy_is_named() {
    let policy = Policy::read();
    let own = format!("fido-relay v0.1.0 ({})", env!("CARGO_MANIFEST_DIR"));
    let good = [
        ("serde v1.0.0", "MIT/Apache-2.0"),
        ("serde v1.0.0", "GPL-3.0-only OR MIT"),
        ("serde_derive v1.0.0 (proc-macro)", "MIT"),
        (&own, "Apache-2.0"),
    ];
    for (package, licence) in good {
        assert!(policy.violations(package, licence).is_empty(), "{package}, {licence}");
    }
    let bad = [
        ("ring v0.17.0", "ISC"),
        ("serde v1.0.0", "MIT AND GPL-3.0-only"),
        ("serde v1.0.0", ""),
        ("serde v1.0.0 (https://example.com/serde#0123abcd)", "MIT"),
        ("serde_derive v1.0.0 (proc-macro) (https://example.com/serde#0123abcd)", "MIT"),
    ];
    for (package, licence) in bad {
        assert_eq!(policy.violations(package, licence).len(), 1, "{package}, {licence}");
    }
}
