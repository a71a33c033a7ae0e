//! Every way in which a card's answer can fail, named by the step of WebAuthn Level 3 that it
//! fails: section 7.1 (registration) and 7.2 (authentication), steps counted from 1 as in the
//! specification. The messages are for logs and tests; clients learn only that verification failed.

/// A step of verification that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum VerifyError {
    /// 7.1 and 7.2 step 3: not a public-key credential with the members of this ceremony.
    #[error("step 3: not a credential of this ceremony's form")]
    Response,
    /// 7.1 step 27: the credential's id is not the one that the card attested or signed for.
    #[error("the credential ids of the answer differ from one another")]
    CredentialId,

    /// 7.1 step 5, 7.2 step 8: the client data are not UTF-8.
    #[error("client data are not UTF-8")]
    ClientDataText,
    /// 7.1 step 6, 7.2 step 9: the client data are not the JSON of section 5.8.1.
    #[error("client data are not JSON")]
    ClientDataJson,
    /// 7.1 step 7, 7.2 step 10: another ceremony's type.
    #[error("client data: type")]
    Type,
    /// 7.1 step 8, 7.2 step 11: another challenge.
    #[error("client data: challenge")]
    Challenge,
    /// 7.1 step 9, 7.2 step 12: an origin that is not listed.
    #[error("client data: origin")]
    Origin,
    /// 7.1 step 10, 7.2 step 13: used in a frame where none is expected.
    #[error("client data: crossOrigin")]
    CrossOrigin,
    /// 7.1 step 11, 7.2 step 14: a surrounding page that is not listed.
    #[error("client data: topOrigin")]
    TopOrigin,

    /// 7.1 step 13: the attestation object is not the CBOR map of section 6.5.4.
    #[error("step 13: attestation object")]
    AttestationObject,
    /// Section 6.1: the authenticator data are too short, too long, or not what their flags say.
    #[error("section 6.1: authenticator data")]
    AuthenticatorData,
    /// Section 6.5.1: the public key is not a valid COSE key of its algorithm.
    #[error("section 6.5.1: credential public key")]
    PublicKey,
    /// 7.1 step 14, 7.2 step 15: signed for another relying party.
    #[error("authenticator data: rpIdHash")]
    RpIdHash,
    /// 7.1 step 15, 7.2 step 16: the user was not present.
    #[error("authenticator data: UP")]
    UserPresence,
    /// 7.1 step 16, 7.2 step 17: the user was not verified where that was required.
    #[error("authenticator data: UV")]
    UserVerification,
    /// 7.1 step 17, 7.2 step 18: backed up, but not to be backed up.
    #[error("authenticator data: BS without BE")]
    BackupState,

    /// 7.1 step 20: an algorithm that was not offered.
    #[error("7.1 step 20: algorithm")]
    Algorithm,
    /// 7.1 step 21: an attestation statement format that this server does not know.
    #[error("7.1 step 21: attestation statement format")]
    Format,
    /// 7.1 step 22, sections 8.2 and 8.7: the statement has not the format's members.
    #[error("7.1 step 22: attestation statement")]
    Statement,
    /// 7.1 step 22, section 8.2: the statement's algorithm is not that of the key it is made with.
    #[error("7.1 step 22: attestation algorithm")]
    StatementAlgorithm,
    /// 7.1 step 22: the statement is signed by an algorithm that this verifier does not know.
    #[error("7.1 step 22: attestation algorithm not known")]
    UnknownStatementAlgorithm,
    /// 7.1 step 22: the attestation signature does not verify.
    #[error("7.1 step 22: attestation signature")]
    StatementSignature,
    /// 7.1 step 22, sections 8.3, 8.4 and 8.8: the statement is about another key or other data.
    #[error("7.1 step 22: attestation statement of another credential")]
    StatementSubject,
    /// 7.1 step 22, sections 8.2.1, 8.3.1 and 8.4.1: the attestation certificate breaks a
    /// requirement.
    #[error("7.1 step 22: attestation certificate: {0}")]
    Certificate(CertificateFault),
    /// 7.1 step 24: the policy does not accept this type of attestation.
    #[error("7.1 step 24: attestation type not accepted")]
    AttestationType,
    /// 7.1 step 24: no path from the attestation certificate to a configured root.
    #[error("7.1 step 24: attestation trust path")]
    TrustPath,
    /// 7.1 step 24: the authenticator's model is not on the list, or not attested.
    #[error("7.1 step 24: model not on the list of AAGUIDs, or not attested")]
    ModelNotAllowed,
    /// 7.1 step 24: FIDO metadata report the authenticator's model as revoked or compromised.
    #[error("7.1 step 24: model revoked or compromised")]
    ModelCompromised,
    /// 7.1 step 25: the credential id has more than 1023 bytes.
    #[error("7.1 step 25: credential id too long")]
    CredentialIdLength,
    /// 7.1 step 26: the credential id is registered already, for any user.
    #[error("7.1 step 26: credential id taken")]
    CredentialIdTaken,

    /// 7.2 step 5: not one of the credentials that were asked for.
    #[error("7.2 step 5: credential not allowed")]
    NotAllowed,
    /// 7.2 step 6: the user has no such credential.
    #[error("7.2 step 6: credential unknown")]
    UnknownCredential,
    /// 7.2 step 6: another user's handle.
    #[error("7.2 step 6: user handle")]
    UserHandle,
    /// 7.2 step 19: the credential's backup eligibility, which never changes, changed.
    #[error("7.2 step 19: backup eligibility")]
    BackupEligibility,
    /// 7.2 step 21: the signature does not verify.
    #[error("7.2 step 21: signature")]
    Signature,
    /// 7.2 step 22: the signature counter did not grow.
    #[error("7.2 step 22: signature counter")]
    SignCount,
}

