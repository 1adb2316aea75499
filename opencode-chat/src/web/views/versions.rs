//! The other turns that a conversation could show in the place of one: the same prompt answered again, or an edited one.

use opencode_host::id::TurnId;

use crate::web::app::App;
use crate::web::problem::Problem;

/// Which version of its turn an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Versions {
    /// Its place, from 1.
    pub(crate) number: usize,
    /// How many there are.
    pub(crate) count: usize,
    pub(crate) previous: Option<TurnId>,
    pub(crate) next: Option<TurnId>,
}

impl Default for Versions {
    /// The only one.
    fn default() -> Self {
        Self {
            number: 1,
            count: 1,
            previous: None,
            next: None,
        }
    }
}

impl Versions {
    /// Which version a turn is.
    pub(crate) async fn of(app: &App, turn: TurnId) -> Result<Self, Problem> {
        let versions = app.host.versions(turn).await?;
        let turns: Vec<_> = versions.iter().map(|version| version.turn).collect();
        Ok(Self::among(&turns, turn))
    }

    /// Which of these turns one is.
    fn among(turns: &[TurnId], turn: TurnId) -> Self {
        let Some(at) = turns.iter().position(|known| *known == turn) else {
            return Self::default();
        };
        let beside = |at: Option<usize>| turns.get(at?).copied();
        Self {
            number: at + 1,
            count: turns.len(),
            previous: beside(at.checked_sub(1)),
            next: beside(Some(at + 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_version_knows_those_beside_it() {
        let turns = [1, 2, 3].map(|number| TurnId::from_uuid(Uuid::from_u128(number)));
        let [first, second, third] = turns;
        let of = |turn| {
            let Versions {
                number,
                count,
                previous,
                next,
            } = Versions::among(&turns, turn);
            (number, count, previous, next)
        };
        assert_eq!(of(first), (1, 3, None, Some(second)));
        assert_eq!(of(second), (2, 3, Some(first), Some(third)));
        assert_eq!(of(third), (3, 3, Some(second), None));
        let stranger = TurnId::from_uuid(Uuid::from_u128(4));
        assert_eq!(Versions::among(&turns, stranger), Versions::default());
    }
}
