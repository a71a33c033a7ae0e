//! The floor of an idle phone's memory: a server that holds each socket in a task that waits for a byte.
//! It runs in a process of its own.

use fido_relay_kit::tasks::Tasks;
use tokio::net::{TcpListener, TcpStream};

use crate::command::Failure;

/// Precedes the address in the line that this process prints.
pub(super) const MARKER: &str = "holds sockets at ";

/// Holds all connections until the process is killed.
#[expect(clippy::print_stderr, reason = "the parent process reads it")]
pub(super) async fn hold_sockets() -> Result<(), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(Failure::failed)?;
    eprintln!("{MARKER}{}", listener.local_addr().map_err(Failure::failed)?);
    let tasks = Tasks::default();
    loop {
        let (socket, _) = listener.accept().await.map_err(Failure::failed)?;
        tasks.spawn_untraced(hold(socket));
    }
}

async fn hold(socket: TcpStream) {
    let mut byte = [0];
    while socket.readable().await.is_ok() {
        match socket.try_read(&mut byte) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}
