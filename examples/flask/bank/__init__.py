"""Harbour Bank: a web application whose users sign in and approve payments with a FIDO2 card that
only their phone can read, through fido-relay."""
