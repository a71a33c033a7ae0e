//! Setting the stage: a relay, a bank with its API key, and a paired phone, all on loopback and in
//! a directory of the caller's.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fido_relay_proto::ClientId;
use fido_relay_proto::http::Scope;
use fido_relay_proto::text::InvalidText;
use tokio::net::TcpListener;
use url::Url;

use super::bank::{Account, Bank};
use super::initiator::{CallError, Initiator};
use super::narrate::Narrator;
use super::person::{self, CardHolder, Drawer, Manner};
use super::{payment, site, vapid_key, web};
use crate::host::{HostError, HostedRelay, RelayHost};
use crate::phone::{
    Bed, DeviceKey, Faults, KeyError, Paired, PairingClient, PairingError, Phone, PhoneEvent,
    PhoneHandle, PullClient, Receiver,
};
use fido_relay_kit::clock::Clock;
use fido_relay_kit::tasks::Tasks;

/// How long the phone may take to be welcomed.
const WELCOME_LIMIT: Duration = Duration::from_secs(20);
/// How long bank and phone may take to end.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// More than a browser on a busy machine takes to load the page again.
const LEFT_LIMIT: Duration = Duration::from_secs(10);
/// The shortest that the relay's settings allow.
const NOT_ME_MUTE: Duration = Duration::from_secs(60);

/// What is to be staged.
#[derive(Debug)]
pub struct Cast {
    /// The bank's port on loopback; 0 for any.
    pub port: u16,
    /// How the person comes by the code.
    pub manner: Manner,
    /// What the phone does wrong.
    pub faults: Faults,
}

