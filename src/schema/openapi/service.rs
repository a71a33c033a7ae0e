//! Health, and the documents themselves.

use fido_relay_proto::ProblemCode::Unavailable;
use serde_json::json;

use super::call::OpenApiDraft;
use crate::schema::operations::Operation;

pub(super) fn describe(draft: &mut OpenApiDraft) {
    let line = |text: &str| json!({ "type": "string", "examples": [text] });
    draft
        .call(Operation::IsAlive, "Whether the process answers")
        .gives_as(200, "It does", "text/plain", line("ok\n"), &[])
        .problems(&[]);
    draft
        .call(Operation::IsReady, "Whether this node may take traffic")
        .says("Not while it stops, or cannot store events, or cannot write its audit log.")
        .gives_as(200, "It may", "text/plain", line("ready\n"), &[])
        .problems(&[Unavailable]);
    draft
        .call(Operation::FindDocs, "Redirect to the documentation")
        .gives_nothing(303, "It is there")
        .with("Location", "`docs`", json!({ "type": "string" }), true)
        .problems(&[]);
    for (operation, summary, media_type) in [
        (Operation::ReadOpenApi, "This document (OpenAPI 3.1)", "application/json"),
        (
            Operation::ReadAsyncApi,
            "Sockets, server-sent events and webhooks (AsyncAPI 3.0)",
            "application/json",
        ),
        (Operation::ReadDocs, "Both documents as a page for people", "text/html"),
    ] {
        let kind = if media_type == "text/html" { "string" } else { "object" };
        let tag = json!({ "type": "string" });
        draft
            .call(operation, summary)
            .header("If-None-Match", "The caller's version of the document", tag.clone())
            .gives_as(200, "The document", media_type, json!({ "type": kind }), &[])
            .with("ETag", "Changes with the document", tag.clone(), true)
            .with("Cache-Control", "For five minutes", tag.clone(), true)
            .gives_nothing(304, "Not modified")
            .with("ETag", "Changes with the document", tag, true)
            .problems(&[]);
    }
}
