//! On which server a conversation is placed.
//!
//! A conversation is placed once, before its first turn is claimed, and stays: its session lives there.
//! [`Product::placement`](crate::product::Product::placement) says where it may go. `choose` decides, purely, from that and
//! from what the store knows of the servers.

use std::fmt;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::store::{ServerLabel, ServerLoad, ServerName, ServerState};

/// Where a conversation may be placed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Placement {
    /// On any server: of those that are ready and have room, the one with the fewest turns for its capacity.
    #[default]
    Any,
    /// On any server with this label.
    Label(ServerLabel),
    /// On this server.
    Server(ServerName),
}

impl Placement {
    fn takes(&self, of: &ServerLoad) -> bool {
        match self {
            Self::Any => true,
            Self::Label(label) => of.server.labels.contains(label),
            Self::Server(name) => of.server.name == *name,
        }
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any server"),
            Self::Label(label) => write!(f, "a server with the label {label}"),
            Self::Server(name) => write!(f, "the server {name}"),
        }
    }
}

/// Where a conversation is placed, or why it is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    On(ServerName),
    /// What it waits for, for a person.
    Wait(String),
}

/// Chooses a server. One that has been silent for longer than `silence`, or whose worker has left, gets no new conversations,
/// unless all that would take it are so: then whoever asks (`own`) takes it as ever, and its turn tells what is wrong with the server.
pub(crate) fn choose(
    placement: &Placement,
    servers: &[ServerLoad],
    own: &ServerName,
    silence: Duration,
    now: Timestamp,
) -> Choice {
    let fit: Vec<_> = servers
        .iter()
        .filter(|load| placement.takes(load))
        .collect();
    let ready: Vec<_> = fit
        .iter()
        .filter(|load| load.server.state() == ServerState::Ready)
        .collect();
    let heard: Vec<_> = ready
        .iter()
        .filter(|load| load.server.heard_by.is_some() && load.server.silence(now) <= silence)
        .collect();
    let free = heard.iter().filter(|load| load.has_room());
    // Of equals the first by name.
    if let Some(least) = free.min_by(|one, other| {
        let by_load = fullness(one).total_cmp(&fullness(other));
        by_load
            .then(one.turns().cmp(&other.turns()))
            .then_with(|| one.server.name.cmp(&other.server.name))
    }) {
        return Choice::On(least.server.name.clone());
    }
    if heard.is_empty()
        && let Some(own) = ready
            .iter()
            .find(|load| load.server.name == *own && load.has_room())
    {
        return Choice::On(own.server.name.clone());
    }
    let why = match (fit.is_empty(), ready.is_empty(), heard.is_empty()) {
        (true, ..) => "there is none".to_owned(),
        (_, true, _) => format!("none is ready ({})", listed(&fit)),
        (.., true) => format!("none answers ({})", listed(&fit)),
        _ => format!("none has room ({})", listed(&fit)),
    };
    Choice::Wait(format!("{placement}: {why}"))
}

/// How much of its capacity a server uses. Without a capacity it counts as one of a thousand turns.
fn fullness(load: &ServerLoad) -> f64 {
    let capacity = load.server.capacity.map_or(1000, std::num::NonZeroU32::get);
    load.turns() as f64 / f64::from(capacity)
}

