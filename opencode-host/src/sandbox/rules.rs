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
/// are refused, and the agent is told so, but not a patch that *moves* a file there. What such a patch leaves
/// behind a [`Host`](crate::Host) with sandboxes moves out before the server could run it
/// ([`Sandbox::remove_configuration`](super::Sandbox::remove_configuration)); others call that themselves,
/// before each prompt. Beside both:
///
/// - start the server with `OPENCODE_DISABLE_PROJECT_CONFIG=1`, so that it looks at less of a folder, and later
///   (at the first prompt);
/// - leave its settings `lsp` and `formatter` off, as they are by default: both start programs of the folder's
///   `node_modules`.
pub fn own_configuration_rules() -> Vec<PermissionRule> {
    [
        "*.agents",
        "*.agents/*",
        "*.claude",
        "*.claude/*",
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
