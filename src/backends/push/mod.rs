//! The push services behind [`ports::Push`](crate::ports::Push): Web Push, Firebase Cloud Messaging
//! and the Apple Push Notification service.
//!
//! ```text
//!   wake ─▶ dispatch: a slot, the far end's breaker, a call, retries until the wake's deadline
//!              │                                ▲
//!              ▼                                │ Ok | DeliveryError
//!           webpush (endpoints of others) · fcm (OAuth 2, HTTP) · apns (HTTP/2)
//! ```
//! A service gets the address, the wake's random name, the operator's sentence and the wake's
//! lifetime. It learns nothing of ceremonies, users or relying parties.

mod apns;
mod breaker;
mod call;
mod credential_file;
mod dispatch;
mod far_end_queue;
mod fcm;
mod fcm_account;
mod probe;
mod services;
mod settings;
mod vapid;
mod webpush;
mod webpush_encryption;

pub use self::dispatch::DispatchLimits;
pub use self::probe::{ProbeFault, PushProbe};
pub use self::services::PushServices;
pub use self::settings::{
    ApnsSettings, FcmSettings, PushSettings, PushSettingsError, WebPushSettings,
};
