//! What a supervised server's configuration holds, so that its sub-agents ask.
//!
//! The rules of a session do not reach the sessions of its sub-agents; those of `agent.NAME.permission` do, and of what
//! OpenCode reads from a person's folders and `OPENCODE_CONFIG_CONTENT` the last comes last (1.18.33). Nothing the
//! person configured is lost: what is added stands behind it.

use std::collections::BTreeMap;

use opencode_client::wire::PermissionRule;
use opencode_host::sub_agents::server_configuration;
use serde_json::value::RawValue;

/// The agents that may be used as sub-agents: those that every OpenCode has.
pub(crate) const SUB_AGENTS: [&str; 2] = ["general", "explore"];

type Object = BTreeMap<String, Box<RawValue>>;

/// The configuration that the person gave, if any, with what makes sub-agents ask. The texts of the person's rules are
/// kept as they are: their order counts.
pub(super) fn asking(given: Option<&str>, rules: &[PermissionRule]) -> serde_json::Result<String> {
    let added = server_configuration(rules, &SUB_AGENTS);
    let given = given.filter(|given| !given.trim().is_empty());
    let mut configuration: Object = serde_json::from_str(given.unwrap_or("{}"))?;
    let mut agents = object(configuration.remove("agent"))?;
    for name in SUB_AGENTS {
        let mut agent = object(agents.remove(name))?;
        let asks = added["agent"][name]["permission"].to_string();
        let permission = behind(agent.remove("permission").as_deref(), &asks)?;
        agent.insert("permission".to_owned(), permission);
        agents.insert(name.to_owned(), serde_json::value::to_raw_value(&agent)?);
    }
    let agents = serde_json::value::to_raw_value(&agents)?;
    configuration.insert("agent".to_owned(), agents);
    serde_json::to_string(&configuration)
}

fn object(value: Option<Box<RawValue>>) -> serde_json::Result<Object> {
    value.map_or_else(
        || Ok(Object::new()),
        |value| serde_json::from_str(value.get()),
    )
}

/// The object `more`, behind what there is. A lone word is a rule for everything.
fn behind(given: Option<&RawValue>, more: &str) -> serde_json::Result<Box<RawValue>> {
    let members = |object: &str| -> String {
        let inner = object
            .trim()
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'));
        inner.unwrap_or_default().trim().to_owned()
    };
    let given = match given.map(|given| given.get().trim()) {
        Some(word) if word.starts_with('"') => format!("\"*\":{word}"),
        Some(object) => members(object),
        None => String::new(),
    };
    let all: Vec<String> = [given, members(more)]
        .into_iter()
        .filter(|members| !members.is_empty())
        .collect();
    RawValue::from_string(format!("{{{}}}", all.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use opencode_client::wire::PermissionAction;

    fn with(given: Option<&str>) -> String {
        asking(given, &[PermissionRule::all("bash", PermissionAction::Ask)]).unwrap()
    }

    #[test]
    fn the_asks_stand_behind_what_the_person_says_of_an_agent() {
        let asks = r#""bash***":{"*":"ask"}"#;
        let alone = format!(r#"{{"permission":{{{asks}}}}}"#);
        assert_eq!(
            with(None),
            format!(r#"{{"agent":{{"explore":{alone},"general":{alone}}}}}"#)
        );
        assert_eq!(with(Some(" ")), with(None));
        for (said, kept) in [
            (
                r#"{"zoom":"ask","bash":"allow","*":"allow"}"#,
                r#""zoom":"ask","bash":"allow","*":"allow","#,
            ),
            (r#""allow""#, r#""*":"allow","#),
            ("{ }", ""),
        ] {
            let given = format!(
                r#"{{"model":"a/b","agent":{{"own":{{"x":1}},"general":{{"permission":{said}}}}}}}"#
            );
            let whole = with(Some(&given));
            assert!(
                whole.contains(&format!(r#""permission":{{{kept}{asks}}}"#)),
                "{whole}"
            );
            assert!(
                whole.contains(r#""own":{"x":1}"#) && whole.contains(r#""model":"a/b""#),
                "{whole}"
            );
        }
    }

    #[test]
    fn what_is_no_configuration_is_refused() {
        for odd in [
            "// said\n{}",
            "[]",
            "{,}",
            r#"{"agent":3}"#,
            r#"{"agent":{"general":"x"}}"#,
        ] {
            assert!(asking(Some(odd), &[]).is_err(), "{odd}");
        }
    }
}
