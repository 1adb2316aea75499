//! The front door for developers of this workspace.

fn main() {}
