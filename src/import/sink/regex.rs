//! Java's regular expressions over whole paths, as ours over the path behind `value.` or `key.`. Pure.
//!
//! What is behind a prefix can be told from the text of an expression only where its beginning is plain enough. Where it
//! is not, that is said, and nothing is guessed.

use regex::Regex;

/// What is left of an expression once it has matched a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// It matches nothing that begins so.
    Never,
    /// It matches whatever this matches behind the prefix.
    Expression(String),
}

/// Whole beginnings that match a side's name and the dot behind it, as people write them.
const ANY_SIDE: &[&str] = &[
    "[^.]+\\.",
    "[^.]*\\.",
    "[^\\.]+\\.",
    "[^\\.]*\\.",
    "\\w+\\.",
    "[a-z]+\\.",
    "(key|value)\\.",
    "(value|key)\\.",
    "(?:key|value)\\.",
    "(?:value|key)\\.",
];

/// What `expression`, which matches whole paths, still has to match behind `side` ("value" or "key") and a dot. `None`
/// where that cannot be told.
pub(super) fn behind(side: &str, expression: &str) -> Option<Rest> {
    if expression.starts_with("(?") && !expression.starts_with("(?:") {
        return None;
    }
    let mut rests = Vec::new();
    for branch in branches(expression)? {
        match branch_behind(side, branch)? {
            Rest::Never => {}
            Rest::Expression(rest) => rests.push(rest),
        }
    }
    if rests.is_empty() {
        return Some(Rest::Never);
    }
    let rest = pattern(&rests.join("|"))?;
    Some(Rest::Expression(rest))
}

/// `expression` in our dialect, where classes of characters are ASCII's as they are in Java. `None` where it has what we
/// do not.
pub(super) fn pattern(expression: &str) -> Option<String> {
    let mut out = String::new();
    let mut chars = expression.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next()? {
            'd' => out.push_str("[0-9]"),
            'D' => out.push_str("[^0-9]"),
            'w' => out.push_str("[0-9A-Za-z_]"),
            'W' => out.push_str("[^0-9A-Za-z_]"),
            's' => out.push_str("[ \\t\\n\\x0B\\f\\r]"),
            'S' => out.push_str("[^ \\t\\n\\x0B\\f\\r]"),
            // Quotations and Java's own classes; they are taken for something else, or for nothing, here.
            'Q' | 'E' | 'h' | 'H' | 'v' | 'V' | 'R' | 'X' | 'G' | 'Z' | 'N' => return None,
            other => out.extend(['\\', other]),
        }
    }
    Regex::new(&out).ok().map(|_| out)
}

/// What replaces a match of `pattern`, with groups as we name them. `None` where a group is not there.
pub(super) fn replacement(pattern: &str, java: &str) -> Option<String> {
    let groups = Regex::new(pattern).ok()?;
    let mut out = String::new();
    let mut rest = java;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\\' => {
                let literal = rest.chars().next()?;
                rest = &rest[literal.len_utf8()..];
                match literal {
                    '$' => out.push_str("$$"),
                    literal => out.push(literal),
                }
            }
            '$' if rest.starts_with('{') => {
                let (name, after) = rest[1..].split_once('}')?;
                groups.capture_names().flatten().find(|known| *known == name)?;
                out.push_str(&format!("${{{name}}}"));
                rest = after;
            }
            '$' => {
                let (number, after) = group(rest, groups.captures_len())?;
                out.push_str(&format!("${{{number}}}"));
                rest = after;
            }
            c => out.push(c),
        }
    }
    Some(out)
}

/// The number of a group: as many digits as there are groups for.
fn group(text: &str, count: usize) -> Option<(usize, &str)> {
    let digit = |text: &str| text.chars().next().and_then(|c| c.to_digit(10)).map(|digit| digit as usize);
    let mut number = digit(text).filter(|number| *number < count)?;
    let mut rest = &text[1..];
    while let Some(next) = digit(rest).map(|digit| number * 10 + digit).filter(|next| *next < count) {
        (number, rest) = (next, &rest[1..]);
    }
    Some((number, rest))
}

