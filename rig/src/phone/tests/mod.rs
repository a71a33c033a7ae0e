//! The phone against a relay that is a script: what it sends, keeps, repeats and leaves alone.

mod ceremonies;
mod codes;
mod connection;
mod proofs;
mod pull;
mod relay;
mod storage;
