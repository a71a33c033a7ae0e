//! What RFC 6455, RFC 9110, RFC 9112 and RFC 9113 ask of a server, as tables of bytes and answers.

mod closes;
mod hosts;
mod limits;
mod peers;
mod requests;
