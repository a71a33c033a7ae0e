//! Everything on one machine: the durable store in one file, the bus within the process, the system clock.
