//! What cannot be sent: dead letters, and what is skipped.

use super::*;

/// What the headers of a dead letter have to say, but for the texts.
fn is_letter(letter: &Record, reason: &str, class: &str, namespace: &str, topic: &str) -> Result<()> {
    for (name, expected) in [
        ("millrace.error.reason", reason),
        ("millrace.error.value", "json"),
        ("millrace.namespace", namespace),
        ("__connect.errors.topic", topic),
        ("__connect.errors.exception.class.name", class),
    ] {
        let found = letter.header(name);
        ensure!(found == Some(expected), "{name}: {found:?}");
    }
    let message = letter.header("millrace.error.message").context("a message")?;
    ensure!(letter.header("__connect.errors.exception.message") == Some(message), "{message}");
    ensure!(letter.header("millrace.order").is_some() && letter.header("millrace.cluster_time").is_some());
    Ok(())
}

/// Lines that send dead letters for `policy` to `DATABASE.NAME.dead`.
fn to_dead_letters(scene: &Scene, name: &str, policy: &str) -> String {
    let topic = format!("{}.{name}.dead", scene.pair.database);
    format!("[sources.shop.errors]\n{policy} = \"dead_letter\"\ndead_letter_topic = \"{topic}\"\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_without_its_image_is_a_dead_letter_or_skipped_and_the_others_go_on() -> Result<()> {
    Scene::play(servers::shared().await?, "images", async |scene| {
        three_changes(scene).await?;
        let database = &scene.pair.database;
        let after =
            format!("full_document = \"whenAvailable\"\nrequire_full_document = [\"{database}.c\"]\n");
        let before = format!(
            "full_document_before_change = \"whenAvailable\"\nrequire_before_change = [\"{database}.*\"]\n"
        );
        let sources = [
            ("after", after.clone() + &to_dead_letters(scene, "after", "missing_image")),
            ("before", before + &to_dead_letters(scene, "before", "missing_image")),
            ("skipping", after + "[sources.shop.errors]\nmissing_image = \"skip\"\n"),
        ]
        .map(|(name, lines)| (name, source(scene, name, &lines)));
        let mut daemon = caught_up(scene, &sources).await?;
        for name in ["after", "skipping"] {
            ensure!(operations(&read(scene, name).await?)? == ["insert", "delete"], "{name}");
        }
        ensure!(operations(&read(scene, "before").await?)? == ["insert"]);
        let letters = read(scene, "after.dead").await?;
        let [letter] = &letters[..] else { anyhow::bail!("{letters:?}") };
        let (namespace, topic) = (format!("{database}.c"), format!("{database}.after"));
        is_letter(letter, "missing_image", "millrace.MissingImageError", &namespace, &topic)?;
        says(letter.header("millrace.error.message").unwrap_or_default(), &["fullDocument is missing"])?;
        let event = value(letter)?;
        ensure!(key(letter)? == r#"{"_id": "a"}"# && event["operationType"] == "update", "{event}");
        ensure!(event["updateDescription"]["updatedFields"] == json!({ "n": 1 }), "{event}");
        let seconds = event["clusterTime"]["$timestamp"]["t"].as_i64();
        ensure!(letter.timestamp == seconds.map(|seconds| seconds * 1000), "{letter:?}");
        let mut letters = operations(&read(scene, "before.dead").await?)?;
        letters.sort();
        ensure!(letters == ["delete", "update"], "{letters:?}");
        let metrics = daemon.metrics().await?;
        for (name, label, expected) in [
            ("millrace_source_skipped_changes_total", "skipping", 1.0),
            ("millrace_source_dead_letters_total", "after", 1.0),
            ("millrace_source_dead_letters_total", "before", 2.0),
        ] {
            let found = metrics.sum(name, &format!("\"{label}\""));
            ensure!(found == Some(expected), "{name} {label}: {found:?}");
        }
        daemon.terminate().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_over_the_limit_of_its_topic_is_a_dead_letter_or_skipped_and_the_others_go_on() -> Result<()>
{
    Scene::play(servers::shared().await?, "limit", async |scene| {
        let collection = scene.original("c");
        for (id, bytes) in [("small", 10), ("large", 8_000), ("larger", 100_000), ("last", 10)] {
            collection.insert_one(rawdoc! { "_id": id, "text": "x".repeat(bytes) }).await?;
        }
        let small =
            "partitions = 1\n[sources.shop.topic_creation.config]\n\"max.message.bytes\" = \"4096\"\n";
        let limited = |lines: String, name| {
            (name, source(scene, name, &lines).replace("partitions = 1\n", &named(name, small)))
        };
        let sources = [
            limited(to_dead_letters(scene, "letters", "record_too_large"), "letters"),
            limited("[sources.shop.errors]\nrecord_too_large = \"skip\"\n".to_owned(), "skipping"),
        ];
        let mut daemon = caught_up(scene, &sources).await?;
        // The first refusal starts the source again: what is there may be there twice.
        for name in ["letters", "skipping"] {
            let sent = ids(&read(scene, name).await?)?;
            ensure!(sent == [r#"{"_id": "last"}"#, r#"{"_id": "small"}"#], "{name}: {sent:?}");
        }
        let letters = read(scene, "letters.dead").await?;
        ensure!(ids(&letters)? == [r#"{"_id": "large"}"#, r#"{"_id": "larger"}"#], "{letters:?}");
        let namespace = format!("{}.c", scene.pair.database);
        let topic = format!("{}.letters", scene.pair.database);
        for letter in &letters {
            is_letter(letter, "record_too_large", "millrace.RecordTooLargeError", &namespace, &topic)?;
            says(letter.header("millrace.error.message").unwrap_or_default(), &["too large", &topic])?;
        }
        daemon.terminate().await
    })
    .await
}

/// The different keys, sorted.
fn ids(records: &[Record]) -> Result<Vec<String>> {
    let mut ids = records.iter().map(|record| Ok(key(record)?.to_owned())).collect::<Result<Vec<_>>>()?;
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_json_cannot_hold_is_a_dead_letter_of_its_bytes_and_passes_as_bson() -> Result<()> {
    Scene::play(servers::shared().await?, "odd", async |scene| {
        // An old binary whose second length is wrong, which the server stores.
        let mut odd = rawdoc! { "_id": "odd" }.into_bytes();
        odd.pop();
        odd.extend_from_slice(b"\x05v\0\x05\0\0\0\x02\x09\0\0\0\x01\0");
        let length = u32::try_from(odd.len())?.to_le_bytes();
        odd[..4].copy_from_slice(&length);
        let odd = bson::RawDocumentBuf::from_bytes(odd)?;
        scene.original("c").insert_one(&odd).await?;
        scene.original("c").insert_one(rawdoc! { "_id": "even" }).await?;
        let sources = [
            ("letters", to_dead_letters(scene, "letters", "encoding")),
            ("skipping", "[sources.shop.errors]\nencoding = \"skip\"\n".to_owned()),
            ("binary", "format = \"bson\"\n".to_owned()),
        ]
        .map(|(name, lines)| (name, source(scene, name, &lines)));
        let mut daemon = caught_up(scene, &sources).await?;
        for name in ["letters", "skipping"] {
            ensure!(ids(&read(scene, name).await?)? == [r#"{"_id": "even"}"#], "{name}");
        }
        let (letters, binary) = (read(scene, "letters.dead").await?, read(scene, "binary").await?);
        ensure!(letters.len() == 1 && binary.len() == 2, "{letters:?} {binary:?}");
        ensure!(letters[0].header("millrace.error.reason") == Some("encoding"), "{letters:?}");
        ensure!(letters[0].header("millrace.error.value") == Some("bson"), "{letters:?}");
        says(letters[0].header("millrace.error.message").unwrap_or_default(), &["fullDocument.v"])?;
        for record in [&letters[0], &binary[0]] {
            let event = RawDocument::from_bytes(record.value.as_deref().context("a value")?)?;
            ensure!(event.get_document("fullDocument")?.as_bytes() == odd.as_bytes(), "{event:?}");
        }
        daemon.terminate().await
    })
    .await
}
