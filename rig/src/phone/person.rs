//! The person at the phone, who decides on prompts.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use fido_relay_proto::CeremonyId;
use fido_relay_proto::device::Offer;
use futures::future::BoxFuture;
use tokio::sync::oneshot;

/// What the phone asks the person.
#[derive(Clone, Debug)]
pub struct PromptRequest {
    /// With a `code_length` of 0 no code is to be typed; with a `preview` as well, the person confirms
    /// the ceremony that their code has found.
    pub offer: Offer,
    /// Wrong codes typed into this prompt so far.
    pub wrong_codes: u8,
    /// Whether the person was asked before, without effect.
    pub again: bool,
}

/// What the person does about a prompt.
#[derive(Clone, PartialEq, Eq)]
pub enum Decision {
    /// Types the page's code, and will hold the card to the phone.
    Code(String),
    /// Holds the card to the phone, or confirms the ceremony that a code has found; without effect
    /// where a code is needed.
    HoldCard,
    Decline,
    NotMe,
    Ignore,
}

impl fmt::Debug for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Code(_) => "Code(hidden)",
            Self::HoldCard => "HoldCard",
            Self::Decline => "Decline",
            Self::NotMe => "NotMe",
            Self::Ignore => "Ignore",
        })
    }
}

pub trait Person: Send + Sync {
    /// Decides on a prompt. The future is dropped when the prompt is dismissed, and outlives the
    /// phone's connections.
    fn decide(&self, ask: PromptRequest) -> BoxFuture<'static, Decision>;
}

/// Never decides; a test does, by [`super::PhoneHandle::decide`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Waits;

impl Person for Waits {
    fn decide(&self, _ask: PromptRequest) -> BoxFuture<'static, Decision> {
        Box::pin(std::future::pending())
    }
}

/// Types the codes that a test or a bench provides, before or after the offer, and agrees to all
/// that needs none. Clones share the codes.
#[derive(Clone, Default)]
pub struct Codes {
    pages: Arc<Mutex<HashMap<CeremonyId, CodeState>>>,
}

/// A page's code: known before the offer, or awaited by phones.
enum CodeState {
    Known(String),
    Awaited(Vec<oneshot::Sender<String>>),
}

impl fmt::Debug for Codes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Codes(hidden)")
    }
}

impl Codes {
    /// Provides the code that the ceremony's page shows. It is typed once, on every phone that asks
    /// by now; after a refusal the person waits for another call.
    pub fn provide(&self, ceremony_id: CeremonyId, code: impl Into<String>) {
        let code = code.into();
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        let mut typed = false;
        if let Some(CodeState::Awaited(phones)) = pages.remove(&ceremony_id) {
            for phone in phones {
                typed |= phone.send(code.clone()).is_ok();
            }
        }
        if !typed {
            pages.insert(ceremony_id, CodeState::Known(code));
        }
    }

    /// The code, or the channel that will bring it.
    fn look(&self, ceremony_id: CeremonyId) -> Result<String, oneshot::Receiver<String>> {
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        let mut phones = match pages.remove(&ceremony_id) {
            Some(CodeState::Known(code)) => return Ok(code),
            Some(CodeState::Awaited(phones)) => phones,
            None => Vec::new(),
        };
        let (asked, code) = oneshot::channel();
        phones.retain(|phone| !phone.is_closed());
        phones.push(asked);
        pages.insert(ceremony_id, CodeState::Awaited(phones));
        Err(code)
    }
}

impl Person for Codes {
    fn decide(&self, ask: PromptRequest) -> BoxFuture<'static, Decision> {
        if ask.offer.code_length == 0 {
            return Box::pin(std::future::ready(Decision::HoldCard));
        }
        match self.look(ask.offer.ceremony_id) {
            Ok(code) => Box::pin(std::future::ready(Decision::Code(code))),
            Err(code) => {
                Box::pin(async move { code.await.map_or(Decision::Ignore, Decision::Code) })
            }
        }
    }
}
