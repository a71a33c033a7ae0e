//! `fido-relay doctor` at setups that are really broken, each in its own way: it must say what is
//! wrong and what to do, and exit with 1.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use fido_relay::app::clients::{Client, NewClient};
use fido_relay::app::devices::Device;
use fido_relay::backends::embedded::{FileStore, RevocationList, SystemClock};
use fido_relay::ports::{
    Bucket, Clock as _, Revision, Revocation, Revocations as _, Revoked, Store,
};
use fido_relay::serve::{REVOCATIONS_FILE, SEAL_KEY_FILE, STORE_FILE};
use fido_relay_proto::{PlainText, TenantId};

use crate::support::actions::{add_device, device};
use crate::support::child::{Exit, run};
use crate::support::child_relay::Home;
use crate::support::relay::TestRelay;
use crate::support::scripted_upstream::ScriptedUpstream;

/// A machine to look at.
struct Machine(Home);

impl Machine {
    /// Nothing is there yet; any port will do.
    fn fresh() -> Self {
        Self(Home::new(&[]))
    }

    /// A relay ran here and was stopped.
    async fn used() -> Self {
        let machine = Self::fresh();
        let data_dir = machine.data_dir();
        let relay = TestRelay::start_with(|config| config.data_dir = data_dir).await;
        assert!(relay.running.stop().await);
        machine
    }

    fn data_dir(&self) -> std::path::PathBuf {
        self.0.data_dir()
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.0.set(name, value);
        self
    }

    /// Runs a command, which finds the data directory by its default.
    async fn run(&self, arguments: &[&str]) -> Exit {
        run(self.0.command(arguments).env_remove("FIDO_RELAY_DATA_DIR")).await
    }

