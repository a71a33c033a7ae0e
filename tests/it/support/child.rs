//! Programs as children of the test: what they write is kept and shown when a wait fails, every
//! wait has a limit, and they are killed when the test drops them.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;
use tokio::time::timeout;

/// The longest wait for one line, also on a busy machine.
const LINE_LIMIT: Duration = Duration::from_secs(90);
/// The longest run of a program that ends by itself.
const RUN_LIMIT: Duration = Duration::from_secs(600);

pub(crate) fn fido_relay(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fido-relay"));
    command.args(arguments);
    command
}

/// The relay's program on a data directory, in it, with no other variable.
pub(crate) fn fido_relay_at(data_dir: &Path, arguments: &[&str]) -> Command {
    let mut command = fido_relay(arguments);
    command.current_dir(data_dir).env_clear().env("FIDO_RELAY_DATA_DIR", data_dir);
    command
}

/// A test of this binary in a process of its own.
pub(crate) fn this_test(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([name, "--exact", "--include-ignored", "--nocapture"]);
    command
}

/// How a program ended, and all that it wrote.
#[derive(Debug)]
pub(crate) struct Exit {
    /// None: a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Exit {
    /// Standard output, then standard error.
    pub(crate) fn text(&self) -> String {
        [self.out.as_str(), &self.err].concat()
    }

    /// Asserts the exit code; what it wrote.
    #[track_caller]
    pub(crate) fn with_code(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{}", self.text());
        self.text()
    }

    /// Asserts success; its standard output.
    #[track_caller]
    pub(crate) fn stdout(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.text());
        self.out
    }

    /// Asserts success; its standard output as JSON.
    #[track_caller]
    pub(crate) fn json(self) -> Value {
        let out = self.stdout();
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
    }
}

/// Runs a program to its end, without input.
pub(crate) async fn run(command: &mut Command) -> Exit {
    run_with(command, "").await
}

/// Runs a program to its end with this on its standard input.
pub(crate) async fn run_with(command: &mut Command, input: &str) -> Exit {
    let mut child = ChildProcess::start(command);
    // One that has ended reads nothing more.
    let _ = child.input.as_mut().unwrap().write_all(input.as_bytes()).await;
    child.input = None;
    child.exit_within(RUN_LIMIT).await
}

#[derive(Debug, Default)]
struct Output {
    text: String,
    is_over: bool,
}

/// One output of a program, and how far the test has read it.
#[derive(Debug)]
struct Screen {
    output: watch::Receiver<Output>,
    read: usize,
}

impl Screen {
    fn of(from: impl AsyncRead + Send + Unpin + 'static) -> Self {
        let (sender, output) = watch::channel(Output::default());
        #[expect(clippy::disallowed_methods, reason = "it ends with the program")]
        tokio::spawn(keep(from, sender));
        Self { output, read: 0 }
    }

    fn text(&self) -> String {
        self.output.borrow().text.clone()
    }

    /// The rest of the next line with this text; `None` if the output ends before.
    async fn line(&mut self, text: &str) -> Option<String> {
        let Self { output, read } = self;
        let mut found = None;
        let looks = |output: &Output| {
            while let Some(end) = output.text[*read..].find('\n') {
                let line = &output.text[*read..*read + end];
                *read += end + 1;
                if let Some((_, rest)) = line.split_once(text) {
                    found = Some(rest.trim().to_owned());
                    return true;
                }
            }
            output.is_over
        };
        drop(output.wait_for(looks).await);
        found
    }
}

/// Keeps every line; one that is cut off is kept as a line.
async fn keep(from: impl AsyncRead + Unpin, output: watch::Sender<Output>) {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    while let Ok(1..) = from.read_until(b'\n', &mut line).await {
        output.send_modify(|output| output.text.push_str(&String::from_utf8_lossy(&line)));
        line.clear();
    }
    output.send_modify(|output| {
        if !output.text.is_empty() && !output.text.ends_with('\n') {
            output.text.push('\n');
        }
        output.is_over = true;
    });
}

