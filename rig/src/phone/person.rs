//! The person behind the phone: reads what it shows, and decides.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use fido_relay_proto::CeremonyId;
use fido_relay_proto::device::Offer;
use futures::future::BoxFuture;
use tokio::sync::oneshot;

/// What the phone shows.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Who asks for what; `code_length` tells whether a code is still to be typed. With `preview` and
    /// none to type, the person confirms what their code has found.
    pub offer: Offer,
    /// Wrong codes that were typed into this prompt.
    pub wrong_codes: u8,
    /// Whether the person was asked before, and what they did came to nothing.
    pub again: bool,
}

/// What the person does about it.
#[derive(Clone, PartialEq, Eq)]
pub enum Decision {
    /// Types the code that the page shows, and will hold the card to the phone.
    Code(String),
    /// Holds the card to the phone, or confirms what a typed code has found; where a code is needed,
    /// this alone does nothing.
    HoldCard,
    /// Does not want this.
    Decline,
    /// Did not ask for this.
    NotMe,
    /// Puts the phone away.
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

/// A person.
pub trait Person: Send + Sync {
    /// Decides on a prompt. The future is dropped when the prompt is taken down, and goes on
    /// while the phone is without a socket.
    fn decide(&self, ask: Ask) -> BoxFuture<'static, Decision>;
}

/// Never decides: a script does, through [`super::PhoneHandle::decide`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Waits;

impl Person for Waits {
    fn decide(&self, _ask: Ask) -> BoxFuture<'static, Decision> {
        Box::pin(std::future::pending())
    }
}

/// Types the codes that it was given, before or after the offer comes, holds the card to whatever
/// needs no code, and confirms whatever a code has found. Clones share these codes.
#[derive(Clone, Default)]
pub struct Codes {
    pages: Arc<Mutex<HashMap<CeremonyId, Page>>>,
}

/// A page that shows a code: seen before the offer, or waited for since.
enum Page {
    Shows(String),
    Awaited(Vec<oneshot::Sender<String>>),
}

impl fmt::Debug for Codes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Codes(hidden)")
    }
}

impl Codes {
    /// The page of this ceremony shows this code. It is typed once, on every phone that asks for
    /// it by now; after a refusal the person waits to be told another.
    pub fn tell(&self, ceremony_id: CeremonyId, code: impl Into<String>) {
        let code = code.into();
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        let mut typed = false;
        if let Some(Page::Awaited(phones)) = pages.remove(&ceremony_id) {
            for phone in phones {
                typed |= phone.send(code.clone()).is_ok();
            }
        }
        if !typed {
            pages.insert(ceremony_id, Page::Shows(code));
        }
    }

    /// The code if it is known, or where it will arrive.
    fn look(&self, ceremony_id: CeremonyId) -> Result<String, oneshot::Receiver<String>> {
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        let mut phones = match pages.remove(&ceremony_id) {
            Some(Page::Shows(code)) => return Ok(code),
            Some(Page::Awaited(phones)) => phones,
            None => Vec::new(),
        };
        let (asked, code) = oneshot::channel();
        phones.retain(|phone| !phone.is_closed());
        phones.push(asked);
        pages.insert(ceremony_id, Page::Awaited(phones));
        Err(code)
    }
}

impl Person for Codes {
    fn decide(&self, ask: Ask) -> BoxFuture<'static, Decision> {
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
