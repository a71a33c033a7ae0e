//! The commands of the README's quick start, run exactly as they stand there, in three terminals
//! of a machine that has nothing else: no variables, no certificate authorities. Only the port is
//! another, since tests run beside each other.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::TcpSocket;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use super::read;
use crate::support::needs;

/// A command takes no longer, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// What the README's relay listens on.
const ADDRESS: &str = "127.0.0.1:8080";

/// The `sh` blocks of the section.
fn blocks() -> Vec<String> {
    let text = read("README.md");
    let (_, section) = text.split_once("\n## Quick start\n").unwrap();
    let (section, _) = section.split_once("\n### ").unwrap();
    let blocks = section.split("```sh\n").skip(1);
    blocks.map(|rest| rest.split_once("```").unwrap().0.to_owned()).collect()
}

/// A shell with what a person types and sees.
struct Terminal {
    shell: Child,
    complaints: PathBuf,
    types: ChildStdin,
    shows: Lines<BufReader<ChildStdout>>,
}

impl Terminal {
    fn open(machine: &Machine) -> Self {
        let mut shell = Command::new("sh");
        shell.current_dir(&machine.home).env_clear().env("HOME", &machine.home);
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", machine.programs.display());
        shell.env("PATH", path).env("FIDO_RELAY_LISTEN", &machine.listen);
        shell.env("SSL_CERT_FILE", "/nonexistent").env("SSL_CERT_DIR", "/nonexistent");
        // The shell and what it starts are one group, so that both end with the test.
        shell.arg("-e").process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
        shell.stderr(machine.complaints.try_clone().unwrap());
        let mut shell = shell.spawn().unwrap();
        let types = shell.stdin.take().unwrap();
        let shows = BufReader::new(shell.stdout.take().unwrap()).lines();
        let complaints = machine.home.with_file_name("complaints");
        Self { shell, complaints, types, shows }
    }

    async fn types(&mut self, text: &str) {
        self.types.write_all(text.as_bytes()).await.unwrap();
    }

    /// Everything up to the line that has this.
    async fn until(&mut self, shown: &str) -> String {
        let mut all = String::new();
        let looked = async {
            while let Some(line) = self.shows.next_line().await.unwrap() {
                all.push_str(&line);
                all.push('\n');
                if line.contains(shown) {
                    return true;
                }
            }
            false
        };
        let found = timeout(PATIENCE, looked).await.unwrap_or(false);
        let complaints = || std::fs::read_to_string(&self.complaints).unwrap();
        assert!(found, "{shown:?} is not shown: {all}\n{}", complaints());
        all
    }

    /// Runs commands to their end and gives what they show.
    async fn runs(&mut self, commands: &str) -> String {
        self.types(&format!("{commands}\necho 'all done'\n")).await;
        self.until("all done").await
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let Some(group) = self.shell.id() else { return };
        let kill = ["-KILL", "--", &format!("-{group}")];
        drop(std::process::Command::new("kill").args(kill).status());
    }
}

struct Machine {
    home: PathBuf,
    /// What all terminals show on standard error.
    complaints: File,
    /// Where the program is, and nothing else.
    programs: PathBuf,
    listen: String,
}

/// The terminal of a block: 0 the relay's, 2 the phone's, 1 where backend and operator work.
fn terminal_of(block: &str) -> usize {
    let runs = |command: &str| block.lines().any(|line| line.starts_with(command));
    match () {
        () if runs("fido-relay serve") => 0,
        () if runs("fido-relay phone") => 2,
        () => 1,
    }
}

#[tokio::test]
async fn the_quick_start_runs_as_it_stands() {
    let Some(_curl) = needs::curl("the README's quick start") else { return };
    let directory = tempfile::tempdir().unwrap();
    let (home, programs) = (directory.path().join("home"), directory.path().join("bin"));
    std::fs::create_dir(&home).unwrap();
    std::fs::create_dir(&programs).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_fido-relay"));
    std::os::unix::fs::symlink(program, programs.join("fido-relay")).unwrap();
    // Bound and never listening: no other process gets the port before the relay.
    let port = TcpSocket::new_v4().unwrap();
    port.set_reuseaddr(true).unwrap();
    port.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listen = port.local_addr().unwrap().to_string();
    let complaints = File::create(directory.path().join("complaints")).unwrap();
    let machine = Machine { home, complaints, programs, listen: listen.clone() };

    let mut terminals = [(); 3].map(|()| Terminal::open(&machine));
    let mut seen = Vec::new();
    for block in blocks() {
        let which = terminal_of(&block);
        seen.push(which);
        let block = block.replace(ADDRESS, &listen);
        match which {
            0 => {
                terminals[0].types(&block).await;
                let ready = format!("until curl -sf http://{listen}/readyz; do sleep 0.1; done");
                terminals[1].runs(&ready).await;
            }
            1 if block.contains("?wait=") => {
                // The person reads the code off the answer and types it into the phone.
                let opened = std::fs::read_to_string(machine.home.join("opened.json")).unwrap();
                let opened: Value = serde_json::from_str(&opened).unwrap();
                terminals[2].until("-digit code").await;
                let code = format!("{}\n", opened["code"].as_str().unwrap());
                terminals[2].types(&code).await;
                let shown = terminals[1].runs(&block).await;
                assert!(shown.contains("dev_"), "the operator sees no phone: {shown}");
            }
            1 => drop(terminals[1].runs(&block).await),
            _ => {
                terminals[2].types(&block).await;
                terminals[2].until("Connected").await;
            }
        }
    }
    assert_eq!(seen, [0, 1, 2, 1, 1]);
    let result = std::fs::read_to_string(machine.home.join("result.json")).unwrap();
    let result: Value = serde_json::from_str(&result).unwrap();
    assert_eq!(result["status"], "succeeded", "{result}");
    assert!(result["result"].as_str().unwrap().starts_with("ey"), "{result}");
    // The key is exported in that terminal, and the relay's own commands work there.
    for command in ["client list", "config --check", "health", "doctor"] {
        terminals[1]
            .runs(&format!("test -n \"$FIDO_RELAY_API_KEY\" && fido-relay {command}"))
            .await;
    }
}
