//! What is known about tools by name: the built-in table, and what a product adds to it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use super::icon::Icon;

/// What a tool's input and metadata hold, and so which of [`ToolDisplay`](super::ToolDisplay)'s views apply to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum View {
    /// Nothing beyond a title.
    Plain,
    /// Reads one file; may carry a preview.
    Read,
    /// Writes one file; the content is in its input.
    Write,
    /// Changes one file; the diff is in its metadata.
    Edit,
    /// Changes several files; their patches are in its metadata.
    Patch,
    /// Lists a folder.
    Folder,
    /// Runs a command; has output.
    Shell,
    /// Searches in files; counts `matches`.
    Grep,
    /// Searches file names; has a `count`.
    Glob,
    /// Carries the plan.
    Todos,
    /// Asks the user.
    Question,
}

impl View {
    /// Is the target of such a tool a path?
    pub(super) fn targets_path(self) -> bool {
        matches!(
            self,
            Self::Read | Self::Write | Self::Edit | Self::Patch | Self::Folder
        )
    }
}

/// How one tool is shown.
#[derive(Debug, Clone)]
pub struct Tool {
    pub(super) name: Cow<'static, str>,
    pub(super) kind: Cow<'static, str>,
    pub(super) gerund: Cow<'static, str>,
    pub(super) past: Cow<'static, str>,
    pub(super) icon: Icon,
    pub(super) target: Vec<Cow<'static, str>>,
    pub(super) view: View,
    pub(super) provider: Cow<'static, str>,
}

impl Tool {
    /// A tool by its canonical name (without an MCP server's prefix) and its kind, a short label for people.
    ///
    /// Both verbs are the kind until [`Tool::verbs`] is called.
    pub fn new(name: impl Into<Cow<'static, str>>, kind: impl Into<Cow<'static, str>>) -> Self {
        let kind = kind.into();
        Self {
            name: name.into(),
            gerund: kind.clone(),
            past: kind.clone(),
            kind,
            icon: Icon::Sparkles,
            target: Vec::new(),
            view: View::Plain,
            provider: Cow::Borrowed(BUILTIN),
        }
    }

    /// What the tool does while it runs ("Reading") and what it did ("Read").
    pub fn verbs(
        mut self,
        gerund: impl Into<Cow<'static, str>>,
        past: impl Into<Cow<'static, str>>,
    ) -> Self {
        self.gerund = gerund.into();
        self.past = past.into();
        self
    }

    /// The picture beside it.
    pub fn icon(mut self, icon: Icon) -> Self {
        self.icon = icon;
        self
    }

    /// The input fields that may name what the tool works on; the first that holds text is shown.
    pub fn target<K: Into<Cow<'static, str>>>(mut self, keys: impl IntoIterator<Item = K>) -> Self {
        self.target = keys.into_iter().map(Into::into).collect();
        self
    }

    /// What its input and metadata hold.
    pub fn view(mut self, view: View) -> Self {
        self.view = view;
        self
    }

    /// Who offers the tool when its name has no MCP prefix; `opencode-builtin` unless set.
    pub fn provider(mut self, provider: impl Into<Cow<'static, str>>) -> Self {
        self.provider = provider.into();
        self
    }
}

pub(super) const BUILTIN: &str = "opencode-builtin";
pub(super) const UNKNOWN: &str = "unknown";

/// The tools and MCP servers a renderer knows.
///
/// [`Tools::default`] has OpenCode's own tools (seen on 1.1.65 to 1.18.34) and common search servers; a
/// product adds its own:
///
/// ```
/// use opencode_host::tool_display::{Icon, Tool, ToolDisplay, Tools};
/// use serde_json::json;
///
/// let tools = Tools::default()
///     .with_tool(Tool::new("invoice_lookup", "Invoice").verbs("Looking up", "Looked up").target(["number"]))
///     .with_provider("acme_", "acme");
/// let part = json!({"type": "tool", "tool": "acme_invoice_lookup", "status": "running", "input": {"number": "F-7"}});
/// let display = ToolDisplay::with_tools(&part, &tools);
/// assert_eq!(display.title(), "Looking up: F-7");
/// assert_eq!(display.provider(), "acme");
/// assert_eq!(display.icon(), Icon::Sparkles);
/// ```
#[derive(Debug, Clone)]
pub struct Tools {
    tools: HashMap<Cow<'static, str>, Tool>,
    /// Prefix and provider, longest prefix first.
    providers: Vec<(Cow<'static, str>, Cow<'static, str>)>,
}

impl Tools {
    /// Adds a tool, or replaces the one of that name.
    pub fn with_tool(mut self, tool: Tool) -> Self {
        self.tools.insert(tool.name.clone(), tool);
        self
    }

    /// Adds an MCP server: tools whose name starts with `prefix` (its final `_` included) are `name`'s.
    ///
    /// An empty prefix would claim every tool and is ignored.
    pub fn with_provider(
        mut self,
        prefix: impl Into<Cow<'static, str>>,
        name: impl Into<Cow<'static, str>>,
    ) -> Self {
        let (prefix, name) = (prefix.into(), name.into());
        if prefix.is_empty() {
            return self;
        }
        self.providers.retain(|(known, _)| *known != prefix);
        self.providers.push((prefix, name));
        self.providers
            .sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        self
    }

