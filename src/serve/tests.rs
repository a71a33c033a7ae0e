//! Remedies of start errors.

use std::path::PathBuf;

use super::*;

#[test]
fn what_another_user_owns_comes_with_a_remedy() {
    let denied = || std::io::Error::from(ErrorKind::PermissionDenied);
    let path = PathBuf::from("data/file");
    for error in [
        StartError::Seal(EncryptError::File { path: path.clone(), source: denied() }),
        StartError::Revocations(RevocationsError::Io { path, source: denied() }),
        StartError::Audit(denied().into()),
    ] {
        assert!(error.remedy().unwrap().contains("as the relay's user"), "{error}");
    }
    let low = StartError::Listen(SocketAddr::from(([127, 0, 0, 1], 443)), denied());
    assert!(low.remedy().unwrap().contains("a port above 1023"), "{low}");
}
