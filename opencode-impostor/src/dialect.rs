//! The habits of server versions: one table, from what was measured on real servers.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// How a server version behaves where versions differ.
///
/// [`Dialect::of`] knows each version; a field can be overridden by its name:
///
/// ```
/// use opencode_impostor::Dialect;
///
/// let dialect = Dialect { keeps_metadata: true, ..Dialect::of("1.14.48") };
/// assert!(dialect.silent_event && dialect.abort_needs_directory);
/// ```
///
/// A script file says the same as `"dialect": {"version": "1.14.48", "keeps_metadata": true}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>")]
pub struct Dialect {
    /// What `/global/health` and each session say.
    pub version: String,
    /// A second post of a message id while the first runs makes the model run again (seen on 1.15.13 alone).
    pub repost_runs_again: bool,
    /// The loop is ordered by message ids: a prompt that sorts before the newest message never runs, and one that
    /// sorts after the server's own ids runs for ever (up to 1.15.13).
    pub ids_order_the_loop: bool,
    /// Text grows by `message.part.delta`; when false by repeated `message.part.updated` (up to 1.1.65).
    pub deltas: bool,
    /// `GET /global/event` exists (1.0.0 has none).
    pub global_event: bool,
    /// `GET /session/status` exists; 1.0.0 reads it as a session of that id, and refuses.
    pub session_status: bool,
    /// A route that is not there is asked of a public site, which the impostor plays as out of reach: a 500. When
    /// false it is a 404 (1.0.0).
    pub proxies_unknown_routes: bool,
    /// `/event` sends `server.connected` and then nothing (1.14.48).
    pub silent_event: bool,
    /// Events carry an `id` (from 1.14 on).
    pub event_ids: bool,
    /// Events about a session or a message name the session beside the record (from 1.14.48 on; up to 1.2.27 the
    /// record alone says whose it is).
    pub events_name_session: bool,
    /// `GET /global/health` exists (from 1.1 on).
    pub health: bool,
    /// `POST /session` keeps `permission` and gives it back (from 1.1 on). When false, what the session's rules would
    /// ask for runs unasked.
    pub keeps_rules: bool,
    /// `/permission` and `/question` exist (from 1.1 on). When false they answer as an unknown route does, and a
    /// reply goes to `POST /session/:id/permissions/:permission`.
    pub request_routes: bool,
    /// `POST /session` keeps `metadata` (after 1.14.48).
    pub keeps_metadata: bool,
    /// What lies outside of the session's folder is asked for: `external_directory` (1.0.x and from 1.1.16 on; 1.1.11
    /// writes unasked, whatever the rules say).
    pub asks_outside: bool,
    /// An agent that does not exist gets a 204 and then nothing at all (up to 1.2.27).
    pub silent_unknown_agent: bool,
    /// `abort` and `children` look for the session in the folder that the request names: without `?directory=` they
    /// answer as for an idle session, stop nothing, and the idle event comes in the server's own folder (up to 1.15.4).
    pub abort_needs_directory: bool,
    /// `GET …/message/:id` of an absent message is a 500 `UnknownError`, not a 404 (1.2.1 to 1.2.20).
    pub absent_message_is_500: bool,
    /// A rejected permission's tool error reads `PermissionRejectedError(…)` (1.2.x).
    pub rejection_by_name: bool,
}

impl Default for Dialect {
    fn default() -> Self {
        Self::of("1.18.33")
    }
}

impl Dialect {
    /// The habits of this version, as `major.minor.patch`. What lies between two versions that were measured behaves
    /// like the older one; a text that is no version has the habits of the newest.
    pub fn of(version: &str) -> Self {
        let newest = (u32::MAX, 0, 0);
        let at = parse(version).unwrap_or(newest);
        Self {
            version: version.to_owned(),
            repost_runs_again: at == (1, 15, 13),
            ids_order_the_loop: at <= (1, 15, 13),
            deltas: at > (1, 1, 65),
            global_event: at > (1, 0, 0),
            session_status: at > (1, 0, 0),
            proxies_unknown_routes: at > (1, 0, 0),
            silent_event: at == (1, 14, 48),
            event_ids: at >= (1, 14, 0),
            events_name_session: at >= (1, 14, 48),
            health: at >= (1, 1, 0),
            keeps_rules: at >= (1, 1, 0),
            request_routes: at >= (1, 1, 0),
            keeps_metadata: at > (1, 14, 48),
            asks_outside: !((1, 1, 0)..(1, 1, 16)).contains(&at),
            silent_unknown_agent: at <= (1, 2, 27),
            abort_needs_directory: at <= (1, 15, 4),
            absent_message_is_500: ((1, 2, 1)..=(1, 2, 20)).contains(&at),
            rejection_by_name: ((1, 2, 0)..(1, 3, 0)).contains(&at),
        }
    }
}

