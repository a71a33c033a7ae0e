//! The real program as a child of the test: what it writes is kept, and what it holds can be asked
//! of the machine.

use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fido_relay::app::clients::NewClient;
use fido_relay::serve::DataDirectory;
use fido_relay::tasks::Tasks;
use fido_relay_proto::http::{OpenedPairing, Scope};
use fido_relay_proto::{Binding, PlainText, TenantId};
use fido_relay_rig::phone::{self, DeviceKey, Paired};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::timeout;

use super::relay::{Initiator, http};
use crate::support::acts::{at_rest, make_client};

/// A start takes no longer, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A data directory, and the variables that a relay on it is started with.
#[derive(Debug)]
pub(crate) struct Home {
    directory: TempDir,
    variables: Vec<(&'static str, String)>,
}

impl Home {
    pub(crate) fn new(variables: &[(&'static str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let given = variables.iter().map(|(name, value)| (*name, (*value).to_owned()));
        let mut variables = vec![("FIDO_RELAY_LISTEN", "127.0.0.1:0".to_owned())];
        variables.extend(given);
        Self { directory, variables }
    }

    /// Starts with this variable from now on.
    pub(crate) fn set(&mut self, name: &'static str, value: &str) {
        self.variables.retain(|(known, _)| *known != name);
        self.variables.push((name, value.to_owned()));
    }

    pub(crate) fn data_dir(&self) -> std::path::PathBuf {
        self.directory.path().join("data")
    }

    /// The program with this home's variables and no others.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fido-relay"));
        command.args(arguments).current_dir(self.directory.path()).env_clear();
        command.env("FIDO_RELAY_DATA_DIR", self.data_dir()).envs(self.variables.iter().cloned());
        command.kill_on_drop(true);
        command
    }

    /// What a command that ends by itself writes on both outputs.
    pub(crate) async fn told_by(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().await.unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    }

    /// The API key of an initiator that may do everything, made while no relay runs.
    pub(crate) async fn api_key(&self) -> String {
        let store = DataDirectory::at(&self.data_dir()).open().unwrap();
        let name = PlainText::new("Example Bank").unwrap();
        let (scopes, bindings) = (Scope::ALL.to_vec(), vec![Binding::Code, Binding::None]);
        let new = NewClient { tenant: TenantId::default(), name, scopes, bindings };
        make_client(&at_rest(Arc::new(store)), new).await.1
    }
}

/// A running relay.
#[derive(Debug)]
pub(crate) struct ChildRelay {
    process: Child,
    url: String,
    written: Arc<Mutex<String>>,
}

impl ChildRelay {
    /// Starts it and waits until it serves.
    pub(crate) async fn start(home: &Home, tasks: &Tasks) -> Self {
        Self::start_by(home.command(&["serve"]), tasks).await
    }

    /// [`Self::start`] by another command.
    pub(crate) async fn start_by(mut command: Command, tasks: &Tasks) -> Self {
        let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = piped.spawn().unwrap();
        let written = Arc::new(Mutex::new(String::new()));
        let (tell, mut told) = watch::channel(None);
        let (out, err) = (process.stdout.take().unwrap(), process.stderr.take().unwrap());
        tasks.spawn_untraced(keep(out, Arc::clone(&written), None));
        tasks.spawn_untraced(keep(err, Arc::clone(&written), Some(tell)));
        let serves = timeout(PATIENCE, told.wait_for(Option::is_some)).await;
        let listen = match serves {
            Ok(Ok(listen)) => listen.clone().unwrap(),
            _ => panic!("the relay does not serve: {}", written.lock().unwrap()),
        };
        Self { process, url: format!("http://{listen}"), written }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Everything that it wrote so far, on both outputs.
    pub(crate) fn written(&self) -> String {
        self.written.lock().unwrap().clone()
    }

    /// Bytes of its memory that are in RAM, as Linux tells them.
    pub(crate) fn resident(&self) -> u64 {
        let statm = Path::new("/proc").join(self.process.id().unwrap().to_string()).join("statm");
        let text = std::fs::read_to_string(statm).unwrap();
        let pages: u64 = text.split(' ').nth(1).unwrap().parse().unwrap();
        pages * 4096
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id().unwrap()
    }

    /// Its files and threads.
    #[cfg(target_os = "linux")]
    pub(crate) fn holds(&self) -> super::kernel::Held {
        super::kernel::Held::by(self.process.id().unwrap())
    }

    /// Sends a signal by its name.
    pub(crate) async fn signal(&self, name: &str) {
        let id = self.process.id().unwrap().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status().await.unwrap();
        assert!(sent.success());
    }

    /// SIGKILL, and waits until the process is gone.
    pub(crate) async fn kill(mut self) {
        self.process.kill().await.unwrap();
    }

    /// Sends a signal by its name, and waits until the process has ended in order.
    pub(crate) async fn ended_by_signal(mut self, name: &str) {
        self.signal(name).await;
        let status = timeout(PATIENCE, self.process.wait()).await.unwrap().unwrap();
        assert!(status.success(), "{status}: {}", self.written());
    }

    pub(crate) fn initiator(&self, key: &str) -> Initiator {
        Initiator { url: self.url.clone(), key: key.to_owned(), http: http() }
    }
}

/// A phone of this user, paired and not connected, and the token that made it.
pub(crate) async fn pair(initiator: &Initiator, username: &str) -> (Paired, String) {
    let order = json!({ "username": username });
    let response = initiator.post("/v1/pairings", &order).await;
    let pairing: OpenedPairing = response.json().await.unwrap();
    let (url, key) = (initiator.url.parse().unwrap(), DeviceKey::generate().unwrap());
    let paired = phone::pair(&url, &pairing.pairing_token, None, key).await.unwrap();
    (paired, pairing.pairing_token)
}

/// Keeps every line; tells where it listens once a line says so.
async fn keep(
    output: impl AsyncRead + Unpin,
    written: Arc<Mutex<String>>,
    tell: Option<watch::Sender<Option<String>>>,
) {
    let mut output = BufReader::new(output);
    let mut line = String::new();
    if let Some(tell) = tell {
        while output.read_line(&mut line).await.unwrap_or(0) > 0 {
            written.lock().unwrap().push_str(&line);
            if let Some((_, rest)) = line.split_once(" listen=") {
                let listen = rest.split_whitespace().next().unwrap_or_default();
                tell.send_replace(Some(listen.to_owned()));
                break;
            }
            line.clear();
        }
    }
    let mut chunk = vec![0; 65_536];
    while let Ok(read @ 1..) = output.read(&mut chunk).await {
        written.lock().unwrap().push_str(&String::from_utf8_lossy(&chunk[..read]));
    }
}