/// Why the stage cannot be set.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The bank's port.
    #[error("the bank cannot listen on 127.0.0.1:{0}: {1}")]
    Listen(u16, #[source] std::io::Error),
    /// The relay, or the bank's client of it.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A name in the demo.
    #[error("the demo's names do not hold: {0}")]
    Names(#[from] InvalidText),
    /// The relay's address.
    #[error("the relay's address does not hold: {0}")]
    Address(#[from] url::ParseError),
    /// The initiator API.
    #[error("the bank cannot use the relay: {0}")]
    Call(#[from] CallError),
    /// The phone's key.
    #[error("the phone has no key: {0}")]
    Key(#[from] KeyError),
    /// Pairing.
    #[error("the phone cannot be paired: {0}")]
    Pairing(#[from] PairingError),
    /// The phone's socket.
    #[error("the phone is not welcomed by the relay: {0}")]
    Phone(String),
    /// The phone's push service.
    #[error("the phone's push service cannot listen on 127.0.0.1: {0}")]
    Receiver(#[source] std::io::Error),
    /// The relay's key for push services.
    #[error("the relay's key for push services cannot be written: {0}")]
    VapidKey(#[source] std::io::Error),
}

impl StageError {
    /// What can be done about it, where that does not follow from the error itself.
    #[must_use]
    pub fn remedy(&self) -> Option<String> {
        match self {
            Self::Listen(_, error) if error.kind() == ErrorKind::AddrInUse => Some(
                "stop the program that listens there, or choose another --port (0 takes any that \
                 is free)"
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
            | Self::Receiver(_)
            | Self::VapidKey(_)
            | Self::Phone(_) => None,
        }
    }
}

/// Everything that runs.
#[derive(Debug)]
pub struct Stage {
    relay: Box<dyn HostedRelay>,
    bank: Bank,
    bank_url: Url,
    handset: Handset,
    phone: PhoneHandle,
    tasks: Tasks,
}

/// What stays of the phone, whether it holds a socket or sleeps.
#[derive(Debug)]
struct Handset {
    paired: Paired,
    drawer: Arc<Drawer>,
    holder: CardHolder,
    faults: Faults,
    client: PairingClient,
    receiver: Receiver,
}

impl Handset {
    /// Starts the phone, and waits until the relay can reach it.
    async fn start(
        &self,
        asleep: bool,
        bank: &Bank,
        tasks: &Tasks,
    ) -> Result<PhoneHandle, StageError> {
        let (card, person) = (self.drawer.clone(), Arc::new(self.holder.clone()));
        let mut phone =
            Phone::new(self.paired.clone(), card, person).with_faults(self.faults.clone());
        if asleep {
            let subscription = self.receiver.subscribe()?;
            phone = phone.asleep(Bed { subscription, client: PullClient::from(&self.client) });
        }
        let (phone, mut events) = phone.connect(tasks);
        welcomed(&mut events).await?;
        tasks.spawn("phone's story", person::tell(bank.clone(), events));
        Ok(phone)
    }
}

impl Stage {
    /// Starts relay, bank and phone, and pairs the phone. The directory is the relay's until
    /// [`Stage::clear`].
    ///
    /// # Errors
    /// [`StageError`].
    pub async fn set(
        host: &dyn RelayHost,
        directory: &Path,
        cast: Cast,
        clock: Arc<dyn Clock>,
        narrator: Narrator,
    ) -> Result<Self, StageError> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, cast.port));
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|error| StageError::Listen(cast.port, error))?;
        let bank_address =
            listener.local_addr().map_err(|error| StageError::Listen(cast.port, error))?;
        let bank_url = Url::parse(&format!("http://{bank_address}/"))?;

        let relay = start_relay(host, directory).await?;
        let relay_url = Url::parse(&format!("{}/", relay.url().trim_end_matches('/')))?;
        let (initiator, client_id) = admit_bank(&*relay, relay_url.clone()).await?;

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
            .map_err(|error| StageError::Listen(cast.port, error))?;

        let pairing = initiator.open_pairing(username).await?;
        let name = "Ada's phone".to_owned().try_into()?;
        let key = DeviceKey::generate()?;
        let client = PairingClient::new()?;
        let paired = client.pair(&relay_url, &pairing.pairing_token, Some(name), key).await?;
        let handset = Handset {
            paired,
            drawer: Arc::new(Drawer::default()),
            holder: CardHolder::new(bank.clone(), cast.manner),
            faults: cast.faults,
            client,
            receiver: Receiver::listen(&tasks).await.map_err(StageError::Receiver)?,
        };
        let phone = handset.start(false, &bank, &tasks).await?;
        Ok(Self { relay, bank, bank_url, handset, phone, tasks })
    }

    /// The app leaves the screen: from now on only a push reaches the phone.
    ///
    /// # Errors
    /// [`StageError`].
    pub async fn phone_sleeps(&mut self) -> Result<(), StageError> {
        self.begin_phone(true).await
    }

    /// The app is on the screen again, and holds its socket.
    ///
    /// # Errors
    /// [`StageError`].
    pub async fn phone_holds(&mut self) -> Result<(), StageError> {
        self.begin_phone(false).await
    }

    async fn begin_phone(&mut self, asleep: bool) -> Result<(), StageError> {
        self.phone.stop();
        self.phone.ended().await;
        self.phone = self.handset.start(asleep, &self.bank, &self.tasks).await?;
        Ok(())
    }

    /// The bank.
    #[must_use]
    pub fn bank(&self) -> &Bank {
        &self.bank
    }

    /// Where the bank's page is.
    #[must_use]
    pub fn bank_url(&self) -> &Url {
        &self.bank_url
    }

    /// Where the relay is.
    #[must_use]
    pub fn relay_url(&self) -> String {
        self.relay.url()
    }

    /// The phone.
    #[must_use]
    pub fn phone(&self) -> &PhoneHandle {
        &self.phone
    }

    /// Ends everything; tells whether it ended in time.
    pub async fn clear(self) -> bool {
        self.phone.stop();
        let ours = self.tasks.stop(STOP_LIMIT).await;
        self.relay.stop().await && ours
    }
}

async fn start_relay(
    host: &dyn RelayHost,
    directory: &Path,
) -> Result<Box<dyn HostedRelay>, StageError> {
    let data_dir = directory.join("data");
    let key_file = directory.join("vapid.pem");
    vapid_key::write(&key_file, &DeviceKey::generate()?).map_err(StageError::VapidKey)?;
    let settings = [
        ("FIDO_RELAY_LISTEN", "127.0.0.1:0"),
        ("FIDO_RELAY_DATA_DIR", &*data_dir.to_string_lossy()),
        ("FIDO_RELAY_TENANT__RP_NAME", "Harbour Bank"),
        // Whoever tries things out says no more often, and starts over sooner, than a customer.
        ("FIDO_RELAY_PROMPTS__FREE", "1000"),
        ("FIDO_RELAY_PROMPTS__PER_HOUR", "1000"),
        ("FIDO_RELAY_PROMPTS__DECLINED_QUIET_S", "0"),
        ("FIDO_RELAY_PROMPTS__NOT_ME_MUTE_S", &NOT_ME_MUTE.as_secs().to_string()),
        ("FIDO_RELAY_PROMPTS__WRONG_CODES_PER_DAY", "1000"),
        // The phone's push service is on this machine, and no page waits to see whether it wakes.
        ("FIDO_RELAY_PUSH__AFTER_MS", "0"),
        ("FIDO_RELAY_PUSH__WEBPUSH__KEY_FILE", &*key_file.to_string_lossy()),
        ("FIDO_RELAY_PUSH__WEBPUSH__CONTACT", "mailto:demo@harbour.example"),
        ("FIDO_RELAY_PUSH__WEBPUSH__ALLOW_LOOPBACK_HTTP", "true"),
    ];
    Ok(host.start(&settings).await?)
}

/// What an operator does with `fido-relay client create`: the bank becomes a client of the relay.
async fn admit_bank(
    relay: &dyn HostedRelay,
    relay_url: Url,
) -> Result<(Initiator, ClientId), StageError> {
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

async fn welcomed(events: &mut tokio::sync::mpsc::Receiver<PhoneEvent>) -> Result<(), StageError> {
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
        Ok(false) | Err(_) => Err(StageError::Phone(trouble)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_not_to_be_had_comes_with_a_remedy() {
        for (kind, remedy) in [
            (ErrorKind::AddrInUse, "choose another --port (0 takes any that is free)"),
            (ErrorKind::PermissionDenied, "choose a --port above 1023, such as 8080"),
        ] {
            let told = StageError::Listen(80, kind.into()).remedy().unwrap();
            assert!(told.contains(remedy), "{told}");
        }
    }
}
