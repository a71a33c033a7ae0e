//! Starting the demo: a relay, a bank with its API key, and a paired phone, on loopback and in a
//! directory of the caller's.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fido_relay_kit::clock::Clock;
use fido_relay_kit::tasks::Tasks;
use fido_relay_proto::ClientId;
use fido_relay_proto::http::Scope;
use fido_relay_proto::text::InvalidText;
use tokio::net::TcpListener;
use url::Url;

use super::bank::{Account, Bank};
use super::initiator::{CallError, Initiator};
use super::narrate::Narrator;
use super::person::{self, CardHolder, CardSet, CodeSource};
use super::{payment, site, vapid_key, web};
use crate::host::{HostError, HostedRelay, RelayHost};
use crate::phone::{
    DeviceKey, Faults, KeyError, Paired, PairingClient, PairingError, Phone, PhoneEvent,
    PhoneHandle, PullClient, PushReceiver, WakeChannel,
};

const WELCOME_LIMIT: Duration = Duration::from_secs(20);
/// Limit for bank and phone to end.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// More than a browser on a busy machine needs to reload the page.
const LEFT_LIMIT: Duration = Duration::from_secs(10);
/// The shortest mute that the relay's configuration allows.
const NOT_ME_MUTE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct DemoOptions {
    /// The bank's port on loopback; 0 for any.
    pub port: u16,
    pub code_source: CodeSource,
    pub faults: Faults,
}

