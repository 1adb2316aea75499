//! What a product's `ask` rules mean for sub-agents.
//!
//! OpenCode hands the session of a sub-agent (its `task` tool) only the `deny` and `external_directory` rules of the
//! session that started it (read in 1.18.33, seen on every version that has the tool): whatever else the product
//! wants asked runs there unasked. So where a product's rules hold an `ask`, sub-agents are off, unless the host's
//! builder says otherwise.

use opencode_client::wire::{PermissionAction, PermissionRule};
use serde_json::{Map, Value, json};

/// What becomes of sub-agents where the product's rules hold an `ask`. Without one they are the product's affair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubAgents {
    /// They are off: OpenCode would not ask for what they do.
    #[default]
    Off,
    /// The agents of these names may be used as sub-agents, and ask: the server was started with
    /// [`server_configuration`] for them. All others are off.
    Asking(Vec<String>),
    /// They work, and **nothing they do is asked for**: a shell command of theirs runs at once. Reported as a warning
    /// with each new session, and with each older one that they are allowed in.
    Unasked,
}

/// The host's agents ask, and their sub-agents do not.
#[derive(Debug, thiserror::Error)]
#[error(
    "sub-agents ask for nothing: what the rules want asked runs unasked there (SubAgents::Unasked)"
)]
pub(crate) struct RunsUnasked;

impl SubAgents {
    /// Whether they work and ask for nothing.
    pub fn are_unasked(&self) -> bool {
        *self == Self::Unasked
    }

    /// Whether a session with these rules has sub-agents that do not ask.
    pub(crate) fn run_unasked(&self, rules: &[PermissionRule]) -> bool {
        self.are_unasked() && has_ask(rules)
    }

    /// What a session that was told other rules before is told to have these (of [`SubAgents::complete`]). A server
    /// appends them to the earlier ones, of which the last may have turned sub-agents off.
    pub(crate) fn change(&self, rules: &[PermissionRule]) -> Vec<PermissionRule> {
        let lifted = self
            .run_unasked(rules)
            .then(|| task("*", PermissionAction::Allow));
        // In front: what the product says of `task` comes behind it.
        lifted.into_iter().chain(rules.iter().cloned()).collect()
    }

    /// The rules of a session, with what they mean for sub-agents.
    pub(crate) fn complete(&self, mut rules: Vec<PermissionRule>) -> Vec<PermissionRule> {
        let asking: &[String] = match self {
            Self::Unasked => return rules,
            _ if !has_ask(&rules) => return rules,
            Self::Off => &[],
            Self::Asking(names) => names,
        };
        let allowed: Vec<_> = asking
            .iter()
            .map(|name| task(name, action(&rules, TASK, name)))
            .collect();
        // The last match wins: behind whatever the product says of `task`.
        rules.push(task("*", PermissionAction::Deny));
        rules.extend(allowed);
        rules
    }
}

fn task(pattern: &str, action: PermissionAction) -> PermissionRule {
    PermissionRule {
        permission: TASK.to_owned(),
        pattern: pattern.to_owned(),
        action,
    }
}

/// What OpenCode calls the tool that starts a sub-agent.
const TASK: &str = "task";

/// The permission whose rules a sub-agent's session is given, whatever they say.
const INHERITED: &str = "external_directory";

/// The configuration with which an OpenCode server makes the agents of these names ask for what `rules` want asked.
///
/// To be merged, last, into the server's own (`OPENCODE_CONFIG_CONTENT`). It wins over what a person's configuration
/// says of these agents: OpenCode keeps the order of a configuration's permissions and takes the last that fits, and
/// a key that replaced one of the person's would stand in that one's place. So the keys are such that nobody has
/// them: `bash***` fits what `bash` does.
pub fn server_configuration(rules: &[PermissionRule], agents: &[&str]) -> Value {
    let mut permission = Map::new();
    let asked = rules
        .iter()
        .filter(|rule| rule.action == PermissionAction::Ask && rule.permission != INHERITED);
    for rule in asked {
        let patterns = permission
            .entry(format!("{}***", rule.permission))
            .or_insert_with(|| json!({}));
        patterns[&rule.pattern] = json!(rule.action);
    }
    let agents = agents
        .iter()
        .map(|name| ((*name).to_owned(), json!({ "permission": permission })));
    json!({ "agent": agents.collect::<Map<_, _>>() })
}

fn has_ask(rules: &[PermissionRule]) -> bool {
    rules
        .iter()
        .any(|rule| rule.action == PermissionAction::Ask)
}

/// What rules say of something; OpenCode allows what no rule of a session names.
fn action(rules: &[PermissionRule], permission: &str, pattern: &str) -> PermissionAction {
    let last = rules
        .iter()
        .rev()
        .find(|rule| fits(&rule.permission, permission) && fits(&rule.pattern, pattern));
    last.map_or(PermissionAction::Allow, |rule| rule.action)
}

