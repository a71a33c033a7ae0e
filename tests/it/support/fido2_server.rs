//! The independent FIDO2 servers of `tests/fido2_server` and `tests/simplewebauthn_server`, each run
//! for as long as a test holds it.

use std::path::Path;

use tokio::process::Command;

use super::child::ChildProcess;
use super::needs;

/// What a server is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Make {
    /// Python's `fido2` under Flask.
    Flask,
    /// `@simplewebauthn/server` on Node.
    SimpleWebAuthn,
}

/// A running server on a port of its own. Every one starts without accounts.
#[derive(Debug)]
pub(crate) struct Fido2Server {
    _process: ChildProcess,
    url: String,
}

impl Fido2Server {
    /// Starts one that accepts these origins besides its own; `None`, and said so, where there
    /// is no Python for it. `what` names the test for that line.
    pub(crate) async fn start(what: &str, origins: &[&str]) -> Option<Self> {
        let arguments = origins.iter().flat_map(|origin| ["--origin", origin]);
        Self::run(Make::Flask, what, arguments).await
    }

    /// Starts one that shows the certificate of `server.pem` and `server.key` in this directory,
    /// for `localhost`, and takes only clients with a certificate of `ca.pem`.
    pub(crate) async fn start_tls(make: Make, what: &str, directory: &Path) -> Option<Self> {
        let file = |name| directory.join(name).to_str().unwrap().to_owned();
        let (cert, key, ca) = (file("server.pem"), file("server.key"), file("ca.pem"));
        let arguments = ["--cert", &cert, "--key", &key, "--client-ca", &ca];
        let mut server = Self::run(make, what, arguments).await?;
        server.url = server.url.replace("http://127.0.0.1", "https://localhost");
        Some(server)
    }

    async fn run<'a>(
        make: Make,
        what: &str,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> Option<Self> {
        let (program, source) = match make {
            Make::Flask => (needs::python(what)?, "tests/fido2_server/server.py"),
            Make::SimpleWebAuthn => {
                (needs::simplewebauthn(what)?, "tests/simplewebauthn_server/server.mjs")
            }
        };
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
        let mut process = ChildProcess::start(Command::new(program).arg(source).args(arguments));
        let port = process.prints("").await;
        Some(Self { _process: process, url: format!("http://127.0.0.1:{port}") })
    }

    /// Its base URL, which is also the origin that it accepts.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}