fn parse(version: &str) -> Option<(u32, u32, u32)> {
    let mut numbers = version.split('.').map(|number| number.parse().ok());
    let (major, minor, patch) = (numbers.next()??, numbers.next()??, numbers.next()??);
    numbers.next().is_none().then_some((major, minor, patch))
}

impl TryFrom<Map<String, Value>> for Dialect {
    type Error = String;

    fn try_from(named: Map<String, Value>) -> Result<Self, String> {
        let version = named.get("version").and_then(Value::as_str);
        let mut dialect = version.map(Self::of).unwrap_or_default();
        let mut habits = [
            ("repost_runs_again", &mut dialect.repost_runs_again),
            ("ids_order_the_loop", &mut dialect.ids_order_the_loop),
            ("deltas", &mut dialect.deltas),
            ("global_event", &mut dialect.global_event),
            ("session_status", &mut dialect.session_status),
            (
                "proxies_unknown_routes",
                &mut dialect.proxies_unknown_routes,
            ),
            ("silent_event", &mut dialect.silent_event),
            ("event_ids", &mut dialect.event_ids),
            ("events_name_session", &mut dialect.events_name_session),
            ("health", &mut dialect.health),
            ("keeps_rules", &mut dialect.keeps_rules),
            ("request_routes", &mut dialect.request_routes),
            ("keeps_metadata", &mut dialect.keeps_metadata),
            ("asks_outside", &mut dialect.asks_outside),
            ("silent_unknown_agent", &mut dialect.silent_unknown_agent),
            ("abort_needs_directory", &mut dialect.abort_needs_directory),
            ("absent_message_is_500", &mut dialect.absent_message_is_500),
            ("rejection_by_name", &mut dialect.rejection_by_name),
        ];
        for (name, value) in named.iter().filter(|(name, _)| *name != "version") {
            let habit = habits.iter_mut().find(|(known, _)| known == name);
            match (habit, value.as_bool()) {
                (Some((_, habit)), Some(value)) => **habit = value,
                (None, _) => return Err(format!("a dialect has no habit {name:?}")),
                (Some(_), None) => return Err(format!("{name} is true or false, not {value}")),
            }
        }
        Ok(dialect)
    }
}

#[cfg(test)]
mod tests {
    use super::Dialect;

    #[test]
    fn a_file_names_a_version_and_overrides_its_habits() {
        let read = |text: &str| serde_json::from_str::<Dialect>(text);
        let expected = Dialect {
            keeps_metadata: true,
            ..Dialect::of("1.2.27")
        };
        let text = r#"{"version": "1.2.27", "keeps_metadata": true}"#;
        assert_eq!(read(text).unwrap(), expected);
        let written = serde_json::to_string(&expected).unwrap();
        assert_eq!(read(&written).unwrap(), expected);
        for wrong in [r#"{"keeps_meta": true}"#, r#"{"deltas": 1}"#] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_habit_ends_where_it_was_last_seen() {
        let last_and_first = [
            ("1.15.4", "1.15.13", true),
            ("1.1.65", "1.18.34", true),
            ("1.16.0", "9.9.9", false),
        ];
        for (with, without, expected) in last_and_first {
            assert_eq!(Dialect::of(with).abort_needs_directory, expected, "{with}");
            assert!(!Dialect::of(without).abort_needs_directory, "{without}");
        }
        let absent: Vec<bool> = ["1.1.65", "1.2.1", "1.2.20", "1.2.27"]
            .map(|version| Dialect::of(version).absent_message_is_500)
            .into();
        assert_eq!(absent, [false, true, true, false]);
        assert_eq!(
            Dialect::of("local").keeps_rules,
            Dialect::default().keeps_rules
        );
    }
}
