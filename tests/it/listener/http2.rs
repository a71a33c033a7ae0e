//! Frames of HTTP/2 (RFC 9113), as a peer sends them that does what it likes.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Frame types of RFC 9113 section 6.
pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;

pub(super) struct Peer(pub(super) TcpStream);

impl Peer {
    /// Begins with this window for every stream.
    pub(super) async fn begin(stream: TcpStream, window: u32) -> Self {
        let mut peer = Self(stream);
        let mut said = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        // SETTINGS_INITIAL_WINDOW_SIZE
        let [a, b, c, d] = window.to_be_bytes();
        said.extend(frame(SETTINGS, 0, 0, &[0, 4, a, b, c, d]));
        peer.0.write_all(&said).await.unwrap();
        peer
    }

    /// Asks for a path of fewer than 127 bytes.
    pub(super) async fn ask(&mut self, stream: u32, path: &str) {
        // RFC 7541: GET, http, a path and an authority in literals. END_HEADERS and END_STREAM.
        let mut headers = vec![0x82, 0x86, 0x04, u8::try_from(path.len()).unwrap()];
        headers.extend(path.as_bytes());
        headers.extend([0x01, 5]);
        headers.extend(b"relay");
        self.0.write_all(&frame(HEADERS, 0x05, stream, &headers)).await.unwrap();
    }

    pub(super) async fn widen(&mut self, stream: u32, by: u32) {
        self.0.write_all(&frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes())).await.unwrap();
    }

    /// The next frame's type, stream and length; none at the end.
    pub(super) async fn hears(&mut self) -> Option<(u8, u32, usize)> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        self.0.read_exact(&mut vec![0; length]).await.ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some((head[3], stream, length))
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}
