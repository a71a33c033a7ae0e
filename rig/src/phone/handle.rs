//! The handle of a running phone.

use fido_relay_proto::{CeremonyId, DeviceId};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::person::Decision;

/// Controls a running phone from outside of its task. Dropping it leaves the phone running.
#[derive(Clone, Debug)]
pub struct PhoneHandle {
    pub(super) device_id: DeviceId,
    pub(super) commands: mpsc::Sender<PhoneCommand>,
    pub(super) stopping: CancellationToken,
}

impl PhoneHandle {
    #[must_use]
    pub fn device_id(&self) -> DeviceId {
        self.device_id
    }

    /// Decides in the person's place; ignored if the phone shows no such prompt.
    pub async fn decide(&self, ceremony_id: CeremonyId, decision: Decision) {
        // A phone that has stopped shows no prompt.
        let _ = self.commands.send(PhoneCommand::Decide(ceremony_id, decision)).await;
    }

    /// Types a code without a prompt: the relay finds its ceremony, which the person then confirms.
    pub async fn type_code(&self, code: impl Into<String>) {
        let _ = self.commands.send(PhoneCommand::TypeCode(code.into())).await;
    }

    /// Reports the prompts that were held back as "not me".
    pub async fn report_not_me(&self) {
        let _ = self.commands.send(PhoneCommand::HeldNotMe).await;
    }

    /// Breaks the socket without a close frame; the phone connects again.
    pub async fn break_socket(&self) {
        let _ = self.commands.send(PhoneCommand::Break).await;
    }

    /// Exchanges the device key; an event tells whether it worked.
    pub async fn rotate_key(&self) {
        let _ = self.commands.send(PhoneCommand::RotateKey).await;
    }

    /// Waits until the phone's task has ended.
    pub async fn ended(&self) {
        self.commands.closed().await;
    }

    /// Closes the socket in order and ends the phone.
    pub fn stop(&self) {
        self.stopping.cancel();
    }
}

pub(super) enum PhoneCommand {
    Decide(CeremonyId, Decision),
    TypeCode(String),
    HeldNotMe,
    Break,
    RotateKey,
}
