//! Health, and the documents themselves.

use fido_relay_proto::ProblemCode::Unavailable;
use serde_json::json;

use super::call::{Access, Draft};

const TAG: &str = "service";

pub(super) fn describe(draft: &mut Draft) {
    let line = |text: &str| json!({ "type": "string", "examples": [text] });
    draft
        .call(("GET", "/healthz"), TAG, "isAlive", "Whether the process answers")
        .asks(&Access::Anybody)
        .gives_as(200, "It does", "text/plain", line("ok\n"), &[])
        .problems(&[]);
    draft
        .call(("GET", "/readyz"), TAG, "isReady", "Whether this node may take traffic")
        .says("Not while it stops, and not while it cannot store or record what happens.")
        .asks(&Access::Anybody)
        .gives_as(200, "It may", "text/plain", line("ready\n"), &[])
        .problems(&[Unavailable]);
    draft
        .call(("GET", "/"), TAG, "findDocs", "The way to the page for people")
        .asks(&Access::Anybody)
        .gives_nothing(303, "It is there")
        .with("Location", "`docs`", json!({ "type": "string" }), true)
        .problems(&[]);
    for (path, id, summary, media_type) in [
        ("/openapi.json", "readOpenApi", "This document (OpenAPI 3.1)", "application/json"),
        (
            "/asyncapi.json",
            "readAsyncApi",
            "Sockets, server-sent events and webhooks (AsyncAPI 3.0)",
            "application/json",
        ),
        ("/docs", "readDocs", "Both documents as a page for people", "text/html"),
    ] {
        let kind = if media_type == "text/html" { "string" } else { "object" };
        let tag = json!({ "type": "string" });
        draft
            .call(("GET", path), TAG, id, summary)
            .asks(&Access::Anybody)
            .header("If-None-Match", "What the caller has", tag.clone())
            .gives_as(200, "The document", media_type, json!({ "type": kind }), &[])
            .with("ETag", "Changes with the document", tag.clone(), true)
            .with("Cache-Control", "For five minutes", tag.clone(), true)
            .gives_nothing(304, "The caller has it")
            .with("ETag", "Changes with the document", tag, true)
            .problems(&[]);
    }
}
