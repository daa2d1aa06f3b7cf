//! How documents are put into shape and written: what the settings take, and what they refuse.

use super::{
    tests::{MINIMAL, problem_with_extra, settings},
    *,
};

/// A sink of documents with these lines.
fn text(lines: &str) -> String {
    format!(
        "[sinks.c]\ntopics = [\"t\"]\nvalue = \"document\"\nnamespace = \"d.c\"\nmongodb.uri = \"mongodb://other\"\nallow = [\"*\"]\n{lines}\n"
    )
}

fn handling(lines: &str) -> std::sync::Arc<Handling> {
    std::sync::Arc::clone(&settings(&format!("{MINIMAL}{}", text(lines))).sinks[0].handling)
}

#[test]
fn steps_keep_their_order_and_rules_that_follow_each_other_are_one_pass() {
    let handling = handling(
        "[[sinks.c.step]]\nrename_regex = \"a.*\"\npattern = \"a\"\nreplace = \"b\"\n\
         [[sinks.c.step]]\nrename_regex = \"b.*\"\npattern = \"b\"\nreplace = \"$0c\"\n\
         [[sinks.c.step]]\nadd_id = true\n\
         [[sinks.c.step]]\non = \"key\"\nblock = [\"x.*\"]\n\
         [[sinks.c.step]]\nset = '{\"at\": \"{timestamp}\"}'\n\
         [[sinks.c.step]]\n[sinks.c.step.rename]\n\"a.b\" = \"c\"\n",
    );
    let names: Vec<_> = handling
        .steps
        .iter()
        .map(|step| match &step.action {
            StepAction::Project(_) => "project",
            StepAction::Rename(_) => "rename",
            StepAction::AddId => "id",
            StepAction::Set(_) => "set",
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(names, ["rename", "id", "project", "set", "rename"]);
}

#[test]
fn what_a_document_cannot_be_written_by_is_refused_with_its_reason() {
    let step = |lines: &str| format!("[[sinks.c.step]]\n{lines}\n");
    let id = |lines: &str| format!("on_tombstone = \"fail\"\n[sinks.c.id]\n{lines}\n");
    let write = |lines: &str| format!("[sinks.c.write]\n{lines}\n");
    for (lines, part) in [
        (step("allow = [\"a..b\"]"), "empty name"),
        (step("allow = [\"a\"]\nremove_nulls = true"), "exactly one of"),
        (step("on = \"key\""), "exactly one of"),
        (step("on = \"key\"\nadd_id = true"), "is for the value"),
        (step("rename_regex = \"(\"\npattern = \"a\""), "no regular expression"),
        (step("rename_regex = \"a\""), "pattern: \"\" is empty"),
        (step("rename_regex = \"a\"\npattern = \"a\"\nreplace = \"$1\""), "names the group"),
        (step("[sinks.c.step.rename]\n\"a\" = \"b.c\""), "last name alone"),
        (step("set = '{\"a\": \"{nothing}\"}'"), "unknown placeholder"),
        (id("strategy = \"partial_key\""), "either allow or block"),
        (id("strategy = \"partial_key\"\nallow = [\"a\"]\nblock = [\"b\"]"), "either allow or block"),
        (id("strategy = \"uuid\"\nallow = [\"a\"]"), "is only for strategy"),
        ("[sinks.c.id]\nstrategy = \"uuid\"\n".to_owned(), "on_tombstone: is \"delete\""),
        (write("timestamps = true"), "is only for model = \"update\""),
        (write("filter = '{\"a\": 1}'"), "needs update"),
        (write("filter = '{\"$where\": \"1\"}'\nmodel = \"delete\""), "runs code"),
        (write("update = '{\"$set\": {\"a\": 1}}'\nmodel = \"delete\""), "leave out one"),
        (write("delete_by = \"business_key\""), "partial_key"),
        ("[sinks.c.timeseries]\nmeta_field = \"m\"\n".to_owned(), "needs time_field"),
        ("[sinks.c.timeseries]\ntime_field = \"t\"\ndate_format = \"EEE\"\n".to_owned(), "letter E"),
        (
            "[sinks.c.timeseries]\ntime_field = \"t\"\n[sinks.c.write]\nmodel = \"update\"\n".to_owned(),
            "nothing else",
        ),
    ] {
        let problem = problem_with_extra(&text(&lines));
        assert!(problem.contains(part), "{lines}: {problem}");
    }
}

#[test]
fn a_sinks_namespace_may_be_made_of_fields() {
    let sink = |namespace: &str| {
        format!(
            "[sinks.c]\ntopics = [\"t\"]\nmongodb.uri = \"mongodb://other\"\nnamespace = \"{namespace}\"\n"
        )
    };
    for namespace in ["{value.tenant|key.tenant|'main'}.{coll}", "{value.ns}", "d.{key.a.b}"] {
        let settings = settings(&format!("{MINIMAL}{}", sink(namespace)));
        assert!(settings.sinks[0].handling.namespace.has_fields(), "{namespace}");
    }
    for (namespace, part) in [
        ("{value.a|'*'}.c", "has a *"),
        ("{values.a}.c", "unknown placeholder"),
        ("admin.{value.a}", "admin"),
    ] {
        let problem = problem_with_extra(&sink(namespace));
        assert!(problem.contains(part), "{namespace}: {problem}");
    }
}