    #[track_caller]
    fn is_well(&self) -> impl Future<Output = String> + '_ {
        let caller = std::panic::Location::caller();
        async move {
            let exit = self.run(&["doctor"]).await;
            let text = exit.text();
            assert!(exit.code == Some(0) && !text.contains("WRONG"), "{caller}: {text}");
            text
        }
    }

    /// Exactly one thing is wrong: this, with this remedy.
    async fn ails(&self, wrong: &str, remedy: &str) {
        let text = self.run(&["doctor"]).await.with_code(1);
        assert_eq!(text.matches("WRONG").count(), 1, "{text}");
        let (_, rest) = text.split_once("WRONG").unwrap();
        let (found, rest) = rest.split_once("\n         → ").unwrap();
        assert!(found.contains(wrong), "{wrong} is not in {found}\n{text}");
        assert!(rest.lines().next().unwrap().contains(remedy), "{remedy} is not advised\n{text}");
        assert!(text.contains("1 problem found"), "{text}");
    }
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn a_fresh_machine_is_well_and_stays_untouched() {
    let machine = Machine::fresh();
    let text = machine.is_well().await;
    for ok in ["configuration:", "data directory:", "space:", "store:", "clock:", "upstream:"] {
        assert!(text.contains(&format!("ok       {ok}")), "{ok} is missing in\n{text}");
    }
    assert_eq!(std::fs::read_dir(machine.0.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_store_that_a_relay_left_is_well_and_holds_the_same_afterwards() {
    let machine = Machine::used().await;
    let text = machine.is_well().await;
    assert!(text.contains("a record was on the disk in"), "{text}");
    assert!(text.contains("decrypts this store's keys"), "{text}");
    let store = FileStore::open(&machine.data_dir().join(STORE_FILE), &[]).unwrap();
    let keys = store.list(Bucket::Keys, "").await.unwrap();
    let names: Vec<_> = keys.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["access", "browser", "record", "result", "ticket", "user_handle"]);
}

#[tokio::test]
async fn a_client_of_an_earlier_version_that_is_believed_without_the_scope_is_named_with_its_remedy()
 {
    let machine = Machine::used().await;
    let says = "Old Shop (";
    let id = {
        let store = FileStore::open(&machine.data_dir().join(STORE_FILE), &[]).unwrap();
        let (name, tenant) = (PlainText::new("Old Shop").unwrap(), TenantId::default());
        let new = NewClient { tenant, name, scopes: Vec::new(), bindings: Vec::new() };
        let client = Client::new(new, SystemClock.now());
        let mut value = serde_json::to_value(&client).unwrap();
        value.as_object_mut().unwrap().remove("knows_prior_auth_scope");
        let (key, value) = (format!("default.{}", client.id), value.to_string().into_bytes());
        store.save(Bucket::Clients, &key, Revision::ABSENT, value).await.unwrap();
        client.id
    };
    let text = machine.is_well().await;
    let remedy = format!("fido-relay client change {id} --prior-auth true");
    assert!(text.contains("warning  clients:") && text.contains(says), "{text}");
    assert!(text.contains(&remedy), "{text}");
    let listed = machine.run(&["client", "list"]).await.with_code(0);
    assert!(listed.contains("counts without the scope prior_auth:assert"), "{listed}");

    machine.run(&["client", "change", &id.to_string(), "--prior-auth", "false"]).await.with_code(0);
    machine.run(&["client", "change", &id.to_string(), "--code-alone", "false"]).await.with_code(0);
    let text = machine.is_well().await;
    assert!(!text.contains(says), "{text}");
    let listed = machine.run(&["client", "list"]).await.with_code(0);
    assert!(
        !listed.contains("prior_auth:assert") && listed.contains("code_alone = false"),
        "{listed}"
    );
}

#[tokio::test]
async fn every_mistake_of_the_configuration_is_told() {
    let machine = Machine::fresh()
        .with("FIDO_RELAY_NO_SUCH_KEY", "1")
        .with("FIDO_RELAY_UPSTREAM__URL", "not a URL");
    let text = machine.run(&["doctor"]).await.with_code(1);
    assert_eq!(text.matches("WRONG    configuration:").count(), 2, "{text}");
    for named in ["FIDO_RELAY_NO_SUCH_KEY", "FIDO_RELAY_UPSTREAM__URL", "2 things are wrong"] {
        assert!(text.contains(named), "{named} is missing in\n{text}");
    }
}

#[tokio::test]
async fn what_the_operator_allowed_against_advice_is_a_warning() {
    let machine = Machine::fresh()
        .with("FIDO_RELAY_PUBLIC_URL", "http://relay.example.com")
        .with("FIDO_RELAY_ALLOW_PLAINTEXT", "true")
        .with("FIDO_RELAY_LISTEN", "0.0.0.0:0");
    let text = machine.is_well().await;
    assert!(text.contains("warning  configuration: allow_plaintext"), "{text}");
}

#[tokio::test]
async fn a_data_directory_that_cannot_be_made_is_told() {
    let machine = Machine::fresh();
    std::fs::write(machine.0.path().join("data"), "").unwrap();
    machine.ails("is not a directory", "move it away").await;
}

#[tokio::test]
async fn whatever_others_can_reach_is_told_with_the_command_that_ends_it() {
    let machine = Machine::used().await;
    let data_dir = machine.data_dir();
    for (path, wide, remedy) in [
        (data_dir.clone(), 0o755, "chmod 700"),
        (data_dir.join(STORE_FILE), 0o640, "chmod 600"),
        (data_dir.join(SEAL_KEY_FILE), 0o604, "chmod 600"),
    ] {
        let right = std::fs::metadata(&path).unwrap().permissions().mode();
        set_mode(&path, wide);
        let wrong = format!("other users can access {} (mode {wide:04o})", relative(&path));
        machine.ails(&wrong, remedy).await;
        set_mode(&path, right);
    }
    machine.is_well().await;
}

/// As the default configuration says it.
fn relative(path: &Path) -> String {
    let name = path.file_name().unwrap().to_str().unwrap();
    if name == "data" { "./data".to_owned() } else { format!("./data/{name}") }
}

#[tokio::test]
async fn too_little_space_is_told() {
    let machine = Machine::used().await;
    let text = machine.run(&["doctor", "--min-free-mb", "1000000000"]).await.with_code(1);
    assert!(text.contains("MiB are free, 1000000000 are wanted"), "{text}");
    assert!(text.contains("→ free space"), "{text}");
}

#[tokio::test]
async fn a_file_that_is_no_store_is_told() {
    let machine = Machine::used().await;
    std::fs::write(machine.data_dir().join(STORE_FILE), "x".repeat(10_000)).unwrap();
    machine.ails("data/relay.redb as the store, it is damaged", "from its newest backup").await;
}

#[tokio::test]
async fn a_sealing_key_that_is_missing_or_another_is_told_and_none_is_made() {
    let machine = Machine::used().await;
    let path = machine.data_dir().join(SEAL_KEY_FILE);
    let right = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    machine.ails("seal.key is missing", "restore seal.key from the backup of these files").await;
    assert!(!path.exists(), "the doctor made a key");
    for (text, wrong) in [("short", "32 bytes in base64url"), (&"A".repeat(43), "another sealing")]
    {
        std::fs::write(&path, text).unwrap();
        set_mode(&path, 0o600);
        machine.ails(wrong, "from the backup").await;
    }
    std::fs::write(&path, right).unwrap();
    machine.is_well().await;
}

#[tokio::test]
async fn a_clock_behind_what_is_stored_is_told() {
    let machine = Machine::used().await;
    let store = FileStore::open(&machine.data_dir().join(STORE_FILE), &[]).unwrap();
    let paired_at = SystemClock.now().plus_secs(3_600);
    let device = Device { paired_at, ..device("ada") };
    add_device(&store, &device).await;
    drop(store);
    machine.ails("s ahead of this clock", "set it").await;
}

#[tokio::test]
async fn devices_that_a_restored_store_brought_back_and_a_damaged_list_of_them_are_told() {
    let machine = Machine::used().await;
    let path = machine.data_dir().join(REVOCATIONS_FILE);
    let store = FileStore::open(&machine.data_dir().join(STORE_FILE), &[]).unwrap();
    let device = Device { paired_at: SystemClock.now(), ..device("ada") };
    add_device(&store, &device).await;
    let (what, at) = (Revoked::Device(device.id), device.paired_at);
    let revocation = Revocation { tenant: device.tenant.clone(), what, at };
    RevocationList::open(&path).unwrap().record(revocation).await.unwrap();
    drop(store);
    let text = machine.is_well().await;
    let back = "warning  revocations: the store still has 1 of 1 device or card that were revoked";
    assert!(text.contains(back), "{text}");
    std::fs::write(&path, "no list\n").unwrap();
    machine.ails("line 1 of", "newest copy").await;
}

#[tokio::test]
async fn a_fido2_server_that_is_not_there_is_told() {
    let nobody = ScriptedUpstream::refusing();
    let machine = Machine::fresh().with("FIDO_RELAY_UPSTREAM__URL", &nobody.url());
    machine.ails(&format!("the FIDO2 server at {}", nobody.url()), "start it").await;
}

#[tokio::test]
async fn attestation_roots_that_cannot_be_read_are_told() {
    let machine = Machine::fresh().with("FIDO_RELAY_ATTESTATION__ROOTS_FILE", "nowhere.pem");
    machine.ails("attestation.roots_file", "correct the attestation settings").await;
}

#[tokio::test]
async fn an_address_that_another_program_has_is_told() {
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = other.local_addr().unwrap().to_string();
    let machine = Machine::fresh().with("FIDO_RELAY_LISTEN", &listen);
    machine.ails("cannot listen on", "stop the program that listens there").await;
}

#[tokio::test]
async fn an_address_of_another_machine_is_told() {
    let machine = Machine::fresh()
        .with("FIDO_RELAY_ALLOW_PLAINTEXT", "true")
        .with("FIDO_RELAY_LISTEN", "203.0.113.7:8080");
    machine.ails("cannot listen on", "the address must be this machine's").await;
}

#[tokio::test]
async fn a_relay_of_another_directory_at_this_address_is_not_to_be_stopped() {
    let relay = TestRelay::start().await;
    let address = relay.url().replace("http://", "");
    let machine = Machine::fresh().with("FIDO_RELAY_LISTEN", &address);
    machine.ails("a relay answers at", "give this command that relay's --config").await;
}

#[tokio::test]
async fn a_proxy_that_speaks_no_tls_is_told() {
    let plain = TestRelay::start().await;
    let machine =
        Machine::fresh().with("FIDO_RELAY_PUBLIC_URL", &plain.url().replacen("http", "https", 1));
    machine.ails("cannot be dialled", "a certificate for this name").await;
}

#[tokio::test]
async fn a_public_url_that_cannot_be_reached_from_here_is_a_warning() {
    let nobody = ScriptedUpstream::refusing();
    let url = nobody.url().replacen("http", "https", 1);
    let text = Machine::fresh().with("FIDO_RELAY_PUBLIC_URL", &url).is_well().await;
    assert!(text.contains("warning  public_url:"), "{text}");
}

#[tokio::test]
async fn a_running_relay_answers_for_its_store_and_tells_when_it_is_not_ready() {
    let machine = Machine::fresh();
    let data_dir = machine.data_dir();
    let relay = TestRelay::start_with(|config| config.data_dir = data_dir).await;
    let listen = relay.running.config().listen.to_string();
    let machine = machine.with("FIDO_RELAY_LISTEN", &listen);
    machine.ails("in use by another process", "restart it").await;

    relay.running.serve_admin().unwrap();
    let _bank = relay.initiator().await;
    let text = machine.is_well().await;
    assert!(text.contains("the running relay has it open, is ready, and has 1 client"), "{text}");

    let elsewhere = ScriptedUpstream::refusing();
    let machine = machine.with("FIDO_RELAY_LISTEN", &elsewhere.address().to_string());
    machine.ails("a relay has it open, but no relay answers", "another configuration").await;

    let machine = machine.with("FIDO_RELAY_LISTEN", &listen);
    relay.running.tasks().draining().cancel();
    machine.ails("the running relay is not ready", "look at its log").await;
}

#[tokio::test]
async fn a_store_that_a_command_holds_is_told() {
    let machine = Machine::used().await;
    let store = FileStore::open(&machine.data_dir().join(STORE_FILE), &[]).unwrap();
    let _held: Arc<dyn Store> = Arc::new(store);
    machine.ails("in use by another process", "find the process").await;
}
