//! A FIDO2 server that does what a script says, down to cutting an answer after some bytes, and
//! that remembers every request it got. It verifies nothing; it is there for what a real server
//! does only on its worst day.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fido_relay::tasks::Tasks;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// One request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// Such as `POST /fidoapi/register/begin`.
    pub(crate) call: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Received {
    /// Every value of a header.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let of_name = self.headers.iter().filter(|(known, _)| known == name);
        of_name.map(|(_, value)| value.as_str()).collect()
    }
}

/// What the script does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// Answers in full and keeps the connection.
    Answer(Answer),
    /// Answers, but hangs up after so many bytes of the answer's text.
    Cut(Answer, usize),
    /// Answers, with this pause before every byte of the body.
    Drip(Answer, Duration),
    /// Announces a JSON body and sends it without end.
    Endless,
    /// Never answers and never hangs up.
    Hang,
    /// Hangs up without an answer.
    HangUp,
}

#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(status: u16, body: impl Into<String>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
            .with("Content-Type", "application/json")
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The answer as it goes over the wire.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("HTTP/1.1 {} Scripted\r\n", self.status);
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if self.status == 204 {
            text.push_str("\r\n");
        } else {
            text.push_str(&format!("Content-Length: {}\r\n\r\n{}", self.body.len(), self.body));
        }
        text
    }
}

type Script = dyn Fn(usize, &Received) -> Reply + Send + Sync;

#[derive(Debug, Default)]
struct Log {
    connections: usize,
    received: Vec<Received>,
}

/// The server. It has its port from the start; it refuses connections until it listens.
#[derive(Debug)]
pub(crate) struct ScriptedUpstream {
    address: SocketAddr,
    log: Arc<Mutex<Log>>,
    refusing: Option<TcpSocket>,
    tasks: Tasks,
}

impl ScriptedUpstream {
    /// Listens and follows the script, which is given the number of the request (from 0) and
    /// the request.
    pub(crate) fn listening(
        script: impl Fn(usize, &Received) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let mut server = Self::refusing();
        server.listen(script);
        server
    }

    /// Holds a port without a listener: every connection is refused.
    pub(crate) fn refusing() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Self {
            address: socket.local_addr().unwrap(),
            log: Arc::default(),
            refusing: Some(socket),
            tasks: Tasks::default(),
        }
    }

    /// Ends the refusals.
    pub(crate) fn listen(
        &mut self,
        script: impl Fn(usize, &Received) -> Reply + Send + Sync + 'static,
    ) {
        let listener = self.refusing.take().unwrap().listen(1024).unwrap();
        let serving = serve(listener, Arc::clone(&self.log), Arc::new(script), self.tasks.clone());
        self.tasks.spawn_untraced(serving);
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every request so far, in order of arrival.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.log.lock().unwrap().received.clone()
    }

    /// How many connections were accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.log.lock().unwrap().connections
    }
}

impl Drop for ScriptedUpstream {
    fn drop(&mut self) {
        self.tasks.stopping().cancel();
    }
}

async fn serve(listener: TcpListener, log: Arc<Mutex<Log>>, script: Arc<Script>, tasks: Tasks) {
    let stopping = tasks.stopping().clone();
    while let Some(Ok((stream, _))) = stopping.run_until_cancelled(listener.accept()).await {
        log.lock().unwrap().connections += 1;
        let (log, script, stopping) = (Arc::clone(&log), Arc::clone(&script), stopping.clone());
        tasks.spawn_untraced(async move {
            // A client that goes away ends the connection and nothing else.
            let _ = stopping.run_until_cancelled(converse(stream, &log, &*script)).await;
        });
    }
}

async fn converse(stream: TcpStream, log: &Mutex<Log>, script: &Script) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream).await? {
        let number = {
            let mut log = log.lock().unwrap();
            log.received.push(request.clone());
            log.received.len() - 1
        };
        match script(number, &request) {
            Reply::Answer(answer) => stream.write_all(answer.text().as_bytes()).await?,
            Reply::Cut(answer, bytes) => {
                let text = answer.text();
                stream.write_all(&text.as_bytes()[..bytes.min(text.len())]).await?;
                return stream.shutdown().await;
            }
            Reply::Drip(answer, pause) => {
                let text = answer.text();
                let (head, body) = text.split_at(text.len() - answer.body.len());
                stream.write_all(head.as_bytes()).await?;
                for byte in body.as_bytes().chunks(1) {
                    tokio::time::sleep(pause).await;
                    stream.write_all(byte).await?;
                }
            }
            Reply::Endless => endless(&mut stream).await?,
            Reply::Hang => std::future::pending().await,
            Reply::HangUp => return stream.shutdown().await,
        }
    }
    Ok(())
}

async fn endless(stream: &mut BufReader<TcpStream>) -> std::io::Result<()> {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
        Transfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await?;
    let chunk = format!("1000\r\n{}\r\n", " ".repeat(0x1000));
    loop {
        stream.write_all(chunk.as_bytes()).await?;
    }
}

/// The next request of a connection; `None` at its end.
async fn read(stream: &mut BufReader<TcpStream>) -> std::io::Result<Option<Received>> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let call = line.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
    let mut headers = Vec::new();
    loop {
        line.clear();
        stream.read_line(&mut line).await?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.map_or(0, |(_, length)| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(Some(Received { call, headers, body: String::from_utf8(body).unwrap() }))
}
