//! Bodies about devices: pairing, the list, and what becomes of a device afterwards.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::ids::DeviceId;
use crate::object;
use crate::text::{PlainText, Username};

/// `POST /v1/pairings`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct OpenPairing {
    /// The user of the new device, whom the initiator has authenticated by other means.
    pub username: Username,
}

/// The answer to [`OpenPairing`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OpenedPairing {
    /// One-time secret for the app.
    pub pairing_token: String,
    /// A shorter secret to type where the QR code cannot be scanned: 10 characters of Crockford's
    /// base32 in two groups (such as `7K3D9-QXM2V`). Using one of the two uses up both.
    pub typed_code: String,
    /// The token as a link for the app: `fido-relay://pair?relay=…&token=…`.
    pub uri: String,
    /// The link as a QR code (SVG).
    pub qr_svg: String,
    /// Seconds left.
    pub expires_in: u64,
}

impl fmt::Debug for OpenedPairing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenedPairing")
            .field("expires_in", &self.expires_in)
            .finish_non_exhaustive()
    }
}

/// A P-256 public key (RFC 7517, RFC 7518 section 6.2). Other members are ignored, but a private key
/// (`d`) is refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(!from, transform = crate::schema::public_half))]
#[serde(from = "JwkMembers")]
pub struct P256Jwk {
    /// `EC`.
    #[cfg_attr(feature = "schema", schemars(extend("const" = "EC")))]
    pub kty: String,
    /// `P-256`.
    #[cfg_attr(feature = "schema", schemars(extend("const" = "P-256")))]
    pub crv: String,
    /// The x coordinate, base64url.
    #[cfg_attr(feature = "schema", schemars(extend("pattern" = "^[A-Za-z0-9_-]{43}$")))]
    pub x: String,
    /// The y coordinate, base64url.
    #[cfg_attr(feature = "schema", schemars(extend("pattern" = "^[A-Za-z0-9_-]{43}$")))]
    pub y: String,
}

/// A [`P256Jwk`] as it is read.
#[derive(Deserialize)]
struct JwkMembers {
    kty: String,
    crv: String,
    x: String,
    y: String,
    #[serde(default, rename = "d", deserialize_with = "refuse_private")]
    _private: (),
}

impl From<JwkMembers> for P256Jwk {
    fn from(members: JwkMembers) -> Self {
        let JwkMembers { kty, crv, x, y, _private } = members;
        Self { kty, crv, x, y }
    }
}

/// Ignoring the member would leave a device with a key that has been seen elsewhere.
fn refuse_private<'de, D: Deserializer<'de>>(_: D) -> Result<(), D::Error> {
    Err(D::Error::custom("a private key: give the public half, of a new pair"))
}

/// The phone's operating system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Platform {
    /// Android.
    Android,
    /// iOS.
    Ios,
    /// Anything else, such as the simulated phone.
    Other,
}

/// How to wake the app while it has no socket.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PushTarget {
    /// The push service.
    pub service: PushService,
    /// The service's name of this installation: the registration token of FCM, the device token
    /// of APNs in hexadecimal, the endpoint of a Web Push subscription (RFC 8030).
    pub token: PlainText<2048>,
    /// The app that the token belongs to: the bundle id with `apns`, the project id with `fcm`; by
    /// default the first that the operator configured. Not with `webpush`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<PlainText<128>>,
    /// The keys of a Web Push subscription: required with `webpush`, forbidden otherwise.
    #[serde(
        default,
        deserialize_with = "object::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub keys: Option<WebPushKeys>,
}

/// A push service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum PushService {
    /// The Apple Push Notification service.
    Apns,
    /// Firebase Cloud Messaging, for Android and others.
    Fcm,
    /// Web Push (RFC 8030): browsers, and UnifiedPush on Android.
    Webpush,
}

impl PushService {
    /// The name that JSON, metrics and logs use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Apns => "apns",
            Self::Fcm => "fcm",
            Self::Webpush => "webpush",
        }
    }
}

/// The keys of a Web Push subscription (RFC 8291 section 2), as a browser's
/// `PushSubscription.toJSON()` gives them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct WebPushKeys {
    /// The receiver's public key: an uncompressed P-256 point, base64url.
    pub p256dh: PlainText<128>,
    /// The authentication secret: 16 bytes, base64url.
    pub auth: PlainText<32>,
}

impl fmt::Debug for WebPushKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebPushKeys").finish_non_exhaustive()
    }
}

/// `PUT /v1/device/push`: replaces the address by which the device is woken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SetPush {
    /// The new address; `null` removes it.
    #[serde(deserialize_with = "object::optional")]
    pub push: Option<PushTarget>,
}

impl fmt::Debug for PushTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushTarget").field("service", &self.service).finish_non_exhaustive()
    }
}

/// `POST /v1/devices`. One of `pairing_token` and `typed_code`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PairDevice {
    /// From the QR code or the link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pairing_token: Option<String>,
    /// The typed code, in any of its spellings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub typed_code: Option<String>,
    /// The device key's public half.
    #[serde(deserialize_with = "object::one")]
    pub jwk: P256Jwk,
    /// JWS ES256 by the device key, `typ` `fido-relay-pairing+jwt`, with the claims of
    /// `docs/protocol.md`.
    pub proof: String,
    /// The person's name of the phone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<PlainText<64>>,
    /// Its operating system.
    pub platform: Platform,
    /// How to wake it.
    #[serde(
        default,
        deserialize_with = "object::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub push: Option<PushTarget>,
}

impl fmt::Debug for PairDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PairDevice")
            .field("jwk", &self.jwk)
            .field("name", &self.name)
            .field("platform", &self.platform)
            .field("push", &self.push)
            .finish_non_exhaustive()
    }
}

/// The answer to [`PairDevice`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PairedDevice {
    /// Id of the new device.
    pub device_id: DeviceId,
    /// The URL of the device socket.
    pub socket_url: String,
}

/// One device of a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DeviceView {
    /// Id of the device.
    pub device_id: DeviceId,
    /// The person's name of the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<PlainText<64>>,
    /// Its operating system.
    pub platform: Platform,
    /// When it was paired (RFC 3339).
    #[cfg_attr(feature = "schema", schemars(extend("format" = "date-time")))]
    pub paired_at: String,
    /// Whether it holds a socket now; only with the scope `presence:read`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub online: Option<bool>,
}

/// `GET /v1/users/{username}/devices`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DeviceList {
    /// The user's devices, oldest first.
    pub devices: Vec<DeviceView>,
}

/// `PATCH /v1/devices/{id}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RenameDevice {
    /// The new name of the phone.
    pub name: PlainText<64>,
}

/// `POST /v1/device/key`: the device has a new key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RotateDeviceKey {
    /// The new key's public half.
    #[serde(deserialize_with = "object::one")]
    pub new_jwk: P256Jwk,
    /// JWS ES256 by the old key, `typ` `fido-relay-key-rotation+jwt`: hands over to the new key.
    pub old_proof: String,
    /// JWS ES256 by the new key, `typ` `fido-relay-key-possession+jwt`, with the same claims:
    /// proves possession.
    pub new_proof: String,
}

impl fmt::Debug for RotateDeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RotateDeviceKey").field("new_jwk", &self.new_jwk).finish_non_exhaustive()
    }
}

/// The answer to [`RotateDeviceKey`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RotatedDeviceKey {
    /// Id of the device.
    pub device_id: DeviceId,
    /// RFC 7638 thumbprint of the key that is now valid.
    pub jkt: String,
}
