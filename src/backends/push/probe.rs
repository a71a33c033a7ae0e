//! Results of checking a push service, for `doctor`.

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushProbe {
    /// The finding, as a sentence without full stop.
    pub says: String,
    pub fault: Option<ProbeFault>,
}

impl PushProbe {
    pub(super) fn good(says: impl Into<String>) -> Self {
        Self { says: says.into(), fault: None }
    }

    pub(super) fn wrong(fault: ProbeFault, says: impl Into<String>) -> Self {
        Self { says: says.into(), fault: Some(fault) }
    }
}

/// A fault of a push service by its remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeFault {
    /// It was not reached, or fails.
    Reach,
    /// Google issues no access token for the service account.
    FcmAccount,
    /// The service account may not send.
    FcmPermission,
    /// APNs refuses the provider token.
    ApnsKey,
    /// APNs refuses the topic with this key.
    ApnsTopic,
    /// An answer that no credential explains.
    Unexpected,
}