impl VerifyError {
    /// Whether the answer could not even be read as one, so that nothing was verified.
    #[must_use]
    pub fn is_malformed(self) -> bool {
        matches!(self, Self::Response)
    }

    /// Whether a statement with this fault may count as no attestation: it was not judged, or it
    /// is signed as it should be and only the certificate's contents break a requirement.
    pub(crate) fn is_no_attestation(self) -> bool {
        let unjudged = matches!(self, Self::Format | Self::UnknownStatementAlgorithm);
        unjudged || matches!(self, Self::Certificate(fault) if fault != CertificateFault::Syntax)
    }
}

/// A requirement of sections 8.2.1, 8.3.1 or 8.4.1 that an attestation certificate breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum CertificateFault {
    /// Not one X.509 certificate.
    #[error("not a certificate")]
    Syntax,
    /// Not version 3.
    #[error("version")]
    Version,
    /// Subject-C is not one country code.
    #[error("subject country")]
    Country,
    /// Subject-O is not one name.
    #[error("subject organisation")]
    Organization,
    /// Subject-OU is not "Authenticator Attestation".
    #[error("subject organisational unit")]
    OrganizationalUnit,
    /// Subject-CN is not one name.
    #[error("subject common name")]
    CommonName,
    /// The Basic Constraints extension is missing or says CA.
    #[error("basic constraints")]
    BasicConstraints,
    /// The AAGUID extension (1.3.6.1.4.1.45724.1.1.4) is critical, malformed, or names another
    /// model than the authenticator data.
    #[error("AAGUID extension")]
    Aaguid,
    /// TPM: the subject is not empty.
    #[error("subject not empty")]
    TpmSubject,
    /// TPM: the Subject Alternative Name does not name manufacturer, model and version.
    #[error("subject alternative name")]
    TpmName,
    /// TPM: not for attestation identity keys (2.23.133.8.3).
    #[error("extended key usage")]
    TpmKeyUsage,
    /// Android: the key description is missing, or the key is for all applications, imported, or
    /// not for signing.
    #[error("key description")]
    KeyDescription,
}
