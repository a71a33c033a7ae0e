//! An external FIDO2 server over HTTP.
