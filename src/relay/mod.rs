//! Orchestration: load, step, save, then perform the effects.
