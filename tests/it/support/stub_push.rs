//! A stub of push services: the test sets what each wake is answered with, and every wake that
//! was handed over is kept.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fido_relay::ports::{BoxFuture, Push, PushFailure, Unpushable, Wake};
use fido_relay_proto::PlainText;
use fido_relay_proto::http::{PushService, PushTarget};

/// Answers every wake alike, until a test changes the answer.
#[derive(Debug, Default)]
pub(crate) struct StubPush {
    wakes: Mutex<Vec<Wake>>,
    says: Mutex<Option<PushFailure>>,
    /// How long a service takes for its answer.
    takes: Mutex<Duration>,
}

impl StubPush {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Refuses from now on, or takes again.
    pub(crate) fn says(&self, failure: Option<PushFailure>) {
        *self.says.lock().unwrap() = failure;
    }

    pub(crate) fn takes(&self, time: Duration) {
        *self.takes.lock().unwrap() = time;
    }

    /// The tokens that were woken since, in their order.
    pub(crate) fn woken(&self) -> Vec<String> {
        let wakes = std::mem::take(&mut *self.wakes.lock().unwrap());
        wakes.into_iter().map(|wake| wake.target.token.as_str().to_owned()).collect()
    }

    /// The wakes that came since.
    pub(crate) fn wakes(&self) -> Vec<Wake> {
        std::mem::take(&mut *self.wakes.lock().unwrap())
    }
}

impl Push for StubPush {
    fn permits(&self, _: &PushTarget) -> Result<(), Unpushable> {
        Ok(())
    }

    fn wake(&self, wake: Wake) -> BoxFuture<'_, Result<(), PushFailure>> {
        let takes = *self.takes.lock().unwrap();
        Box::pin(async move {
            if !takes.is_zero() {
                tokio::time::sleep(takes).await;
            }
            self.wakes.lock().unwrap().push(wake);
            match *self.says.lock().unwrap() {
                Some(failure) => Err(failure),
                None => Ok(()),
            }
        })
    }
}

/// An address at one of the services.
pub(crate) fn target(token: &str) -> PushTarget {
    PushTarget {
        service: PushService::Fcm,
        token: PlainText::new(token).unwrap(),
        app: None,
        keys: None,
    }
}
