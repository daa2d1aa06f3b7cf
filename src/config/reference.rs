//! Secrets by indirection: `${env:NAME}` and `${file:/path}` inside any text.
//!
//! What a reference gives is taken as it is: not expanded again, and not percent-encoded where it becomes part of a URI.

use std::collections::BTreeMap;

use super::Invalid;

/// Whether `text` holds a reference.
pub(super) fn is_reference(text: &str) -> bool {
    split_first(text).is_some()
}

/// `text` with every reference replaced by what it refers to; `$${` becomes `${`.
pub(super) fn expand(text: &str, variables: &BTreeMap<String, String>) -> Result<String, Invalid> {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, reference)) = split_first(rest) {
        expanded.push_str(&before.replace("$${", "${"));
        let Some((inner, after)) = reference.split_once('}') else {
            return Err(Invalid("has a ${ without its }; write $${ for the text itself".into()));
        };
        expanded.push_str(&look_up(inner, variables)?);
        rest = after;
    }
    expanded.push_str(&rest.replace("$${", "${"));
    Ok(expanded)
}

/// What is before the first `${` that is not escaped, and what is after it.
fn split_first(text: &str) -> Option<(&str, &str)> {
    let mut from = 0;
    while let Some(found) = text[from..].find("${") {
        let at = from + found;
        if at == from || !text[from..at].ends_with('$') {
            return Some((&text[..at], &text[at + 2..]));
        }
        from = at + 2;
    }
    None
}

fn look_up(reference: &str, variables: &BTreeMap<String, String>) -> Result<String, Invalid> {
    match reference.split_once(':') {
        Some(("env", name)) => variables
            .get(name)
            .cloned()
            .ok_or_else(|| Invalid(format!("refers to the environment variable {name}, which is not set"))),
        Some(("file", path)) => match std::fs::read_to_string(path) {
            Ok(text) => Ok(without_newline(&text).into()),
            Err(err) => Err(Invalid(format!("refers to the file {path}, which cannot be read: {err}"))),
        },
        // What stands there may be a secret that was pasted into the wrong place, so it is not shown.
        _ => Err(Invalid(
            "has a ${…} that is neither ${env:NAME} nor ${file:/path}; write $${ for the text itself".into(),
        )),
    }
}

/// Editors and `echo` end a file with a newline that is not part of the secret.
fn without_newline(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Result<String, Invalid> {
        let variables = [("USER", "u"), ("PW", "${env:USER}$"), ("EMPTY", "")];
        expand(text, &variables.map(|(k, v)| (k.to_owned(), v.to_owned())).into())
    }

    #[test]
    fn references_are_replaced_wherever_they_stand_and_not_expanded_again() {
        assert_eq!(
            expanded("mongodb://${env:USER}:${env:PW}@h").as_deref(),
            Ok("mongodb://u:${env:USER}$@h")
        );
        assert_eq!(expanded("<${env:EMPTY}>").as_deref(), Ok("<>"));
        assert_eq!(expanded("/^a$/").as_deref(), Ok("/^a$/"));
        assert_eq!(expanded("$${env:USER}${env:USER}$").as_deref(), Ok("${env:USER}u$"));
    }

    #[test]
    #[expect(clippy::result_large_err, reason = "the jail's error is figment's, and large")]
    fn a_files_trailing_newline_is_not_part_of_the_secret() {
        figment::Jail::expect_with(|jail| {
            jail.create_file("secret", "two\nlines\r\n")?;
            assert_eq!(expanded("${file:secret}").as_deref(), Ok("two\nlines"));
            Ok(())
        });
    }

    #[test]
    fn what_is_missing_or_unknown_is_named_without_the_rest_of_the_value() {
        let message = |text: &str| expanded(text).expect_err("the reference is wrong").to_string();
        assert!(message("hunter2${env:NO}").contains("variable NO, which is not set"));
        assert!(message("hunter2${file:/no/such}").contains("/no/such, which cannot be read"));
        for text in ["hunter2${USER}", "hunter2${env:USER", "${vault:hunter2}"] {
            assert!(!message(text).contains("hunter2"), "{text}");
        }
    }
}
