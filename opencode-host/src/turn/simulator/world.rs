//! A small model of a server and of a turn's row, in virtual time.

use std::sync::OnceLock;
use std::time::Duration;

use opencode_client::wire::Prompt;
use opencode_client::{MessageId as Upstream, MintBasis, PromptIds, SessionId, UpstreamError};
use tokio::time::Instant;
use uuid::Uuid;

use super::dice::Dice;
use crate::clock::Timestamp;
use crate::id::{ConversationId, MessageId, TurnId};
use crate::store::{Phase, SessionRecord, Turn};
use crate::turn::facts::{Inspection, LastMessage};
use crate::turn::limits::{Unanswered, Waiting};

/// How long a lease lasts.
pub(super) const LEASE: Duration = Duration::from_secs(15);

/// The moment at which all runs begin.
pub(super) fn beginning() -> Instant {
    static BEGINNING: OnceLock<Instant> = OnceLock::new();
    *BEGINNING.get_or_init(|| Instant::now() + Duration::from_secs(1_000_000))
}

/// What becomes of a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is answered.
    Answered,
    /// It is answered without a word.
    Empty,
    /// The provider fails.
    Fails,
    /// The server sits on it for ever.
    NeverRuns,
    /// The server says that it took it, and has it nowhere.
    Dropped,
    /// Its answer never ends.
    Endless,
    /// It is answered over and over.
    Loops,
    /// It names what the server does not know.
    UnknownName,
}

/// A prompt in a session.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) message: Upstream,
    /// When it can be seen.
    pub(super) visible: Instant,
    pub(super) begins: Instant,
    pub(super) ends: Instant,
    /// While a person is asked.
    pub(super) asks: Option<(Instant, Instant)>,
    pub(super) fate: Fate,
    /// It was stopped: by an abort, or by the server's end.
    pub(super) stopped: Option<(Instant, bool)>,
}

impl Run {
    pub(super) fn begun(&self, now: Instant) -> bool {
        self.fate != Fate::NeverRuns
            && self.fate != Fate::UnknownName
            && self.begins <= now
            && self.stopped.is_none_or(|(at, _)| self.begins < at)
    }

    pub(super) fn over(&self) -> Instant {
        self.stopped.map_or(self.ends, |(at, _)| at.min(self.ends))
    }

    pub(super) fn busy(&self, now: Instant) -> bool {
        self.begun(now) && now < self.over()
    }

    pub(super) fn finished(&self, now: Instant) -> bool {
        self.begun(now) && now >= self.ends && self.over() == self.ends
    }

    pub(super) fn has_text(&self, now: Instant) -> bool {
        let first = self.begins + (self.ends - self.begins) / 3;
        self.begun(now) && self.fate != Fate::Empty && first <= now.min(self.over())
    }

    pub(super) fn error(&self, now: Instant) -> Option<UpstreamError> {
        let (name, message) = match self.fate {
            Fate::Fails if self.finished(now) => ("APIError", "no"),
            Fate::UnknownName if self.visible <= now => ("UnknownError", "Agent not found: \"x\""),
            _ => return None,
        };
        Some(UpstreamError {
            name: name.to_owned(),
            message: message.to_owned(),
            status_code: None,
            url: None,
            retryable: None,
        })
    }

    pub(super) fn inspection(&self, now: Instant) -> Inspection {
        let aborted = self.stopped.is_some_and(|(at, abort)| abort && at <= now);
        let error = if aborted && !self.finished(now) {
            Some(UpstreamError {
                name: UpstreamError::ABORTED.to_owned(),
                message: "aborted".to_owned(),
                status_code: None,
                url: None,
                retryable: None,
            })
        } else {
            self.error(now).filter(|_| self.fate == Fate::Fails)
        };
        Inspection {
            busy: self.busy(now),
            prompt_seen: self.visible <= now,
            last: self.begun(now).then(|| LastMessage {
                finished: self.finished(now) || error.is_some(),
                error,
                wants_more: false,
                truncated: false,
            }),
            declined: false,
            restarts: usize::from(self.fate == Fate::Loops && self.has_text(now)),
            unread: false,
        }
    }
}

