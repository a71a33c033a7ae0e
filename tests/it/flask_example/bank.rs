//! The bank of `examples/flask` as its own process, on a relay of the test's.

use std::path::{Path, PathBuf};

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::process::Command;

use crate::support::child::{ChildProcess, run};
use crate::support::own_port::OwnPort;

const GUNICORN: [&str; 3] = ["gunicorn", "--log-level", "warning"];

/// The bank under gunicorn, as its configuration serves it, with a directory of its own.
pub(super) struct Bank {
    pub(super) url: String,
    python: PathBuf,
    relay_url: String,
    api_key: String,
    directory: TempDir,
    port: OwnPort,
    process: ChildProcess,
}

impl Bank {
    /// Opens it on a port of its own.
    pub(super) async fn open(python: &Path, relay_url: &str, api_key: &str) -> Self {
        let (directory, port) = (tempfile::tempdir().unwrap(), OwnPort::reserve());
        let mut program = command(python, relay_url, api_key, &directory, &GUNICORN);
        let listen = program.env("BANK_LISTEN", port.address.to_string());
        let mut process = ChildProcess::start(listen);
        let url = process.prints("open: ").await;
        let (python, relay_url) = (python.to_owned(), relay_url.to_owned());
        Self { url, python, relay_url, api_key: api_key.to_owned(), directory, port, process }
    }

    /// The same bank again, on its data and its port, with these keys for webhooks.
    pub(super) async fn again(mut self, webhook_keys: &str) -> Self {
        self.process.signal(Signal::TERM);
        self.process.exit().await.stdout();
        let mut program = self.program(&GUNICORN);
        program.env("BANK_LISTEN", self.port.address.to_string());
        program.env("BANK_WEBHOOK_KEYS", webhook_keys);
        self.process = ChildProcess::start(&mut program);
        self.url = self.process.prints("open: ").await;
        self
    }

    /// A user of the bank's: gives the code of the letter.
    pub(super) async fn add_user(&self, username: &str, name: &str) -> String {
        let mut add = self.program(&["bank", "add-user", username, name]);
        run(&mut add).await.stdout().trim().to_owned()
    }

    fn program(&self, words: &[&str]) -> Command {
        command(&self.python, &self.relay_url, &self.api_key, &self.directory, words)
    }
}

fn command(python: &Path, relay: &str, key: &str, directory: &TempDir, words: &[&str]) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(python);
    command
        .arg("-m")
        .args(words)
        .current_dir(root.join("examples/flask"))
        .env("PYTHONPATH", root.join("clients/python/src"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("FIDO_RELAY_URL", relay)
        .env("FIDO_RELAY_API_KEY", key)
        .env("BANK_DATA_DIR", directory.path())
        .env("BANK_TRIES_PER_ADDRESS", "100000")
        .env("BANK_TRIES_PER_USERNAME", "100000");
    command
}