/// Whether `text` is what `pattern` means: `*` stands for anything, `?` for one character.
fn fits(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where the last `*` is, and how much of the text it stands for so far.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match &mut star {
                Some((at, until)) => {
                    *until += 1;
                    (p, t) = (*at + 1, *until);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use PermissionAction::{Allow, Ask, Deny};

    fn rule(permission: &str, pattern: &str, action: PermissionAction) -> PermissionRule {
        PermissionRule {
            permission: permission.to_owned(),
            pattern: pattern.to_owned(),
            action,
        }
    }

    #[test]
    fn an_ask_of_any_kind_turns_sub_agents_off_whatever_the_product_says_of_them() {
        for rules in [
            vec![rule("bash", "*", Ask)],
            vec![rule("*", "*", Ask)],
            vec![rule("edit", "*.md", Ask), rule("task", "*", Allow)],
            vec![rule("task", "*", Ask)],
            vec![rule("external_directory", "*", Ask), rule("*", "*", Allow)],
        ] {
            let complete = SubAgents::Off.complete(rules.clone());
            assert_eq!(complete[..rules.len()], rules);
            for name in ["general", "explore", "anything"] {
                assert_eq!(action(&complete, "task", name), Deny, "{rules:?}");
            }
        }
    }

    #[test]
    fn rules_without_an_ask_are_left_alone() {
        let rules = vec![rule("bash", "*", Deny), rule("edit", "*", Allow)];
        for sub_agents in [
            SubAgents::Off,
            SubAgents::Unasked,
            SubAgents::Asking(vec!["general".to_owned()]),
        ] {
            assert_eq!(sub_agents.complete(rules.clone()), rules);
        }
    }

    #[test]
    fn agents_that_ask_are_allowed_as_far_as_the_product_allows_them() {
        let asking = SubAgents::Asking(vec!["general".to_owned(), "explore".to_owned()]);
        let rules = vec![rule("bash", "*", Ask), rule("task", "explore", Deny)];
        let complete = asking.complete(rules);
        assert_eq!(action(&complete, "task", "general"), Allow);
        assert_eq!(action(&complete, "task", "explore"), Deny);
        assert_eq!(action(&complete, "task", "own"), Deny);
        let complete = asking.complete(vec![rule("*", "*", Ask)]);
        assert_eq!(action(&complete, "task", "general"), Ask);
    }

    #[test]
    fn sub_agents_run_unasked_only_where_that_was_said_by_name() {
        let rules = vec![rule("bash", "*", Ask)];
        assert_eq!(SubAgents::Unasked.complete(rules.clone()), rules);
        assert!(SubAgents::Unasked.run_unasked(&rules));
        assert!(!SubAgents::Unasked.run_unasked(&[rule("bash", "*", Deny)]));
        assert!(!SubAgents::default().run_unasked(&rules));
    }

    #[test]
    fn what_turned_sub_agents_off_is_lifted_by_name_only_and_not_over_the_product() {
        let rules = vec![rule("bash", "*", Ask), rule("task", "explore", Deny)];
        let off = SubAgents::Off.complete(rules.clone());
        let after = |sub_agents: SubAgents| {
            let told = sub_agents.change(&sub_agents.complete(rules.clone()));
            [off.clone(), told].concat()
        };
        let unasked = after(SubAgents::Unasked);
        assert_eq!(action(&unasked, "task", "general"), Allow);
        assert_eq!(action(&unasked, "task", "explore"), Deny);
        assert_eq!(action(&after(SubAgents::Off), "task", "general"), Deny);
        // Without an `ask` they are the product's affair.
        let silent = [rule("bash", "*", Deny)];
        assert_eq!(SubAgents::Unasked.change(&silent), silent);
    }

    #[test]
    fn the_configuration_asks_under_keys_that_nobody_has() {
        let rules = [
            rule("external_directory", "*", Ask),
            rule("bash", "*", Ask),
            rule("edit", "*.md", Ask),
            rule("edit", "*.git", Deny),
        ];
        let asks = json!({"bash***": {"*": "ask"}, "edit***": {"*.md": "ask"}});
        assert_eq!(
            server_configuration(&rules, &["general", "explore"]),
            json!({"agent": {"general": {"permission": asks}, "explore": {"permission": asks}}})
        );
    }

    #[test]
    fn patterns_fit_as_opencode_has_them() {
        assert!(fits("*", "") && fits("bash***", "bash") && fits("t?sk", "task"));
        assert!(fits("a*b*c", "axxbyyc") && fits("ge*", "general"));
        assert!(!fits("task", "tasks") && !fits("a*b", "axc") && !fits("", "x"));
    }
}
