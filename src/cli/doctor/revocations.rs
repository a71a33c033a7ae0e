//! Compares the list of revoked devices and removed cards with the store: a restored older store
//! still has some of them.

use super::finding::Finding;
use crate::app::devices;
use crate::backends::embedded::{RevocationList, RevocationsError};
use crate::backends::fido_builtin::record_key;
use crate::cli::counted;
use crate::config::Config;
use crate::ports::{Bucket, Revocation, Revocations as _, Revoked, Store, StoreError};
use crate::serve::REVOCATIONS_FILE;

/// Entries read at a time.
const PAGE: usize = 256;

/// Checks the list of a store that no relay has open.
pub(super) async fn check(store: &dyn Store, config: &Config) -> Finding {
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
    match compare(store, &list).await {
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

/// The number of entries, and the number that the store has not applied.
async fn compare(store: &dyn Store, list: &RevocationList) -> Result<(usize, usize), StoreError> {
    let (mut all, mut back, mut epoch) = (0, 0, 0);
    loop {
        let page = list.after(epoch, PAGE).await?;
        let Some((last, _)) = page.last() else { return Ok((all, back)) };
        epoch = *last;
        all += page.len();
        for (_, Revocation { tenant, what, .. }) in &page {
            let still_stored = match what {
                Revoked::Device(device) => devices::load(store, tenant, *device).await?.is_some(),
                Revoked::Card(record) => {
                    let key = record_key(tenant, record);
                    store.load(Bucket::Credentials, &key).await?.is_some()
                }
            };
            back += usize::from(still_stored);
        }
    }
}
