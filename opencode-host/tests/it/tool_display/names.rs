//! What is known by a tool's name: the built-in table, MCP prefixes, a product's own tools.

use opencode_host::tool_display::{Icon, Tool, ToolDisplay, Tools, View};
use serde_json::{Value, json};

use super::part;

/// Tool, input, then what is expected: kind, icon, target, title, past-tense title.
pub(super) type Row = (&'static str, Value, [&'static str; 5]);

pub(super) fn rows() -> Vec<Row> {
    let file = || json!({"filePath": "/s/notes.md", "path": "/ignored"});
    vec![
        (
            "read",
            file(),
            [
                "Read",
                "document",
                "/s/notes.md",
                "Reading /s/notes.md",
                "Read /s/notes.md",
            ],
        ),
        (
            "read",
            json!({"path": "/s/b"}),
            ["Read", "document", "/s/b", "Reading /s/b", "Read /s/b"],
        ),
        (
            "write",
            file(),
            [
                "Write",
                "document_plus",
                "/s/notes.md",
                "Writing /s/notes.md",
                "Wrote /s/notes.md",
            ],
        ),
        (
            "edit",
            file(),
            [
                "Edit",
                "pencil_square",
                "/s/notes.md",
                "Editing /s/notes.md",
                "Edited /s/notes.md",
            ],
        ),
        (
            "multiedit",
            file(),
            [
                "Edit",
                "pencil_square",
                "/s/notes.md",
                "Editing /s/notes.md",
                "Edited /s/notes.md",
            ],
        ),
        (
            "apply_patch",
            file(),
            [
                "Patch",
                "pencil_square",
                "/s/notes.md",
                "Applying changes: /s/notes.md",
                "Applied changes to /s/notes.md",
            ],
        ),
        (
            "bash",
            json!({"command": "ls -la"}),
            [
                "Bash",
                "command_line",
                "ls -la",
                "Running command: ls -la",
                "Ran ls -la",
            ],
        ),
        (
            "grep",
            json!({"pattern": "fn .*"}),
            [
                "Grep",
                "document_magnifying_glass",
                "fn .*",
                "Searching files: fn .*",
                "Searched for fn .*",
            ],
        ),
        (
            "glob",
            json!({"pattern": "*.rs"}),
            [
                "Glob",
                "magnifying_glass",
                "*.rs",
                "Searching files: *.rs",
                "Searched for *.rs",
            ],
        ),
        (
            "list",
            json!({"path": "/s"}),
            [
                "LS",
                "rectangle_stack",
                "/s",
                "Listing files: /s",
                "Listed /s",
            ],
        ),
        (
            "ls",
            json!({"path": "/s"}),
            [
                "LS",
                "rectangle_stack",
                "/s",
                "Listing files: /s",
                "Listed /s",
            ],
        ),
        (
            "webfetch",
            json!({"url": "https://a.example/"}),
            [
                "Fetch",
                "globe",
                "https://a.example/",
                "Reading web page: https://a.example/",
                "Fetched https://a.example/",
            ],
        ),
        (
            "fetch_url",
            json!({"url": "u"}),
            ["Fetch", "globe", "u", "Reading web page: u", "Fetched u"],
        ),
        (
            "websearch",
            json!({"query": "rust"}),
            [
                "Web search",
                "globe",
                "rust",
                "Searching the web: rust",
                "Searched rust",
            ],
        ),
        (
            "web_search_exa",
            json!({"query": "rust"}),
            [
                "Web search",
                "globe",
                "rust",
                "Searching the web: rust",
                "Searched rust",
            ],
        ),
        (
            "search_web",
            json!({"q": "rust"}),
            [
                "Web search",
                "globe",
                "rust",
                "Searching the web: rust",
                "Searched rust",
            ],
        ),
        (
            "codesearch",
            json!({"query": "x"}),
            [
                "Code search",
                "magnifying_glass",
                "x",
                "Searching code: x",
                "Searched code for x",
            ],
        ),
        (
            "get_code_context_exa",
            json!({"query": "x"}),
            [
                "Code lookup",
                "document_magnifying_glass",
                "x",
                "Looking up code: x",
                "Looked up x",
            ],
        ),
        (
            "company_research_exa",
            json!({"query": "Acme"}),
            [
                "Company research",
                "globe",
                "Acme",
                "Researching company: Acme",
                "Researched Acme",
            ],
        ),
        (
            "todowrite",
            json!({"todos": []}),
            ["Plan", "queue_list", "", "Planning", "Updated plan"],
        ),
        (
            "todoread",
            json!({}),
            ["Plan", "queue_list", "", "Reading plan", "Read plan"],
        ),
        (
            "task",
            json!({"description": "sub work"}),
            [
                "Task",
                "robot",
                "sub work",
                "Researching sub work",
                "Ran subtask sub work",
            ],
        ),
        (
            "skill",
            json!({"skill_name": "pdf"}),
            [
                "Skill",
                "sparkles",
                "pdf",
                "Loading skill: pdf",
                "Loaded skill pdf",
            ],
        ),
        (
            "skill",
            json!({"name": "pdf"}),
            [
                "Skill",
                "sparkles",
                "pdf",
                "Loading skill: pdf",
                "Loaded skill pdf",
            ],
        ),
        (
            "question",
            json!({"questions": [{"question": "Go on?"}, {"question": "Sure?"}]}),
            [
                "Question",
                "question_mark_circle",
                "Go on?",
                "Waiting for your answer: Go on?",
                "Asked Go on?",
            ],
        ),
        (
            "question",
            json!({"questions": [{"header": "Choice"}]}),
            [
                "Question",
                "question_mark_circle",
                "Choice",
                "Waiting for your answer: Choice",
                "Asked Choice",
            ],
        ),
    ]
}

