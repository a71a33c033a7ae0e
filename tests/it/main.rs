//! The integration tests: a real relay on port 0, a scripted phone, real FIDO2 servers.

// clippy.toml allows these in test functions alone, not in what they stand on.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test that cannot go on has failed, and so has one that meets anything else"
)]

mod access_tokens;
#[cfg(unix)]
mod administration;
mod architecture;
mod asyncapi;
mod attention;
mod audit;
mod authenticators;
mod bench;
mod by_code;
mod canary;
mod card_events;
mod cards;
mod ceremony_rules;
mod client_direct;
mod clock_jumps;
mod commit_model;
mod commits;
mod container;
mod counts;
#[cfg(unix)]
mod data_directory;
mod deadlines;
mod demo;
mod dependencies;
mod device_changes;
mod device_handshake;
mod device_proofs;
mod device_socket;
mod differential;
mod django_example;
mod docs;
#[cfg(unix)]
mod doctor;
#[cfg(unix)]
mod doctor_upstream;
#[cfg(unix)]
mod earlier;
mod enumeration;
mod external_upstream;
mod fastapi_example;
mod fido_http;
mod flask_example;
mod forgeries;
mod frames;
mod guessing;
mod hostile_disk;
mod hostile_upstream;
mod http_access;
mod http_refusals;
mod idempotency;
mod initiator_samples;
mod isolation;
mod js_client;
#[cfg(all(unix, debug_assertions))]
mod kill;
#[cfg(unix)]
mod listener;
#[cfg(unix)]
mod log_lines;
mod long_poll;
mod metrics;
mod not_ringing;
mod openapi;
mod page_sample;
mod pages;
mod pairing;
mod phone;
mod pull;
mod push;
mod python_client;
mod python_samples;
mod racing_answers;
mod rates;
mod real_upstream;
mod receipts;
mod refusal_details;
mod retention;
mod returning_phone;
mod revocations;
#[cfg(unix)]
mod shutdown;
mod simulation;
mod sleeping_phone;
mod store_contract;
mod store_files;
mod strangers;
mod support;
mod sweeps;
mod user_prompts;
mod vital_tasks;
mod wakes;
mod watch;
mod webhooks;
mod whole_ceremony;
mod wire;
