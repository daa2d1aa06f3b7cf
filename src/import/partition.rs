//! What the official connector calls the deployment that it reads, in Connect's offsets.

use super::Connector;

/// The partition under which the official source connector stores its position; `None` where its uri cannot be taken
/// apart. Scheme and sorted hosts as they are written, then database and collection; or the name that was given to it.
pub fn offset_partition(connector: &Connector) -> Option<String> {
    let text = |key: &str| connector.config.get(key).map_or("", |value| value.trim());
    let name = text("offset.partition.name");
    if !name.is_empty() {
        return Some(name.to_owned());
    }
    let (scheme, rest) = text("connection.uri").split_once("://")?;
    let authority = rest.split(['/', '?']).next()?;
    let hosts = authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts);
    let mut hosts: Vec<&str> = hosts.split(',').collect();
    hosts.sort_unstable();
    let mut partition = format!("{scheme}://{}/{}", hosts.join(","), text("database"));
    if !text("collection").is_empty() {
        partition.push('.');
        partition.push_str(text("collection"));
    }
    Some(partition)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_partition_has_sorted_hosts_and_no_credentials() {
        for (uri, database, collection, name, expected) in [
            (
                "mongodb://u:p%40ss@b:27018,a:27017/admin?replicaSet=rs0",
                "d",
                "c",
                "",
                "mongodb://a:27017,b:27018/d.c",
            ),
            ("mongodb://a:1", "", "", "", "mongodb://a:1/"),
            ("mongodb+srv://u@x.example", "d", "", "", "mongodb+srv://x.example/d"),
            ("mongodb://a:1", "d", "c", "mine", "mine"),
        ] {
            let keys = [
                ("connection.uri", uri),
                ("database", database),
                ("collection", collection),
                ("offset.partition.name", name),
            ];
            let config = keys.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
            assert_eq!(offset_partition(&Connector { name: None, config }).as_deref(), Some(expected));
        }
    }
}
