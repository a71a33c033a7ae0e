//! Checks of the push services: their files, and whether they accept the credentials. No device is
//! woken: FCM only validates, and APNs gets an unknown device.

use std::sync::Arc;

use super::finding::Finding;
use super::tls::secret_is_open;
use crate::backends::embedded::SystemClock;
use crate::backends::push::{ProbeFault, PushProbe, PushSettingsError};
use crate::config::Config;
use crate::serve::push;

pub(super) async fn check(config: &Config) -> Vec<Finding> {
    let services = match push::services(config, Arc::new(SystemClock)).await {
        Ok(None) => return Vec::new(),
        Ok(Some(services)) => services,
        Err(error) => {
            let remedy = file_remedy(&error);
            return vec![Finding::wrong("push", error, remedy)];
        }
    };
    let push = &config.push;
    let accounts = push.fcm.iter().flat_map(|fcm| &fcm.service_accounts);
    let keys = push.webpush.iter().map(|webpush| &webpush.key_file);
    let files = keys.chain(accounts).chain(push.apns.iter().map(|apns| &apns.key_file));
    let open = files.filter_map(|file| secret_is_open("push", file)).collect::<Vec<_>>();
    open.into_iter().chain(services.probe().await.into_iter().map(finding)).collect()
}

fn finding(probe: PushProbe) -> Finding {
    match probe.fault {
        None => Finding::good("push", probe.says),
        Some(fault) => Finding::wrong("push", probe.says, remedy(fault)),
    }
}

fn file_remedy(error: &PushSettingsError) -> &'static str {
    match error {
        PushSettingsError::File(key, _) if key.starts_with("push.fcm") => {
            "download the service account's key as JSON again, and let the relay's user read it"
        }
        PushSettingsError::File(key, _) if key.starts_with("push.apns") => {
            "name the .p8 file as Apple gave it, and let the relay's user read it"
        }
        PushSettingsError::File(key, _) if key.starts_with("push.webpush") => {
            "name a P-256 private key in PEM, and let the relay's user read it"
        }
        PushSettingsError::File(..) => "correct the path, and write the file as PEM",
        PushSettingsError::Client(_) => crate::trust::REMEDY,
    }
}

fn remedy(fault: ProbeFault) -> &'static str {
    match fault {
        ProbeFault::Reach => {
            "let this machine reach the service by https, or look at the service's status page; \
             set push.ca_file if a gateway of yours ends its TLS"
        }
        ProbeFault::FcmAccount => {
            "look at this machine's clock, and make a new key for the service account: this one \
             was removed or disabled"
        }
        ProbeFault::FcmPermission => {
            "enable the Firebase Cloud Messaging API in the project, and give the service account \
             the role Firebase Cloud Messaging API Admin"
        }
        ProbeFault::ApnsKey => {
            "correct push.apns.key_id and push.apns.team_id for this .p8 file, use a key that was \
             made for this environment (push.apns.url), and look at this machine's clock"
        }
        ProbeFault::ApnsTopic => {
            "correct push.apns.topics to bundle ids of this team that have push notifications"
        }
        ProbeFault::Unexpected => "look at push.fcm.url and push.apns.url",
    }
}
