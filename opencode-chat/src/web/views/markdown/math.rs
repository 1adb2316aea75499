//! Formulas: LaTeX as MathML, which browsers draw by themselves.
//!
//! What cannot be read is shown as it was written. Formulas come from a model: they are bounded, and read on a thread with
//! room for the deepest that fits in the bound, as the reader of them is recursive.

use std::sync::LazyLock;
use std::thread;

use comrak::nodes::{NodeCodeBlock, NodeMath};
use math_core::{LatexToMathML, MathCoreConfig, MathDisplay};

use crate::web::views::markdown::cleaner::clean_math;
use crate::web::views::markdown::html::element;

/// The longest formula, in bytes.
const MAX_FORMULA: usize = 2000;
/// What each byte may take of the stack, at most: a brace takes 20 KiB without optimisations.
const STACK: usize = MAX_FORMULA * (32 << 10);

static READER: LazyLock<Option<LatexToMathML>> =
    LazyLock::new(|| LatexToMathML::new(MathCoreConfig::default()).ok());

/// A formula.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Formula {
    latex: String,
    is_display: bool,
}

impl Formula {
    pub(super) fn of(math: &NodeMath) -> Self {
        Self {
            latex: math.literal.trim().to_owned(),
            is_display: math.display_math,
        }
    }

    /// Of a block of code in the language `math`.
    pub(super) fn of_block(code: &NodeCodeBlock) -> Option<Self> {
        (code.info.trim() == "math").then(|| Self {
            latex: code.literal.trim().to_owned(),
            is_display: true,
        })
    }

    /// The formula, drawn, or as it was written.
    pub(super) fn html(&self) -> String {
        let mathml = self.mathml();
        match (mathml, self.is_display) {
            (Some(mathml), false) => mathml,
            (Some(mathml), true) => format!("<span class=\"formula\">{mathml}</span>"),
            (None, is_display) => {
                let mut html = String::new();
                let written = if is_display {
                    format!("\\[{}\\]", self.latex)
                } else {
                    format!("\\({}\\)", self.latex)
                };
                element(&mut html, "code", "latex", &written);
                html
            }
        }
    }

    fn mathml(&self) -> Option<String> {
        if self.latex.len() > MAX_FORMULA {
            return None;
        }
        let display = if self.is_display {
            MathDisplay::Block
        } else {
            MathDisplay::Inline
        };
        let read = || {
            let reader = READER.as_ref()?;
            let read = reader.convert_with_local_state(&self.latex, display);
            Some(read.ok()?.mathml)
        };
        let mathml = thread::scope(|scope| {
            let reading = thread::Builder::new().stack_size(STACK);
            let reading = reading.spawn_scoped(scope, read).ok()?;
            // One that cannot be read and says so with a panic is shown as it was written.
            reading.join().ok()?
        })?;
        // Styles do not come through: the page has classes for those that say something.
        let mathml = ["left", "right"].iter().fold(mathml, |mathml, side| {
            let style = format!("<mtd style=\"text-align: {side}");
            mathml.replace(&style, &format!("<mtd class=\"{side}\" style=\""))
        });
        Some(clean_math(&mathml))
    }
}
