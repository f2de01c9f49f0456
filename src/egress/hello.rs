//! The first thing that a TLS client says, read for the name that it says.
