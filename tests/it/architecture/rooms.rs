//! The table: which room may use which, and what it must not know of the world.

/// One room: what of the crate it may use, and what it must not know of the world.
pub(super) struct Room {
    pub(super) name: &'static str,
    pub(super) may_use: &'static [&'static str],
    pub(super) must_not_know: &'static [&'static str],
}

pub(super) const fn room(
    name: &'static str,
    may_use: &'static [&'static str],
    must_not_know: &'static [&'static str],
) -> Room {
    Room { name, may_use, must_not_know }
}

/// A room that may use every other: it wires them together.
pub(super) const EVERYTHING: &[&str] = &["*"];

/// What a pure room must not know: clocks, IO, logging, tasks, libraries of the outer world.
const WORLD: &[&str] = &[
    "std::time",
    "std::io",
    "std::fs",
    "std::net",
    "std::env",
    "std::thread",
    "std::process",
    "std::future",
    "tracing",
    "tokio",
    "tokio_util",
    "tokio_tungstenite",
    "futures",
    "axum",
    "hyper",
    "hyper_util",
    "reqwest",
    "redb",
    "async_nats",
    "aws_lc_rs",
    "fido_relay_kit",
    "fido_relay_rig",
];

/// What the verifier must not know: [`WORLD`] without the cryptography, and this project's wire.
const NOT_A_VERIFIERS: &[&str] = &[
    "std::time",
    "std::io",
    "std::fs",
    "std::net",
    "std::env",
    "std::thread",
    "std::process",
    "std::future",
    "tracing",
    "tokio",
    "futures",
    "axum",
    "hyper",
    "reqwest",
    "redb",
    "fido_relay_proto",
];

/// What the crate beneath the relay and the rig must not know: servers, stores, the command line.
const NOT_A_KITS: &[&str] =
    &["axum", "hyper", "hyper_util", "tokio_tungstenite", "redb", "async_nats", "clap"];

/// The rig sees a relay from outside: no store, and none of the relay's own crate.
const NOT_A_RIGS: &[&str] = &["redb", "async_nats", "fido_relay"];

/// Libraries of one edge or backend, which no room in between has to know.
const LIBRARIES: &[&str] = &[
    "axum",
    "hyper",
    "hyper_util",
    "tokio_tungstenite",
    "reqwest",
    "redb",
    "async_nats",
    "fido_relay_rig",
];

/// A backend knows the library that it is made of, and these are not.
const NOT_A_STORES: &[&str] =
    &["axum", "hyper", "hyper_util", "tokio_tungstenite", "reqwest", "fido_relay_rig"];
const NOT_A_CALLERS: &[&str] =
    &["axum", "tokio_tungstenite", "redb", "async_nats", "fido_relay_rig"];

