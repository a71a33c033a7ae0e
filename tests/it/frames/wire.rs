//! A message as WebSocket frames, in every way that RFC 6455 allows and in many that it forbids.

use super::generator::Generator;
use crate::support::raw_socket::{BINARY, CLOSE, CONTINUATION, FIN, PING, TEXT, frame, header};

/// One message's bytes on the wire; tells whether a careful peer could have sent it.
pub(super) fn message(generator: &mut Generator, payload: &[u8]) -> (Vec<u8>, bool) {
    match generator.rng.below(40) {
        0..26 => (frame(FIN | TEXT, payload), true),
        26..31 => (fragmented(generator, payload), true),
        31..34 => {
            // A ping within, as a phone's library sends them.
            let ping = "p".repeat(generator.size(126));
            ([frame(FIN | PING, ping.as_bytes()), frame(FIN | TEXT, payload)].concat(), true)
        }
        34 => (frame(FIN | PING, b"p").repeat(1 + generator.size(50)), false),
        35 => (forbidden(generator, payload), false),
        36 => {
            // Announces more than ever comes.
            let length = 1 << generator.rng.below(62);
            (header(FIN | TEXT, length, true), false)
        }
        37 => (frame(FIN | CLOSE, &payload[..payload.len().min(1 + generator.size(125))]), false),
        38 => {
            let mut bytes = frame(FIN | TEXT, payload);
            let (at, bit) = (generator.size(12.min(bytes.len())), generator.rng.below(8));
            bytes[at] ^= 1 << bit;
            (bytes, false)
        }
        _ => {
            let random = (0..generator.size(200)).map(|_| generator.rng.next().to_le_bytes()[0]);
            (random.collect(), false)
        }
    }
}

fn fragmented(generator: &mut Generator, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (mut rest, mut opcode) = (payload, TEXT);
    for _ in 0..generator.size(24) {
        let (part, after) = rest.split_at(generator.size(rest.len() + 1));
        bytes.extend(frame(opcode, part));
        (rest, opcode) = (after, CONTINUATION);
    }
    bytes.extend(frame(FIN | opcode, rest));
    bytes
}

fn forbidden(generator: &mut Generator, payload: &[u8]) -> Vec<u8> {
    match generator.rng.below(7) {
        // Not masked.
        0 => [header(FIN | TEXT, payload.len(), false), payload.to_vec()].concat(),
        1 => frame(FIN | BINARY, payload),
        2 => frame(FIN | CONTINUATION, payload),
        // Reserved bits, reserved opcodes.
        3 => frame(FIN | TEXT | 0x40, payload),
        4 => frame(FIN | 0x3 | (generator.rng.next().to_le_bytes()[0] & 0x0c), payload),
        // Control frames in parts, and too long ones.
        5 => frame(PING, payload),
        _ => frame(FIN | PING, &[b'p'; 200]),
    }
}
