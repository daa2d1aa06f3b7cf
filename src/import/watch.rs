//! Names and regular expressions of the connectors as patterns over namespaces.

/// All collections of a database.
pub(super) fn all_of(db: &str) -> String {
    if db.contains('*') { format!("/{}\\..*/", regex::escape(db)) } else { format!("{db}.*") }
}

/// One collection. A star in a name is a character of it.
pub(super) fn one(db: &str, coll: &str) -> String {
    let name = format!("{db}.{coll}");
    if name.contains('*') { format!("/{}/", regex::escape(&name)) } else { name }
}
