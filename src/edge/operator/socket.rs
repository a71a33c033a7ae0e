//! The Unix socket of the administration: only the user that the relay runs as can open it.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};

use crate::tasks::Tasks;

/// The socket's name in the data directory.
pub const SOCKET_NAME: &str = "admin.sock";

/// A bound socket; its name goes away with it.
#[derive(Debug)]
pub struct AdminSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl AdminSocket {
    /// Binds the socket in the data directory, in the place of one that a relay left behind.
    ///
    /// The caller holds the directory's store, so no other relay serves it; a socket that answers
    /// all the same belongs to another process and is an error.
    ///
    /// # Errors
    /// An input or output error; `AddrInUse` if another process answers there.
    pub fn bind(data_dir: &Path) -> io::Result<Self> {
        let path = data_dir.join(SOCKET_NAME);
        if std::os::unix::net::UnixStream::connect(&path).is_ok() {
            let text = format!("another process answers at {}", path.display());
            return Err(io::Error::new(io::ErrorKind::AddrInUse, text));
        }
        // Made in a private directory, then moved: at no moment is there a socket with wider
        // permissions, and a stale one is replaced in one step.
        let private = data_dir.join(format!(".admin-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&private);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&private)?;
        let listener = Self::bind_within(&private, &path);
        let _ = std::fs::remove_dir_all(&private);
        Ok(Self { listener: listener?, path })
    }

    fn bind_within(private: &Path, path: &Path) -> io::Result<UnixListener> {
        let made = private.join(SOCKET_NAME);
        let listener = UnixListener::bind(&made)?;
        std::fs::set_permissions(&made, std::fs::Permissions::from_mode(0o600))?;
        std::fs::rename(&made, path)?;
        Ok(listener)
    }

    /// Serves the router until the tasks are to stop.
    pub fn serve(self, router: Router, tasks: &Tasks) {
        let owner = tasks.clone();
        tasks.spawn("admin socket", async move {
            loop {
                let accepted = tokio::select! {
                    () = owner.stopping().cancelled() => break,
                    accepted = self.listener.accept() => accepted,
                };
                match accepted {
                    Ok((stream, _)) => serve_one(stream, router.clone(), &owner),
                    Err(error) => {
                        tracing::warn!(%error, "the admin socket failed");
                        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                    }
                }
            }
        });
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn serve_one(stream: UnixStream, router: Router, tasks: &Tasks) {
    let stopping = tasks.stopping().clone();
    tasks.spawn("admin connection", async move {
        let service = TowerToHyperService::new(router);
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            _ = connection.as_mut() => {}
            () = stopping.cancelled() => {
                connection.as_mut().graceful_shutdown();
                let _ = connection.await;
            }
        }
    });
}
