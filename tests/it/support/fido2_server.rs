//! The independent FIDO2 server of `tests/fido2_server`, run for as long as a test holds it.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::needs;

/// A running server on a port of its own. Every one starts without accounts.
#[derive(Debug)]
pub(crate) struct Fido2Server {
    process: Child,
    url: String,
}

impl Fido2Server {
    /// Starts one that accepts these origins besides its own; `None`, and said so, where there
    /// is no Python for it. `what` names the test for that line.
    pub(crate) fn start(what: &str, origins: &[&str]) -> Option<Self> {
        let python = needs::python(what)?;
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fido2_server/server.py");
        let mut process = Command::new(python)
            .arg(program)
            .args(origins.iter().flat_map(|origin| ["--origin", origin]))
            // It ends when its input does: also when this process is killed.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut port = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut port).unwrap();
        assert!(!port.is_empty(), "the server ended before it listened");
        Some(Self { process, url: format!("http://127.0.0.1:{}", port.trim()) })
    }

    /// Its base URL, which is also the origin that it accepts.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Fido2Server {
    fn drop(&mut self) {
        // It may have ended by itself already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
