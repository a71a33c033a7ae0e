//! Processes under test: children of this process and of the same binary, so that memory and processor
//! time are their own.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use fido_relay_proto::http::Scope;
use secrecy::SecretString;
use url::Url;

use crate::command::Failure;
use crate::demo::initiator::Initiator;
use crate::demo::vapid_key;
use crate::phone::DeviceKey;
use crate::scratch::Scratch;

/// Limit for a child to listen.
const START_LIMIT: Duration = Duration::from_secs(20);
/// Units of `utime` and `stime` in `/proc/<pid>/stat` (`man 5 proc`): 100 to the second on every
/// architecture that Linux has today.
const TICK_US: u64 = 10_000;

/// A child process that listens.
#[derive(Debug)]
pub(super) struct ChildProcess {
    child: Child,
    address: String,
}

impl ChildProcess {
    /// Starts this binary. Its address follows `marker` in a line of its standard error, up to a
    /// quotation mark or the end.
    fn start(
        arguments: &[&str],
        variables: &[(&str, &str)],
        marker: &'static str,
    ) -> Result<Self, Failure> {
        let binary = std::env::current_exe().map_err(Failure::failed)?;
        let mut child = Command::new(binary)
            .args(arguments)
            .env_clear()
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(Failure::failed)?;
        let Some(output) = child.stderr.take() else {
            return Err(Failure::failed("the child has no output"));
        };
        let (address, listens) = mpsc::sync_channel(1);
        // Read to the end, so that the child never blocks on a full pipe.
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Some((_, rest)) = line.split_once(marker) {
                    let found = rest.split('"').next().unwrap_or(rest);
                    let _ = address.try_send(found.trim().to_owned());
                }
            }
        });
        let mut process = Self { child, address: String::new() };
        process.address = listens
            .recv_timeout(START_LIMIT)
            .map_err(|_| Failure::failed("the process to be measured does not listen"))?;
        Ok(process)
    }

    /// IP address and port.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Anonymous memory in bytes (`RssAnon`): without code, which processes of the binary share, and
    /// without the kernel's memory for sockets.
    pub(super) fn memory(&self) -> Result<u64, Failure> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).map_err(no_proc)?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kilobytes = line.and_then(|text| text.trim().strip_suffix(" kB"));
        let kilobytes: Option<u64> = kilobytes.and_then(|number| number.parse().ok());
        kilobytes.map(|number| number * 1024).ok_or_else(|| no_proc("no RssAnon"))
    }

    /// Processor time in microseconds, with a resolution of 10 ms.
    pub(super) fn processor_us(&self) -> Result<u64, Failure> {
        let path = format!("/proc/{}/stat", self.child.id());
        let stat = std::fs::read_to_string(path).map_err(no_proc)?;
        // The second field is a name in brackets that may hold spaces: fields count from its end.
        let fields = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace());
        let ticks = fields.map(|fields| fields.skip(11).take(2).map(str::parse::<u64>));
        let ticks: Option<u64> = ticks.and_then(|ticks| ticks.sum::<Result<_, _>>().ok());
        ticks.map(|ticks| ticks * TICK_US).ok_or_else(|| no_proc("no utime"))
    }
}

