//! One socket, one task, one loop: leaving, reading, writing, heartbeat, in this order. The session
//! decides, and the loop does what it says.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use fido_relay_proto::device::Auth;
use fido_relay_proto::http::P256Jwk;
use fido_relay_proto::{ConnectionId, RelayFrame};
use futures::{SinkExt as _, StreamExt as _};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::app::audit::refusals::RefusalKind;
use crate::app::ceremonies::DeviceIdentity;
use crate::app::devices::{self, Device, Unproven};
use crate::core::session::{Action, AuthFailure, CloseReason, Jitter, Nonce, Session, Tick};
use crate::delivery::{Connection, ConnectionAction};
use crate::edge::listener::{Accepted, ConnectionHandle, EvictableSlot};
use crate::edge::public::Edge;
use crate::edge::public::websocket::closing::{self, Socket};
use crate::edge::public::websocket::frame_guard::FrameGuard;
use crate::metrics::SocketCount;
use crate::security::{device_proof, random};

/// How long a closing handshake may take.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);
/// The same before the device is known.
const CLOSE_LIMIT_OF_STRANGER: Duration = Duration::from_millis(500);
/// The read buffer of an idle phone: the library's default is 128 KiB. It grows for a longer frame.
const READ_BUFFER: usize = 256;
/// Reconnections after a shutdown spread over this many milliseconds.
const GOAWAY_SPREAD_MS: u64 = 5_000;

/// Longest sleep: a deadline that never comes cannot be added to a clock.
const LONGEST_SLEEP_MS: u64 = 24 * 60 * 60 * 1000;

/// Runs an upgraded socket to its end.
///
/// The task of an idle phone is as large as the largest future in it, so the futures before, within
/// and after the long wait are boxed.
pub(super) async fn run(edge: Edge, upgrade: OnUpgrade, accepted: Accepted, slot: EvictableSlot) {
    let Some(mut socket) = Box::pin(open(edge, upgrade, accepted, slot)).await else { return };
    let reason = socket.until_closed().await;
    Box::pin(socket.finish(reason)).await;
}

/// Takes the upgraded socket over and greets the device.
async fn open(
    edge: Edge,
    upgrade: OnUpgrade,
    accepted: Accepted,
    slot: EvictableSlot,
) -> Option<Box<DeviceConnection>> {
    let upgraded = timeout_at(accepted.auth_by, upgrade).await.ok()?.ok()?;
    let limits = &edge.inner.socket_limits;
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(2 * crate::delivery::OUTBOX_BYTES)
        .max_message_size(Some(limits.frame_after_auth))
        .max_frame_size(Some(limits.frame_after_auth));
    let guarded = FrameGuard::new(TokioIo::new(upgraded), limits.frame_before_auth);
    let stream = WebSocketStream::from_raw_socket(guarded, Role::Server, Some(config)).await;
    let epoch = Instant::now();
    let auth_by = millis(accepted.auth_by.saturating_duration_since(epoch));
    let nonce = Nonce::from_bytes(random::bytes());
    let (session, hello) = Session::accept(0, auth_by, nonce, Arc::clone(limits));
    let handle = Arc::clone(accepted.handle());
    let count = edge.settings().metrics.socket();
    let (slot, address) = (Some(slot), accepted.client);
    let connection = None;
    let mut socket = Box::new(DeviceConnection {
        edge,
        stream,
        session,
        epoch,
        connection,
        address,
        slot,
        handle,
        count,
    });
    match socket.write(hello).await {
        Ok(()) => Some(socket),
        Err(reason) => {
            socket.finish(reason).await;
            None
        }
    }
}

struct DeviceConnection {
    edge: Edge,
    stream: Socket,
    session: Session,
    /// The session's time zero.
    epoch: Instant,
    connection: Option<Arc<Connection>>,
    /// The phone's.
    address: IpAddr,
    /// Among unauthenticated device sockets, until the device has authenticated.
    slot: Option<EvictableSlot>,
    handle: Arc<ConnectionHandle>,
    count: SocketCount,
}

/// Takes the connection out of the registry however the socket ends.
impl Drop for DeviceConnection {
    fn drop(&mut self) {
        if let Some(connection) = &self.connection {
            self.edge.relay().delivery.detach(connection);
        }
    }
}