#[test]
fn each_row_of_the_table() {
    for (tool, input, expected) in rows() {
        let part = part(tool, "running", &input);
        let display = ToolDisplay::of(&part);
        let shown = [
            display.kind().into_owned(),
            display.icon().to_string(),
            display.target().unwrap_or_default().into_owned(),
            display.title().into_owned(),
            display.past_tense_title().into_owned(),
        ];
        assert_eq!(shown, expected.map(str::to_owned), "{tool}");
        assert!(display.is_known(), "{tool}");
        assert_eq!(display.provider(), "opencode-builtin", "{tool}");
    }
}

#[test]
fn a_call_without_input_has_a_title() {
    for (tool, ..) in rows() {
        let part = part(tool, "pending", &json!({}));
        let display = ToolDisplay::of(&part);
        assert_eq!(display.target(), None, "{tool}");
        assert_eq!(display.title(), display.gerund(), "{tool}");
        assert_eq!(display.to_string(), display.gerund(), "{tool}");
    }
}

#[test]
fn names_from_mcp_servers() {
    // The server's name for the tool, the canonical one, is it known, the provider.
    let cases = [
        ("exa_web_search_exa", "web_search_exa", true, "exa"),
        (
            "exa_get_code_context_exa",
            "get_code_context_exa",
            true,
            "exa",
        ),
        (
            "exa_company_research_exa",
            "company_research_exa",
            true,
            "exa",
        ),
        ("exa_web_fetch_exa", "web_fetch", false, "exa"),
        ("exa_crawl", "crawl", false, "exa"),
        ("exa_crawl_brave", "crawl_brave", false, "exa"),
        ("exa_read", "read", true, "exa"),
        ("exa_read_exa", "read", true, "exa"),
        ("brave_news_brave", "news", false, "brave"),
        ("serper_search_web", "search_web", true, "serper"),
        ("tavily_extract", "extract", false, "tavily"),
        (
            "local-web-search_search_web",
            "search_web",
            true,
            "local-web-search",
        ),
        (
            "local-web-search_crawl_local-web-search",
            "crawl",
            false,
            "local-web-search",
        ),
        // Nothing would be left of the name.
        ("exa_", "exa_", false, "unknown"),
        ("exa__exa", "_exa", false, "exa"),
        ("exa_exa", "exa", false, "exa"),
        ("exa", "exa", false, "unknown"),
        // Only a prefix with its separator is one.
        ("examine", "examine", false, "unknown"),
        ("web_search_exa", "web_search_exa", true, "opencode-builtin"),
        ("read", "read", true, "opencode-builtin"),
        ("nosuchtool", "nosuchtool", false, "unknown"),
        ("", "", false, "unknown"),
    ];
    for (name, canonical, known, provider) in cases {
        let part = part(name, "running", &json!({}));
        let display = ToolDisplay::of(&part);
        assert_eq!(display.name(), name);
        assert_eq!(display.canonical(), canonical, "{name}");
        assert_eq!(display.is_known(), known, "{name}");
        assert_eq!(display.provider(), provider, "{name}");
    }
}

