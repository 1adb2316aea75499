//! Integration tests of the client.

mod tape;
mod tapes;
