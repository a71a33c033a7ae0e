//! `fido-relay demo`: the whole loop on one machine.

pub mod bank;
pub mod initiator;
pub mod narrate;
pub mod result_token;
pub mod site;
pub mod web;
pub mod words;

use fido_relay_proto::http::{Transaction, TransactionField};
use fido_relay_proto::text::InvalidText;

/// The payment that waits for the demo's customer.
///
/// # Errors
/// Never: the texts keep the rules.
pub fn payment() -> Result<Transaction, InvalidText> {
    let line = |label: &str, value: &str| {
        Ok(TransactionField {
            label: label.to_owned().try_into()?,
            value: value.to_owned().try_into()?,
        })
    };
    Ok(Transaction {
        title: "Payment to Rowan & Daughters".to_owned().try_into()?,
        fields: vec![
            line("Amount", "120.00 EUR")?,
            line("To", "Rowan & Daughters Boatbuilders")?,
            line("Account", "DE02 1203 0000 0000 2020 51")?,
            line("Reference", "Invoice 2026-118, new rudder")?,
        ],
    })
}
