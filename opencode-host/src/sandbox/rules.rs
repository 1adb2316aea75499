//! What OpenCode is told about a sandbox.

use opencode_client::wire::{PermissionAction, PermissionRule};

/// The rules a session gets unless its product says otherwise: no folder but its own, and no shell.
///
/// OpenCode applies the last rule that matches (seen on 1.18.34). A shell is not confined by any rule: a
/// product that allows `bash` to people it does not trust must run OpenCode inside an isolation of the
/// system.
pub fn default_permission_rules() -> Vec<PermissionRule> {
    ["external_directory", "bash"]
        .map(|permission| PermissionRule::all(permission, PermissionAction::Deny))
        .into()
}

/// Rules to append where people prompt who are not trusted: the agent may not write, as ordinary files of its
/// folder, what OpenCode takes its own configuration from.
///
/// Seen on 1.18.33, with no shell allowed: a file `.opencode/plugin/x.js` that the `write` tool made was run
/// by the server at its next start in that folder, and a `.git/config` with `core.worktree` moved the border
/// of `external_directory`. With these rules `write`, `edit` and the patches that add or change such a file
/// are refused, but not a patch that *moves* a file there. So they do not stand alone:
///
/// - start the server with `OPENCODE_DISABLE_PROJECT_CONFIG=1`: configuration of the folder is then not read.
///   Its plugins are run all the same, at the first prompt in the folder (seen on 1.18.33, with
///   `OPENCODE_PURE=1` too), and
/// - ask [`Sandbox::is_git_worktree`](super::Sandbox::is_git_worktree) before a turn.
pub fn own_configuration_rules() -> Vec<PermissionRule> {
    [
        "*.git",
        "*.git/*",
        "*.opencode",
        "*.opencode/*",
        "*opencode.json",
        "*opencode.jsonc",
    ]
    .map(|pattern| PermissionRule {
        permission: "edit".to_owned(),
        pattern: pattern.to_owned(),
        action: PermissionAction::Deny,
    })
    .into()
}