impl DeviceConnection {
    async fn until_closed(&mut self) -> CloseReason {
        let tasks = self.edge.app().tasks.clone();
        let (draining, stopping) = (tasks.draining(), tasks.stopping());
        let mut gone_away = false;
        loop {
            let wakes_in = time_until_deadline(self.now(), self.session.wakes_at());
            let connection = self.connection.clone();
            let woken = async {
                match &connection {
                    Some(connection) => connection.woken().await,
                    None => std::future::pending().await,
                }
            };
            let done = tokio::select! {
                biased;
                () = stopping.cancelled() => Err(CloseReason::Restart),
                () = draining.cancelled(), if !gone_away => {
                    gone_away = true;
                    Box::pin(self.go_away()).await
                }
                message = self.stream.next() => Box::pin(self.read(message)).await,
                () = woken => Ok(()),
                () = sleep(wakes_in) => Box::pin(self.tick()).await,
            };
            // The outbox is written after every event, so that a phone that sends without pause
            // still receives.
            let done = match done {
                Ok(()) => Box::pin(self.drain()).await,
                Err(reason) => Err(reason),
            };
            if let Err(reason) = done {
                return reason;
            }
        }
    }

    fn now(&self) -> u64 {
        millis(self.epoch.elapsed())
    }

    async fn go_away(&mut self) -> Result<(), CloseReason> {
        let reconnect_in_ms = random::below(GOAWAY_SPREAD_MS);
        self.write(RelayFrame::Goaway { reconnect_in_ms }).await
    }

    async fn read(&mut self, message: Option<Result<Message, Error>>) -> Result<(), CloseReason> {
        let now = self.now();
        let action = match message {
            Some(Ok(Message::Text(text))) => self.session.on_text(now, text.as_str()),
            Some(Ok(Message::Binary(_))) => self.session.on_binary(now),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => self.session.on_control(now),
            Some(Ok(Message::Close(_))) | None => return Err(CloseReason::PeerClosed),
            Some(Ok(Message::Frame(_))) => Action::Nothing,
            Some(Err(error)) => return Err(self.reason_of(&error)),
        };
        self.act(action).await
    }

    async fn act(&mut self, action: Action) -> Result<(), CloseReason> {
        match action {
            Action::Nothing => Ok(()),
            Action::Reply(frame) => self.write(frame).await,
            Action::Close(reason) => Err(reason),
            Action::Deliver(frame) => {
                let Some(connection) = self.connection.clone() else {
                    return Err(CloseReason::Internal);
                };
                match self.edge.relay().delivery.receive(&connection, frame).await {
                    Some(reply) => self.write(reply).await,
                    None => Ok(()),
                }
            }
            Action::Verify { auth, nonce } => self.verify(auth, &nonce).await,
        }
    }

    async fn verify(&mut self, auth: Auth, nonce: &Nonce) -> Result<(), CloseReason> {
        let first = self.connection.is_none();
        let verified = proven_device(&self.edge.clone(), first, &auth, nonce).await;
        let mut proven_by = None;
        let result = match verified {
            Ok(device) => match &self.connection {
                Some(known) if known.identity().device == device.id => Ok(known.id()),
                Some(_) => Err(AuthFailure::Refused),
                // The phone is authenticated, so it may learn that it connects too often.
                None if self.edge.inner.limits.socket(device.id).is_err() => {
                    return Err(CloseReason::TooManySockets);
                }
                None => {
                    let Device { id, tenant, username, jwk, .. } = device;
                    let owner = DeviceIdentity { device: id, tenant, username };
                    proven_by = Some(jwk);
                    let id = ConnectionId::from_bytes(random::bytes());
                    self.slot = None;
                    self.handle.authenticated();
                    self.stream.get_mut().allow(self.edge.inner.socket_limits.frame_after_auth);
                    self.connection = Some(Arc::new(Connection::new(id, owner).at(self.address)));
                    Ok(id)
                }
            },
            Err(failure) => Err(failure),
        };
        let action = self.session.on_auth_result(self.now(), result, jitter());
        match action {
            Action::Reply(welcome) => self.write(welcome).await?,
            Action::Close(reason) => return Err(reason),
            Action::Nothing | Action::Deliver(_) | Action::Verify { .. } => {}
        }
        if let (Some(key), Some(connection)) = (proven_by, self.connection.clone()) {
            for open in self.edge.relay().delivery.attach(&connection, &key).await {
                self.edge.relay().delivery.show_again(&open, &connection).await;
                self.drain().await?;
            }
        }
        Ok(())
    }

    async fn tick(&mut self) -> Result<(), CloseReason> {
        let fresh = || Nonce::from_bytes(random::bytes());
        match self.session.on_tick(self.now(), jitter(), fresh) {
            Tick::Nothing => Ok(()),
            Tick::Ping => self.send(Message::Ping(Vec::new().into())).await,
            Tick::Send(frame) => self.write(frame).await,
            Tick::Close(reason) => Err(reason),
        }
    }