    pub(super) fn get(&self, canonical: &str) -> Option<&Tool> {
        self.tools.get(canonical)
    }

    /// The tool's name without what an MCP server put around it, and that server's provider name.
    ///
    /// OpenCode names an MCP tool `SERVER_TOOL`, and some servers repeat their name at the end. A stripped
    /// name that is a known tool is left as it is.
    pub(super) fn canonical<'a>(&'a self, name: &'a str) -> (&'a str, Option<&'a str>) {
        let Some((prefix, provider, rest)) =
            self.providers.iter().find_map(|(prefix, provider)| {
                let rest = name.strip_prefix(prefix.as_ref())?;
                (!rest.is_empty()).then_some((prefix.as_ref(), provider.as_ref(), rest))
            })
        else {
            return (name, None);
        };
        // A product may know the tool by its full name.
        if self.tools.contains_key(name) {
            return (name, Some(provider));
        }
        if self.tools.contains_key(rest) {
            return (rest, Some(provider));
        }
        let server = prefix.trim_end_matches('_');
        let stripped = rest
            .strip_suffix(server)
            .and_then(|rest| rest.strip_suffix('_'))
            .filter(|stripped| !server.is_empty() && !stripped.is_empty());
        (stripped.unwrap_or(rest), Some(provider))
    }

    /// The registry [`ToolDisplay::of`](super::ToolDisplay::of) uses.
    pub(super) fn builtin() -> &'static Self {
        static BUILTIN_TOOLS: LazyLock<Tools> = LazyLock::new(Tools::default);
        &BUILTIN_TOOLS
    }
}

impl Default for Tools {
    fn default() -> Self {
        let mut tools = Self {
            tools: HashMap::new(),
            providers: Vec::new(),
        };
        for &(name, kind, gerund, past, icon, target, view) in ROWS {
            tools = tools.with_tool(
                Tool::new(name, kind)
                    .verbs(gerund, past)
                    .icon(icon)
                    .target(target.iter().copied())
                    .view(view),
            );
        }
        for server in ["exa", "brave", "serper", "tavily", "local-web-search"] {
            tools = tools.with_provider(format!("{server}_"), server);
        }
        tools
    }
}

type Row = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    Icon,
    &'static [&'static str],
    View,
);

const PATH: &[&str] = &["filePath", "path"];

/// Name, kind, gerund, past tense, icon, the input fields of the target, view.
#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("read", "Read", "Reading", "Read", Icon::Document, PATH, View::Read),
    ("write", "Write", "Writing", "Wrote", Icon::DocumentPlus, PATH, View::Write),
    ("edit", "Edit", "Editing", "Edited", Icon::PencilSquare, PATH, View::Edit),
    ("multiedit", "Edit", "Editing", "Edited", Icon::PencilSquare, PATH, View::Edit),
    ("apply_patch", "Patch", "Applying changes", "Applied changes to", Icon::PencilSquare, PATH, View::Patch),
    ("bash", "Bash", "Running command", "Ran", Icon::CommandLine, &["command"], View::Shell),
    ("grep", "Grep", "Searching files", "Searched for", Icon::DocumentMagnifyingGlass, &["pattern"], View::Grep),
    ("glob", "Glob", "Searching files", "Searched for", Icon::MagnifyingGlass, &["pattern"], View::Glob),
    ("list", "LS", "Listing files", "Listed", Icon::RectangleStack, &["path"], View::Folder),
    ("ls", "LS", "Listing files", "Listed", Icon::RectangleStack, &["path"], View::Folder),
    ("webfetch", "Fetch", "Reading web page", "Fetched", Icon::Globe, &["url"], View::Plain),
    ("fetch_url", "Fetch", "Reading web page", "Fetched", Icon::Globe, &["url"], View::Plain),
    ("websearch", "Web search", "Searching the web", "Searched", Icon::Globe, &["query"], View::Plain),
    ("web_search_exa", "Web search", "Searching the web", "Searched", Icon::Globe, &["query"], View::Plain),
    ("search_web", "Web search", "Searching the web", "Searched", Icon::Globe, &["q", "query"], View::Plain),
    ("codesearch", "Code search", "Searching code", "Searched code for", Icon::MagnifyingGlass, &["query"], View::Plain),
    ("get_code_context_exa", "Code lookup", "Looking up code", "Looked up", Icon::DocumentMagnifyingGlass, &["query"], View::Plain),
    ("company_research_exa", "Company research", "Researching company", "Researched", Icon::Globe, &["query"], View::Plain),
    ("todowrite", "Plan", "Planning", "Updated plan", Icon::QueueList, &[], View::Todos),
    ("todoread", "Plan", "Reading plan", "Read plan", Icon::QueueList, &[], View::Todos),
    ("task", "Task", "Researching", "Ran subtask", Icon::Robot, &["description"], View::Plain),
    ("skill", "Skill", "Loading skill", "Loaded skill", Icon::Sparkles, &["skill_name", "name"], View::Plain),
    ("question", "Question", "Waiting for your answer", "Asked", Icon::QuestionMarkCircle, &[], View::Question),
];
