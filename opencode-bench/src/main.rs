//! Throughput and scale measurements against any OpenCode server.

fn main() {}
