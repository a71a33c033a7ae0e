//! Security events: events outside of ceremonies.

use fido_relay_proto::http::PushService;
use fido_relay_proto::{
    CardId, CeremonyId, ClientId, DeviceId, TenantId, UnixMillis, Username, WebhookId,
};
use serde::{Deserialize, Serialize};

use crate::core::prompt_limits::SuppressionReason;
use crate::rfc3339;

/// An event outside of ceremonies that a security team needs. No secret is part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityEvent {
    /// First, so that an entry begins with its `event`.
    #[serde(flatten)]
    pub what: SecurityEventKind,
    pub tenant: TenantId,
    #[serde(with = "rfc3339")]
    pub at: UnixMillis,
    /// The operator's own word for who it was, where the operator did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
}

impl SecurityEvent {
    /// What happened of itself, or was done by a device or an initiator.
    #[must_use]
    pub const fn new(tenant: TenantId, at: UnixMillis, what: SecurityEventKind) -> Self {
        Self { tenant, at, what, operator: None }
    }

    /// Its entry of the journal.
    #[must_use]
    pub fn entry(&self) -> String {
        serde_json::to_string(self)
            .inspect_err(|error| tracing::error!(%error, "a security event has no JSON form"))
            .unwrap_or_default()
    }
}

/// Why a device lost the address by which it was woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PushLoss {
    /// It removed the address itself.
    Asked,
    /// Another device set the same address: the app was paired anew.
    Moved,
    /// Its push service no longer knows the address.
    Gone,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum SecurityEventKind {
    /// A device was paired with a user.
    DevicePaired { device_id: DeviceId, username: Username },
    /// A device was revoked.
    DeviceRevoked {
        device_id: DeviceId,
        username: Username,
        /// The initiator that did it; none: the operator. Without an operator too it was finished
        /// from the list of revocations: the act that wrote it there had failed.
        client_id: Option<ClientId>,
    },
    /// A card was registered for a user.
    CardRegistered { card_id: CardId, username: Username },
    /// A card was removed.
    CardRemoved {
        card_id: CardId,
        username: Username,
        /// The initiator that did it; none: the operator.
        client_id: Option<ClientId>,
    },
    /// A card's signature counter did not grow: a copy of the card may be in use.
    CloneSuspected { card_id: CardId, username: Username },
    /// The operator removed all that a user had: cards, devices, user handle.
    UserRemoved { username: Username },
    /// A device was given another name.
    DeviceRenamed {
        device_id: DeviceId,
        username: Username,
        /// The initiator that did it.
        client_id: ClientId,
    },
    /// A device has a new key; the previous key authenticates nothing any more.
    DeviceKeyRotated { device_id: DeviceId, username: Username },
    /// A device set the address by which it is woken.
    PushSet {
        device_id: DeviceId,
        username: Username,
        /// Who carries its wakes.
        service: PushService,
    },
    /// A device is woken no more.
    PushRemoved { device_id: DeviceId, username: Username, why: PushLoss },
    /// A pairing is void: its code was typed wrong as often as is allowed, or all of the user's
    /// were voided.
    PairingVoided {
        /// Whose device it would have made.
        username: Username,
        /// The initiator that voided them; none: the operator, if there is one, else wrong codes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client_id: Option<ClientId>,
    },
    /// The person said that it was not them who asked.
    NotMe {
        ceremony_id: CeremonyId,
        /// Whose initiator opened it.
        client_id: ClientId,
        /// Whose phone said so.
        device_id: DeviceId,
        username: Username,
    },
    /// The person said that it was not them who caused the prompts that were held back.
    NotMeHeld {
        /// The phone that said so.
        device_id: DeviceId,
        username: Username,
    },
    /// A ceremony does not ring.
    Silenced {
        ceremony_id: CeremonyId,
        /// Whose initiator opened it.
        client_id: ClientId,
        username: Username,
        why: SuppressionReason,
    },
    /// A one-time token was made by which a phone can become a user's device.
    PairingOpened {
        username: Username,
        /// The initiator that did it; none: the operator.
        client_id: Option<ClientId>,
    },
    /// A webhook endpoint was registered.
    WebhookMade { webhook_id: WebhookId, client_id: ClientId },
    /// A webhook endpoint was removed.
    WebhookRemoved { webhook_id: WebhookId, client_id: ClientId },
    /// So many wrong codes were typed on a device that no more of it are looked at today.
    CodesSpent { device_id: DeviceId, username: Username },
    /// So many wrong codes were typed on a device in a row that it takes none any more.
    DeviceLocked { device_id: DeviceId, username: Username },
    /// Pauses between a user's prompts were lifted: by an initiator those of its own, by the
    /// operator all of them and the locks of the user's devices.
    PromptsUnlocked {
        username: Username,
        /// The initiator that did it; none: the operator.
        client_id: Option<ClientId>,
    },
    /// An initiator was made.
    ClientMade { client_id: ClientId },
    /// An initiator was removed.
    ClientRemoved { client_id: ClientId },
    /// An initiator got another key, or registered one of its own.
    ClientKeyMade { client_id: ClientId },
    /// A key that an initiator had registered was taken away.
    ClientKeyRemoved { client_id: ClientId },
    /// An initiator may call from elsewhere, has other pages, or has no API key any more.
    ClientChanged { client_id: ClientId },
}
