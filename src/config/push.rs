//! The push services that wake a device whose app holds no socket.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

/// The push services, and when they are used. Without one no device is woken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushConfig {
    /// Time for an app to acknowledge a prompt before its device is woken.
    pub after: Duration,
    /// The sentence of a notification.
    pub text: String,
    /// PEM file of certificate authorities, trusted in addition to the system's.
    pub ca_file: Option<PathBuf>,
    pub webpush: Option<WebPush>,
    pub fcm: Option<Fcm>,
    pub apns: Option<Apns>,
}

impl PushConfig {
    /// Whether any service is configured.
    #[must_use]
    pub fn is_configured(&self) -> bool {
        self.webpush.is_some() || self.fcm.is_some() || self.apns.is_some()
    }
}

/// Web Push (RFC 8030).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebPush {
    /// PEM file of the VAPID key.
    pub key_file: PathBuf,
    /// Contact for the push services: a `mailto:` or `https:` URL.
    pub contact: String,
    /// Whether endpoints may be on loopback and use http.
    pub allow_loopback_http: bool,
}

/// Firebase Cloud Messaging, by one service account for each project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fcm {
    /// Files of service accounts; never empty.
    pub service_accounts: Vec<PathBuf>,
    /// The Android channel of a notification.
    pub channel: String,
    /// The base URL of the service.
    pub url: Url,
}

/// The Apple Push Notification service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Apns {
    /// The `.p8` file of the signing key.
    pub key_file: PathBuf,
    /// Apple's id of the key.
    pub key_id: String,
    /// Apple's id of the team that owns the key.
    pub team_id: String,
    /// Bundle ids, the default first; never empty.
    pub topics: Vec<String>,
    /// The base URL of the service.
    pub url: Url,
}