fn listed(servers: &[&ServerLoad]) -> String {
    const MOST: usize = 5;
    let mut listed: Vec<_> = servers
        .iter()
        .take(MOST)
        .map(|load| {
            let (name, state) = (&load.server.name, load.server.state().as_str());
            match load.server.capacity {
                Some(capacity) => format!("{name}: {state}, {} of {capacity}", load.turns()),
                None => format!("{name}: {state}"),
            }
        })
        .collect();
    if servers.len() > MOST {
        listed.push(format!("{} more", servers.len() - MOST));
    }
    listed.join("; ")
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::store::{Server, ServerReport, WorkerId};

    const NOW: Timestamp = Timestamp(1_000_000);
    const SILENCE: Duration = Duration::from_secs(20);

    fn name(name: &str) -> ServerName {
        name.parse().unwrap()
    }

    fn server(called: &str, turns: u64, capacity: u32) -> ServerLoad {
        let report = ServerReport::new(name(called), "http://localhost");
        let mut report = report.heard_by(WorkerId("w".to_owned()));
        report.capacity = NonZeroU32::new(capacity);
        ServerLoad::new(Server::new(&report, NOW), turns, 0)
    }

    fn chosen(placement: &Placement, servers: &[ServerLoad]) -> Choice {
        choose(placement, servers, &name("own"), SILENCE, NOW)
    }

    fn on(called: &str) -> Choice {
        Choice::On(name(called))
    }

    fn waits(choice: &Choice) -> &str {
        match choice {
            Choice::Wait(why) => why,
            Choice::On(name) => panic!("placed on {name}"),
        }
    }

    #[test]
    fn the_least_loaded_takes_it_and_of_equals_the_first_by_name() {
        let (a, b) = (server("a", 3, 0), server("b", 3, 0));
        assert_eq!(chosen(&Placement::Any, &[b.clone(), a.clone()]), on("a"));
        let c = server("c", 2, 0);
        assert_eq!(chosen(&Placement::Any, &[a, b, c]), on("c"));
        // Two of four is fuller than three of ten.
        let both = [server("a", 2, 4), server("b", 3, 10)];
        assert_eq!(chosen(&Placement::Any, &both), on("b"));
    }

    #[test]
    fn a_full_one_is_passed_over() {
        let both = [server("a", 2, 2), server("b", 3, 4)];
        assert_eq!(chosen(&Placement::Any, &both), on("b"));
        let full = [server("a", 2, 2), server("b", 9, 4)];
        let choice = chosen(&Placement::Any, &full);
        let why = "any server: none has room (a: ready, 2 of 2; b: ready, 9 of 4)";
        assert_eq!(waits(&choice), why);
    }

    #[test]
    fn the_product_says_which() {
        let gpu: ServerLabel = "gpu".parse().unwrap();
        let (a, mut b) = (server("a", 0, 0), server("b", 9, 0));
        b.server.labels.push(gpu.clone());
        let both = [a, b];
        assert_eq!(chosen(&Placement::Label(gpu), &both), on("b"));
        assert_eq!(chosen(&Placement::Server(name("b")), &both), on("b"));
        let none = chosen(&Placement::Server(name("c")), &both);
        assert_eq!(waits(&none), "the server c: there is none");
    }

    #[test]
    fn what_drains_or_is_gone_takes_nothing() {
        let mut draining = server("a", 0, 0);
        draining.server.draining = true;
        let mut gone = server("b", 0, 0);
        gone.server.gone_at = Some(NOW);
        let all = [draining.clone(), gone.clone(), server("c", 9, 0)];
        assert_eq!(chosen(&Placement::Any, &all), on("c"));
        let choice = choose(&Placement::Any, &[draining, gone], &name("a"), SILENCE, NOW);
        let why = "any server: none is ready (a: draining; b: gone)";
        assert_eq!(waits(&choice), why);
    }

    #[test]
    fn a_silent_one_takes_nothing_as_long_as_another_answers() {
        let (mut silent, other) = (server("own", 0, 0), server("other", 9, 0));
        silent.server.heard_at = Some(NOW.before(SILENCE * 2));
        let both = [silent.clone(), other];
        assert_eq!(chosen(&Placement::Any, &both), on("other"));
        assert_eq!(
            chosen(&Placement::Any, std::slice::from_ref(&silent)),
            on("own")
        );
        let mut left = server("left", 0, 0);
        left.server.heard_by = None;
        let both = [left, server("other", 9, 0)];
        assert_eq!(chosen(&Placement::Any, &both), on("other"));
        // Another's worker does not say what it would say.
        silent.server.name = name("theirs");
        let choice = chosen(&Placement::Any, &[silent]);
        assert_eq!(waits(&choice), "any server: none answers (theirs: ready)");
    }

    #[test]
    fn a_server_that_never_answered_is_its_own_workers_to_try() {
        let mut own = server("own", 0, 0);
        (own.server.heard_at, own.server.heard_by) = (None, None);
        assert_eq!(
            chosen(&Placement::Any, std::slice::from_ref(&own)),
            on("own")
        );
        let both = [own, server("zz", 5, 0)];
        assert_eq!(chosen(&Placement::Any, &both), on("zz"));
    }
}
