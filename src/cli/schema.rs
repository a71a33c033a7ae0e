//! `fido-relay schema`: prints the OpenAPI and AsyncAPI documents.

use clap::{Args, ValueEnum};

use super::{Failure, answer};
use crate::schema::{asyncapi, openapi};

/// A relay of this version serves the same documents at /openapi.json and /asyncapi.json.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  fido-relay schema > openapi.json                   to generate a client, or to compare versions
  fido-relay schema asyncapi > asyncapi.json         sockets, events and webhooks")]
pub(super) struct SchemaArguments {
    /// The document
    #[arg(value_enum, default_value = "openapi")]
    document: DocumentKind,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum DocumentKind {
    /// The HTTP calls (OpenAPI 3.1)
    Openapi,
    /// Sockets, server-sent events and webhooks (AsyncAPI 3.0)
    Asyncapi,
}

pub(super) fn run(arguments: &SchemaArguments) -> Result<(), Failure> {
    let document = match arguments.document {
        DocumentKind::Openapi => openapi::document(),
        DocumentKind::Asyncapi => asyncapi::document(),
    };
    answer(&serde_json::to_string_pretty(&document).map_err(Failure::failed)?);
    Ok(())
}
