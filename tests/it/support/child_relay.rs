//! The relay's program as a child of the test, on a data directory that outlives it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fido_relay::app::clients::NewClient;
use fido_relay::serve::DataDirectory;
use fido_relay_proto::http::Scope;
use fido_relay_proto::{Binding, PlainText, TenantId};
use fido_relay_rig::phone::{self, DeviceKey, Paired};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::process::Command;

use super::child::{ChildProcess, Exit, fido_relay, run};
use super::relay::{Initiator, http};
use crate::support::actions::{app_on, make_client};

/// A data directory, and the variables of a relay on it.
#[derive(Debug)]
pub(crate) struct Home {
    directory: TempDir,
    variables: Vec<(&'static str, String)>,
}

impl Home {
    /// The relay listens on any port unless `variables` name one.
    pub(crate) fn new(variables: &[(&'static str, &str)]) -> Self {
        let (directory, variables_of) = (tempfile::tempdir().unwrap(), variables);
        let mut home = Self { directory, variables: Vec::new() };
        home.set("FIDO_RELAY_LISTEN", "127.0.0.1:0");
        for (name, value) in variables_of {
            home.set(name, value);
        }
        home
    }

    /// Sets a variable of what is started from now on.
    pub(crate) fn set(&mut self, name: &'static str, value: &str) {
        self.variables.retain(|(known, _)| *known != name);
        self.variables.push((name, value.to_owned()));
    }

    /// Where the program runs.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.path().join("data")
    }

    /// The program with this home's variables and no others.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = fido_relay(arguments);
        command.current_dir(self.path()).env_clear();
        command.env("FIDO_RELAY_DATA_DIR", self.data_dir()).envs(self.variables.iter().cloned());
        command
    }

    /// Runs a command to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Exit {
        run(&mut self.command(arguments)).await
    }

    /// The API key of an initiator that may do everything, made while no relay runs.
    pub(crate) async fn api_key(&self) -> String {
        let store = DataDirectory::at(&self.data_dir()).open().unwrap();
        let name = PlainText::new("Example Bank").unwrap();
        let (scopes, bindings) = (Scope::ALL.to_vec(), vec![Binding::Code, Binding::None]);
        let new = NewClient { tenant: TenantId::default(), name, scopes, bindings };
        make_client(&app_on(Arc::new(store)), new).await.1
    }
}

/// A running relay.
#[derive(Debug)]
pub(crate) struct ChildRelay {
    process: ChildProcess,
    url: String,
}

impl ChildRelay {
    /// Starts it and waits until it serves.
    pub(crate) async fn start(home: &Home) -> Self {
        Self::start_by(&mut home.command(&["serve"])).await
    }

    /// [`Self::start`] by another command.
    pub(crate) async fn start_by(command: &mut Command) -> Self {
        let mut process = ChildProcess::start(command);
        let listen = loop {
            let rest = process.logs("listen").await;
            // In a log of texts, and in one of JSON.
            if let Some(rest) = rest.strip_prefix('=').or_else(|| rest.strip_prefix("\":\"")) {
                break rest.split([' ', '"']).next().unwrap().to_owned();
            }
        };
        Self { process, url: format!("http://{listen}") }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Waits until its standard output says this.
    #[cfg(debug_assertions)]
    pub(crate) async fn prints(&mut self, text: &str) -> String {
        self.process.prints(text).await
    }

    /// Waits until its log has this text so many times.
    pub(crate) async fn logged(&self, text: &str, times: usize) {
        self.process.logged(text, times).await;
    }

    /// All that it wrote so far, on both outputs.
    pub(crate) fn written(&self) -> String {
        self.process.written()
    }

    /// Bytes of its memory that are in RAM, as Linux tells them.
    pub(crate) fn resident(&self) -> u64 {
        let statm = Path::new("/proc").join(self.id().to_string()).join("statm");
        let text = std::fs::read_to_string(statm).unwrap();
        let pages: u64 = text.split(' ').nth(1).unwrap().parse().unwrap();
        pages * 4096
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Its files and threads.
    #[cfg(target_os = "linux")]
    pub(crate) fn holds(&self) -> super::kernel::Held {
        super::kernel::Held::by(self.id())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// SIGKILL, and waits until the process is gone.
    pub(crate) async fn kill(self) {
        self.process.kill().await;
    }

    /// SIGTERM, and waits until the process has ended in order; what it wrote.
    pub(crate) async fn stop(self) -> String {
        self.stop_by(Signal::TERM).await
    }

    /// [`Self::stop`] by another signal.
    pub(crate) async fn stop_by(mut self, signal: Signal) -> String {
        self.signal(signal);
        self.process.exit().await.with_code(0)
    }

    pub(crate) fn initiator(&self, key: &str) -> Initiator {
        Initiator { url: self.url.clone(), key: key.to_owned(), http: http() }
    }
}

/// A phone of this user, paired and not connected, and the token that made it.
pub(crate) async fn pair(initiator: &Initiator, username: &str) -> (Paired, String) {
    let pairing = initiator.pairing(username).await;
    let (url, key) = (initiator.url.parse().unwrap(), DeviceKey::generate().unwrap());
    let paired = phone::pair(&url, &pairing.pairing_token, None, key).await.unwrap();
    (paired, pairing.pairing_token)
}