fn no_proc(error: impl std::fmt::Display) -> Failure {
    Failure::failed(format!("the figures come from /proc, which only Linux has: {error}"))
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        // Killed: nothing in it needs an orderly end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process that holds bare sockets.
pub(super) fn floor() -> Result<ChildProcess, Failure> {
    ChildProcess::start(&["bench", "--hold-sockets"], &[], super::floor::MARKER)
}

/// A relay with the embedded store and the built-in FIDO2 server, and an initiator of it.
#[derive(Debug)]
pub(super) struct RelayUnderTest {
    pub(super) process: ChildProcess,
    pub(super) initiator: Initiator,
    pub(super) url: Url,
    key: SecretString,
    scratch: Scratch,
}

/// Settings beside [`settings`].
type ExtraSettings = [(&'static str, String)];

impl RelayUnderTest {
    /// Starts a relay with a store of its own.
    pub(super) fn start() -> Result<Self, Failure> {
        Self::start_in(Scratch::create().map_err(Failure::failed)?, &[])
    }

    /// Starts a relay that wakes phones by Web Push after `after_ms`.
    pub(super) fn start_waking(after_ms: u64) -> Result<Self, Failure> {
        let scratch = Scratch::create().map_err(Failure::failed)?;
        let key_file = scratch.path().join("vapid.pem");
        let key = DeviceKey::generate().map_err(Failure::failed)?;
        vapid_key::write(&key_file, &key).map_err(Failure::failed)?;
        let more = [
            ("FIDO_RELAY_PUSH__AFTER_MS", after_ms.to_string()),
            ("FIDO_RELAY_PUSH__WEBPUSH__KEY_FILE", key_file.to_string_lossy().into_owned()),
            ("FIDO_RELAY_PUSH__WEBPUSH__CONTACT", "mailto:bench@example.com".to_owned()),
            ("FIDO_RELAY_PUSH__WEBPUSH__ALLOW_LOOPBACK_HTTP", "true".to_owned()),
        ];
        Self::start_in(scratch, &more)
    }

    fn start_in(scratch: Scratch, more: &ExtraSettings) -> Result<Self, Failure> {
        let process = serve_with(&scratch, more)?;
        let key = create_client(&data_dir(&scratch))?;
        Self::with_process(process, key, scratch)
    }

    /// Restarts the relay at another port, with the same store and fresh memory.
    pub(super) fn restarted(self) -> Result<Self, Failure> {
        let Self { process, key, scratch, .. } = self;
        drop(process);
        Self::with_process(serve(&scratch)?, key, scratch)
    }

    fn with_process(
        process: ChildProcess,
        key: SecretString,
        scratch: Scratch,
    ) -> Result<Self, Failure> {
        let url = Url::parse(&format!("http://{}/", process.address())).map_err(Failure::failed)?;
        let initiator = Initiator::new(url.clone(), key.clone()).map_err(Failure::failed)?;
        Ok(Self { process, initiator, url, key, scratch })
    }
}

/// Makes a client of the relay that runs on this data directory, as its operator would.
fn create_client(data_dir: &str) -> Result<SecretString, Failure> {
    let scopes = [
        Scope::CeremonyAuth,
        Scope::CeremonyReg,
        Scope::CeremonyRead,
        Scope::DevicePair,
        Scope::WebhookAdmin,
        Scope::PresenceRead,
        Scope::PriorAuthAssert,
    ];
    let scopes = scopes.map(Scope::as_str).join(",");
    let made = Command::new(std::env::current_exe().map_err(Failure::failed)?)
        .args(["client", "create", "--name", "Bench", "--quiet", "--scope", &scopes])
        .env_clear()
        .envs(settings(data_dir))
        .output()
        .map_err(Failure::failed)?;
    if !made.status.success() {
        return Err(Failure::failed(String::from_utf8_lossy(&made.stderr).trim_end()));
    }
    Ok(String::from_utf8_lossy(&made.stdout).trim_end().into())
}

/// A relay over the data directory in this scratch directory.
pub(super) fn serve(scratch: &Scratch) -> Result<ChildProcess, Failure> {
    serve_with(scratch, &[])
}

fn serve_with(scratch: &Scratch, more: &ExtraSettings) -> Result<ChildProcess, Failure> {
    let data_dir = data_dir(scratch);
    let mut variables = settings(&data_dir).to_vec();
    variables.extend(more.iter().map(|(name, value)| (*name, value.as_str())));
    ChildProcess::start(&["serve"], &variables, "\"listen\":\"")
}

fn data_dir(scratch: &Scratch) -> String {
    scratch.data_dir().to_string_lossy().into_owned()
}

/// The defaults but for rate limits: here all phones connect from one address at once. Limits hold on
/// loopback too, so that a bench measures what an operator configures.
fn settings(data_dir: &str) -> [(&str, &str); 21] {
    [
        ("FIDO_RELAY_LISTEN", "127.0.0.1:0"),
        ("FIDO_RELAY_DATA_DIR", data_dir),
        ("FIDO_RELAY_LOG__FORMAT", "json"),
        ("FIDO_RELAY_LOG__LEVEL", "error,fido_relay::cli::serve=info"),
        ("FIDO_RELAY_LIMITS__UNAUTHENTICATED_PER_IP", "2000"),
        ("FIDO_RELAY_LIMITS__CONNECTIONS_PER_IP", "100000"),
        ("FIDO_RELAY_LIMITS__CONNECTIONS_PER_NODE", "1000000"),
        ("FIDO_RELAY_LIMITS__HANDSHAKES_PER_S_PER_IP", "100000"),
        ("FIDO_RELAY_LIMITS__HANDSHAKES_PER_S_PER_NODE", "1000000"),
        // A user signs in repeatedly, so the limits of phones and prompts would be measured instead.
        ("FIDO_RELAY_LIMITS__FRAMES_PER_S", "1000"),
        ("FIDO_RELAY_LIMITS__FRAMES_BURST", "10000"),
        ("FIDO_RELAY_PROMPTS__LIVE", "100"),
        ("FIDO_RELAY_PROMPTS__RINGING", "100"),
        ("FIDO_RELAY_PROMPTS__FREE", "100000"),
        ("FIDO_RELAY_PROMPTS__PER_HOUR", "100000"),
        // One client opens all ceremonies.
        ("FIDO_RELAY_LIMITS__OPENS_PER_S", "100000"),
        ("FIDO_RELAY_LIMITS__OPENS_BURST", "1000000"),
        ("FIDO_RELAY_LIMITS__OPEN_PER_CLIENT", "1000000"),
        ("FIDO_RELAY_LIMITS__ATTEMPTS_PER_S", "100000"),
        ("FIDO_RELAY_LIMITS__ATTEMPTS_BURST", "1000000"),
        // The webhook endpoint is this process.
        ("FIDO_RELAY_WEBHOOKS__ALLOW_LOOPBACK_HTTP", "true"),
    ]
}
