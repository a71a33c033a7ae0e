//! Identifiers, parsed at the door into types that are safe in a log line, a file name and a
//! message subject.
//!
//! Random ids are 128 bits, written as a prefix and 22 base64url characters. They are held as 16
//! bytes, because a node keeps some of them for every idle phone. A card's id is a hash, written
//! without a prefix.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

/// Why a text is not an id. It never repeats the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {0}")]
pub struct InvalidId(pub &'static str);

macro_rules! random_id {
    ($(#[doc = $doc:literal])* $name:ident, $prefix:literal, $what:literal) => {
        byte_id!($(#[doc = $doc])* $name, $prefix, $what, 16);
    };
}

macro_rules! byte_id {
    ($(#[doc = $doc:literal])* $name:ident, $prefix:literal, $what:literal, $bytes:literal) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(into = "String", try_from = "String")]
        pub struct $name([u8; $bytes]);

        impl $name {
            /// The id made of these bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; $bytes]) -> Self {
                Self(bytes)
            }

            /// The bytes of the id.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($prefix)?;
                f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let body = text.strip_prefix($prefix).ok_or(InvalidId($what))?;
                let mut bytes = [0; $bytes];
                match URL_SAFE_NO_PAD.decode_slice(body, &mut bytes) {
                    Ok($bytes) => Ok(Self(bytes)),
                    Ok(_) | Err(_) => Err(InvalidId($what)),
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }

        #[cfg(feature = "schema")]
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                crate::schema::byte_id($prefix, $bytes, concat!($($doc),*).trim())
            }
        }
    };
}

random_id!(
    /// One ceremony, from open to outcome: `cer_…`.
    CeremonyId, "cer_", "ceremony id"
);
random_id!(
    /// One installation of the mobile app, paired with one user: `dev_…`.
    DeviceId, "dev_", "device id"
);
random_id!(
    /// One initiator: `cli_…`.
    ClientId, "cli_", "client id"
);
random_id!(
    /// One socket of a device; a device that reconnects gets another: `con_…`.
    ConnectionId, "con_", "connection id"
);
random_id!(
    /// One challenge put to a device within a ceremony: `att_…`.
    AttemptId, "att_", "attempt id"
);
random_id!(
    /// One notice to a user's devices: `ntc_…`.
    NoticeId, "ntc_", "notice id"
);

random_id!(
    /// One run of one relay process; a process that starts again gets another: `nod_…`.
    NodeId, "nod_", "node id"
);

random_id!(
    /// One webhook endpoint of an initiator: `whk_…`.
    WebhookId, "whk_", "webhook id"
);
random_id!(
    /// One event of webhooks; a repeated delivery has the same: `msg_…`.
    EventId, "msg_", "event id"
);

byte_id!(
    /// One card of a user: the SHA-256 of its credential id, as `cred_hash` in a result token.
    CardId, "", "card id", 32
);

/// One relying party: 1 to 32 characters of `a-z`, `0-9` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct TenantId(Arc<str>);

impl TenantId {
    /// The tenant's name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for TenantId {
    /// The tenant that exists without configuration: `default`.
    fn default() -> Self {
        Self("default".into())
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TenantId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if (1..=32).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidId("tenant id"))
        }
    }
}

impl TryFrom<String> for TenantId {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<TenantId> for String {
    fn from(id: TenantId) -> Self {
        id.as_str().to_owned()
    }
}