/// A program that runs.
#[derive(Debug)]
pub(crate) struct ChildProcess {
    child: Child,
    /// Closed by dropping it.
    input: Option<ChildStdin>,
    out: Screen,
    err: Screen,
}

impl ChildProcess {
    pub(crate) fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        let input = child.stdin.take();
        let out = Screen::of(child.stdout.take().unwrap());
        let err = Screen::of(child.stderr.take().unwrap());
        Self { child, input, out, err }
    }

    /// A script of this repository that answers each line of JSON with another.
    pub(crate) fn script(interpreter: &Path, script: &str) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(script);
        Self::start(Command::new(interpreter).arg(script))
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id().expect("it has not been waited for")
    }

    /// All that it wrote so far on standard output, then on standard error.
    pub(crate) fn written(&self) -> String {
        [self.out.text(), self.err.text()].concat()
    }

    /// Waits for the next line of standard output with this text; what follows the text.
    pub(crate) async fn prints(&mut self, text: &str) -> String {
        let line = self.prints_or_ends(text).await;
        line.unwrap_or_else(|| panic!("it ended without {text:?}: {}", self.written()))
    }

    /// [`Self::prints`], or `None` if the output ends before.
    pub(crate) async fn prints_or_ends(&mut self, text: &str) -> Option<String> {
        let line = timeout(LINE_LIMIT, self.out.line(text)).await;
        line.unwrap_or_else(|_| panic!("{text:?} does not come: {}", self.written()))
    }

    /// Waits for the next line of standard error with this text; what follows the text.
    pub(crate) async fn logs(&mut self, text: &str) -> String {
        let line = self.logs_or_ends(text).await;
        line.unwrap_or_else(|| panic!("it ended without {text:?}: {}", self.written()))
    }

    /// [`Self::logs`], or `None` if the output ends before.
    pub(crate) async fn logs_or_ends(&mut self, text: &str) -> Option<String> {
        let line = timeout(LINE_LIMIT, self.err.line(text)).await;
        line.unwrap_or_else(|_| panic!("{text:?} does not come: {}", self.written()))
    }

    /// Waits until standard error has this text so many times.
    pub(crate) async fn logged(&self, text: &str, times: usize) {
        let mut err = self.err.output.clone();
        let wait = err.wait_for(|output| output.text.matches(text).count() >= times);
        let waited = timeout(LINE_LIMIT, wait).await.is_ok_and(|found| found.is_ok());
        assert!(waited, "{text:?} does not come {times} times: {}", self.written());
    }

    /// Writes to its standard input.
    pub(crate) async fn types(&mut self, text: &str) {
        self.input.as_mut().unwrap().write_all(text.as_bytes()).await.unwrap();
    }

    /// Writes a line of JSON, and reads the line that answers it.
    pub(crate) async fn asks(&mut self, question: &Value) -> Value {
        self.types(&format!("{question}\n")).await;
        serde_json::from_str(&self.prints("").await).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(self.id().try_into().unwrap()).unwrap();
        kill_process(id, signal).unwrap();
    }

    /// SIGKILL to its process group, which it must lead.
    pub(crate) fn kill_group(&self) {
        // The group may have ended already.
        let id = self.child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        let _ = id.map(|id| kill_process_group(id, Signal::KILL));
    }

    /// SIGKILL, and waits until the process is gone.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Waits until it has ended.
    pub(crate) async fn exit(&mut self) -> Exit {
        self.exit_within(LINE_LIMIT).await
    }

    async fn exit_within(&mut self, limit: Duration) -> Exit {
        let Self { child, out, err, .. } = self;
        let ends = async {
            let status = child.wait().await.unwrap();
            for screen in [out, err] {
                drop(screen.output.wait_for(|output| output.is_over).await);
            }
            status
        };
        let Ok(status) = timeout(limit, ends).await else {
            panic!("it does not end: {}", self.written());
        };
        Exit { code: status.code(), out: self.out.text(), err: self.err.text() }
    }
}
