//! The impostor's own tests.

mod faults;
mod http;
mod ledger;
mod protocol;
mod scripts;
mod tapes;
