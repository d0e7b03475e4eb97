//! Several processes on one machine, no server.