#[test]
fn unknown_tools_are_humanised_unless_the_server_gives_a_title() {
    let bare = part("exa_web_fetch_exa", "completed", &json!({"url": "u"}));
    let display = ToolDisplay::of(&bare);
    assert_eq!(display.kind(), "Web fetch");
    assert_eq!(display.gerund(), "Web fetch");
    assert_eq!(display.past_tense(), "Web fetch");
    assert_eq!(display.title(), "Web fetch");
    assert_eq!(display.icon(), Icon::Sparkles);
    assert_eq!(display.view(), View::Plain);
    assert_eq!(display.target(), None);

    let titled = json!({"tool": "frobnicate", "status": "completed", "title": "Did a\nthing"});
    let display = ToolDisplay::of(&titled);
    assert_eq!(display.title(), "Did a\\nthing");
    assert_eq!(display.past_tense_title(), "Did a\\nthing");
    assert_eq!(display.to_string(), "Did a\\nthing");

    let failed = json!({"tool": "étude-α", "status": "error", "title": "  ", "error": "no\nmore"});
    assert_eq!(ToolDisplay::of(&failed).to_string(), "Étude α failed: no");
    assert_eq!(ToolDisplay::of(&json!(null)).to_string(), "Tool");
}

#[test]
fn a_known_tools_own_words_win_over_the_servers_title() {
    let part = json!({"tool": "write", "status": "completed", "title": "workspace/demo/a.txt",
        "input": {"filePath": "/workspace/demo/a.txt"}});
    let display = ToolDisplay::of(&part).relative_to("/workspace/demo");
    assert_eq!(display.past_tense_title(), "Wrote a.txt");
}

#[test]
fn a_product_adds_tools_and_providers() {
    let tools = Tools::default()
        .with_tool(
            Tool::new("shell", "Shell")
                .verbs("Running", "Ran")
                .icon(Icon::Named("turtle"))
                .target(["script", "command"])
                .view(View::Shell)
                .provider("acme-local"),
        )
        .with_tool(Tool::new("acme_raw", "Raw"))
        .with_provider("acme_", "acme")
        .with_provider("acme_lab_", "acme lab")
        .with_provider("", "everything");

    let local = part("shell", "completed", &json!({"command": "date"}));
    let display = ToolDisplay::with_tools(&local, &tools);
    assert_eq!(display.to_string(), "Ran `date`");
    assert_eq!(display.command(), Some("date"));
    assert_eq!(display.icon().as_str(), "turtle");
    assert_eq!(display.provider(), "acme-local");

    let cases = [
        ("acme_shell", "shell", "acme"),
        ("acme_lab_shell_acme_lab", "shell", "acme lab"),
        ("acme_raw", "acme_raw", "acme"),
        ("other", "other", "unknown"),
    ];
    for (name, canonical, provider) in cases {
        let part = part(name, "running", &json!({}));
        let display = ToolDisplay::with_tools(&part, &tools);
        assert_eq!(
            (display.canonical(), display.provider()),
            (canonical, provider)
        );
    }
}
