//! Checks of the store, the sealing key, the audit log and the clock. If a relay has the store
//! open, that relay is asked.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use fido_relay_proto::{ClientId, UnixMillis};

use super::finding::Finding;
use crate::app::audit::{self, Difference};
use crate::app::{ceremonies, clients, devices, keys};
use crate::backends::embedded::{FileStore, StoreOpenError, SystemClock};
use crate::cli::administration::Administration;
use crate::cli::counted;
use crate::cli::health;
use crate::config::Config;
use crate::edge::operator::ClientEntry;
use crate::ports::Clock as _;
use crate::security::encryption::Encryptor;
use crate::serve::{Contents, DataDirectory, SEAL_KEY_FILE, audit_dir, due_rules};

/// Limit of a call to the running relay.
const PATIENCE: Duration = Duration::from_secs(5);
/// 2026-01-01 and 2100-01-01: a clock outside of these years is not set.
const YEARS: (UnixMillis, UnixMillis) =
    (UnixMillis(1_767_225_600_000), UnixMillis(4_102_444_800_000));

/// The findings, and whether a relay runs on the store.
pub(super) struct StoreCheck {
    pub(super) findings: Vec<Finding>,
    pub(super) runs: bool,
}

pub(super) async fn check(config: &Config) -> StoreCheck {
    let directory = DataDirectory::of(config);
    let alone = |finding| StoreCheck {
        findings: vec![finding, clock(SystemClock.now(), None)],
        runs: false,
    };
    match directory.contents() {
        Err(incomplete) => {
            let remedy = incomplete.remedy();
            return alone(Finding::wrong("data directory", incomplete, remedy));
        }
        Ok(Contents::Fresh) => {
            return alone(Finding::good("store", "there is none yet; the relay creates it"));
        }
        Ok(Contents::Complete) => {}
    }
    let error = match FileStore::open(&directory.store_file(), &due_rules()) {
        Ok(store) => {
            let findings = own(&Arc::new(store), config).await;
            return StoreCheck { findings, runs: false };
        }
        Err(StoreOpenError::InUse { .. }) => {
            let mut findings = running(config).await;
            findings.push(clock(SystemClock.now(), None));
            return StoreCheck { findings, runs: true };
        }
        Err(error) => error,
    };
    let remedy = error.remedy().unwrap_or("free memory or threads");
    alone(Finding::wrong("store", error, remedy))
}

/// Asks the relay that has the store open.
async fn running(config: &Config) -> Vec<Finding> {
    let reached = async {
        let administration = Administration::reach(config).map_err(|failure| failure.text)?;
        let clients = administration.call(Method::GET, "/clients", &()).await;
        let clients: Vec<ClientEntry> = clients.map_err(|failure| failure.text)?;
        Ok::<_, String>(clients)
    };
    let (clients, undecided) = match reached.await {
        Ok(clients) => {
            let undecided = clients.iter().filter(|client| client.prior_auth_undecided);
            let undecided = undecided.map(|client| (client.client_id, client.name.to_string()));
            (clients.len(), undecided.collect::<Vec<_>>())
        }
        Err(error) => {
            let remedy = "find the process that has relay.redb open; if it is a relay, restart it: \
                          without its admin socket it cannot be administered";
            return vec![Finding::wrong("store", error, remedy)];
        }
    };
    let mut findings = vec![readiness(config, clients).await];
    findings.extend(undecided.into_iter().map(believed));
    findings
}

/// Whether the relay that has the store open is ready.
async fn readiness(config: &Config, clients: usize) -> Finding {
    match health::ask(config.listen_scheme(), config.listen, "readyz", PATIENCE).await {
        Ok(status) if status.is_success() => Finding::good(
            "store",
            format!(
                "the running relay has it open, is ready, and has {}",
                counted(clients, "client", "clients")
            ),
        ),
        Ok(StatusCode::SERVICE_UNAVAILABLE) => Finding::wrong(
            "store",
            "the running relay is not ready: it is stopping, or its store does not answer",
            "look at its log; restart it if it does not stop by itself",
        ),
        Ok(status) => Finding::wrong(
            "store",
            format!("{} answers /readyz with {status}", config.listen),
            "another program listens there: correct listen",
        ),
        Err(error) => Finding::wrong(
            "store",
            format!("a relay has it open, but {error}"),
            "that relay hangs, or has another configuration: compare its listen with this one",
        ),
    }
}

