//! The Python package of `clients/python`: its own tests, against this build of the program. They
//! start relays and simulated phones themselves; here is only that they run, all of them.

use std::path::Path;

use crate::support::needs;

#[test]
fn the_python_package_keeps_what_its_own_tests_say() {
    let what = "the tests of the Python package";
    let modules = "httpx, rfc8785, pytest, jwt, standardwebhooks, mypy, pyright, build, django";
    let Some(python) = needs::python_with(modules, what) else { return };
    // pyright runs on it.
    if needs::node_alone(what).is_none() {
        return;
    }
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/python");
    let run = std::process::Command::new(python)
        .args(["-m", "pytest", "--quiet", "--strict-markers"])
        .current_dir(package)
        .env("FIDO_RELAY_PROGRAM", env!("CARGO_BIN_EXE_fido-relay"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{told}\n{}", String::from_utf8_lossy(&run.stderr));
    let last = told.trim_end().lines().last().unwrap_or_default();
    assert!(last.contains(" passed") && !last.contains("skipped"), "all of them ran: {told}");
}

#[test]
fn the_python_package_carries_this_licence() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    assert_eq!(read("clients/python/LICENSE"), read("LICENSE"));
}
