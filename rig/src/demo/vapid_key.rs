//! The VAPID key file of a relay that runs once on this machine. Knows nothing of push services.

use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::phone::DeviceKey;

/// Characters of one line of PEM (RFC 7468 section 2).
const LINE: usize = 64;

/// Writes a P-256 key as PEM, with mode 0600.
///
/// # Errors
/// If the file cannot be written.
pub fn write(file: &Path, key: &DeviceKey) -> io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    io::Write::write_all(&mut options.open(file)?, pem(key.pkcs8()).as_bytes())
}

fn pem(document: &[u8]) -> String {
    let mut text = STANDARD.encode(document);
    let breaks = (1..=text.len().saturating_sub(1) / LINE).rev();
    breaks.for_each(|line| text.insert(line * LINE, '\n'));
    format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_written_in_lines_of_64_characters() {
        for (bytes, lines) in [(48, 1), (49, 2), (96, 2), (138, 3)] {
            let text = pem(&vec![7; bytes]);
            let body: Vec<_> = text.lines().filter(|line| !line.starts_with('-')).collect();
            assert_eq!(body.len(), lines, "{bytes}: {text}");
            assert!(body.iter().all(|line| (1..=LINE).contains(&line.len())), "{text}");
            assert_eq!(STANDARD.decode(body.concat()).unwrap(), vec![7; bytes]);
        }
    }
}