    /// Writes what waits in the outbox.
    async fn drain(&mut self) -> Result<(), CloseReason> {
        let Some(connection) = self.connection.clone() else { return Ok(()) };
        loop {
            match connection.next() {
                ConnectionAction::Idle => return Ok(()),
                ConnectionAction::Close(reason) => return Err(reason),
                ConnectionAction::Renew => self.session.renew(self.now()),
                ConnectionAction::Write(outgoing) => {
                    self.send(Message::Text(outgoing.text.into())).await?;
                    if let Some(ceremony) = outgoing.sent {
                        self.edge.relay().delivery.sent(&connection, ceremony).await;
                    }
                }
            }
        }
    }

    async fn write(&mut self, frame: RelayFrame) -> Result<(), CloseReason> {
        self.send(Message::Text(frame.encode().into())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), CloseReason> {
        let limit = self.edge.settings().socket_write;
        match timeout(limit, self.stream.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.reason_of(&error)),
            Err(_) => Err(CloseReason::WriteStalled),
        }
    }

    fn reason_of(&self, error: &Error) -> CloseReason {
        self.stream.get_ref().fault().unwrap_or_else(|| reason_of(error))
    }

    /// Ends the socket with a Close: the reply to the peer's, or this reason's.
    async fn finish(mut self: Box<Self>, reason: CloseReason) {
        let reason = self.session.end(reason);
        let device = self.connection.as_ref().map(|connection| connection.identity().device);
        let device_id = device.map(tracing::field::display);
        tracing::debug!(device = device_id, reason = reason.name(), "a device socket ended");
        self.count.ends(reason);
        if reason == CloseReason::Unauthenticated && self.slot.is_some() {
            self.edge.refused(RefusalKind::Proof, self.address);
        }
        if let Some(connection) = self.connection.take() {
            self.edge.relay().delivery.detach(&connection);
        }
        let frame = match reason.code() {
            Some(code) => Some(CloseFrame { code: code.into(), reason: reason.name().into() }),
            None => match closing::reply(&self.stream) {
                Some(reply) => reply,
                None => return,
            },
        };
        let limit = if device.is_some() { CLOSE_LIMIT } else { CLOSE_LIMIT_OF_STRANGER };
        drop(timeout(limit, closing::close(&mut self.stream, frame)).await);
    }
}

/// The device that made this proof, as it is stored when the proof is verified.
async fn proven_device(
    edge: &Edge,
    first: bool,
    auth: &Auth,
    nonce: &Nonce,
) -> Result<Device, AuthFailure> {
    let claimed = device_proof::claimed(&auth.proof).map_err(|_| AuthFailure::Refused)?.device_id;
    let (tenant, urls) = (&edge.settings().tenant, &edge.inner.socket_urls);
    let verify =
        |key: &P256Jwk| device_proof::verify_auth(&auth.proof, key, urls, &nonce.to_string());
    match devices::authenticate(edge.app(), tenant, claimed, verify).await {
        Ok((device, _)) => Ok(device),
        // On an authenticated socket the device existed before, so it was revoked.
        Err(Unproven::NotPaired) if !first => Err(AuthFailure::Revoked),
        Err(Unproven::NotPaired | Unproven::Proof(_)) => Err(AuthFailure::Refused),
        Err(Unproven::Store(error)) => {
            tracing::warn!(%error, "a device could not be looked up");
            Err(AuthFailure::Unavailable)
        }
    }
}

fn jitter() -> Jitter {
    Jitter::from_bits(u16::from_le_bytes(random::bytes()))
}

/// The time until the session's next deadline, by the session's clock. It counts from now and not
/// from the socket's start, because sockets live for days.
fn time_until_deadline(now: u64, wakes_at: u64) -> Duration {
    Duration::from_millis(wakes_at.saturating_sub(now).min(LONGEST_SLEEP_MS))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The close reason (RFC 6455 section 7.4.1) of an error of the library.
fn reason_of(error: &Error) -> CloseReason {
    match error {
        Error::Capacity(_) => CloseReason::TooBig,
        Error::Utf8(_) => CloseReason::NotUtf8,
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => CloseReason::ConnectionLost,
        Error::Protocol(_) => CloseReason::Protocol,
        Error::ConnectionClosed | Error::AlreadyClosed => CloseReason::PeerClosed,
        Error::Io(_)
        | Error::Tls(_)
        | Error::WriteBufferFull(_)
        | Error::AttackAttempt
        | Error::Url(_)
        | Error::Http(_)
        | Error::HttpFormat(_) => CloseReason::ConnectionLost,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_is_a_week_old_sleeps_until_its_next_ping() {
        let week = 7 * 24 * 60 * 60 * 1000;
        assert_eq!(time_until_deadline(week, week + 25_000), Duration::from_secs(25));
        assert_eq!(time_until_deadline(week, week - 1), Duration::ZERO);
        assert_eq!(time_until_deadline(week, u64::MAX), Duration::from_millis(LONGEST_SLEEP_MS));
    }
}
