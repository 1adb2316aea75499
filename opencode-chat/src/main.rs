//! Reference chat application on opencode-host: one binary, embedded database.

fn main() {}
