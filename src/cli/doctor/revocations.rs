//! Compares the list of revoked devices and removed cards with the store: a restored older store
//! still has some of them.

use std::sync::Arc;

use fido_relay_proto::TenantId;

use super::finding::Finding;
use crate::app::still_stored;
use crate::backends::embedded::{FileStore, RevocationList, RevocationsError};
use crate::backends::fido_builtin::Credentials;
use crate::cli::counted;
use crate::config::Config;
use crate::serve::REVOCATIONS_FILE;

/// Checks the list of a store that no relay has open.
pub(super) async fn check(store: &Arc<FileStore>, config: &Config) -> Finding {
    let path = config.data_dir.join(REVOCATIONS_FILE);
    if !path.exists() {
        return Finding::good("revocations", "there are none yet; the relay creates the list");
    }
    let list = match RevocationList::open(&path) {
        Ok(list) => list,
        Err(error) => {
            let remedy = match &error {
                RevocationsError::Io { .. } => {
                    "run this as the relay's user, and let that user read and write the file"
                }
                RevocationsError::Damaged { .. } => {
                    "restore its newest copy, or cut the file before that line and compare it with \
                     the audit log"
                }
            };
            return Finding::wrong("revocations", error, remedy);
        }
    };
    let cards = Credentials::new(store.clone(), TenantId::default());
    match still_stored(&**store, &cards, &list).await {
        Ok((all, 0)) => Finding::good("revocations", format!("the store has applied all {all}")),
        Ok((all, back)) => Finding::doubtful(
            "revocations",
            format!(
                "the store still has {back} of {} that were revoked",
                counted(all, "device or card", "devices and cards")
            ),
            "if an older store was restored, do nothing: the next start revokes them again",
        ),
        Err(error) => Finding::wrong(
            "revocations",
            format!("a record could not be read: {error}"),
            "restore relay.redb and seal.key from the same backup",
        ),
    }
}
