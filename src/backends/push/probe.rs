//! What a look at a push service found, for the operator.

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushProbe {
    /// What was found, as a sentence without its end.
    pub says: String,
    /// What is wrong, if something is.
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

/// What is wrong with a push service, as far as an operator can mend it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeFault {
    /// It was not reached, or is failing.
    Reach,
    /// Google gives no access token for the service account.
    FcmAccount,
    /// FCM does not let the service account send.
    FcmPermission,
    /// APNs does not take the provider token.
    ApnsKey,
    /// APNs does not take the topic with this key.
    ApnsTopic,
    /// The service said something that no credential explains.
    Unexpected,
}
