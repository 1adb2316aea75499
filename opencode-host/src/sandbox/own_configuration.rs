//! What becomes of what OpenCode would take from a sandbox for its own.

/// What becomes of configuration of OpenCode's that is found in a conversation's sandbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OwnConfiguration {
    /// It is moved out before the server could read it: see
    /// [`Sandbox::remove_configuration`](super::Sandbox::remove_configuration).
    #[default]
    Remove,
    /// As [`Remove`](Self::Remove), but `AGENTS.md`, `CLAUDE.md` and `CONTEXT.md` stay. For servers that were started
    /// with `OPENCODE_DISABLE_PROJECT_CONFIG=1`, which keeps them out of the system prompt (1.18.33).
    KeepInstructions,
    /// It stays, whoever wrote it: the agent too. For products that seed configuration, or that let the agent
    /// keep a Git repository, and whose server runs inside an isolation of the system.
    Keep,
}
