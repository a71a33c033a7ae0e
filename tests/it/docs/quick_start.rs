//! The commands of the README's quick start, run exactly as they stand there, in three terminals
//! of a machine that has nothing else: no variables, no certificate authorities. Only the port is
//! another, since tests run beside each other.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tokio::process::Command;

use super::read;
use crate::support::child::ChildProcess;
use crate::support::needs;
use crate::support::own_port::OwnPort;

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

/// A shell, and what a person types into it.
struct Terminal(ChildProcess);

impl Terminal {
    fn open(machine: &Machine) -> Self {
        let mut shell = Command::new("sh");
        shell.current_dir(&machine.home).env_clear().env("HOME", &machine.home);
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", machine.programs.display());
        shell.env("PATH", path).env("FIDO_RELAY_LISTEN", &machine.listen);
        shell.env("SSL_CERT_FILE", "/nonexistent").env("SSL_CERT_DIR", "/nonexistent");
        // The shell and what it starts are one group, so that both end with the test.
        Self(ChildProcess::start(shell.arg("-e").process_group(0)))
    }

    async fn types(&mut self, text: &str) {
        self.0.types(text).await;
    }

    async fn until(&mut self, shown: &str) {
        self.0.prints(shown).await;
    }

    /// Runs commands to their end.
    async fn runs(&mut self, commands: &str) {
        self.types(&format!("{commands}\necho 'all done'\n")).await;
        self.until("all done").await;
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.0.kill_group();
    }
}

struct Machine {
    home: PathBuf,
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
    let port = OwnPort::reserve();
    let listen = port.address.to_string();
    let machine = Machine { home, programs, listen: listen.clone() };

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
                terminals[1].types(&block).await;
                // The operator sees the phone.
                terminals[1].until("dev_").await;
                terminals[1].runs("").await;
            }
            1 => terminals[1].runs(&block).await,
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
