//! A FIDO2 card in software, for the simulated phone and the tests.
