//! The device socket from the phone's side, frame by frame; tests also send what no app would. Knows
//! nothing of ceremonies.

use std::time::Duration;

use fido_relay_proto::device::{Auth, FrameError};
use fido_relay_proto::limits::DEVICE_SUBPROTOCOL;
use fido_relay_proto::{ConnectionId, DeviceFrame, DeviceId, RelayFrame};
use futures::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;
use tokio_tungstenite::tungstenite::http::Uri;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{
    Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config,
};

use super::key::{DeviceKey, KeyError};
use super::roots::Roots;

/// Small, as the library allocates it for every socket and a bench holds thousands; a larger frame
/// only takes more reads.
const READ_BUFFER: usize = 1024;
/// Largest frame that a phone accepts: an options object with many credentials.
const MAX_FRAME: usize = 512 * 1024;
/// A socket whose write takes longer counts as dead.
const WRITE_LIMIT: Duration = Duration::from_secs(10);
/// Limit for reading the relay's close frame after a failed write.
const CLOSE_READ_LIMIT: Duration = Duration::from_secs(1);

/// Why no socket was opened.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Not a `ws` or `wss` URL.
    #[error("not a WebSocket URL")]
    Url,
    /// The relay answered the upgrade with an HTTP status.
    #[error("the relay refused the socket (HTTP {status})")]
    Refused {
        status: u16,
        /// `Retry-After`, in seconds.
        retry_after_s: Option<u64>,
    },
    /// No connection, no TLS, or no WebSocket at the other end.
    #[error("the relay could not be reached: {0}")]
    Unreachable(String),
}

impl From<Error> for ConnectError {
    fn from(error: Error) -> Self {
        if let Error::Http(response) = &error {
            let retry_after = response.headers().get("retry-after");
            Self::Refused {
                status: response.status().as_u16(),
                retry_after_s: retry_after
                    .and_then(|value| value.to_str().ok()?.trim().parse().ok()),
            }
        } else if let Error::Url(_) = error {
            Self::Url
        } else {
            Self::Unreachable(error.to_string())
        }
    }
}

/// How a socket ended, or a frame that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SocketEnd {
    #[error("the relay closed the socket with code {code:?}")]
    Closed {
        /// `None` for a close frame without one.
        code: Option<u16>,
        reason: String,
    },
    /// Without a close frame.
    #[error("the socket broke: {0}")]
    Lost(String),
    /// Not a text frame of this protocol; the socket stays open.
    #[error("the relay sent a frame that makes no sense: {0}")]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl SocketEnd {
    /// The close code, where the relay gave one.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Closed { code, .. } => *code,
            Self::Lost(_) | Self::Frame(_) | Self::Key(_) => None,
        }
    }
}

/// The `welcome` of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome {
    pub connection_id: ConnectionId,
    /// Seconds between the relay's pings.
    pub heartbeat_s: u64,
}

/// A device socket. Pings are answered only while it is read. Dropping it breaks the connection
/// without a close frame, as a phone out of reach does.
#[derive(Debug)]
pub struct Socket {
    stream: Box<WebSocketStream<MaybeTlsStream<TcpStream>>>,
    url: String,
    heard: Instant,
}

