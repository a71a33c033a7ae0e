//! The audit log: what it says of a ceremony, that nothing of it can be changed unseen, and that
//! neither a crash nor a disk that takes nothing leaves a hole.

mod bad_days;
mod command;
mod crash;
mod tamper;
pub(crate) mod trail;
mod upgraded;
mod whole;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fido_relay::app::audit::{
    self, Audit, AuditDependencies, Checkpoint, Fault, Question, Report, Settings,
};
use fido_relay::app::keys;
use fido_relay::backends::embedded::SystemClock;
use fido_relay::ports::{Clock, Store};
use fido_relay::security::encryption::Encryptor;
use fido_relay::security::record::RecordSigner;
use fido_relay::security::result_token::JwkSet;

/// Who signs in these tests.
pub(crate) const ISSUER: &str = "https://relay.example.com";

/// The signer over a store, as the relay makes it.
pub(crate) async fn signer(store: &dyn Store) -> RecordSigner {
    let keys = keys::load_or_make(store, &Encryptor::new(&[7; 32]).unwrap()).await.unwrap();
    RecordSigner::new(&keys, ISSUER).unwrap()
}

/// A signer's published keys.
pub(crate) fn jwks(signer: &RecordSigner) -> JwkSet {
    JwkSet { keys: vec![signer.published().clone()] }
}

/// An audit log of a store in a directory.
pub(crate) async fn start(store: &Arc<dyn Store>, settings: Settings) -> Audit {
    start_at(store, settings, Arc::new(SystemClock)).await
}

/// The same with a clock of the test's own.
pub(crate) async fn start_at(
    store: &Arc<dyn Store>,
    settings: Settings,
    clock: Arc<dyn Clock>,
) -> Audit {
    try_start(store, settings, clock).await.unwrap()
}

pub(crate) async fn try_start(
    store: &Arc<dyn Store>,
    settings: Settings,
    clock: Arc<dyn Clock>,
) -> Result<Audit, audit::AuditStartError> {
    let signer = Arc::new(signer(&**store).await);
    let ground =
        AuditDependencies { store: Arc::clone(store), clock, signer, refusals: Arc::default() };
    Audit::start(settings, ground, &crate::support::journal()).await
}

/// A directory that is cheap to flush, where there is one: these tests flush thousands of times,
/// and none of them cuts the power.
pub(crate) fn quick_directory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    audit::segments(directory).unwrap().into_iter().map(|(_, path)| path).collect()
}

/// Verifies a directory as an auditor with the keys does.
pub(crate) fn verify(
    directory: &Path,
    keys: &JwkSet,
    known: Option<Checkpoint>,
) -> Result<Report, Fault> {
    let question =
        Question { files: files(directory), keys: Some(keys.clone()), known, partial: false };
    audit::verify(&question)
}

/// The lines of a log, without their line feeds.
pub(crate) fn lines(directory: &Path) -> Vec<String> {
    let text = |path: &PathBuf| std::fs::read_to_string(path).unwrap();
    let all: String = files(directory).iter().map(text).collect();
    all.lines().map(str::to_owned).collect()
}
