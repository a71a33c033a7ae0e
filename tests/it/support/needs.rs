//! Programs that a test needs and that Rust alone does not bring. Where one is missing, the test
//! says what is left out, past the test runner's capture, so that nobody takes an incomplete run
//! for a complete one. Under CI nothing may be left out.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The Python of the project's own virtual environment, with the libraries of
/// `tests/fido2_server` and `examples/python`.
pub(crate) fn python(what: &str) -> Option<PathBuf> {
    // Beside the build's other products: `target/tmp` is the only one that cargo names.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent()?;
    let python = target.join("venv/bin/python");
    or_left_out(python.is_file().then_some(python), what, "there is no Python in target/venv")
}

/// The same Python, if it has this module too.
pub(crate) fn python_with(module: &str, what: &str) -> Option<PathBuf> {
    let python = python(what)?;
    let mut import = std::process::Command::new(&python);
    let has = import.args(["-c", &format!("import {module}")]).output().unwrap().status.success();
    or_left_out(has.then_some(python), what, &format!("target/venv has no {module}"))
}

/// A browser with its driver.
#[derive(Debug)]
pub(crate) struct Chromium {
    pub(crate) browser: PathBuf,
    pub(crate) driver: PathBuf,
}

/// Debian's chromium and chromium-driver.
pub(crate) fn chromium(what: &str) -> Option<Chromium> {
    let found = on_path("chromium")
        .zip(on_path("chromedriver"))
        .map(|(browser, driver)| Chromium { browser, driver });
    or_left_out(found, what, "chromium or chromedriver is not installed")
}

/// Node with the compiler of `clients/js`.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) program: PathBuf,
    pub(crate) compiler: PathBuf,
}

/// Node, and what `npm ci` puts into `clients/js`.
pub(crate) fn node(what: &str) -> Option<Node> {
    let client = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/js");
    let compiler = client.join("node_modules/typescript/bin/tsc");
    let compiler = Some(compiler).filter(|compiler| compiler.is_file());
    let found = on_path("node").zip(compiler).map(|(program, compiler)| Node { program, compiler });
    let because = "node is not installed, or clients/js has no node_modules";
    or_left_out(found, what, because)
}

/// Node, for what needs no package.
pub(crate) fn node_alone(what: &str) -> Option<PathBuf> {
    or_left_out(on_path("node"), what, "node is not installed")
}

/// A JDK's compiler; `java` is on the path beside it.
pub(crate) fn javac(what: &str) -> Option<PathBuf> {
    let javac = on_path("javac").filter(|_| on_path("java").is_some());
    or_left_out(javac, what, "no JDK is installed")
}

/// Debian's golang-go.
pub(crate) fn go(what: &str) -> Option<PathBuf> {
    or_left_out(on_path("go"), what, "go is not installed")
}

/// Node, and what `npm ci` puts into `tests/asyncapi`.
pub(crate) fn asyncapi(what: &str) -> Option<PathBuf> {
    package(what, "asyncapi", "@asyncapi/parser")
}

/// Node, and what `npm ci` puts into `tests/generated`.
pub(crate) fn generated(what: &str) -> Option<PathBuf> {
    package(what, "generated", "openapi-typescript")
}

/// Node, and what `npm ci` puts into `tests/authenticators`.
pub(crate) fn emulator(what: &str) -> Option<PathBuf> {
    package(what, "authenticators", "nid-webauthn-emulator")
}

/// Node, and what `npm ci` puts into `tests/simplewebauthn_server`.
pub(crate) fn simplewebauthn(what: &str) -> Option<PathBuf> {
    package(what, "simplewebauthn_server", "@simplewebauthn/server")
}

/// Node, and what `npm ci` puts into `tests/push`.
pub(crate) fn push_receiver(what: &str) -> Option<PathBuf> {
    package(what, "push", "web-push-testing")
}

/// Node, for a folder of `tests` with this module installed.
fn package(what: &str, folder: &str, module: &str) -> Option<PathBuf> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let module = tests.join(folder).join("node_modules").join(module).join("package.json");
    let found = on_path("node").filter(|_| module.is_file());
    let because = format!("node is not installed, or tests/{folder} has no node_modules");
    or_left_out(found, what, &because)
}

/// The text of axe-core, which audits a page from within. It comes with what `npm ci` puts into
/// `clients/js`, the one place of the tree where a script of somebody else's is installed by a
/// lock file.
pub(crate) fn axe(what: &str) -> Option<String> {
    let client = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/js");
    let script = std::fs::read_to_string(client.join("node_modules/axe-core/axe.min.js")).ok();
    or_left_out(script, what, "clients/js has no node_modules with axe-core")
}

/// The program that documents call the relay with.
pub(crate) fn curl(what: &str) -> Option<PathBuf> {
    or_left_out(on_path("curl"), what, "curl is not installed")
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = variable("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

fn or_left_out<T>(found: Option<T>, what: &str, because: &str) -> Option<T> {
    if found.is_none() {
        assert!(variable("CI").is_none(), "{what}: {because}, and CI leaves nothing out");
        say(&format!("left out: {what}, because {because} (./check setup installs it)"));
    }
    found
}

/// Unlike `eprintln!`, a direct write is not held back by the test runner.
fn say(line: &str) {
    std::io::stderr().write_all(format!("\n{line}\n").as_bytes()).unwrap();
}

/// Set and not empty.
fn variable(name: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(name).filter(|value| value != OsStr::new(""))
}
