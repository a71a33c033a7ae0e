//! What a person is told about their own devices. It concerns no ceremony.

use serde::{Deserialize, Serialize};

use crate::http::Platform;
use crate::ids::{DeviceId, NoticeId};
use crate::text::PlainText;

/// What happened to one of the user's devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum NoticeEvent {
    /// Another phone was paired with this user.
    DevicePaired,
    /// Another phone of this user's has a new key.
    DeviceKeyRotated,
}

/// Shown to the user's other devices, and again when they reconnect: the same `notice_id` is the
/// same notice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Notice {
    /// Which notice.
    pub notice_id: NoticeId,
    /// What happened.
    pub event: NoticeEvent,
    /// To which device.
    pub device_id: DeviceId,
    /// What the person called it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<PlainText<64>>,
    /// Its operating system.
    pub platform: Platform,
    /// How long ago, in seconds, when the frame was made.
    pub ago_s: u64,
}
