//! The integration tests: a real relay on port 0, a scripted phone, real FIDO2 servers.

mod demo_page;
mod fido_http;
mod store_contract;
mod support;
