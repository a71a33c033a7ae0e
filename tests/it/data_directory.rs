//! What the program does with a data directory that lacks a part, that is the wrong one, or whose
//! store is damaged: it refuses with one line that says what to do, and touches nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use fido_relay::backends::embedded::{FileStore, RevocationList};
use fido_relay::ports::{Revocation, Revocations as _, Revoked};
use fido_relay::serve::{
    AUDIT_DIR, Contents, DataDirectory, FIRST_START, REVOCATIONS_FILE, SEAL_KEY_FILE, STORE_FILE,
};
use fido_relay_proto::{DeviceId, TenantId, UnixMillis};
use futures::future::join_all;
use tokio::process::Command;

use crate::support::child::run;
use crate::support::child_relay::{ChildRelay, Home};
use crate::support::relay::TestRelay;

/// Every file and directory with its content and the time of its last change.
fn snapshot(directory: &Path) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![directory.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let changed = folder.metadata().unwrap().modified().unwrap();
        found.insert(folder.clone(), (Vec::new(), changed));
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let changed = path.metadata().unwrap().modified().unwrap();
                let content = std::fs::read(&path).unwrap_or_default();
                found.insert(path, (content, changed));
            }
        }
    }
    found
}

/// A home whose relay ran, revoked a device, and was stopped.
async fn used() -> Home {
    let home = Home::new(&[]);
    let data_dir = home.data_dir();
    let relay = TestRelay::start_with(|config| config.data_dir = data_dir.clone()).await;
    let bank = relay.initiator().await;
    relay.pair(&bank, "ada").await;
    assert!(relay.running.stop().await);
    let (device, tenant) = (DeviceId::from_bytes([1; 16]), TenantId::default());
    let list = RevocationList::open(&data_dir.join(REVOCATIONS_FILE)).unwrap();
    list.record(Revocation { tenant, what: Revoked::Device(device), at: UnixMillis(1) })
        .await
        .unwrap();
    home
}

/// Exit code 1, and on standard error one line of the program's own beside its log.
async fn refused(home: &Home, arguments: &[&str]) -> String {
    refused_at(home.command(arguments), arguments).await
}

async fn refused_at(mut command: Command, arguments: &[&str]) -> String {
    let told = run(&mut command).await.with_code(1);
    assert!(!told.contains("panicked"), "{arguments:?}: {told}");
    told
}

#[tokio::test]
async fn a_directory_that_lacks_a_part_is_refused_and_left_as_it_is() {
    type Spoil = fn(&Path);
    let cases: [(Spoil, &str, &str); 7] = [
        (|data| std::fs::remove_file(data.join(STORE_FILE)).unwrap(), STORE_FILE, "missing"),
        (|data| std::fs::write(data.join(STORE_FILE), "").unwrap(), STORE_FILE, "empty"),
        (|data| std::fs::remove_file(data.join(SEAL_KEY_FILE)).unwrap(), SEAL_KEY_FILE, "missing"),
        (|data| std::fs::write(data.join(SEAL_KEY_FILE), "").unwrap(), SEAL_KEY_FILE, "empty"),
        (|data| keep_only(data, AUDIT_DIR), STORE_FILE, "missing"),
        (|data| keep_only(data, REVOCATIONS_FILE), STORE_FILE, "missing"),
        (|data| keep_only(data, SEAL_KEY_FILE), STORE_FILE, "missing"),
    ];
    let whole = used().await;
    let checks = cases.map(|(spoil, part, how)| {
        let home = copy_of(&whole);
        async move {
            spoil(&home.data_dir());
            let before = snapshot(&home.data_dir());
            for arguments in [
                &["serve"][..],
                &["client", "list"],
                &["client", "create", "--name", "Shop", "--new-store"],
                &["doctor"],
            ] {
                let told = refused(&home, arguments).await;
                let path = home.data_dir().join(part);
                assert!(told.contains(&format!("{} is {how}", path.display())), "{told}");
                assert!(told.contains("from the backup of these files"), "{told}");
                assert!(told.contains("to start without any client and phone"), "{told}");
                assert_eq!(snapshot(&home.data_dir()), before, "{arguments:?} at {part} {how}");
            }
        }
    });
    join_all(checks).await;
    // The other way on: with what is left moved away, the directory is a new one.
    let home = copy_of(&whole);
    std::fs::rename(home.data_dir(), home.data_dir().with_extension("old")).unwrap();
    ChildRelay::start(&home).await.kill().await;
    assert_eq!(DataDirectory::at(&home.data_dir()).contents(), Ok(Contents::Complete));
}

