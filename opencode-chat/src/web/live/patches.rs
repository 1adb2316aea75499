//! What of an answer the browser lacks, as HTML.

use std::hash::{DefaultHasher, Hasher as _};

use askama::Template as _;
use opencode_host::live::Cursor;

use super::{Content, Lacks, LiveAnswer, LivePart};
use crate::web::markdown::{self, Block};
use crate::web::message::{LabelView, NoticeView, PendingView, THINKING};
use crate::web::part::{BlockView, PartView, TextView};
use crate::web::patch::Patch;
use crate::web::request::RequestView;

impl LiveAnswer {
    /// The whole message, as the browser has it from now on. `label` says what is waited for.
    pub(in crate::web) fn whole(
        &mut self,
        cursor: Cursor,
        label: &'static str,
    ) -> askama::Result<String> {
        self.is_shown();
        let parts = self
            .parts
            .iter_mut()
            .map(|part| part.view(&self.element))
            .collect();
        let requests = self
            .requests
            .iter()
            .map(|known| RequestView::new(&self.base, self.turn, &known.request))
            .collect();
        let notice = NoticeView {
            id: self.notice_element(),
            text: self.notice.as_deref(),
        };
        let label = LabelView {
            id: self.label_element(),
            label,
        };
        PendingView {
            base: &self.base,
            id: &self.element,
            turn: self.turn,
            cursor,
            label,
            notice,
            parts,
            requests,
        }
        .render()
    }

    /// Another word on what is waited for.
    pub(in crate::web) fn label(&self, label: &'static str) -> askama::Result<Patch> {
        let id = self.label_element();
        Ok(Patch::Replace(
            id.clone(),
            LabelView { id, label }.render()?,
        ))
    }

    /// The browser has all this: the page it stands in was made of it.
    pub(in crate::web) fn is_shown(&mut self) {
        for part in &mut self.parts {
            part.is_shown();
        }
        for request in &mut self.requests {
            request.sent = true;
        }
        self.outdated = false;
        self.notice_outdated = false;
        self.removed.clear();
    }

    /// What the browser lacks; it has it from now on.
    pub(in crate::web) fn patches(&mut self, cursor: Cursor) -> askama::Result<Vec<Patch>> {
        if self.outdated {
            let html = self.whole(cursor, THINKING)?;
            return Ok(vec![Patch::Replace(self.element.clone(), html)]);
        }
        let mut patches: Vec<_> = self.removed.drain(..).map(Patch::Remove).collect();
        for part in &mut self.parts {
            part.patches(&self.element, &mut patches)?;
        }
        for known in self.requests.iter_mut().filter(|known| !known.sent) {
            known.sent = true;
            let html = RequestView::new(&self.base, self.turn, &known.request).render()?;
            patches.push(Patch::Append(format!("{}-requests", self.element), html));
        }
        if std::mem::take(&mut self.notice_outdated) {
            let id = self.notice_element();
            let html = NoticeView {
                id: id.clone(),
                text: self.notice.as_deref(),
            }
            .render()?;
            patches.push(Patch::Replace(id, html));
        }
        Ok(patches)
    }

    fn label_element(&self) -> String {
        format!("{}-label", self.element)
    }

    fn notice_element(&self) -> String {
        format!("{}-notice", self.element)
    }
}

impl LivePart {
    fn patches(&mut self, message: &str, patches: &mut Vec<Patch>) -> askama::Result<()> {
        match self.lacks {
            Lacks::Nothing => {}
            Lacks::Growth if matches!(self.content, Content::Text { .. }) => {
                self.growth(message, patches)?
            }
            Lacks::Growth | Lacks::Content => {
                let html = self.view(message).to_string();
                patches.push(Patch::Replace(self.element(message), html));
            }
            Lacks::Part => {
                let html = self.view(message).to_string();
                patches.push(Patch::Append(format!("{message}-parts"), html));
            }
        }
        Ok(())
    }

    /// The blocks of a text that are not what the browser has.
    fn growth(&mut self, message: &str, patches: &mut Vec<Patch>) -> askama::Result<()> {
        let element = self.element(message);
        self.lacks = Lacks::Nothing;
        let Content::Text {
            reasoning,
            text,
            blocks: had,
        } = &mut self.content
        else {
            return Ok(());
        };
        let blocks = markdown::blocks(text);
        let prints = fingerprints(&blocks);
        for (at, block) in blocks
            .iter()
            .enumerate()
            .filter(|(at, _)| had.get(*at) != Some(&prints[*at]))
        {
            let id = BlockView::element(&element, at);
            let html = BlockView {
                id: Some(id.clone()),
                html: block.html(),
            }
            .render()?;
            patches.push(if at < had.len() {
                Patch::Replace(id, html)
            } else {
                Patch::Append(TextView::body(&element, *reasoning), html)
            });
        }
        patches.extend(
            (blocks.len()..had.len()).map(|at| Patch::Remove(BlockView::element(&element, at))),
        );
        *had = prints;
        Ok(())
    }

    /// The part, as the browser has it from now on.
    fn view(&mut self, message: &str) -> PartView {
        let element = self.element(message);
        self.lacks = Lacks::Nothing;
        match &mut self.content {
            Content::Text {
                reasoning,
                text,
                blocks: had,
            } => {
                let blocks = markdown::blocks(text);
                *had = fingerprints(&blocks);
                let blocks = blocks.iter().enumerate();
                let blocks = blocks.map(|(at, block)| BlockView {
                    id: Some(BlockView::element(&element, at)),
                    html: block.html(),
                });
                PartView::Text(TextView {
                    blocks: blocks.collect(),
                    reasoning: *reasoning,
                    id: Some(element),
                })
            }
            Content::Tool { view, steps } => PartView::Tool(Box::new(view.with_steps(steps))),
        }
    }

    fn is_shown(&mut self) {
        self.lacks = Lacks::Nothing;
        if let Content::Text { text, blocks, .. } = &mut self.content {
            *blocks = fingerprints(&markdown::blocks(text));
        }
    }

    fn element(&self, message: &str) -> String {
        super::part_element(message, &self.key)
    }
}

/// What tells the blocks that a browser has.
fn fingerprints(blocks: &[Block]) -> Vec<u64> {
    let print = |block: &Block| {
        let mut hasher = DefaultHasher::new();
        hasher.write(block.raw().as_bytes());
        hasher.finish()
    };
    blocks.iter().map(print).collect()
}
