//! The push services of a relay together: each wake goes to its own, and none knows of another.

use std::sync::Arc;

use fido_relay_proto::http::{PushService, PushTarget};
use futures::future::BoxFuture;

use super::apns::Apns;
use super::dispatch::{Dispatcher, PushServiceClient};
use super::far_end_queue::QueueLimits;
use super::fcm::Fcm;
use super::probe::PushProbe;
use super::settings::{PushSettings, PushSettingsError};
use super::webpush::WebPush;
use crate::ports::{Clock, Push, PushFailure, Unpushable, Wake, WebhookSender};

/// Of what Web Push may have at a time, the part of one origin: an endpoint is a device's word, and one
/// that is slow must leave room for the others.
const ORIGIN_PLACES: usize = 4;
const ORIGIN_CALLS: usize = 8;

/// The push services that are configured.
#[derive(Debug)]
pub struct PushServices {
    webpush: Option<Dispatcher>,
    fcm: Option<Dispatcher>,
    apns: Option<Dispatcher>,
}

impl PushServices {
    /// The services of these settings. `sender` is what Web Push endpoints are called by.
    ///
    /// # Errors
    /// [`PushSettingsError`].
    pub async fn new(
        settings: &PushSettings,
        sender: Arc<dyn WebhookSender>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, PushSettingsError> {
        let pace = settings.pace;
        let whole = QueueLimits { places: pace.places, calls: pace.calls };
        let part = QueueLimits {
            places: (pace.places / ORIGIN_PLACES).max(1),
            calls: (pace.calls / ORIGIN_CALLS).max(1),
        };
        let projects = settings.fcm.as_ref().map_or(1, |fcm| fcm.service_accounts.len().max(1));
        let of_projects = QueueLimits {
            places: (pace.places / projects).max(1),
            calls: (pace.calls / projects).max(1),
        };
        let dispatch = |service: PushService, by: Arc<dyn PushServiceClient>, share| {
            Dispatcher::new(service.as_str(), by, pace, share)
        };
        let mut services = Self { webpush: None, fcm: None, apns: None };
        if let Some(webpush) = &settings.webpush {
            let clock = Arc::clone(&clock);
            let webpush = Arc::new(WebPush::new(webpush, &settings.text, sender, clock)?);
            services.webpush = Some(dispatch(PushService::Webpush, webpush, part));
        }
        if let Some(fcm) = &settings.fcm {
            let fcm = Arc::new(Fcm::new(fcm, settings, Arc::clone(&clock)).await?);
            services.fcm = Some(dispatch(PushService::Fcm, fcm, of_projects));
        }
        if let Some(apns) = &settings.apns {
            let apns = Arc::new(Apns::new(apns, settings, clock)?);
            services.apns = Some(dispatch(PushService::Apns, apns, whole));
        }
        Ok(services)
    }

    fn of(&self, service: PushService) -> Option<&Dispatcher> {
        match service {
            PushService::Apns => self.apns.as_ref(),
            PushService::Fcm => self.fcm.as_ref(),
            PushService::Webpush => self.webpush.as_ref(),
        }
    }

    /// Wakes of a service that are under way.
    #[must_use]
    pub fn under_way(&self, service: PushService) -> usize {
        self.of(service).map_or(0, Dispatcher::under_way)
    }

    /// Far ends of a service that are remembered.
    #[must_use]
    pub fn far_ends(&self, service: PushService) -> usize {
        self.of(service).map_or(0, Dispatcher::far_ends)
    }

    /// Looks at each service that is configured, and wakes nothing.
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