/// A session upstream.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) lost: bool,
    /// Its history cannot be read.
    pub(super) unreadable: bool,
    pub(super) runs: Vec<Run>,
}

/// A prompt on its way.
#[derive(Clone, Debug)]
struct Post {
    arrives: Instant,
    session: SessionId,
    message: Upstream,
}

/// The turn's row, and the conversation's.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) turn: Turn,
    pub(super) session: Option<SessionRecord>,
    pub(super) leased_until: Instant,
    /// Words have been saved.
    pub(super) progressed: bool,
    pub(super) ends: u32,
}

/// The server and the row.
#[derive(Debug)]
pub(super) struct World {
    pub(super) row: Row,
    pub(super) sessions: Vec<Session>,
    pub(super) minted: u64,
    /// When the server cannot be reached; it has lost what it was doing then.
    pub(super) down: Option<(Instant, Instant)>,
    posts: Vec<Post>,
    fate: Fate,
    /// How long until a prompt begins, and until it ends, in ms.
    pace: (u64, u64),
    asks: bool,
    restarted: bool,
    /// How long a person was waited for.
    pub(super) waited: Duration,
    /// What has happened, where somebody wants to read it.
    pub(super) story: Option<Vec<String>>,
    /// What went wrong first.
    pub(super) fault: Option<String>,
}

impl World {
    pub(super) fn new(dice: &mut Dice, start: Instant, fate: Fate, pace: (u64, u64)) -> Self {
        let id = |n| Uuid::from_u128(n);
        let turn = Turn::new(
            TurnId::from_uuid(id(1)),
            ConversationId::from_uuid(id(2)),
            MessageId::from_uuid(id(3)),
            MessageId::from_uuid(id(4)),
            Prompt::default(),
            Timestamp(1),
        );
        let asks = dice.permille(100);
        let mut world = Self {
            row: Row {
                turn,
                session: None,
                leased_until: start,
                progressed: false,
                ends: 0,
            },
            sessions: Vec::new(),
            minted: 0,
            down: None,
            posts: Vec::new(),
            fate,
            pace,
            asks,
            restarted: false,
            waited: Duration::ZERO,
            story: None,
            fault: None,
        };
        if dice.permille(500) {
            let record = world.mint_session();
            world.row.session = Some(record);
        }
        world
    }

    pub(super) fn wrong(&mut self, what: impl Into<String>) {
        self.fault.get_or_insert_with(|| what.into());
    }

    /// Writes down what happens, where somebody wants to read it.
    pub(super) fn tell(&mut self, now: Instant, what: impl FnOnce() -> String) {
        let since = now.duration_since(beginning());
        if let Some(story) = &mut self.story {
            story.push(format!("{:>9.3} {}", since.as_secs_f64(), what()));
        }
    }

    pub(super) fn mint_session(&mut self) -> SessionRecord {
        self.minted += 1;
        let record = SessionRecord::new(format!("ses_{}", self.minted).as_str(), self.minted);
        self.sessions.push(Session {
            id: record.id.clone(),
            lost: false,
            unreadable: false,
            runs: Vec::new(),
        });
        record
    }

    pub(super) fn mint_ids(&mut self) -> PromptIds {
        self.minted += 1;
        let basis = MintBasis::EmptySession {
            created_ms: self.minted,
        };
        PromptIds::mint(&basis, 1, u128::from(self.minted))
    }

    pub(super) fn session(&mut self, id: &SessionId) -> Option<&mut Session> {
        let known = self.sessions.iter_mut().find(|session| session.id == *id);
        known.filter(|session| !session.lost)
    }

    /// The prompt's run, where it has arrived.
    pub(super) fn run(&mut self, id: &SessionId, message: &Upstream) -> Option<&mut Run> {
        let session = self.session(id)?;
        session.runs.iter_mut().find(|run| run.message == *message)
    }