/// The alternatives of which an expression consists as a whole.
fn branches(expression: &str) -> Option<Vec<&str>> {
    let mut branches = Vec::new();
    let (mut depth, mut is_class, mut is_escaped, mut start) = (0_usize, false, false, 0);
    for (at, c) in expression.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '[' => is_class = true,
            ']' => is_class = false,
            _ if is_class => {}
            '(' => depth += 1,
            ')' => depth = depth.checked_sub(1)?,
            '|' if depth == 0 => {
                branches.push(&expression[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    branches.push(&expression[start..]);
    Some(branches)
}

fn branch_behind(side: &str, branch: &str) -> Option<Rest> {
    let branch = branch.strip_prefix('^').unwrap_or(branch);
    if let Some(rest) = ANY_SIDE.iter().find_map(|start| branch.strip_prefix(start)) {
        return (!is_repeated(rest)).then(|| Rest::Expression(rest.into()));
    }
    let prefix = format!("{side}.");
    let (literal, rest) = literal(branch);
    if literal.iter().zip(prefix.chars()).any(|((_, c), wanted)| c.is_some_and(|c| c != wanted)) {
        return Some(Rest::Never);
    }
    if literal.len() >= prefix.len() {
        return Some(Rest::Expression(sources(&literal[prefix.len()..]) + rest));
    }
    if rest.is_empty() {
        return Some(Rest::Never);
    }
    let after = [".*?", ".+?", ".*", ".+"].iter().find_map(|start| rest.strip_prefix(start))?;
    behind_anything(&prefix[literal.len()..], &rest[..rest.len() - after.len()], after)
}

/// `start` matches anything, and `rest` what follows: that may begin within the prefix.
fn behind_anything(prefix: &str, start: &str, rest: &str) -> Option<Rest> {
    if is_repeated(rest) {
        return None;
    }
    if rest.is_empty() || rest == "$" {
        return Some(Rest::Expression(".*".into()));
    }
    let (literal, after) = literal(rest);
    if literal.is_empty() {
        return None;
    }
    let mut ways = vec![format!(".*{rest}")];
    for at in usize::from(start.starts_with(".+"))..prefix.len() {
        let suffix = &prefix[at..];
        if literal.iter().zip(suffix.chars()).any(|((_, c), wanted)| c.is_some_and(|c| c != wanted)) {
            continue;
        }
        if literal.len() >= suffix.len() {
            ways.push(sources(&literal[suffix.len()..]) + after);
        } else if !after.is_empty() {
            // What follows the literal text would have to match the end of the prefix.
            return None;
        }
    }
    Some(Rest::Expression(if ways.len() == 1 { ways.remove(0) } else { format!("(?:{})", ways.join("|")) }))
}

fn sources(literal: &[(&str, Option<char>)]) -> String {
    literal.iter().map(|(source, _)| *source).collect()
}

/// The characters at the beginning that stand for themselves (`None`: a dot, for any), each with its source; and what is
/// left. A character that is repeated or optional is not among them.
fn literal(expression: &str) -> (Vec<(&str, Option<char>)>, &str) {
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(c) = rest.chars().next() {
        let (length, meant) = match c {
            '\\' => match rest[1..].chars().next() {
                Some(escaped) if !escaped.is_alphanumeric() => (1 + escaped.len_utf8(), Some(escaped)),
                _ => break,
            },
            '.' => (1, None),
            '[' if rest.starts_with("[.]") => (3, Some('.')),
            '[' | ']' | '(' | ')' | '{' | '}' | '*' | '+' | '?' | '|' | '^' | '$' => break,
            c => (c.len_utf8(), Some(c)),
        };
        if is_repeated(&rest[length..]) {
            break;
        }
        found.push((&rest[..length], meant));
        rest = &rest[length..];
    }
    (found, rest)
}

fn is_repeated(rest: &str) -> bool {
    rest.starts_with(['*', '+', '?', '{'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_goes_on_behind_the_side() {
        let rest = |text: &str| Some(Rest::Expression(text.into()));
        for (expression, value, key) in [
            ("^value\\..*$", rest(".*$"), Some(Rest::Never)),
            ("value.my.*", rest("my.*"), Some(Rest::Never)),
            ("^key[.]a", Some(Rest::Never), rest("a")),
            (".*", rest(".*"), rest(".*")),
            (".*_x", rest(".*_x"), rest(".*_x")),
            (".*\\.x", rest("(?:.*\\.x|x)"), rest("(?:.*\\.x|x)")),
            ("value\\.a|key\\.b", rest("a"), rest("b")),
            ("(key|value)\\.a\\d", rest("a[0-9]"), rest("a[0-9]")),
            ("valu", Some(Rest::Never), Some(Rest::Never)),
            ("value", Some(Rest::Never), Some(Rest::Never)),
            ("value.*", rest(".*"), Some(Rest::Never)),
            ("val.*\\.x", rest("(?:.*\\.x|x)"), Some(Rest::Never)),
            ("val[a-z]*\\.x", None, Some(Rest::Never)),
            ("(?i)value\\.a", None, None),
            ("[kv].*", None, None),
            ("value\\.(?=a).*", None, Some(Rest::Never)),
            ("value\\.\\Qa\\E", None, Some(Rest::Never)),
        ] {
            assert_eq!(
                (behind("value", expression), behind("key", expression)),
                (value, key),
                "{expression}"
            );
        }
    }

    #[test]
    fn what_is_left_matches_what_the_whole_matched() {
        let paths = ["x", "a.x", "ax", "lue.x", "e", "value.x", ".x", "a.b.c", "y", ""];
        for expression in [".*\\.x", ".*x", ".+\\.x", ".*e\\.x", ".+value\\.x", "^value\\.a.*", ".*\\..*"] {
            let whole = Regex::new(&format!("^(?:{expression})$")).expect("sound");
            let Some(Rest::Expression(rest)) = behind("value", expression) else { panic!("{expression}") };
            let rest = Regex::new(&format!("^(?:{rest})$")).expect("sound");
            for path in paths {
                assert_eq!(
                    rest.is_match(path),
                    whole.is_match(&format!("value.{path}")),
                    "{expression} {path:?}"
                );
            }
        }
    }

    #[test]
    fn groups_are_named_as_we_name_them() {
        for (pattern, java, expected) in [
            ("(a)(b)", "$1_$2x", Some("${1}_${2}x")),
            ("(a)", "$12", Some("${1}2")),
            ("a", "\\$\\\\é", Some("$$\\é")),
            ("(?<n>a)", "${n}", Some("${n}")),
            ("a", "$1", None),
            ("a", "x$", None),
            ("a", "$0$0", Some("${0}${0}")),
        ] {
            assert_eq!(replacement(pattern, java).as_deref(), expected, "{pattern} {java}");
        }
    }
}
