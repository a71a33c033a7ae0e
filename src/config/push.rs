//! By what devices are woken whose app holds no socket. Knows nothing of the services' protocols.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

/// The push services, and when they are asked. Without a service nothing is woken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// How long an app has to acknowledge a prompt before its device is woken.
    pub after: Duration,
    /// The sentence of a notification.
    pub text: String,
    /// PEM file of certificates that are trusted beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Web Push; none: not configured.
    pub webpush: Option<WebPush>,
    /// Firebase Cloud Messaging; none: not configured.
    pub fcm: Option<Fcm>,
    /// The Apple Push Notification service.
    pub apns: Option<Apns>,
}

impl Push {
    /// Whether there is anything to wake a device by.
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
    /// Whom a push service may write to.
    pub contact: String,
    /// Whether endpoints may be on this machine, by http too.
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
    /// The `.p8` file of Apple's key.
    pub key_file: PathBuf,
    /// Apple's id of that key.
    pub key_id: String,
    /// Apple's id of the team that has it.
    pub team_id: String,
    /// Bundle ids, the default first; never empty.
    pub topics: Vec<String>,
    /// The base URL of the service.
    pub url: Url,
}
