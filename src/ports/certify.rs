//! The FIDO2 server's own REST interface, for programs that use it without the relay's ceremonies
//! (*client-direct*).

use futures::future::BoxFuture;

/// The four calls, under any of their aliases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CertifyStep {
    /// `attestation/options`: begin a registration.
    AttestationOptions,
    /// `attestation/result`: complete it.
    AttestationResult,
    /// `assertion/options`: begin an authentication.
    AssertionOptions,
    /// `assertion/result`: complete it.
    AssertionResult,
}

#[derive(Clone)]
pub struct CertifyCall {
    pub step: CertifyStep,
    /// The request's `Cookie` header, as [`latin1`].
    pub cookie: Option<String>,
    /// The JSON body, already within the size limit.
    pub body: Vec<u8>,
}

impl std::fmt::Debug for CertifyCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CertifyCall").field("step", &self.step).finish_non_exhaustive()
    }
}

#[derive(Clone)]
pub struct CertifyReply {
    pub status: u16,
    /// `Set-Cookie` headers, as [`latin1`].
    pub set_cookies: Vec<String>,
    /// The `Content-Encoding` of `body`, if it has one in spite of the request; `None`: it is
    /// plain.
    pub content_encoding: Option<String>,
    pub body: Vec<u8>,
}

impl std::fmt::Debug for CertifyReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CertifyReply").field("status", &self.status).finish_non_exhaustive()
    }
}

/// The bytes of a header's value as a text of one character a byte: a value may hold bytes beyond
/// ASCII (`obs-text`, RFC 9110 section 5.5), in no particular encoding.
#[must_use]
pub fn latin1(value: &[u8]) -> String {
    value.iter().copied().map(char::from).collect()
}

/// The bytes of a [`latin1`] text; `None` if it is none.
#[must_use]
pub fn latin1_bytes(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|character| u8::try_from(character).ok()).collect()
}

/// Answers the FIDO2 server's REST calls.
pub trait Certify: Send + Sync + std::fmt::Debug {
    /// Answers one call; failures are answers too.
    fn call(&self, call: CertifyCall) -> BoxFuture<'_, CertifyReply>;
}