impl Socket {
    /// Dials the URL and asks for the subprotocol.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(url: &str) -> Result<Self, ConnectError> {
        Self::connect_trusting(&Roots::system(), url).await
    }

    /// [`Socket::connect`] with other trusted roots.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect_trusting(roots: &Roots, url: &str) -> Result<Self, ConnectError> {
        Self::dial_trusting(roots, url, Some(DEVICE_SUBPROTOCOL), &[]).await
    }

    /// Dials the URL with another subprotocol or none, and with further headers.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn dial(
        url: &str,
        subprotocol: Option<&str>,
        headers: &[(&str, &str)],
    ) -> Result<Self, ConnectError> {
        Self::dial_trusting(&Roots::system(), url, subprotocol, headers).await
    }

    async fn dial_trusting(
        roots: &Roots,
        url: &str,
        subprotocol: Option<&str>,
        headers: &[(&str, &str)],
    ) -> Result<Self, ConnectError> {
        let uri: Uri = url.parse().map_err(|_| ConnectError::Url)?;
        let connector = if uri.scheme_str() == Some("wss") {
            let tls = roots.tls().map_err(|error| ConnectError::Unreachable(error.to_string()))?;
            Connector::Rustls(tls)
        } else {
            Connector::Plain
        };
        let mut request = ClientRequestBuilder::new(uri);
        if let Some(subprotocol) = subprotocol {
            request = request.with_sub_protocol(subprotocol);
        }
        for (name, value) in headers {
            request = request.with_header(*name, *value);
        }
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_message_size(Some(MAX_FRAME))
            .max_frame_size(Some(MAX_FRAME));
        let connecting =
            connect_async_tls_with_config(request, Some(config), true, Some(connector));
        let (stream, _) = connecting.await?;
        Ok(Self { stream: Box::new(stream), url: url.to_owned(), heard: Instant::now() })
    }

    /// The dialled URL, which is the `aud` of proofs.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// When the last message came, pings included.
    #[must_use]
    pub fn heard(&self) -> Instant {
        self.heard
    }

    /// Sends a frame of the protocol.
    ///
    /// # Errors
    /// [`SocketEnd`] if the socket has ended.
    pub async fn send(&mut self, frame: &DeviceFrame) -> Result<(), SocketEnd> {
        self.send_text(frame.encode()).await
    }

    ///
    /// # Errors
    /// [`SocketEnd`] if the socket has ended.
    pub async fn send_text(&mut self, text: impl Into<String>) -> Result<(), SocketEnd> {
        self.write(Message::text(text.into())).await
    }

    async fn write(&mut self, message: Message) -> Result<(), SocketEnd> {
        match tokio::time::timeout(WRITE_LIMIT, self.stream.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.end_after_failed_write(error).await),
            Err(_) => Err(SocketEnd::Lost("nothing could be written in time".to_owned())),
        }
    }

    /// Reads the close frame that the relay may have sent before a write failed: its code decides
    /// whether the phone reconnects.
    async fn end_after_failed_write(&mut self, error: Error) -> SocketEnd {
        let reading = async {
            loop {
                match self.next_text().await {
                    Ok(_) | Err(SocketEnd::Frame(_)) => {}
                    Err(end) => return end,
                }
            }
        };
        match tokio::time::timeout(CLOSE_READ_LIMIT, reading).await {
            Ok(end @ SocketEnd::Closed { .. }) => end,
            Ok(SocketEnd::Lost(_) | SocketEnd::Frame(_) | SocketEnd::Key(_)) | Err(_) => {
                SocketEnd::Lost(error.to_string())
            }
        }
    }

    /// The next text from the relay. Cancel safe.
    ///
    /// # Errors
    /// [`SocketEnd`].
    pub async fn next_text(&mut self) -> Result<String, SocketEnd> {
        loop {
            let message = self.stream.next().await;
            self.heard = Instant::now();
            match message {
                Some(Ok(Message::Text(text))) => return Ok(text.as_str().to_owned()),
                // The library sends the pong with the next read.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Binary(_))) => return Err(FrameError::Invalid.into()),
                Some(Ok(Message::Close(frame))) => {
                    // Flushes the library's close frame; reading on would wait for the relay to
                    // hang up.
                    let _ = tokio::time::timeout(WRITE_LIMIT, self.stream.flush()).await;
                    let (code, reason) = frame.map_or((None, String::new()), |frame| {
                        (Some(frame.code.into()), frame.reason.as_str().to_owned())
                    });
                    return Err(SocketEnd::Closed { code, reason });
                }
                Some(Err(error)) => return Err(SocketEnd::Lost(error.to_string())),
                None => return Err(SocketEnd::Lost("the stream ended".to_owned())),
            }
        }
    }

    /// The next frame from the relay. Cancel safe.
    ///
    /// # Errors
    /// [`SocketEnd`].
    pub async fn next_frame(&mut self) -> Result<RelayFrame, SocketEnd> {
        Ok(RelayFrame::decode(&self.next_text().await?)?)
    }

    /// Signs the nonce of a `hello` or `reauth` of this socket.
    ///
    /// # Errors
    /// [`SocketEnd`] if the key fails or the socket has ended.
    pub async fn prove(
        &mut self,
        key: &DeviceKey,
        device_id: DeviceId,
        nonce: &str,
    ) -> Result<(), SocketEnd> {
        let proof = key.auth_proof(&self.url, nonce, device_id)?;
        self.send(&DeviceFrame::Auth(Auth { proof })).await
    }

    /// Waits for `hello`, proves the device and waits for `welcome`.
    ///
    /// # Errors
    /// [`SocketEnd`]; a frame out of order counts as unreadable.
    pub async fn authenticate(
        &mut self,
        key: &DeviceKey,
        device_id: DeviceId,
    ) -> Result<Welcome, SocketEnd> {
        let RelayFrame::Hello { nonce, .. } = self.next_frame().await? else {
            return Err(FrameError::Invalid.into());
        };
        self.prove(key, device_id, &nonce).await?;
        match self.next_frame().await? {
            RelayFrame::Welcome { connection_id, heartbeat_s, .. } => {
                Ok(Welcome { connection_id, heartbeat_s })
            }
            RelayFrame::Hello { .. }
            | RelayFrame::Offer(_)
            | RelayFrame::Challenge(_)
            | RelayFrame::Accepted { .. }
            | RelayFrame::Closed { .. }
            | RelayFrame::Error { .. }
            | RelayFrame::Reauth { .. }
            | RelayFrame::Notice(_)
            | RelayFrame::Pong(_)
            | RelayFrame::Goaway { .. } => Err(FrameError::Invalid.into()),
        }
    }

    /// Closes the socket in order (1000).
    pub async fn close(mut self) {
        let _ = tokio::time::timeout(WRITE_LIMIT, (*self.stream).close(None)).await;
    }
}
