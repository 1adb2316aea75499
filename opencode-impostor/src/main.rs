//! The impostor as a command.

fn main() {}
