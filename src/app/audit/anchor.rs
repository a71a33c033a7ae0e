//! Handing checkpoints to a program of the operator's, which keeps them where this machine cannot
//! change them: what a log says of its own end can be put back together with it.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::sync::mpsc;

/// How long the program may take.
const LIMIT: Duration = Duration::from_secs(30);
/// Checkpoints that wait for it; older ones are left out, since a later one covers them.
pub(super) const QUEUE: usize = 16;

/// Hands over every checkpoint that comes, one at a time, until none can come.
pub(super) async fn run(command: Vec<String>, mut checkpoints: mpsc::Receiver<String>) {
    while let Some(jws) = checkpoints.recv().await {
        hand_over(&command, &jws).await;
    }
}

/// Hands over one, if there is a program.
pub(super) async fn hand_over(command: &[String], jws: &str) {
    let Some((program, arguments)) = command.split_first() else { return };
    match tokio::time::timeout(LIMIT, hand(program, arguments, jws)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, program, "audit.anchor failed"),
        Err(_) => tracing::error!(program, "audit.anchor timed out"),
    }
}

async fn hand(program: &str, arguments: &[String], jws: &str) -> Result<(), String> {
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut child = child.map_err(|error| error.to_string())?;
    if let Some(mut input) = child.stdin.take() {
        // A program that does not read it says why by its exit code.
        let _ = input.write_all(format!("{jws}\n").as_bytes()).await;
    }
    let ended = child.wait_with_output().await.map_err(|error| error.to_string())?;
    if ended.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&ended.stderr);
    Err(format!("{}: {}", ended.status, said.lines().next().unwrap_or_default()))
}
