//! The tools of a product, and what makes them ones that a model can be told of.

use std::collections::HashSet;

use jsonschema::Validator;

use super::tool::Tool;

/// The name of a set that was given none.
const NAME: &str = "app";

/// The longest name that a model is told: some providers take no longer one.
const LONGEST: usize = 64;

/// The functions of the application that the agent of a turn may call.
///
/// The model is told each under the set's name and its own, as in `app_lookup`; permission rules name it so too. A set
/// without tools offers nothing.
///
/// ```
/// use opencode_host::tools::{Tool, ToolCall, ToolSet, schemars};
///
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// #[schemars(crate = "opencode_host::tools::schemars")]
/// struct Nothing {}
///
/// let time = Tool::new("time", "Says what time it is.", async |_: Nothing, _: ToolCall| Ok("noon"));
/// let tools = ToolSet::named("clock").tool(time);
/// tools.check()?;
/// assert_eq!(tools.names().collect::<Vec<_>>(), ["clock_time"]);
/// # Ok::<(), opencode_host::tools::ToolSetError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ToolSet {
    name: String,
    pub(super) tools: Vec<Tool>,
}

/// Why tools are not offered. The turn fails.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ToolSetError {
    /// A name that not every provider takes.
    #[error(
        "no tool can be called {0:?}: name it with letters, digits, `_` and `-`, 64 at most together with its set's name"
    )]
    Name(String),
    /// Two tools of the same name.
    #[error("two tools are called {0}")]
    Twice(String),
    /// The arguments are not named.
    #[error("the arguments of the tool {0} are no object: give it a struct with named fields")]
    NoObject(String),
    /// The schema is none.
    #[error("the schema of the tool {tool} is none: {detail}")]
    Schema {
        /// The tool.
        tool: String,
        /// What is wrong with it.
        detail: String,
    },
}

impl Default for ToolSet {
    fn default() -> Self {
        Self::named(NAME)
    }
}

impl ToolSet {
    /// A set without tools, named `app`.
    pub fn new() -> Self {
        Self::default()
    }

    /// A set without tools. Of the MCP servers in OpenCode's configuration, none may have this name.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            tools: Vec::new(),
        }
    }

    /// Adds a tool.
    #[must_use]
    pub fn tool(mut self, tool: Tool) -> Self {
        self.tools.push(tool);
        self
    }

    /// The set's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether there are no tools in it.
    pub fn is_empty(&self) -> bool {
        self.tools.is_empty()
    }

    /// The tools' names, as a model is told them and permission rules name them.
    pub fn names(&self) -> impl Iterator<Item = String> {
        self.tools.iter().map(|tool| self.told(tool))
    }

    /// Checks names and schemas, as is done before each turn: for a test of yours.
    ///
    /// # Errors
    /// [`ToolSetError`] with the first tool that cannot be offered.
    pub fn check(&self) -> Result<(), ToolSetError> {
        self.validators().map(drop)
    }

    /// What checks the arguments of each tool.
    pub(super) fn validators(&self) -> Result<Vec<Validator>, ToolSetError> {
        if !is_name(&self.name) {
            return Err(ToolSetError::Name(self.name.clone()));
        }
        let mut seen = HashSet::new();
        let mut validators = Vec::with_capacity(self.tools.len());
        for tool in &self.tools {
            let told = self.told(tool);
            if !is_name(&tool.name) || told.len() > LONGEST {
                return Err(ToolSetError::Name(tool.name.clone()));
            }
            if !seen.insert(&tool.name) {
                return Err(ToolSetError::Twice(tool.name.clone()));
            }
            if tool.schema["type"] != "object" {
                return Err(ToolSetError::NoObject(tool.name.clone()));
            }
            let validator = jsonschema::validator_for(&tool.schema);
            validators.push(validator.map_err(|error| ToolSetError::Schema {
                tool: tool.name.clone(),
                detail: error.to_string(),
            })?);
        }
        Ok(validators)
    }

    fn told(&self, tool: &Tool) -> String {
        format!("{}_{}", self.name, tool.name)
    }
}

fn is_name(name: &str) -> bool {
    let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    !name.is_empty() && name.chars().all(named)
}
