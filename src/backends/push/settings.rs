//! The settings of the push services.

use std::path::PathBuf;

use url::Url;

use super::dispatch::DispatchLimits;

/// The push services of a relay; `None` is not configured.
#[derive(Clone, Debug, Default)]
pub struct PushSettings {
    /// The sentence that a notification shows.
    pub text: String,
    /// PEM file of certificates that are trusted in addition to the system's, for `fcm` and `apns`.
    pub ca_file: Option<PathBuf>,
    pub webpush: Option<WebPushSettings>,
    pub fcm: Option<FcmSettings>,
    pub apns: Option<ApnsSettings>,
    pub limits: DispatchLimits,
}

/// Web Push (RFC 8030), identified by a VAPID key (RFC 8292).
#[derive(Clone, Debug)]
pub struct WebPushSettings {
    /// PEM file of the P-256 private key.
    pub key_file: PathBuf,
    /// The operator's contact for push services: a `mailto:` or `https:` URL.
    pub contact: String,
}

/// Firebase Cloud Messaging, HTTP v1.
#[derive(Clone, Debug)]
pub struct FcmSettings {
    /// Files of service accounts, one for each project; never empty.
    pub service_accounts: Vec<PathBuf>,
    /// The Android channel of the notification.
    pub channel: String,
    /// The base URL of the service.
    pub url: Url,
}

/// The Apple Push Notification service, with a provider token.
#[derive(Clone, Debug)]
pub struct ApnsSettings {
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

/// Why the settings cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushSettingsError {
    /// A file cannot be used: its configuration key, and what is wrong.
    #[error("{0}: {1}")]
    File(&'static str, String),
    /// No HTTP client could be made; the text says what TLS lacks.
    #[error("no HTTP client for push services: {0}")]
    Client(String),
}
