//! The mobile app, simulated: pairs, holds the socket, asks for the code, uses a card.
