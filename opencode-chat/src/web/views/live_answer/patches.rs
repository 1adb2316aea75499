//! What of an answer the browser lacks, as HTML.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use askama::Template as _;
use opencode_host::client::reply::View;
use opencode_host::clock::{Clock as _, SystemClock};
use opencode_host::live::Cursor;

use super::{Beginning, Content, LiveAnswer, Piece, Shown, ShownPart, Told, part_element};
use crate::web::views::markdown::{self, Block};
use crate::web::views::message::{LabelView, NoticeView, PendingView, THINKING};
use crate::web::views::part::{BlockView, PartView, TextView};
use crate::web::views::patch::Patch;
use crate::web::views::pending_request::{self, RequestView, requests_of};

impl LiveAnswer {
    /// The whole message, as the browser shows it from now on. `label` says what is waited for.
    pub(crate) fn whole(
        &mut self,
        cursor: Cursor,
        view: &View,
        label: &'static str,
    ) -> askama::Result<String> {
        self.shown = None;
        let Beginning { pieces, notice } = self.beginning(view);
        let pieces = pieces.into_iter();
        let (shown, parts): (_, Vec<_>) = pieces.map(|piece| piece.first(&self.element)).unzip();
        let folder = self.folder.as_deref();
        self.shown = Some(Shown {
            parts: shown,
            requests: view.requests().map(|known| known.id().to_owned()).collect(),
            notice: Some(notice.clone()),
            surplus: Vec::new(),
        });
        PendingView {
            base: &self.base,
            id: &self.element,
            turn: self.turn,
            cursor,
            label: LabelView {
                id: self.label_element(),
                label,
            },
            notice: self.notice(&notice),
            parts: parts.into_iter().flatten().collect(),
            decisions: &self.decisions,
            ahead: self.ahead.as_deref(),
            requests: view
                .requests()
                .map(|known| RequestView::new(&self.base, self.turn, known, folder))
                .collect(),
        }
        .render()
    }

    /// Another word on what is waited for.
    pub(crate) fn label(&self, label: &'static str) -> askama::Result<Patch> {
        let id = self.label_element();
        Ok(Patch::Replace(
            id.clone(),
            LabelView { id, label }.render()?,
        ))
    }

    /// What the browser lacks of the reply; it shows all of it from now on.
    pub(crate) fn patches(&mut self, cursor: Cursor, view: &View) -> askama::Result<Vec<Patch>> {
        let Beginning { pieces, notice } = self.beginning(view);
        let kept: HashSet<_> = pieces.iter().map(Piece::key).collect();
        let before = |shown: &Shown| shown.is_before(&pieces, &kept);
        let Some(mut shown) = self.shown.take().filter(before) else {
            let html = self.whole(cursor, view, THINKING)?;
            return Ok(vec![Patch::Replace(self.element.clone(), html)]);
        };
        let mut patches: Vec<_> = shown.surplus.drain(..).map(Patch::Remove).collect();
        let is_gone = |part: &mut ShownPart| !kept.contains(part.key.as_str());
        for gone in shown.parts.extract_if(.., is_gone) {
            patches.push(Patch::Remove(part_element(&self.element, &gone.key)));
        }
        for (at, piece) in pieces.into_iter().enumerate() {
            match shown.parts.get_mut(at) {
                Some(part) => part.patches(piece, &self.element, &mut patches)?,
                None => {
                    let (part, view) = piece.first(&self.element);
                    shown.parts.push(part);
                    if let Some(view) = view {
                        let parts = format!("{}-parts", self.element);
                        patches.push(Patch::Append(parts, view.to_string()));
                    }
                }
            }
        }
        let waits = |id: &String| view.requests().any(|known| known.id() == id);
        for gone in shown.requests.extract_if(.., |id| !waits(id)) {
            patches.push(Patch::Remove(pending_request::element(&gone)));
        }
        for new in view.requests() {
            if shown.requests.iter().all(|id| id != new.id()) {
                shown.requests.push(new.id().to_owned());
                let folder = self.folder.as_deref();
                let html = RequestView::new(&self.base, self.turn, new, folder).render()?;
                patches.push(Patch::Append(requests_of(&self.element), html));
            }
        }
        if shown.notice.as_ref() != Some(&notice) {
            let html = self.notice(&notice).render()?;
            patches.push(Patch::Replace(self.notice_element(), html));
            shown.notice = Some(notice);
        }
        self.shown = Some(shown);
        Ok(patches)
    }

    fn notice<'a>(&self, told: &'a Told) -> NoticeView<'a> {
        let now = SystemClock.now().0;
        let left = |at: u64| i64::try_from(at).unwrap_or(i64::MAX).saturating_sub(now);
        NoticeView {
            id: self.notice_element(),
            text: Some(&*told.text).filter(|text| !text.is_empty()),
            seconds: told.again_at.map(|at| left(at).div_euclid(1000).max(0)),
        }
    }

    fn label_element(&self) -> String {
        format!("{}-label", self.element)
    }

    fn notice_element(&self) -> String {
        format!("{}-notice", self.element)
    }
}

