//! A deterministic double of an OpenCode server, and of a model provider.
