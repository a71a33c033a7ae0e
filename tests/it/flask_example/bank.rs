//! The bank of `examples/flask` as its own process, on a relay of the test's.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::support::own_port::OwnPort;

/// A start takes no longer, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
const GUNICORN: [&str; 3] = ["gunicorn", "--log-level", "warning"];

/// The bank under gunicorn, as its configuration serves it, with a directory of its own.
pub(super) struct Bank {
    pub(super) url: String,
    python: PathBuf,
    relay_url: String,
    api_key: String,
    directory: TempDir,
    port: OwnPort,
    process: Child,
}

impl Bank {
    /// Opens it on a port of its own.
    pub(super) async fn open(python: &Path, relay_url: &str, api_key: &str) -> Self {
        let (directory, port) = (tempfile::tempdir().unwrap(), OwnPort::reserve());
        let mut program = command(python, relay_url, api_key, &directory, &GUNICORN);
        program.env("BANK_LISTEN", port.address.to_string());
        let (process, url) = serve(program).await;
        let (python, relay_url) = (python.to_owned(), relay_url.to_owned());
        Self { url, python, relay_url, api_key: api_key.to_owned(), directory, port, process }
    }

    /// The same bank again, on its data and its port, with these keys for webhooks.
    pub(super) async fn again(mut self, webhook_keys: &str) -> Self {
        let pid = i32::try_from(self.process.id().unwrap()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let ended = tokio::time::timeout(PATIENCE, self.process.wait()).await;
        assert!(ended.unwrap().unwrap().success(), "requests end, then the bank does");
        let mut program = self.program(&GUNICORN);
        program.env("BANK_LISTEN", self.port.address.to_string());
        program.env("BANK_WEBHOOK_KEYS", webhook_keys);
        (self.process, self.url) = serve(program).await;
        self
    }

    /// A user of the bank's: gives the code of the letter.
    pub(super) async fn add_user(&self, username: &str, name: &str) -> String {
        let told = self.program(&["bank", "add-user", username, name]).output().await.unwrap();
        assert!(told.status.success());
        String::from_utf8(told.stdout).unwrap().trim().to_owned()
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
        .env("BANK_TRIES_PER_USERNAME", "100000")
        .kill_on_drop(true);
    command
}

/// Starts it, and waits until it is open.
pub(crate) async fn serve(mut command: Command) -> (Child, String) {
    let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap();
    let line = line.expect("the bank tells where it is");
    let (_, url) = line.split_once("open: ").unwrap();
    (process, url.to_owned())
}
