//! The Python package of `clients/python`: its own tests, against this build of the program. They
//! start relays and simulated phones themselves; here is only that they run, all of them.

use std::path::Path;

use tokio::process::Command;

use crate::support::child::run;
use crate::support::needs;

#[tokio::test]
async fn the_python_package_keeps_what_its_own_tests_say() {
    let what = "the tests of the Python package";
    let modules = "httpx, rfc8785, pytest, jwt, standardwebhooks, mypy, pyright, build, django";
    let Some(python) = needs::python_with(modules, what) else { return };
    // pyright runs on it.
    if needs::node_alone(what).is_none() {
        return;
    }
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/python");
    let mut tests = Command::new(python);
    let tests = tests.args(["-m", "pytest", "--quiet", "--strict-markers"]).current_dir(package);
    passes_all(tests).await;
}

/// Runs tests in Python against this build: they pass, and none is skipped.
pub(crate) async fn passes_all(tests: &mut Command) {
    tests.env("FIDO_RELAY_PROGRAM", env!("CARGO_BIN_EXE_fido-relay"));
    let told = run(tests.env("PYTHONDONTWRITEBYTECODE", "1")).await.stdout();
    let last = told.trim_end().lines().last().unwrap_or_default();
    assert!(last.contains(" passed") && !last.contains("skipped"), "all of them ran: {told}");
}

#[test]
fn the_python_package_carries_this_licence() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    assert_eq!(read("clients/python/LICENSE"), read("LICENSE"));
}