impl Shown {
    /// Whether the parts that stay, those in `kept`, stand in the same order and before all new ones.
    fn is_before(&self, pieces: &[Piece<'_>], kept: &HashSet<&str>) -> bool {
        let stays = self.parts.iter().map(|part| part.key.as_str());
        let stays = stays.filter(|key| kept.contains(key));
        let mut new = pieces.iter().map(Piece::key);
        stays.into_iter().all(|key| new.next() == Some(key))
    }
}

impl ShownPart {
    /// A part that the browser has as it is.
    pub(super) fn of(piece: &Piece<'_>) -> Self {
        let (blocks, size) = match &piece.content {
            Content::Text { text, .. } => (fingerprints(&markdown::blocks(text)), 0),
            Content::Tool { size, .. } => (Vec::new(), *size),
        };
        Self {
            key: piece.key().to_owned(),
            changed: piece.part.changed,
            blocks,
            size,
            sent: None,
        }
    }

    /// What the browser lacks of a part that it has.
    fn patches(
        &mut self,
        piece: Piece<'_>,
        message: &str,
        patches: &mut Vec<Patch>,
    ) -> askama::Result<()> {
        if self.changed == piece.part.changed {
            return Ok(());
        }
        let element = part_element(message, &self.key);
        match piece.content {
            Content::Text { reasoning, text } if self.changed > 0 => {
                self.changed = piece.part.changed;
                self.grow(&element, reasoning, text, patches)
            }
            _ => {
                let (part, view) = piece.first(message);
                *self = part;
                if let Some(view) = view {
                    patches.push(Patch::Replace(element, view.to_string()));
                }
                Ok(())
            }
        }
    }

    /// The blocks of a text that are not what the browser has.
    fn grow(
        &mut self,
        element: &str,
        reasoning: bool,
        text: &str,
        patches: &mut Vec<Patch>,
    ) -> askama::Result<()> {
        let blocks = markdown::blocks(text);
        let prints = fingerprints(&blocks);
        let had = std::mem::take(&mut self.blocks);
        for (at, block) in blocks
            .iter()
            .enumerate()
            .filter(|(at, _)| had.get(*at) != Some(&prints[*at]))
        {
            let id = BlockView::element(element, at);
            let html = BlockView {
                id: Some(id.clone()),
                html: block.html(),
            }
            .render()?;
            let kept = match &self.sent {
                Some((sent, before)) if *sent == at => common(before, &html),
                _ => 0,
            };
            patches.push(if kept >= MIN_KEPT {
                let units = html[..kept].encode_utf16().count();
                Patch::Grow(id, units, html[kept..].to_owned())
            } else if at < had.len() {
                Patch::Replace(id, html.clone())
            } else {
                Patch::Append(TextView::body(element, reasoning), html.clone())
            });
            self.sent = Some((at, html));
        }
        patches.extend(
            (blocks.len()..had.len()).map(|at| Patch::Remove(BlockView::element(element, at))),
        );
        self.blocks = prints;
        Ok(())
    }
}

impl Piece<'_> {
    fn key(&self) -> &str {
        self.part.part_id.as_str()
    }

    /// What the browser has once it was sent the part, and what it is sent: `None` where it has the part.
    fn first(self, message: &str) -> (ShownPart, Option<PartView>) {
        let key = self.key().to_owned();
        let changed = self.part.changed;
        let (blocks, size, view) = match self.content {
            Content::Text { reasoning, text } => {
                let element = part_element(message, &key);
                let blocks = markdown::blocks(text);
                let shown = blocks.iter().enumerate().map(|(at, block)| BlockView {
                    id: Some(BlockView::element(&element, at)),
                    html: block.html(),
                });
                let view = PartView::Text(TextView {
                    blocks: shown.collect(),
                    reasoning,
                    id: Some(element),
                });
                (fingerprints(&blocks), 0, Some(view))
            }
            Content::Tool { view, size } => (Vec::new(), size, view.map(PartView::Tool)),
        };
        let shown = ShownPart {
            key,
            changed,
            blocks,
            size,
            sent: None,
        };
        (shown, view)
    }
}

/// A block that has fewer bytes in common with what was sent is sent whole.
const MIN_KEPT: usize = 512;

/// How many bytes two texts have in common at their beginnings.
fn common(one: &str, other: &str) -> usize {
    let pairs = one.bytes().zip(other.bytes());
    let same = pairs.take_while(|(one, other)| one == other).count();
    other.floor_char_boundary(same)
}

/// What tells the blocks that a browser has.
fn fingerprints(blocks: &[Block]) -> Vec<u64> {
    let print = |block: &Block| {
        let mut hasher = DefaultHasher::new();
        block.hash(&mut hasher);
        hasher.finish()
    };
    blocks.iter().map(print).collect()
}
