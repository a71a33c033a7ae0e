//! The push services from end to end: what leaves for each of them, byte for byte, what comes of each
//! of their answers, and that none of them holds up another or learns of a ceremony.

mod apns;
mod canary;
mod ceremonies;
#[cfg(unix)]
mod doctor;
mod far;
mod fcm;
mod pace;
mod scene;
mod webpush;