    pub(super) fn is_down(&self, now: Instant) -> bool {
        self.down.is_some_and(|(from, to)| from <= now && now < to)
    }

    pub(super) fn post(&mut self, arrives: Instant, session: SessionId, message: Upstream) {
        self.posts.push(Post {
            arrives,
            session,
            message,
        });
    }

    /// Who posted has given up: what is on its way arrives soon, or was never sent.
    pub(super) fn hurry(&mut self, now: Instant) {
        for post in &mut self.posts {
            post.arrives = post.arrives.min(now + Duration::from_millis(400));
        }
    }

    /// What happens by itself until now.
    pub(super) fn pass(&mut self, dice: &mut Dice, now: Instant) {
        if let Some((from, _)) = self.down
            && from <= now
            && !self.restarted
        {
            self.restarted = true;
            for run in self
                .sessions
                .iter_mut()
                .flat_map(|session| &mut session.runs)
            {
                if run.over() > from {
                    run.stopped = Some((from, false));
                }
            }
            for session in &mut self.sessions {
                // What could not be seen yet died with the server.
                session.runs.retain(|run| run.visible <= from);
            }
        }
        let mut posts = std::mem::take(&mut self.posts);
        posts.retain(|post| {
            let due = post.arrives <= now;
            if due && !self.is_down(post.arrives) {
                self.arrive(dice, post);
            }
            !due
        });
        self.posts = posts;
    }

    fn arrive(&mut self, dice: &mut Dice, post: &Post) {
        let at = post.arrives;
        let known = self.sessions.iter().filter(|session| !session.lost);
        let mut runs = known.flat_map(|session| &session.runs);
        if runs.any(|run| run.message == post.message) {
            return self.wrong("the same prompt arrived twice");
        }
        let known = self.sessions.iter().filter(|session| !session.lost);
        let mut runs = known.flat_map(|session| &session.runs);
        if runs.any(|run| run.fate != Fate::NeverRuns) {
            return self.wrong("two prompts of one turn");
        }
        let visible = at + dice.ms(0, 1500);
        let begins = visible.max(at + Duration::from_millis(self.pace.0));
        let mut ends = begins + Duration::from_millis(self.pace.1);
        let mut asks = None;
        match self.fate {
            Fate::Endless | Fate::Loops => ends = begins + Duration::from_secs(1_000_000),
            _ if self.asks => {
                let answered = begins + dice.ms(1_000, 300_000);
                asks = Some((begins, answered));
                ends += answered - begins;
            }
            _ => {}
        }
        let run = Run {
            message: post.message.clone(),
            visible,
            begins,
            ends,
            asks,
            fate: self.fate,
            stopped: None,
        };
        if let Some(session) = self.session(&post.session) {
            session.runs.push(run);
        }
    }

    /// How long a request waits, in half of the runs.
    pub(super) fn waiting(&self) -> Option<Waiting> {
        let limit = Waiting::new(Duration::from_secs(20), Unanswered::Deny);
        self.pace.0.is_multiple_of(2).then_some(limit)
    }

    /// What the agent asks in this session gets an answer, and it goes on.
    pub(super) fn answer(&mut self, id: &SessionId, now: Instant) {
        let Some(session) = self.session(id) else {
            return;
        };
        for run in &mut session.runs {
            if let Some((from, to)) = run.asks.filter(|(from, to)| *from <= now && now < *to) {
                run.asks = Some((from, now));
                run.ends -= to - now;
            }
        }
    }

    pub(super) fn abort(&mut self, id: &SessionId, now: Instant) {
        for run in self
            .session(id)
            .into_iter()
            .flat_map(|session| &mut session.runs)
        {
            if run.busy(now) {
                run.stopped = Some((now, true));
            }
        }
    }

    pub(super) fn is_finished(&self) -> bool {
        matches!(self.row.turn.phase(), Phase::Finished { .. })
    }
}

/// The ids of a prompt that no row has.
pub(super) fn stale_ids() -> PromptIds {
    PromptIds::mint(&MintBasis::EmptySession { created_ms: 7 }, 1, 7)
}