fn keep_only(data: &Path, kept: &str) {
    for entry in std::fs::read_dir(data).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap() == kept {
            continue;
        }
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap();
        } else {
            std::fs::remove_file(path).unwrap();
        }
    }
}

/// Another home with the same content.
fn copy_of(home: &Home) -> Home {
    let copy = Home::new(&[]);
    for (path, (content, _)) in snapshot(&home.data_dir()) {
        let to = copy.data_dir().join(path.strip_prefix(home.data_dir()).unwrap());
        if path.is_dir() {
            std::fs::create_dir_all(to).unwrap();
        } else if path.is_file() {
            std::fs::write(to, content).unwrap();
        }
    }
    copy
}

/// A kill between the making of the store and that of the key is no loss of either.
#[tokio::test]
async fn a_first_start_that_was_cut_off_is_taken_up() {
    for left in [&[][..], &[STORE_FILE], &[SEAL_KEY_FILE], &[STORE_FILE, SEAL_KEY_FILE]] {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDirectory::at(directory.path());
        drop(data.open().unwrap());
        for name in [STORE_FILE, SEAL_KEY_FILE] {
            if !left.contains(&name) {
                std::fs::remove_file(directory.path().join(name)).unwrap();
            }
        }
        std::fs::write(directory.path().join(FIRST_START), "").unwrap();
        let whole = left.len() == 2;
        let contents = if whole { Contents::Complete } else { Contents::Fresh };
        assert_eq!(data.contents(), Ok(contents), "{left:?}");
        drop(data.open().unwrap());
        assert_eq!(data.contents(), Ok(Contents::Complete), "{left:?}");
        assert!(!directory.path().join(FIRST_START).exists());
    }
}

/// A power cut may leave anything of the file that a first start was making.
#[tokio::test]
async fn a_first_start_that_left_half_a_store_is_begun_anew() {
    let directory = tempfile::tempdir().unwrap();
    let data = DataDirectory::at(directory.path());
    std::fs::write(directory.path().join(STORE_FILE), vec![7; 20_000]).unwrap();
    std::fs::write(directory.path().join(FIRST_START), "").unwrap();
    drop(data.open().unwrap());
    assert_eq!(data.contents(), Ok(Contents::Complete));
    drop(data.open().unwrap());
}

#[test]
fn a_first_start_is_not_taken_up_where_a_relay_has_served() {
    for lost in [STORE_FILE, SEAL_KEY_FILE] {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDirectory::at(directory.path());
        drop(data.open().unwrap());
        std::fs::write(directory.path().join(REVOCATIONS_FILE), "x").unwrap();
        std::fs::write(directory.path().join(FIRST_START), "").unwrap();
        std::fs::remove_file(directory.path().join(lost)).unwrap();
        let incomplete = data.contents().unwrap_err().to_string();
        assert!(incomplete.contains(lost), "{incomplete}");
    }
}

