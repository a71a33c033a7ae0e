//! Bytes over TCP, as an attacker sends them: requests that no HTTP client makes, frames that no
//! WebSocket library writes. It keeps no rule of either protocol by itself.

use std::net::SocketAddr;
use std::time::Duration;

use fido_relay_proto::RelayFrame;
use fido_relay_rig::phone::Paired;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// Nothing that a test waits for takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CONTINUATION: u8 = 0x0;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
const PONG: u8 = 0xa;
pub(crate) const FIN: u8 = 0x80;

/// The headers of a proper upgrade to the device socket.
pub(crate) const UPGRADE: [(&str, &str); 5] = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Protocol", "fido-relay.v1"),
];

/// What came back to a request.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// As long as `Content-Length` says.
    pub(crate) body: String,
}

impl Head {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What came over an upgraded connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Text(String),
    Ping,
    Pong,
    Close(u16, String),
    /// The end of the stream, with or without ceremony.
    End,
}

/// A connection with what was read ahead.
#[derive(Debug)]
pub(crate) struct RawSocket {
    stream: TcpStream,
    ahead: Vec<u8>,
    /// The request was HEAD: an answer announces a body that does not come.
    bodiless: bool,
}

impl RawSocket {
    /// A TCP connection to the relay at this URL, over which nothing was said.
    pub(crate) async fn tcp(url: &str) -> Self {
        let address = url.strip_prefix("http://").unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, ahead: Vec::new(), bodiless: false }
    }

    /// The same from an address of this machine's own.
    pub(crate) async fn tcp_from(from: SocketAddr, url: &str) -> Self {
        let address = url.strip_prefix("http://").unwrap().parse().unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(from).unwrap();
        let stream = socket.connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, ahead: Vec::new(), bodiless: false }
    }

    /// Asks for the device socket with exactly these headers besides `Host`.
    pub(crate) async fn ask(url: &str, headers: &[(&str, &str)]) -> (Self, Head) {
        Self::ask_by("GET", url, headers).await
    }

    pub(crate) async fn ask_by(method: &str, url: &str, headers: &[(&str, &str)]) -> (Self, Head) {
        Self::ask_at(method, "/v1/device/socket", url, headers).await
    }

    /// The same for another path.
    pub(crate) async fn ask_at(
        method: &str,
        path: &str,
        url: &str,
        headers: &[(&str, &str)],
    ) -> (Self, Head) {
        let mut socket = Self::tcp(url).await;
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: relay\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        socket.send(request.as_bytes()).await;
        socket.bodiless = method == "HEAD";
        let head = socket.head().await;
        (socket, head)
    }

    /// An upgraded device socket, before its `hello` was read.
    pub(crate) async fn upgraded(url: &str) -> Self {
        let (socket, head) = Self::ask(url, &UPGRADE).await;
        assert_eq!(head.status, 101, "{head:?}");
        socket
    }

    /// Sends as it is. That the relay has hung up meanwhile shows when reading.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        let _ = timeout(PATIENCE, self.stream.write_all(bytes)).await.unwrap();
    }

    /// Sends as it is, and tells whether the relay still took it.
    pub(crate) async fn try_send(&mut self, bytes: &[u8]) -> bool {
        timeout(PATIENCE, self.stream.write_all(bytes)).await.unwrap().is_ok()
    }

    /// Whether the relay has hung up, as far as it shows without waiting. What it said is dropped.
    pub(crate) fn is_over(&mut self) -> bool {
        let mut chunk = [0; 4096];
        loop {
            match self.stream.try_read(&mut chunk) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() != std::io::ErrorKind::WouldBlock,
            }
        }
    }

    /// Reads the head of a response and the body that it announces.
    pub(crate) async fn head(&mut self) -> Head {
        loop {
            let end = self.ahead.windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(end) = end {
                let text = String::from_utf8(self.ahead.drain(..end + 4).collect()).unwrap();
                let mut lines = text.trim_end().split("\r\n");
                let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
                let headers: Vec<_> = lines
                    .map(|line| line.split_once(':').unwrap())
                    .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
                    .collect();
                let length = headers.iter().find(|(name, _)| name == "content-length");
                let length = length.map_or(0, |(_, length)| length.parse().unwrap());
                let length = if self.bodiless { 0 } else { length };
                let body = String::from_utf8(self.exactly(length).await.unwrap()).unwrap();
                return Head { status, headers, body };
            }
            assert!(self.more().await, "no whole answer, only {:?}", self.ahead);
        }
    }

    /// The next frame, or the end.
    pub(crate) async fn next(&mut self) -> Heard {
        let Some(start) = self.exactly(2).await else { return Heard::End };
        assert_eq!(start[0] & 0x70, 0, "a reserved bit is set: something was negotiated");
        assert_eq!(start[1] & 0x80, 0, "a server must not mask");
        let length = match start[1] {
            126 => {
                let bytes = self.exactly(2).await.unwrap();
                usize::from(u16::from_be_bytes([bytes[0], bytes[1]]))
            }
            127 => panic!("the relay sends no frame of this size"),
            short => usize::from(short),
        };
        let payload = self.exactly(length).await.unwrap();
        match start[0] & 0x0f {
            TEXT => Heard::Text(String::from_utf8(payload).unwrap()),
            PING => Heard::Ping,
            PONG => Heard::Pong,
            // RFC 6455 section 7.4.1: 1005 stands for a Close without a code.
            CLOSE if payload.is_empty() => Heard::Close(1005, String::new()),
            CLOSE => {
                let (code, reason) = payload.split_at(2);
                let reason = String::from_utf8(reason.to_vec()).unwrap();
                Heard::Close(u16::from_be_bytes([code[0], code[1]]), reason)
            }
            other => panic!("the relay sent a frame with opcode {other}"),
        }
    }

    /// Reads `hello` and gives its nonce.
    pub(crate) async fn hello(&mut self) -> String {
        let Heard::Text(text) = self.next().await else { panic!("no hello") };
        match RelayFrame::decode(&text).unwrap() {
            RelayFrame::Hello { nonce, .. } => nonce,
            other => panic!("not a hello: {other:?}"),
        }
    }

    /// Expects the close frame and nothing before it but pongs.
    #[track_caller]
    pub(crate) fn closes(&mut self) -> impl Future<Output = (u16, String)> + '_ {
        let caller = std::panic::Location::caller();
        async move {
            loop {
                match self.next().await {
                    Heard::Close(code, reason) => break (code, reason),
                    Heard::Pong => {}
                    other => panic!("{caller}: not a close frame but {other:?}"),
                }
            }
        }
    }

    /// Answers `hello` as this device and waits until it is welcome.
    pub(crate) async fn authenticates(&mut self, paired: &Paired) {
        let nonce = self.hello().await;
        let Paired { socket_url, device_id, key } = paired;
        let proof = key.auth_proof(socket_url, &nonce, *device_id).unwrap();
        let auth = serde_json::json!({ "type": "auth", "proof": proof }).to_string();
        self.send(&text(&auth)).await;
        let Heard::Text(frame) = self.next().await else { panic!("no welcome") };
        assert!(frame.contains("\"welcome\""), "{frame}");
    }

    /// Whether the stream ends before anything comes.
    pub(crate) async fn says_nothing(&mut self) -> bool {
        !self.more().await
    }

    /// Everything that comes until the end of the stream.
    pub(crate) async fn heard(&mut self) -> String {
        self.hung_up().await;
        String::from_utf8_lossy(&self.ahead).into_owned()
    }

    /// Waits for the end of the stream, whatever is said before it.
    pub(crate) async fn hung_up(&mut self) {
        while self.more().await {}
    }

    async fn exactly(&mut self, bytes: usize) -> Option<Vec<u8>> {
        while self.ahead.len() < bytes {
            if !self.more().await {
                return None;
            }
        }
        Some(self.ahead.drain(..bytes).collect())
    }

    /// Reads more ahead; `false` at the end of the stream or when it was reset.
    async fn more(&mut self) -> bool {
        let mut chunk = [0; 4096];
        let read = timeout(PATIENCE, self.stream.read(&mut chunk)).await;
        let read = read.expect("the relay says something or hangs up").unwrap_or(0);
        self.ahead.extend_from_slice(&chunk[..read]);
        read > 0
    }
}

/// A frame with this first byte (FIN, reserved bits, opcode), masked as a client must.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = header(first, payload.len(), true);
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// A text frame.
pub(crate) fn text(text: &str) -> Vec<u8> {
    frame(FIN | TEXT, text.as_bytes())
}

/// A frame's header for so many bytes, without a masking key.
pub(crate) fn header(first: u8, length: usize, masked: bool) -> Vec<u8> {
    let bit = if masked { 0x80 } else { 0 };
    let mut header = vec![first];
    match length {
        0..126 => header.push(bit | u8::try_from(length).unwrap()),
        126..65_536 => {
            header.push(bit | 126);
            header.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
        }
        _ => {
            header.push(bit | 127);
            header.extend_from_slice(&u64::try_from(length).unwrap().to_be_bytes());
        }
    }
    header
}
