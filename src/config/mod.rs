//! Configuration: sources, merged and validated, all mistakes at once.