/// Why the demo does not start.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error("the bank cannot listen on 127.0.0.1:{0}: {1}")]
    Listen(u16, #[source] std::io::Error),
    /// The relay, or the bank's client of it.
    #[error(transparent)]
    Host(#[from] HostError),
    #[error("the demo's names are invalid: {0}")]
    Names(#[from] InvalidText),
    #[error("the relay's address is invalid: {0}")]
    Address(#[from] url::ParseError),
    #[error("the bank cannot use the relay: {0}")]
    Call(#[from] CallError),
    #[error("the phone has no key: {0}")]
    Key(#[from] KeyError),
    #[error("the phone cannot be paired: {0}")]
    Pairing(#[from] PairingError),
    #[error("the relay does not authenticate the phone: {0}")]
    Phone(String),
    #[error("the phone's push service cannot listen on 127.0.0.1: {0}")]
    PushReceiver(#[source] std::io::Error),
    #[error("the relay's key for push services cannot be written: {0}")]
    VapidKey(#[source] std::io::Error),
}

impl DemoError {
    /// What to do, where it does not follow from the error itself.
    #[must_use]
    pub fn remedy(&self) -> Option<String> {
        match self {
            Self::Listen(_, error) if error.kind() == ErrorKind::AddrInUse => Some(
                "stop the program that listens there, or choose another --port (0 chooses a free \
                 one)"
                    .to_owned(),
            ),
            Self::Listen(port, error) if error.kind() == ErrorKind::PermissionDenied => {
                Some(format!(
                    "choose a --port above 1023, such as {}: lower ones are for root, unless this \
                     system allows them (sysctl net.ipv4.ip_unprivileged_port_start)",
                    8000 + port % 1000
                ))
            }
            Self::Host(HostError::Start(_, remedy)) => remedy.clone(),
            Self::Listen(..)
            | Self::Host(_)
            | Self::Names(_)
            | Self::Address(_)
            | Self::Call(_)
            | Self::Key(_)
            | Self::Pairing(_)
            | Self::PushReceiver(_)
            | Self::VapidKey(_)
            | Self::Phone(_) => None,
        }
    }
}

#[derive(Debug)]
pub struct Demo {
    relay: Box<dyn HostedRelay>,
    bank: Bank,
    bank_url: Url,
    phone_parts: DemoPhone,
    phone: PhoneHandle,
    tasks: Tasks,
}

/// The parts of the phone, which is started anew to sleep or to hold a socket.
#[derive(Debug)]
struct DemoPhone {
    paired: Paired,
    cards: Arc<CardSet>,
    holder: CardHolder,
    faults: Faults,
    client: PairingClient,
    receiver: PushReceiver,
}

impl DemoPhone {
    /// Starts the phone and waits until the relay can reach it.
    async fn start(
        &self,
        asleep: bool,
        bank: &Bank,
        tasks: &Tasks,
    ) -> Result<PhoneHandle, DemoError> {
        let (card, person) = (self.cards.clone(), Arc::new(self.holder.clone()));
        let mut phone =
            Phone::new(self.paired.clone(), card, person).with_faults(self.faults.clone());
        if asleep {
            let subscription = self.receiver.subscribe()?;
            phone =
                phone.asleep(WakeChannel { subscription, client: PullClient::from(&self.client) });
        }
        let (phone, mut events) = phone.connect(tasks);
        welcomed(&mut events).await?;
        tasks.spawn("phone's story", person::narrate_events(bank.clone(), events));
        Ok(phone)
    }
}

impl Demo {
    /// Starts relay, bank and phone, and pairs the phone. The relay uses the directory until
    /// [`Demo::stop`].
    ///
    /// # Errors
    /// [`DemoError`].
    pub async fn start(
        host: &dyn RelayHost,
        directory: &Path,
        options: DemoOptions,
        clock: Arc<dyn Clock>,
        narrator: Narrator,
    ) -> Result<Self, DemoError> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, options.port));
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|error| DemoError::Listen(options.port, error))?;
        let bank_address =
            listener.local_addr().map_err(|error| DemoError::Listen(options.port, error))?;
        let bank_url = Url::parse(&format!("http://{bank_address}/"))?;

        let relay = start_relay(host, directory).await?;
        let relay_url = Url::parse(&format!("{}/", relay.url().trim_end_matches('/')))?;
        let (initiator, client_id) = create_bank_client(&*relay, relay_url.clone()).await?;

        let account = Account {
            client_id,
            issuer: relay.url(),
            username: "ada@harbour.example".to_owned().try_into()?,
            display_name: "Ada Lovelace".to_owned().try_into()?,
            payment: payment()?,
            not_me_mute: NOT_ME_MUTE,
            left_limit: LEFT_LIMIT,
        };
        let username = account.username.clone();
        let tasks = Tasks::default();
        let bank = Bank::new(initiator.clone(), account, clock, narrator, tasks.clone());
        web::serve(listener, site::router(bank.clone()), &tasks)
            .map_err(|error| DemoError::Listen(options.port, error))?;

        let pairing = initiator.open_pairing(username).await?;
        let name = "Ada's phone".to_owned().try_into()?;
        let key = DeviceKey::generate()?;
        let client = PairingClient::new()?;
        let paired = client.pair(&relay_url, &pairing.pairing_token, Some(name), key).await?;
        let phone_parts = DemoPhone {
            paired,
            cards: Arc::new(CardSet::default()),
            holder: CardHolder::new(bank.clone(), options.code_source),
            faults: options.faults,
            client,
            receiver: PushReceiver::listen(&tasks).await.map_err(DemoError::PushReceiver)?,
        };
        let phone = phone_parts.start(false, &bank, &tasks).await?;
        Ok(Self { relay, bank, bank_url, phone_parts, phone, tasks })
    }

    /// Restarts the phone without a socket, so that only a push reaches it.
    ///
    /// # Errors
    /// [`DemoError`].
    pub async fn phone_sleeps(&mut self) -> Result<(), DemoError> {
        self.restart_phone(true).await
    }

    /// Restarts the phone with a socket.
    ///
    /// # Errors
    /// [`DemoError`].
    pub async fn phone_connects(&mut self) -> Result<(), DemoError> {
        self.restart_phone(false).await
    }

    async fn restart_phone(&mut self, asleep: bool) -> Result<(), DemoError> {
        self.phone.stop();
        self.phone.ended().await;
        self.phone = self.phone_parts.start(asleep, &self.bank, &self.tasks).await?;
        Ok(())
    }

    #[must_use]
    pub fn bank(&self) -> &Bank {
        &self.bank
    }

    #[must_use]
    pub fn bank_url(&self) -> &Url {
        &self.bank_url
    }

    #[must_use]
    pub fn relay_url(&self) -> String {
        self.relay.url()
    }

    #[must_use]
    pub fn phone(&self) -> &PhoneHandle {
        &self.phone
    }

    /// Stops everything, and returns whether it ended in time.
    pub async fn stop(self) -> bool {
        self.phone.stop();
        let ours = self.tasks.stop(STOP_LIMIT).await;
        self.relay.stop().await && ours
    }
}

async fn start_relay(
    host: &dyn RelayHost,
    directory: &Path,
) -> Result<Box<dyn HostedRelay>, DemoError> {
    let data_dir = directory.join("data");
    let key_file = directory.join("vapid.pem");
    vapid_key::write(&key_file, &DeviceKey::generate()?).map_err(DemoError::VapidKey)?;
    let settings = [
        ("FIDO_RELAY_LISTEN", "127.0.0.1:0"),
        ("FIDO_RELAY_DATA_DIR", &*data_dir.to_string_lossy()),
        ("FIDO_RELAY_TENANT__RP_NAME", "Harbour Bank"),
        // People who try the demo decline and repeat more often than customers.
        ("FIDO_RELAY_PROMPTS__FREE", "1000"),
        ("FIDO_RELAY_PROMPTS__PER_HOUR", "1000"),
        ("FIDO_RELAY_PROMPTS__DECLINED_QUIET_S", "0"),
        ("FIDO_RELAY_PROMPTS__NOT_ME_MUTE_S", &NOT_ME_MUTE.as_secs().to_string()),
        ("FIDO_RELAY_PROMPTS__WRONG_CODES_PER_DAY", "1000"),
        // The push service is on this machine, so a delay would hide nothing.
        ("FIDO_RELAY_PUSH__AFTER_MS", "0"),
        ("FIDO_RELAY_PUSH__WEBPUSH__KEY_FILE", &*key_file.to_string_lossy()),
        ("FIDO_RELAY_PUSH__WEBPUSH__CONTACT", "mailto:demo@harbour.example"),
        ("FIDO_RELAY_PUSH__WEBPUSH__ALLOW_LOOPBACK_HTTP", "true"),
    ];
    Ok(host.start(&settings).await?)
}

/// Makes the bank a client of the relay, as `fido-relay client create` does.
async fn create_bank_client(
    relay: &dyn HostedRelay,
    relay_url: Url,
) -> Result<(Initiator, ClientId), DemoError> {
    let scopes = vec![
        Scope::CeremonyAuth,
        Scope::CeremonyReg,
        Scope::CeremonyApprove,
        Scope::CeremonyRead,
        Scope::DevicePair,
        Scope::PresenceRead,
        Scope::PriorAuthAssert,
    ];
    let (id, key) = relay.create_client("Harbour Bank".to_owned().try_into()?, scopes).await?;
    Ok((Initiator::new(relay_url, key)?, id))
}

async fn welcomed(events: &mut tokio::sync::mpsc::Receiver<PhoneEvent>) -> Result<(), DemoError> {
    let mut trouble = "no answer".to_owned();
    let connected = async {
        while let Some(event) = events.recv().await {
            match event {
                PhoneEvent::Connected { .. } | PhoneEvent::Asleep => return true,
                PhoneEvent::Disconnected { why, .. } => trouble = why,
                PhoneEvent::Stopped(why) => trouble = why.to_string(),
                PhoneEvent::Woken { .. }
                | PhoneEvent::Reauthenticated
                | PhoneEvent::Noticed(_)
                | PhoneEvent::KeyRotated
                | PhoneEvent::KeyKept { .. }
                | PhoneEvent::Offered { .. }
                | PhoneEvent::Claimed { .. }
                | PhoneEvent::Challenged { .. }
                | PhoneEvent::Card { .. }
                | PhoneEvent::Answered { .. }
                | PhoneEvent::Accepted { .. }
                | PhoneEvent::Declined { .. }
                | PhoneEvent::Closed { .. }
                | PhoneEvent::TimedOut { .. }
                | PhoneEvent::Refused { .. }
                | PhoneEvent::GoingAway { .. }
                | PhoneEvent::Waiting { .. } => {}
            }
        }
        false
    };
    match tokio::time::timeout(WELCOME_LIMIT, connected).await {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => Err(DemoError::Phone(trouble)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_not_to_be_had_comes_with_a_remedy() {
        for (kind, remedy) in [
            (ErrorKind::AddrInUse, "choose another --port (0 chooses a free one)"),
            (ErrorKind::PermissionDenied, "choose a --port above 1023, such as 8080"),
        ] {
            let remedy_text = DemoError::Listen(80, kind.into()).remedy().unwrap();
            assert!(remedy_text.contains(remedy), "{remedy_text}");
        }
    }
}