/// Checks a store that no relay has open.
async fn own(opened: &Arc<FileStore>, config: &Config) -> Vec<Finding> {
    let store = &**opened;
    let mut findings = vec![match keys::write_probe(store).await {
        Ok(took) => {
            let millis = took.as_secs_f64() * 1000.0;
            Finding::good("store", format!("opens; a record was on the disk in {millis:.1} ms"))
        }
        Err(error) => Finding::wrong(
            "store",
            format!("a record could not be written: {error}"),
            "make room on its disk, and look into the machine's log for errors of the disk",
        ),
    }];
    findings.push(match sealing_key(store, config).await {
        Ok(says) => Finding::good("sealing key", says),
        Err(error) => Finding::wrong(
            "sealing key",
            error,
            "restore seal.key from the same backup as relay.redb; without it this store's keys are \
             lost",
        ),
    });
    findings.push(super::revocations::check(opened, config).await);
    findings.extend(audit_log(store, config).await);
    findings.extend(undecided(store).await);
    let newest = futures::try_join!(ceremonies::newest_time(store), devices::newest_time(store));
    match newest.map(|(ceremony, device)| ceremony.max(device)) {
        Ok(newest) => findings.push(clock(SystemClock.now(), newest)),
        Err(error) => findings.push(Finding::wrong(
            "store",
            format!("a record could not be read: {error}"),
            "restore relay.redb and seal.key from the same backup",
        )),
    }
    findings
}

/// Whether the sealing key decrypts the store's keys. Creates neither.
async fn sealing_key(store: &FileStore, config: &Config) -> Result<&'static str, String> {
    let sealer = Encryptor::load(&config.data_dir.join(SEAL_KEY_FILE));
    let sealer = sealer.map_err(|error| error.to_string())?;
    keys::check(store, &sealer).await.map_err(|error| error.to_string())?;
    Ok("decrypts this store's keys")
}

/// Whether the audit log is complete.
async fn audit_log(store: &FileStore, config: &Config) -> Option<Finding> {
    if !config.audit.enabled {
        return None;
    }
    const REMEDY: &str = "restore the missing lines from where they were shipped; if you archived \
                          the log yourself, do nothing: the next log records it in its first lines";
    Some(match audit::compare(&audit_dir(config), store).await {
        Ok(None) => Finding::good("audit log", "has every line that was written"),
        Ok(Some(Difference::Gone)) => Finding::wrong("audit log", "is missing", REMEDY),
        Ok(Some(Difference::Cut)) => Finding::wrong("audit log", "lacks its last lines", REMEDY),
        Ok(Some(Difference::Replaced)) => {
            Finding::wrong("audit log", "is not the log that the relay wrote", REMEDY)
        }
        Err(error) => {
            let remedy = "let the relay's user read and write its files";
            Finding::wrong("audit log", error, remedy)
        }
    })
}

/// Clients of an earlier version, whose prior_auth is believed without the scope.
async fn undecided(store: &FileStore) -> Vec<Finding> {
    match clients::undecided(store).await {
        Ok(clients) => {
            clients.iter().map(|client| believed((client.id, client.name.to_string()))).collect()
        }
        Err(error) => {
            let remedy = "restore relay.redb and seal.key from the same backup";
            vec![Finding::wrong("clients", format!("could not be read: {error}"), remedy)]
        }
    }
}

fn believed((id, name): (ClientId, String)) -> Finding {
    let says = format!(
        "{name} ({id}) was made by an earlier version: its prior_auth counts without the scope \
         prior_auth:assert, so prompt limits of unknown browsers do not hold back its prompts"
    );
    let remedy = format!(
        "fido-relay client change {id} --prior-auth true if it checks a password or a session first, \
         else --prior-auth false"
    );
    Finding::doubtful("clients", says, &remedy)
}

/// Compares this machine's clock, on which deadlines, proofs and keys depend, with the store.
fn clock(now: UnixMillis, newest: Option<UnixMillis>) -> Finding {
    let remedy = "set it, and keep it set by NTP: deadlines, proofs and keys depend on it";
    if !(YEARS.0..YEARS.1).contains(&now) {
        return Finding::wrong("clock", "this machine's clock is not set", remedy);
    }
    match newest {
        Some(newest) if newest > now => {
            let ahead = newest.millis_since(now).div_ceil(1000);
            let says = format!("the store has a time that is {ahead} s ahead of this clock");
            Finding::wrong("clock", says, remedy)
        }
        Some(_) => Finding::good("clock", "not behind any stored time"),
        None => Finding::good("clock", "set"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_not_set_or_behind_the_store_is_wrong() {
        let now = UnixMillis(1_800_000_000_000);
        assert!(!clock(now, None).is_wrong());
        assert!(!clock(now, Some(now)).is_wrong());
        assert!(clock(now, Some(now.plus_millis(1))).is_wrong());
        for unset in [0, YEARS.0.0 - 1, YEARS.1.0] {
            assert!(clock(UnixMillis(unset), None).is_wrong(), "{unset}");
        }
    }
}
