//! Steers a running phone from outside of its task.

use fido_relay_proto::{CeremonyId, DeviceId};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::person::Decision;

/// Steers a running phone. Dropping it leaves the phone running.
#[derive(Clone, Debug)]
pub struct PhoneHandle {
    pub(super) device_id: DeviceId,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) stopping: CancellationToken,
}

impl PhoneHandle {
    /// The device.
    #[must_use]
    pub fn device_id(&self) -> DeviceId {
        self.device_id
    }

    /// Decides in the person's place; nothing happens if the phone shows no such prompt.
    pub async fn decide(&self, ceremony_id: CeremonyId, decision: Decision) {
        // A phone that has stopped shows no prompt.
        let _ = self.commands.send(Command::Decide(ceremony_id, decision)).await;
    }

    /// Types a code where no prompt asks for one: the relay finds its ceremony, which the person
    /// then confirms.
    pub async fn type_code(&self, code: impl Into<String>) {
        let _ = self.commands.send(Command::TypeCode(code.into())).await;
    }

    /// Says "not me" to prompts that were held back.
    pub async fn report_not_me(&self) {
        let _ = self.commands.send(Command::HeldNotMe).await;
    }

    /// Breaks the socket without a close frame; the phone connects again.
    pub async fn break_socket(&self) {
        let _ = self.commands.send(Command::Break).await;
    }

    /// Gives the device a new key; the phone tells whether it got one.
    pub async fn rotate_key(&self) {
        let _ = self.commands.send(Command::RotateKey).await;
    }

    /// Waits until the phone has ended, and its socket with it.
    pub async fn ended(&self) {
        self.commands.closed().await;
    }

    /// Closes the socket in order and ends the phone.
    pub fn stop(&self) {
        self.stopping.cancel();
    }
}

/// What a handle asks of its phone.
pub(super) enum Command {
    Decide(CeremonyId, Decision),
    TypeCode(String),
    HeldNotMe,
    Break,
    RotateKey,
}
