//! Notices to a person about their own devices and cards, outside of any ceremony.

use serde::{Deserialize, Serialize};

use crate::http::Platform;
use crate::ids::{CardId, DeviceId, NoticeId};
use crate::text::PlainText;

/// An event of a user's device or card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(extend("x-extensible-enum" = true)))]
#[serde(rename_all = "snake_case")]
pub enum NoticeEvent {
    /// Another phone was paired with this user.
    DevicePaired,
    /// Another phone of this user's has a new key.
    DeviceKeyRotated,
    /// A card was registered for this user.
    CardRegistered,
    /// A card of this user's was removed.
    CardRemoved,
    /// Another phone of this user's was revoked.
    DeviceRevoked,
    /// `count` prompts were held back in the last `since_s` seconds.
    PromptsHeld,
    /// Prompt limits, or the lock of a device, were lifted.
    PromptsUnlocked,
    /// The push service rejected the address of this device, and the relay removed it: set a new
    /// one. Only sent to that device, until it has set one.
    PushRemoved,
}

/// Shown to the user's devices, but not to the one that it is about, and again when they
/// reconnect: the same `notice_id` is the same notice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Notice {
    /// Id of the notice.
    pub notice_id: NoticeId,
    /// The event.
    pub event: NoticeEvent,
    /// The device concerned; absent: the notice is about a card.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_id: Option<DeviceId>,
    /// The card concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card_id: Option<CardId>,
    /// The person's name of the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<PlainText<64>>,
    /// The device's operating system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// How long ago, in seconds, when the frame was made.
    pub ago_s: u64,
    /// With `prompts_held`: the number of prompts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// With `prompts_held`: how long ago the first of them was, in seconds, when the frame was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_s: Option<u64>,
}
