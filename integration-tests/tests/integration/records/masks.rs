//! Transformations on their way through the daemon: rows of a snapshot, events of the stream.

use super::*;

const RULES: &str = r#"
[[sources.shop.transform]]
namespaces = ["*"]
drop = '{"fullDocument.test": true}'
exclude = ["card.number"]
redact = ["email"]
hash = ["_id", "street"]
hash_key = "an example"
set = '{"tenant": "acme"}'
[sources.shop.transform.rename]
zip = "postcode"
"#;

/// Whether this text is anywhere in the record.
fn is_in(record: &Record, text: &str) -> bool {
    let parts = [record.key.as_deref(), record.value.as_deref()];
    let headers = record.headers.iter().map(|(_, value)| value.as_deref());
    let holds = |bytes: &[u8]| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    parts.into_iter().chain(headers).flatten().any(holds)
}

/// Fails unless the document is as the rules make it.
fn is_masked(document: &Value) -> Result<()> {
    let is_hash = |value: &Value| {
        value
            .as_str()
            .is_some_and(|text| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    ensure!(is_hash(&document["_id"]) && is_hash(&document["street"]), "{document}");
    ensure!(document["card"] == json!({ "year": 2030 }) && document["email"] == "[redacted]", "{document}");
    ensure!(document["postcode"] == "10115" && document.get("zip").is_none(), "{document}");
    ensure!(document["tenant"] == "acme", "{document}");
    Ok(())
}

async fn insert(scene: &Scene, id: &str, test: bool) -> Result<()> {
    let document = rawdoc! {
        "_id": id, "card": { "number": "4111", "year": 2030 }, "email": "jim@example.com", "street": "Elm 1",
        "zip": "10115", "test": test,
    };
    scene.original("c").insert_one(document).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_and_events_are_changed_by_their_rules_and_no_row_tells_what_was_masked() -> Result<()> {
    Scene::play(servers::shared().await?, "masks", async |scene| {
        insert(scene, "private-row", false).await?;
        insert(scene, "dropped-row", true).await?;
        let now = ledger::now(&scene.pair.client).await?;
        let begun = format!("\"{}:{}\"", scene.pair.begun.time, scene.pair.begun.increment);
        let start = format!("\"{}:{}\"", now.time, now.increment + 1);
        let sources = [
            ("event", "headers = \"all\"\n"),
            ("token", "key = \"token\"\nheaders = \"all\"\n"),
            ("document", "value = \"document\"\nheaders = \"none\"\n"),
            ("debezium", "value = \"debezium\"\nheaders = \"none\"\n"),
        ]
        .map(|(name, lines)| {
            let lines = format!("{lines}[sources.shop.snapshot]\nmode = \"initial\"\n{RULES}");
            (name, source(scene, name, &lines).replace(&begun, &start))
        });
        let mut daemon = caught_up(scene, &sources).await?;
        let dropped = daemon.metrics().await?.sum("millrace_source_dropped_events_total", "\"event\"");
        ensure!(dropped == Some(1.0), "{dropped:?}");
        for (name, _) in &sources {
            let records = read(scene, name).await?;
            ensure!(records.len() == 1, "{name}: {records:?}");
            for secret in ["private-row", "4111", "jim@example", "Elm", "dropped"] {
                ensure!(!is_in(&records[0], secret), "{name}: {secret} is in {:?}", records[0]);
            }
        }
        insert(scene, "private-event", false).await?;
        insert(scene, "dropped-event", true).await?;
        let update = doc! { "$set": { "email": "joe@example.com", "card.number": "4222", "zip": "10117" } };
        scene.original("c").update_one(doc! { "_id": "private-event" }, update).await?;
        scene.original("c").delete_one(doc! { "_id": "private-row" }).await?;
        catch_up(scene, &daemon, &sources).await?;
        let dropped = daemon.metrics().await?.sum("millrace_source_dropped_events_total", "\"event\"");
        ensure!(dropped == Some(2.0), "{dropped:?}");
        daemon.terminate().await?;
        events_are_masked(&read(scene, "event").await?)?;
        for (name, count) in [("document", 4), ("debezium", 5)] {
            let records = read(scene, name).await?;
            ensure!(records.len() == count, "{name}: {records:?}");
            for secret in ["private", "4222", "joe@example", "Elm", "dropped"] {
                ensure!(!records.iter().any(|record| is_in(record, secret)), "{name}: {secret}");
            }
        }
        Ok(())
    })
    .await
}

/// The row, the insert, the update and the delete of the row's document.
fn events_are_masked(records: &[Record]) -> Result<()> {
    ensure!(operations(records)? == ["insert", "insert", "update", "delete"], "{records:?}");
    ensure!(records[0].header("millrace.snapshot") == Some("true"), "{:?}", records[0].headers);
    for record in &records[..2] {
        let event = value(record)?;
        is_masked(&event["fullDocument"])?;
        ensure!(event["documentKey"]["_id"] == event["fullDocument"]["_id"], "{event}");
        ensure!(serde_json::from_str::<Value>(key(record)?)? == event["documentKey"], "{record:?}");
    }
    ensure!(value(&records[0])?["_id"]["_id"] == value(&records[0])?["documentKey"]["_id"]);
    ensure!(key(&records[0])? == key(&records[3])? && key(&records[1])? == key(&records[2])?);
    let updated = value(&records[2])?["updateDescription"]["updatedFields"].clone();
    ensure!(updated == json!({ "email": "[redacted]", "postcode": "10117" }), "{updated}");
    Ok(())
}
