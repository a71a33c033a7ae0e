//! One device socket without the socket: handshake, heartbeat and budgets as a pure state machine.