pub(super) const ROOMS: &[Room] = &[
    room("proto", &[], WORLD),
    // Pure but for cryptography.
    room("webauthn", &[], NOT_A_VERIFIERS),
    // The machine beneath relay and rig; of the wire it uses the type of a time.
    room("kit", &[], NOT_A_KITS),
    // The other side of the wire: Cargo keeps the relay's crate from it.
    room("rig", &["rig::phone", "rig::softcard"], NOT_A_RIGS),
    room("rig::softcard", &[], &["axum", "hyper", "reqwest", "tokio", "tokio_tungstenite"]),
    room("rig::phone", &["rig::softcard"], &["axum", "clap", "redb", "async_nats"]),
    // A suppression names the rule of the prompt limits that asked for it.
    // The modules of the core name one another by the rows below.
    room("core", &[], WORLD),
    room("core::ceremony", &["core::prompt_limits"], WORLD),
    room("core::session", &[], WORLD),
    // What the wire's own types say of themselves, as documents; how a socket ends is the session's.
    room("schema", &["core::session"], WORLD),
    room("config", &[], LIBRARIES),
    // Of the crate `kit`, under a name of this one.
    room("tasks", &[], &[]),
    room("rfc3339", &[], WORLD),
    room("address_prefix", &[], LIBRARIES),
    // base64url and SHA-256 as functions of bytes.
    room("encoding", &[], LIBRARIES),
    room("private_file", &[], LIBRARIES),
    // Places where a test kills the process; empty in a release build.
    room("fault_point", &[], LIBRARIES),
    // Rules alone, like the core; how a ceremony is made is not their business.
    room("core::prompt_limits", &[], WORLD),
    // A suppression is logged by the name of its rule.
    room("ports", &["core::ceremony", "core::prompt_limits", "rfc3339"], LIBRARIES),
    room(
        "security",
        &[
            "address_prefix",
            "core::ceremony",
            "encoding",
            "security::random",
            "security::encryption",
            "security::signing_key",
        ],
        LIBRARIES,
    ),
    // Of the crate `kit`, under a name of this one.
    room("security::random", &[], &[]),
    // Cryptography without state: what the relay stores is sealed by the relay itself.
    room("security::encryption", &["security::random"], LIBRARIES),
    // The one signer of JWS, for the relay's tokens and for push services.
    room("security::signing_key", &["encoding"], LIBRARIES),
    // What is done, for every edge and command: a removed client's webhook endpoints go in the same
    // commit, so it knows their room; what holds a user's prompts back is seen and lifted here.
    room(
        "app",
        &[
            "core::prompt_limits",
            "encoding",
            "ports",
            "rfc3339",
            "security",
            "security::random",
            // The relay's own keys are stored encrypted.
            "security::encryption",
            "tasks",
            // Counts of refused credentials, for the audit log.
            "app::audit",
            "app::webhooks",
        ],
        LIBRARIES,
    ),
    // Devices and prompt states are records of `app`; delivery is known by a trait of this room alone.
    room(
        "app::ceremonies",
        &[
            "app",
            "core::ceremony",
            "core::prompt_limits",
            "journal",
            "ports",
            "tasks",
            "fault_point",
            // How long a page's ticket outlives its ceremony.
            "security",
            "security::random",
            "security::encryption",
        ],
        LIBRARIES,
    ),
    // Reads ceremonies and hands them events; how a socket ends is the session's.
    room(
        "delivery",
        &[
            "app",
            "app::ceremonies",
            "core::ceremony",
            "core::session",
            "ports",
            "tasks",
            "fault_point",
            "security::random",
        ],
        LIBRARIES,
    ),
    // Wires ceremonies and delivery together, over ports of any kind.
    room(
        "node",
        &[
            "app",
            "app::ceremonies",
            "core::prompt_limits",
            "delivery",
            "journal",
            "ports",
            "tasks",
            "security::encryption",
        ],
        LIBRARIES,
    ),
    // An entry is made of the record; a receipt is part of it.
    room("journal", &["core::ceremony", "ports", "rfc3339", "security"], LIBRARIES),
    // Signs what it exports.
    room(
        "app::audit",
        &[
            "address_prefix",
            "core::ceremony",
            "journal",
            "ports",
            "rfc3339",
            "security",
            "security::random",
            "tasks",
        ],
        LIBRARIES,
    ),
    room(
        "edge",
        &[
            "address_prefix",
            "app",
            // Why a prompt does not ring, in the rules' own words.
            "core::prompt_limits",
            "core::session",
            "app::audit",
            "app::ceremonies",
            "delivery",
            "node",
            "app::webhooks",
            "security",
            "security::random",
            "ports",
            "tasks",
            "metrics",
            "rfc3339",
            // The operations of the interface, and the documents made of them, to be served.
            "schema",
        ],
        &["reqwest", "redb", "async_nats", "fido_relay_rig"],
    ),
    // The edge counts here directly, the rest through ports; it renders, and serves nothing.
    room("metrics", &["core::ceremony", "core::session", "ports"], LIBRARIES),
    room("backends", &[], WORLD),
    // How every backend calls others by HTTP: one set of limits.
    room("backends::outbound", &["ports", "trust"], NOT_A_CALLERS),
    room(
        "backends::embedded",
        &["core::ceremony", "ports", "private_file", "tasks", "security::random"],
        NOT_A_STORES,
    ),
    room("backends::nats", &["core::ceremony", "ports", "tasks", "security::random"], NOT_A_STORES),
    room(
        "backends::fido_http",
        &[
            "backends::outbound",
            "core::ceremony",
            "encoding",
            "ports",
            "tasks",
            "security::random",
            "trust",
        ],
        NOT_A_CALLERS,
    ),
    room(
        "backends::fido_builtin",
        &["core::ceremony", "encoding", "ports", "tasks", "security::random"],
        LIBRARIES,
    ),
    // Signs what it sends, and keeps its keys sealed, as the relay keeps a FIDO2 server's sessions.
    room(
        "app::webhooks",
        &[
            "core::ceremony",
            "journal",
            "ports",
            "rfc3339",
            "tasks",
            "security::random",
            "security::encryption",
        ],
        LIBRARIES,
    ),
    room("backends::webhook_http", &["ports", "trust", "backends::outbound"], NOT_A_CALLERS),
    // Pauses and salts are drawn; endpoints of Web Push are called by a port.
    room(
        "backends::push",
        &[
            "ports",
            "backends::outbound",
            "encoding",
            "security::random",
            "security::signing_key",
            "trust",
        ],
        NOT_A_CALLERS,
    ),
    // Of the crate `kit`, under a name of this one: whom this machine trusts.
    room("trust", &[], &[]),
    room("cli", EVERYTHING, &[]),
    room("serve", EVERYTHING, &[]),
    room("lib", EVERYTHING, &[]),
    room("main", EVERYTHING, &[]),
];
