//! Paths and imports as they are written in code from which comments and literals are blanked.

/// One name that a `use` brings in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Import {
    /// As written, such as `["super", "page", "Child"]`.
    pub(super) path: Vec<String>,
    /// The name it has here.
    pub(super) name: String,
    /// It is given on to others: `pub use`, in whatever measure.
    pub(super) is_given_on: bool,
}

/// `code` with `#[cfg(test)] mod … { … }` blanked.
pub(super) fn without_tests(code: &str) -> String {
    let mut code = code.to_owned();
    let mut from = 0;
    while let Some(at) = code[from..].find("#[cfg(test)]").map(|at| at + from) {
        from = at + 1;
        let rest = code[at + "#[cfg(test)]".len()..].trim_start();
        if !rest.starts_with("mod ") {
            continue;
        }
        let begin = code.len() - rest.len();
        let Some(open) = code[begin..].find(['{', ';']).map(|open| open + begin) else {
            continue;
        };
        let end = if code.as_bytes()[open] == b'{' {
            closing(&code, open)
        } else {
            open + 1
        };
        let blank: String = code[at..end]
            .chars()
            .flat_map(|c| std::iter::repeat_n(if c == '\n' { '\n' } else { ' ' }, c.len_utf8()))
            .collect();
        code.replace_range(at..end, &blank);
    }
    code
}

/// Behind the brace that closes the one at `open`.
fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    code.len()
}

/// Every `use` of the code, one for each name.
pub(super) fn imports(code: &str) -> Vec<Import> {
    let mut found = Vec::new();
    for (at, _) in uses(code) {
        let Some(end) = code[at..].find(';').map(|end| at + end) else {
            break;
        };
        let before = code[..at].trim_end();
        let before = before.strip_suffix("use").unwrap_or(before).trim_end();
        let is_given_on = before.ends_with("pub")
            || before.ends_with(')')
                && before.rfind("pub(").is_some_and(|open| {
                    !before[open + 4..before.len() - 1].contains([')', ';', '}'])
                });
        tree(&code[at..end], &[], &mut |path, name| {
            found.push(Import {
                path: path.to_vec(),
                name: name.to_owned(),
                is_given_on,
            });
        });
    }
    found
}

/// Where what follows each word `use` begins, and where the statement ends.
fn uses(code: &str) -> impl Iterator<Item = (usize, usize)> {
    code.match_indices("use ").filter_map(|(at, word)| {
        let before = code[..at].chars().next_back();
        let apart = before
            .is_none_or(|c| c.is_whitespace() || c == ')' || c == ';' || c == '}' || c == '{');
        // `impl Trait + use<…>` has no space.
        let begin = at + word.len();
        apart.then(|| {
            (
                begin,
                code[begin..]
                    .find(';')
                    .map_or(code.len(), |end| begin + end),
            )
        })
    })
}

/// Takes a use tree apart.
fn tree(text: &str, prefix: &[String], take: &mut impl FnMut(&[String], &str)) {
    let text = text.trim();
    if let Some(open) = text.find('{') {
        let mut prefix = prefix.to_vec();
        prefix.extend(segments(&text[..open]));
        let inside = &text[open + 1..closing(text, open).saturating_sub(1).max(open + 1)];
        let mut depth = 0_usize;
        let mut from = 0;
        for (at, byte) in inside.bytes().enumerate() {
            match byte {
                b'{' => depth += 1,
                b'}' => depth = depth.saturating_sub(1),
                b',' if depth == 0 => {
                    tree(&inside[from..at], &prefix, take);
                    from = at + 1;
                }
                _ => {}
            }
        }
        tree(&inside[from..], &prefix, take);
        return;
    }
    if text.is_empty() {
        return;
    }
    let (path, renamed) = match text.split_once(" as ") {
        Some((path, name)) => (path, Some(name.trim())),
        None => (text, None),
    };
    let mut full = prefix.to_vec();
    full.extend(segments(path));
    // `{self}` is what stands before it.
    if full.len() > 1 && full.last().is_some_and(|last| last == "self") {
        full.pop();
    }
    if let Some(last) = full.last().cloned() {
        take(&full, renamed.unwrap_or(&last));
    }
}

fn segments(path: &str) -> impl Iterator<Item = String> {
    path.split("::")
        .map(|segment| segment.trim().to_owned())
        .filter(|segment| !segment.is_empty())
}

/// Every path of two or more names outside `use`, with where it begins.
pub(super) fn paths(code: &str) -> impl Iterator<Item = (usize, Vec<String>)> {
    let mut found = Vec::new();
    let statements: Vec<_> = uses(code).collect();
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut at = 0;
    while let Some(begin) = code[at..].find(is_name).map(|begin| at + begin) {
        let mut end = begin;
        let mut path = Vec::new();
        loop {
            let length = code[end..]
                .find(|c| !is_name(c))
                .unwrap_or(code.len() - end);
            path.push(code[end..end + length].to_owned());
            end += length;
            match code[end..].strip_prefix("::") {
                Some(rest) if rest.starts_with(is_name) => end += 2,
                _ => break,
            }
        }
        let in_use = statements
            .iter()
            .any(|(from, to)| (*from..*to).contains(&begin));
        let joined = code[..begin].ends_with("::") || code[..begin].ends_with(['$', '.', '\'']);
        if !in_use && !joined && path.len() > 1 {
            found.push((begin, path));
        }
        at = end.max(begin + 1);
    }
    for (from, to) in statements {
        tree(&code[from..to], &[], &mut |path, _| {
            // Other crates, for who asks about them.
            if path.len() > 1 && path[0].starts_with("opencode_") {
                found.push((from, path.to_vec()));
            }
        });
    }
    found.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(code: &str) -> Vec<String> {
        imports(code)
            .iter()
            .map(|import| {
                let on = if import.is_given_on { "pub " } else { "" };
                format!("{on}{} = {}", import.name, import.path.join("::"))
            })
            .collect()
    }

    #[test]
    fn a_use_is_taken_apart() {
        assert_eq!(
            written("use a::{self, b::C, d as e,\n f::{G, H}};"),
            [
                "a = a",
                "C = a::b::C",
                "e = a::d",
                "G = a::f::G",
                "H = a::f::H"
            ]
        );
        assert_eq!(
            written("pub use a::B; pub(in crate::x) use a::C;\nfn f() {} use a::D;"),
            ["pub B = a::B", "pub C = a::C", "D = a::D"]
        );
        assert_eq!(written("fn reuse (a: B) {}"), Vec::<String>::new());
    }

    #[test]
    fn paths_are_found_outside_of_uses() {
        let found: Vec<_> =
            paths("use a::b; fn f() -> c::D { super::g::<E>(x.y, 'a'); $crate::h() }")
                .map(|(_, path)| path.join("::"))
                .collect();
        assert_eq!(found, ["c::D", "super::g"]);
    }

    #[test]
    fn tests_are_blanked() {
        let code = "a #[cfg(test)]\nmod tests { b { c } } d #[cfg(test)] mod e; #[cfg(test)] f";
        assert_eq!(
            without_tests(code).split_whitespace().collect::<Vec<_>>(),
            ["a", "d", "#[cfg(test)]", "f"]
        );
    }
}
