//! Hosting of OpenCode turns inside a web application: session, turn, recovery and stores.
