//! The closing handshake (RFC 6455 section 7.1) of both sockets.

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt as _;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;

use futures::StreamExt as _;

use super::frame_guard::FrameGuard;

/// An upgraded connection whose incoming frames are checked.
pub(in crate::edge) type Socket = WebSocketStream<FrameGuard<TokioIo<Upgraded>>>;

/// The reply to the Close that ended reading: its code comes back (section 5.5.1), its text does
/// not. `None` if the peer sent none that may be replied to.
pub(in crate::edge) fn reply(stream: &Socket) -> Option<Option<CloseFrame>> {
    let code = stream.get_ref().peer_close()?;
    Some(code.map(|code| CloseFrame { code: code.into(), reason: "".into() }))
}

/// Sends a Close, waits for the peer's if it has not come, and ends the connection from this side
/// first (section 7.1.1). The caller sets a limit of time.
///
/// Bytes that the peer still sends are read and dropped: a connection that is closed with unread
/// bytes is reset, and the peer may lose the Close.
pub(in crate::edge) async fn close(stream: &mut Socket, frame: Option<CloseFrame>) {
    if stream.close(frame).await.is_err() {
        return;
    }
    while let Some(Ok(_)) = stream.next().await {}
    let connection = stream.get_mut().inner_mut();
    if connection.shutdown().await.is_ok() {
        drop(tokio::io::copy(connection, &mut tokio::io::sink()).await);
    }
}
