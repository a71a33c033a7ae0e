//! All push services of a relay: each wake goes to the service of its target.

use std::sync::Arc;

use fido_relay_proto::http::{PushService, PushTarget};
use futures::future::BoxFuture;

use super::apns::ApnsClient;
use super::dispatch::{PushDispatcher, PushServiceClient};
use super::far_end_queue::QueueLimits;
use super::fcm::FcmClient;
use super::probe::PushProbe;
use super::settings::{PushSettings, PushSettingsError};
use super::webpush::WebPushClient;
use crate::ports::{Clock, Push, PushFailure, Unpushable, Wake, WebhookSender};

/// The queue_limits of Web Push's limits that one origin gets, as a divisor: devices name the endpoints, and
/// a slow one must leave room for the others.
const ORIGIN_SLOTS: usize = 4;
const ORIGIN_CALLS: usize = 8;

/// The push services that are configured.
#[derive(Debug)]
pub struct PushServices {
    webpush: Option<PushDispatcher>,
    fcm: Option<PushDispatcher>,
    apns: Option<PushDispatcher>,
}

impl PushServices {
    /// The services of these settings. `sender` calls Web Push endpoints.
    ///
    /// # Errors
    /// [`PushSettingsError`].
    pub async fn new(
        settings: &PushSettings,
        sender: Arc<dyn WebhookSender>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, PushSettingsError> {
        let limits = settings.limits;
        let whole = QueueLimits { slots: limits.slots, calls: limits.calls };
        let part = QueueLimits {
            slots: (limits.slots / ORIGIN_SLOTS).max(1),
            calls: (limits.calls / ORIGIN_CALLS).max(1),
        };
        let projects = settings.fcm.as_ref().map_or(1, |fcm| fcm.service_accounts.len().max(1));
        let of_projects = QueueLimits {
            slots: (limits.slots / projects).max(1),
            calls: (limits.calls / projects).max(1),
        };
        let dispatch = |service: PushService, by: Arc<dyn PushServiceClient>, queue_limits| {
            PushDispatcher::new(service.as_str(), by, limits, queue_limits)
        };
        let mut services = Self { webpush: None, fcm: None, apns: None };
        if let Some(webpush) = &settings.webpush {
            let clock = Arc::clone(&clock);
            let webpush = Arc::new(WebPushClient::new(webpush, &settings.text, sender, clock)?);
            services.webpush = Some(dispatch(PushService::Webpush, webpush, part));
        }
        if let Some(fcm) = &settings.fcm {
            let fcm = Arc::new(FcmClient::new(fcm, settings, Arc::clone(&clock)).await?);
            services.fcm = Some(dispatch(PushService::Fcm, fcm, of_projects));
        }
        if let Some(apns) = &settings.apns {
            let apns = Arc::new(ApnsClient::new(apns, settings, clock)?);
            services.apns = Some(dispatch(PushService::Apns, apns, whole));
        }
        Ok(services)
    }

    fn of(&self, service: PushService) -> Option<&PushDispatcher> {
        match service {
            PushService::Apns => self.apns.as_ref(),
            PushService::Fcm => self.fcm.as_ref(),
            PushService::Webpush => self.webpush.as_ref(),
        }
    }

    /// Wakes of a service in progress.
    #[cfg(feature = "test-support")]
    #[must_use]
    pub fn under_way(&self, service: PushService) -> usize {
        self.of(service).map_or(0, PushDispatcher::under_way)
    }

    /// Far ends of a service with a queue.
    #[cfg(feature = "test-support")]
    #[must_use]
    pub fn far_ends(&self, service: PushService) -> usize {
        self.of(service).map_or(0, PushDispatcher::far_ends)
    }

    /// Checks each configured service without waking a device.
    pub async fn probe(&self) -> Vec<PushProbe> {
        let mut probes = Vec::new();
        for dispatch in [&self.webpush, &self.fcm, &self.apns].into_iter().flatten() {
            probes.extend(dispatch.service().probe().await);
        }
        probes
    }
}

impl Push for PushServices {
    fn permits(&self, target: &PushTarget) -> Result<(), Unpushable> {
        let dispatch = self.of(target.service);
        dispatch
            .ok_or(Unpushable("this relay serves no such push service"))?
            .service()
            .permits(target)
    }

    fn wake(&self, wake: Wake) -> BoxFuture<'_, Result<(), PushFailure>> {
        Box::pin(async move {
            let dispatch = self.of(wake.target.service).ok_or(PushFailure::Unserved)?;
            dispatch.wake(&wake).await
        })
    }
}
