//! A port of 127.0.0.1 that belongs to one test: bound and not listening, so that the kernel gives
//! it to no other socket while the program that listens there is restarted.

use std::net::SocketAddr;

use tokio::net::TcpSocket;

/// The port, for as long as this value lives.
#[derive(Debug)]
pub(crate) struct OwnPort {
    _socket: TcpSocket,
    pub(crate) address: SocketAddr,
}

impl OwnPort {
    pub(crate) fn reserve() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        Self { _socket: socket, address }
    }
}
