//! What the relay needs of the world, as traits of a few verbs each.
//!
//! A trait promises what its weakest backend can keep. Futures are boxed so that backends are
//! chosen at run time.

pub mod batch;
pub mod bus;
pub mod cards;
pub mod certify;
pub mod counts;
pub mod due;
pub mod fido;
pub mod journal;
pub mod push;

pub mod records;
pub mod revocations;
pub mod security_event;
pub mod store;
pub mod stored;
pub mod webhook;

pub use batch::{Batch, Change, Write};
pub use bus::{Bus, Notice};
pub use cards::{Card, CardEvents, Cards};
pub use certify::{Certify, CertifyCall, CertifyReply, CertifyStep, latin1, latin1_bytes};
pub use counts::Counts;
#[cfg(feature = "test-support")]
pub use counts::NoCounts;
pub use due::{DueRecord, DueRule};
pub use fido::{BeginFault, BeginRequest, Completion, Fido};
pub use fido_relay_kit::clock::Clock;
pub use futures::future::BoxFuture;
pub use journal::{ExportHealth, Position, Row};
pub use push::{Push, PushFailure, Unpushable, Wake};
pub use records::Record;
pub use revocations::{Revocation, Revocations, Revoked};
pub use security_event::{PushLoss, SecurityEvent, SecurityEventKind};
pub use store::Store;
pub use stored::{Bucket, Due, Duty, RecordName, Revision, StoreError, Stored};
pub use webhook::{
    Answered, OutgoingRequest, Registrar, RetryAfter, Unsendable, Unsent, WebhookSender,
};