/// Also in a data directory that is there and empty, as a volume is before the first start.
#[tokio::test]
async fn without_a_store_and_a_relay_a_command_makes_nothing_and_names_the_directory() {
    let id = "cli_AAAAAAAAAAAAAAAAAAAAAA";
    let device = "dev_AAAAAAAAAAAAAAAAAAAAAA";
    let commands: [&[&str]; 12] = [
        &["client", "list"],
        &["client", "list", "--json"],
        &["client", "key", "list", id],
        &["client", "create", "--name", "Shop"],
        &["client", "remove", id],
        &["client", "rotate", id],
        &["client", "change", id, "--no-pages"],
        &["device", "list", "ada"],
        &["device", "revoke", device],
        &["pairing", "create", "--username", "ada"],
        &["webhook", "list"],
        &["audit", "verify"],
    ];
    let asked = commands.map(|arguments| async move {
        for is_there in [false, true] {
            let home = Home::new(&[]);
            if is_there {
                std::fs::create_dir(home.data_dir()).unwrap();
            }
            let parent = home.data_dir().parent().unwrap().to_path_buf();
            let before = snapshot(&parent);
            // By the default, which is relative to where the command is typed.
            let mut command = home.command(arguments);
            command.env_remove("FIDO_RELAY_DATA_DIR");
            let told = refused_at(command, arguments).await;
            assert!(told.contains(&*home.data_dir().to_string_lossy()), "{arguments:?}: {told}");
            if arguments[0] != "audit" {
                assert!(told.contains("no relay runs on it"), "{arguments:?}: {told}");
                assert!(told.contains("fido-relay serve"), "{arguments:?}: {told}");
            }
            assert_eq!(snapshot(&parent), before, "{arguments:?}");
        }
    });
    join_all(asked).await;
}

#[tokio::test]
async fn a_new_store_is_made_when_that_is_said_and_every_command_says_where_it_works() {
    let home = Home::new(&[]);
    let data = home.data_dir();
    let made = home.run(&["client", "create", "--name", "Shop", "--new-store"]).await.text();
    assert!(made.contains("API key  rk_"), "{made}");
    let alone = format!("works on {}, where no relay runs", data.display());
    assert!(made.contains(&alone), "{made}");
    let listed = home.run(&["client", "list"]).await.text();
    assert!(listed.contains("Shop") && listed.contains(&alone), "{listed}");

    let relay = ChildRelay::start(&home).await;
    let listed = home.run(&["client", "list"]).await.text();
    let running = format!("works on {}, where a relay runs", data.display());
    assert!(listed.contains("Shop") && listed.contains(&running), "{listed}");
    relay.kill().await;
}

/// Writes 4 KiB of noise over a page, which is one of redb's.
fn damage(file: &Path, page: usize, seed: u64) {
    let mut bytes = std::fs::read(file).unwrap();
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    for byte in &mut bytes[page * 4096..(page + 1) * 4096] {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *byte = state.to_le_bytes()[7];
    }
    std::fs::write(file, bytes).unwrap();
}

#[tokio::test]
async fn a_damaged_store_ends_in_one_line_with_its_remedy() {
    let whole = used().await;
    let pages = std::fs::metadata(whole.data_dir().join(STORE_FILE)).unwrap().len() / 4096;
    // Pages that hold something: noise in a free one harms nothing.
    let mut damaged = Vec::new();
    for page in 0..usize::try_from(pages).unwrap() {
        let home = copy_of(&whole);
        let store = home.data_dir().join(STORE_FILE);
        damage(&store, page, 7);
        if FileStore::open(&store, &[]).is_err() {
            // Opening may have changed it: the commands meet the damage itself.
            let home = copy_of(&whole);
            damage(&home.data_dir().join(STORE_FILE), page, 7);
            damaged.push(home);
        }
        if damaged.len() == 4 {
            break;
        }
    }
    assert_eq!(damaged.len(), 4, "of {pages} pages");
    let asked = damaged.iter().map(|home| async move {
        for arguments in [&["serve"][..], &["client", "list"], &["doctor"]] {
            let told = refused(home, arguments).await;
            let lines: Vec<_> =
                told.lines().filter(|line| line.contains("it is damaged")).collect();
            assert_eq!(lines.len(), 1, "{arguments:?}: {told}");
            assert!(lines[0].contains(&*home.data_dir().join(STORE_FILE).to_string_lossy()));
            assert!(told.contains("bring relay.redb back from its newest backup"), "{told}");
        }
    });
    join_all(asked).await;
}
