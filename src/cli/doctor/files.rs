//! Checks of the data directory: whether it exists or can be made, its permissions, and free space.

use std::path::{Path, PathBuf};

use super::finding::Finding;
use crate::config::Config;

pub(super) fn check(config: &Config, min_free_mb: u64) -> Vec<Finding> {
    let directory = &config.data_dir;
    let mut findings = match std::fs::metadata(directory) {
        Ok(found) if found.is_dir() => permissions(directory),
        Ok(_) => vec![Finding::wrong(
            "data directory",
            format!("{} is not a directory", directory.display()),
            "move it away, or correct data_dir",
        )],
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => vec![can_be_made(directory)],
        Err(error) => vec![Finding::wrong(
            "data directory",
            format!("{} cannot be examined: {error}", directory.display()),
            "run this as the relay's user, or correct data_dir",
        )],
    };
    #[cfg(unix)]
    findings.extend(space(directory, min_free_mb));
    #[cfg(not(unix))]
    let _ = min_free_mb;
    findings
}

/// Reports a data directory that this user may not read: its contents, and whether a relay runs on
/// it, cannot be checked then.
pub(super) fn unreadable(config: &Config) -> Option<Finding> {
    let error = std::fs::read_dir(&config.data_dir).err()?;
    (error.kind() == std::io::ErrorKind::PermissionDenied).then(|| {
        Finding::wrong(
            "data directory",
            format!("{} cannot be read by this user", config.data_dir.display()),
            "run this as the relay's user; the store and the address were not checked",
        )
    })
}

/// The path itself or its nearest ancestor that exists.
fn existing(path: &Path) -> &Path {
    let here = |path: &&Path| path.exists();
    let above = path.ancestors().filter(|path| !path.as_os_str().is_empty()).find(here);
    above.unwrap_or(Path::new("."))
}

/// Tries to make a directory in the nearest existing ancestor, and removes it again.
fn can_be_made(directory: &Path) -> Finding {
    let parent = existing(directory);
    let attempt = parent.join(format!(".fido-relay-doctor-{}", std::process::id()));
    match std::fs::create_dir(&attempt).and_then(|()| std::fs::remove_dir(&attempt)) {
        Ok(()) => Finding::good(
            "data directory",
            format!("{} does not exist yet; the relay creates it", directory.display()),
        ),
        Err(error) => Finding::wrong(
            "data directory",
            format!("{} cannot be created: {}: {error}", directory.display(), parent.display()),
            "create it for the relay's user (mode 0700), or correct data_dir",
        ),
    }
}

/// The data directory and its files that other users may enter or read, although they hold keys,
/// codes and sessions. Each with its mode and the right one.
#[cfg(unix)]
fn open_modes(directory: &Path) -> Vec<(PathBuf, u32, u32)> {
    use std::os::unix::fs::PermissionsExt as _;

    use crate::edge::operator::socket::SOCKET_NAME;
    use crate::serve::{REVOCATIONS_FILE, SEAL_KEY_FILE, STORE_FILE};

    let inside = [STORE_FILE, SEAL_KEY_FILE, REVOCATIONS_FILE, SOCKET_NAME]
        .map(|name| (directory.join(name), 0o600));
    let all = std::iter::once((directory.to_owned(), 0o700)).chain(inside);
    let modes = all.filter_map(|(path, right)| {
        let mode = std::fs::metadata(&path).ok()?.permissions().mode() & 0o777;
        Some((path, mode, right))
    });
    modes.filter(|(_, mode, _)| mode & 0o077 != 0).collect()
}

#[cfg(not(unix))]
fn open_modes(_directory: &Path) -> Vec<(PathBuf, u32, u32)> {
    Vec::new()
}

/// Files of the data directory that other users can reach.
pub(in crate::cli) fn open_to_others(directory: &Path) -> Vec<PathBuf> {
    open_modes(directory).into_iter().map(|(path, ..)| path).collect()
}

#[cfg(unix)]
fn permissions(directory: &Path) -> Vec<Finding> {
    let open = open_modes(directory).into_iter().map(|(path, mode, right)| {
        Finding::wrong(
            "permissions",
            format!("other users can access {} (mode {mode:04o})", path.display()),
            format!("chmod {right:o} {}", path.display()),
        )
    });
    let mut findings: Vec<_> = open.collect();
    if findings.is_empty() {
        let says = format!("only this user can access {}", directory.display());
        findings.push(Finding::good("permissions", says));
    }
    findings
}

#[cfg(not(unix))]
fn permissions(_directory: &Path) -> Vec<Finding> {
    Vec::new()
}

#[cfg(unix)]
fn space(directory: &Path, min_free_mb: u64) -> Option<Finding> {
    const MIB: u64 = 1024 * 1024;
    let found = rustix::fs::statvfs(existing(directory)).ok()?;
    let free = found.f_bavail.saturating_mul(found.f_frsize) / MIB;
    Some(if free >= min_free_mb {
        Finding::good("space", format!("{free} MiB are free"))
    } else {
        Finding::wrong(
            "space",
            format!("{free} MiB are free, {min_free_mb} are required"),
            "free space: with a full disk the relay can store nothing, so it opens no ceremony",
        )
    })
}
