//! `millrace verify` against real servers: what it finds, what it lets pass, and what it tells scripts.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bson::{
    Binary, Bson, DateTime, Document, RawDocumentBuf, Timestamp, doc, oid::ObjectId, rawdoc,
    spec::BinarySubtype,
};
use integration_tests::{
    daemon,
    scene::{Scene, says},
    servers,
};
use mongodb::Collection;

/// What a run of the command said.
struct Said {
    code: Option<i32>,
    out: String,
    complaints: String,
}

impl Said {
    fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_str(&self.out)
            .with_context(|| format!("no JSON: {:?} {}", self.out, self.complaints))
    }

    /// The JSON of the only namespace, after a look at the exit code.
    fn namespace(&self, code: i32) -> Result<serde_json::Value> {
        ensure!(self.code == Some(code), "{:?}: {} {}", self.code, self.out, self.complaints);
        let mut report = self.json()?;
        ensure!(report["equal"] == (code == 0), "{report}");
        Ok(report["namespaces"][0].take())
    }
}

/// Compares collections of the scene's deployment by name.
async fn verify(scene: &Scene, arguments: &[&str]) -> Result<Said> {
    let uri = scene.addresses.mongodb_uri.as_str();
    let (code, out, complaints) =
        daemon::run(&[&["verify", "--from", uri, "--to", uri], arguments].concat()).await?;
    Ok(Said { code, out, complaints })
}

/// `c` of the original with `c` of the copy, for scripts, without a settling time.
async fn verify_c(scene: &Scene, arguments: &[&str]) -> Result<Said> {
    let names = format!("{}.c={}.c", scene.pair.database, scene.pair.copy);
    verify(scene, &[&["--json", "--settle", "0s", &names], arguments].concat()).await
}

fn raw(document: &Document) -> Result<RawDocumentBuf> {
    Ok(RawDocumentBuf::try_from(document)?)
}

/// One `_id` of each type that there may be, and thousands of three types.
fn ids() -> Vec<Bson> {
    let mut ids = vec![
        Bson::MinKey,
        Bson::Null,
        Bson::from(f64::NAN),
        Bson::from(f64::NEG_INFINITY),
        Bson::from(-1.5),
        Bson::Decimal128("1e6000".parse().expect("a decimal")),
        Bson::from(1_i64 << 60),
        Bson::Symbol("symbol".to_owned()),
        Bson::from(doc! {}),
        Bson::from(doc! { "a": 1, "b": { "c": "x" } }),
        Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: vec![1, 2, 3] }),
        Bson::from(ObjectId::from_bytes([7; 12])),
        Bson::from(true),
        Bson::from(DateTime::from_millis(-5)),
        Bson::from(Timestamp { time: 3, increment: 4 }),
        Bson::JavaScriptCode("code".to_owned()),
        Bson::MaxKey,
    ];
    ids.extend((0..4_000).map(Bson::from));
    ids.extend((0..4_000).map(|n| Bson::from(format!("id-{n}"))));
    ids.extend((0..4_000_u32).map(|n| {
        let mut bytes = [1; 12];
        bytes[8..].copy_from_slice(&n.to_be_bytes());
        Bson::from(ObjectId::from_bytes(bytes))
    }));
    ids
}

async fn fill(collection: &Collection<RawDocumentBuf>, ids: &[Bson]) -> Result<()> {
    let documents = ids.iter().map(|id| raw(&doc! { "_id": id, "a": 1, "b": "x" }));
    collection.insert_many(documents.collect::<Result<Vec<_>>>()?).await?;
    Ok(())
}

/// How `_id`s are listed, sorted by their text.
fn listed(namespace: &serde_json::Value) -> Vec<String> {
    let differences = namespace["differences"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut listed: Vec<_> = differences
        .iter()
        .map(|difference| {
            format!(
                "{} {} {}",
                difference["kind"].as_str().unwrap_or("?"),
                difference["_id"],
                difference["fields"]
            )
        })
        .collect();
    listed.sort();
    listed
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_collections_with_ids_of_all_types_are_equal_and_each_difference_is_found() -> Result<()> {
    Scene::play(servers::shared().await?, "verify", async |scene| {
        let (ids, copied) = (ids(), scene.copied("c"));
        fill(&scene.original("c"), &ids).await?;
        fill(&copied, &ids).await?;
        let namespace = verify_c(scene, &[]).await?.namespace(0)?;
        let count = ids.len() as u64;
        ensure!(
            namespace["documents"] == serde_json::json!({ "source": count, "target": count }),
            "{namespace}"
        );
        ensure!(namespace["complete"] == true && listed(&namespace).is_empty(), "{namespace}");

        copied.delete_one(doc! { "_id": "id-77" }).await?;
        copied.delete_one(doc! { "_id": Bson::MinKey }).await?;
        copied.insert_one(rawdoc! { "_id": "more" }).await?;
        copied.update_one(doc! { "_id": Bson::MaxKey }, doc! { "$set": { "b": "y", "c": 1 } }).await?;
        // The same fields in another order; the same number of another type, as a value and as the _id.
        copied.replace_one(doc! { "_id": 1 }, rawdoc! { "b": "x", "a": 1 }).await?;
        copied.update_one(doc! { "_id": 2 }, doc! { "$set": { "a": 1_i64 } }).await?;
        copied.delete_one(doc! { "_id": 3 }).await?;
        copied.insert_one(rawdoc! { "_id": 3.0, "a": 1, "b": "x" }).await?;
        let expected = [
            "different {\"$maxKey\":1} [\"b\",\"c\"]",
            "different {\"$numberInt\":\"1\"} []",
            "different {\"$numberInt\":\"2\"} [\"a\"]",
            "different {\"$numberInt\":\"3\"} [\"_id\"]",
            "extra \"more\" []",
            "missing \"id-77\" []",
            "missing {\"$minKey\":1} []",
        ];
        let namespace = verify_c(scene, &["--threads", "2"]).await?.namespace(1)?;
        ensure!(listed(&namespace) == expected, "{:#?}", listed(&namespace));
        let namespace = verify_c(scene, &["--ignore-field-order"]).await?.namespace(1)?;
        let without_order: Vec<_> =
            expected.iter().filter(|line| !line.ends_with("\"1\"} []")).copied().collect();
        ensure!(listed(&namespace) == without_order, "{:#?}", listed(&namespace));

        let names = format!("{}.c={}.c", scene.pair.database, scene.pair.copy);
        let said = verify(scene, &["--settle", "0s", &names]).await?;
        ensure!(said.code == Some(1), "{:?}", said.code);
        ensure!(
            said.complaints.is_empty(),
            "no progress bar where there is no terminal: {}",
            said.complaints
        );
        let line = format!(
            "{}.c → {}.c: different; 12,017 documents, in the target 12,016",
            scene.pair.database, scene.pair.copy
        );
        says(
            &said.out,
            &[&line, "missing   \"id-77\"", "extra     \"more\"", "in b, c", "different: 1 of 1 namespaces"],
        )
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_side_with_many_more_documents_is_read_in_bounded_ranges_and_left_after_enough_differences()
-> Result<()> {
    Scene::play(servers::shared().await?, "verify_lopsided", async |scene| {
        let ids: Vec<_> = (0..9_000).map(Bson::from).collect();
        let (original, copied) = (scene.original("c"), scene.copied("c"));
        // All between two neighbours of the source are extra.
        fill(&original, &[ids[0].clone(), ids[8_999].clone()]).await?;
        fill(&copied, &ids).await?;
        let namespace = verify_c(scene, &["--max-differences", "10000"]).await?.namespace(1)?;
        ensure!(namespace["extra"] == 8_998 && namespace["complete"] == true, "{}", namespace["extra"]);
        ensure!(namespace["documents"] == serde_json::json!({ "source": 2, "target": 9_000 }), "{namespace}");

        copied.drop().await?;
        original.drop().await?;
        fill(&original, &ids).await?;
        let namespace = verify_c(scene, &["--max-differences", "5"]).await?.namespace(1)?;
        ensure!(namespace["missing"] == 5 && namespace["complete"] == false, "{namespace}");
        ensure!(listed(&namespace).len() == 5, "{namespace}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_greatest_id_of_all_may_begin_a_range() -> Result<()> {
    Scene::play(servers::shared().await?, "verify_max_key", async |scene| {
        let mut ids: Vec<_> = (0..2_000).map(Bson::from).collect();
        ids.push(Bson::MaxKey);
        fill(&scene.original("c"), &ids).await?;
        fill(&scene.copied("c"), &ids).await?;
        let namespace = verify_c(scene, &[]).await?.namespace(0)?;
        ensure!(
            namespace["documents"] == serde_json::json!({ "source": 2_001, "target": 2_001 }),
            "{namespace}"
        );
        scene.copied("c").delete_one(doc! { "_id": Bson::MaxKey }).await?;
        let namespace = verify_c(scene, &[]).await?.namespace(1)?;
        ensure!(listed(&namespace) == ["missing {\"$maxKey\":1} []"], "{namespace}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_in_flight_are_no_differences_but_one_that_stays_is() -> Result<()> {
    Scene::play(servers::shared().await?, "verify_flight", async |scene| {
        let mut daemon = scene.pipeline("full_document = \"updateLookup\"", "")?;
        daemon.start_ready().await?;
        let mut load = scene.load(|plan| {
            plan.operations = 1_000_000;
            plan.rate = Some(400);
        });
        load.reach(400).await?;
        for _ in 0..3 {
            let (code, out, complaints) = daemon.command(&["verify", "copy", "--settle", "5s"]).await?;
            ensure!(code == Some(0), "{code:?}: {out} {complaints}");
            says(
                &out,
                &[&format!("{}.one → {}.one: equal", scene.pair.database, scene.pair.copy), "equal: 2 of 2"],
            )?;
        }
        // Nothing corrects what somebody else does to the copy.
        let lost = rawdoc! { "_id": "somebody's own" };
        scene.copied("one").insert_one(&lost).await?;
        let (code, out, complaints) =
            daemon.command(&["verify", "--settle", "1s", "--source", "shop", "--json"]).await?;
        let said = Said { code, out, complaints };
        let namespace = said.namespace(1)?;
        ensure!(listed(&namespace) == ["extra \"somebody's own\" []"], "{namespace}");
        scene.copied("one").delete_one(doc! { "_id": "somebody's own" }).await?;
        load.stop().await?;
        scene.complete(0).await?;
        daemon.terminate().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_catches_up_is_equal_and_what_never_rests_is_unsettled() -> Result<()> {
    Scene::play(servers::shared().await?, "verify_unsettled", async |scene| {
        let (original, copied) = (scene.original("c"), scene.copied("c"));
        fill(&original, &[Bson::from("late"), Bson::from("hot")]).await?;
        fill(&copied, &[Bson::from("hot")]).await?;
        // Both are suspected from the first look on, unless the command is slower to start than the copy to catch up.
        let copying = async {
            for round in 100.. {
                original.update_one(doc! { "_id": "hot" }, doc! { "$set": { "a": round } }).await?;
                integration_tests::wait::pass(Duration::from_millis(50)).await;
                if round == 130 {
                    fill(&copied, &[Bson::from("late")]).await?;
                }
            }
            anyhow::Ok(())
        };
        let names = format!("{}.c={}.c", scene.pair.database, scene.pair.copy);
        let arguments = ["--json", "--settle", "2s", &names];
        let said = tokio::select! {
            said = verify(scene, &arguments) => said?,
            stopped = copying => return stopped,
        };
        let namespace = said.namespace(0)?;
        ensure!(namespace["unsettled"] == 1 && namespace["unsettledIds"][0] == "hot", "{namespace}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_compared_is_refused_with_2_and_what_cannot_be_read_fails_with_1() -> Result<()> {
    Scene::play(servers::shared().await?, "verify_refused", async |scene| {
        let (database, copy) = (&scene.pair.database, &scene.pair.copy);
        fill(&scene.original("c"), &[Bson::from(1)]).await?;
        scene.pair.client.database(copy).create_collection("view").view_on("c").await?;
        let (itself, view) = (format!("{database}.c"), format!("{database}.c={copy}.view"));
        let (nowhere, nothing) = (format!("{database}.x={copy}.x"), format!("{database}.x*"));
        for (names, words) in [
            (vec![itself.as_str()], "compared with itself"),
            (vec![view.as_str()], "is a view"),
            (vec![nowhere.as_str()], "there is neither"),
            (vec![nothing.as_str()], "nothing to compare"),
            (vec!["admin.x"], "server's own"),
            (vec![], "name what to compare"),
        ] {
            let said = verify(scene, &names).await?;
            ensure!(said.code == Some(2), "{names:?}: {:?} {}", said.code, said.out);
            says(&said.complaints, &[words])?;
        }

        let daemon = scene.pipeline("", "")?;
        let (code, _, complaints) = daemon.command(&["verify", "kopie"]).await?;
        ensure!(code == Some(2), "{code:?}");
        says(&complaints, &["no sink kopie", "it has: copy"])?;

        let unset = ["verify", "--from", "${env:NO_SUCH_VARIABLE}", "--to", "mongodb://b", "a.b"];
        let (code, _, complaints) = daemon::run(&unset).await?;
        ensure!(code == Some(2), "{code:?}");
        says(&complaints, &["--from", "NO_SUCH_VARIABLE", "not set"])?;
        let secret = ["verify", "--from", "http://u:pass-word@a", "--to", "mongodb://b", "a.b"];
        let (code, _, complaints) = daemon::run(&secret).await?;
        ensure!(code == Some(2) && !complaints.contains("pass-word"), "{code:?}: {complaints}");

        let down = "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=300";
        let (code, out, complaints) =
            daemon::run(&["verify", "--from", down, "--to", down, "--json", "a.b=a.c"]).await?;
        let said = Said { code, out, complaints };
        ensure!(said.code == Some(1) && said.json()?["equal"].is_null(), "{:?} {}", said.code, said.out);
        says(said.json()?["error"].as_str().unwrap_or_default(), &["127.0.0.1:1"])
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn patterns_compare_all_that_is_there_on_either_side() -> Result<()> {
    Scene::play(servers::shared().await?, "verify_patterns", async |scene| {
        for name in ["one", "two"] {
            fill(&scene.original(name), &[Bson::from(1)]).await?;
            fill(&scene.copied(name), &[Bson::from(1)]).await?;
        }
        let Scene { pair, .. } = scene;
        let names = format!("{}.*={}.{{coll}}", pair.database, pair.copy);
        let said = verify(scene, &["--json", "--settle", "0s", &names]).await?;
        ensure!(
            said.code == Some(0) && said.json()?["namespaces"].as_array().is_some_and(|n| n.len() == 2),
            "{}",
            said.out
        );
        fill(&scene.original("three"), &[Bson::from(1)]).await?;
        let said = verify(scene, &["--settle", "0s", &names]).await?;
        ensure!(said.code == Some(1), "{}", said.out);
        says(&said.out, &["missing   1", "different: 1 of 3 namespaces"])
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn strings_in_another_order_on_one_side_are_compared_all_the_same() -> Result<()> {
    Scene::play(servers::shared().await?, "verify_collation", async |scene| {
        let collation = mongodb::options::Collation::builder()
            .locale("de")
            .strength(mongodb::options::CollationStrength::Tertiary);
        let database = scene.pair.client.database(&scene.pair.copy);
        database.create_collection("c").collation(collation.build()).await?;
        let ids: Vec<_> =
            (0..3_000).flat_map(|n| [format!("a{n}"), format!("B{n}")]).map(Bson::from).collect();
        fill(&scene.original("c"), &ids).await?;
        fill(&scene.copied("c"), &ids).await?;
        verify_c(scene, &[]).await?.namespace(0)?;
        scene.copied("c").delete_one(doc! { "_id": "B1500" }).await?;
        let namespace = verify_c(scene, &[]).await?.namespace(1)?;
        ensure!(listed(&namespace) == ["missing \"B1500\" []"], "{:?}", listed(&namespace));
        scene.copied("c").insert_one(rawdoc! { "_id": "b1500" }).await?;
        scene.copied("c").update_one(doc! { "_id": "a7" }, doc! { "$set": { "a": 2 } }).await?;
        let namespace = verify_c(scene, &[]).await?.namespace(1)?;
        let expected = ["different \"a7\" [\"a\"]", "extra \"b1500\" []", "missing \"B1500\" []"];
        ensure!(listed(&namespace) == expected, "{:?}", listed(&namespace));
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_restarted_meanwhile_is_waited_for() -> Result<()> {
    let _alone = servers::alone().await;
    let mut mongod = servers::Mongod::start(servers::MongodOptions::default()).await?;
    let shared = servers::shared().await?;
    let addresses = servers::Addresses { mongodb_uri: mongod.uri(), kafka: shared.kafka.clone() };
    Scene::play(&addresses, "verify_restart", async |scene| {
        let ids: Vec<_> = (0..3_000).map(Bson::from).collect();
        fill(&scene.original("c"), &ids).await?;
        fill(&scene.copied("c"), &ids).await?;
        scene.copied("c").delete_one(doc! { "_id": 5 }).await?;
        let names = format!("{}.c={}.c", scene.pair.database, scene.pair.copy);
        // Long enough for the restart to fall into it.
        let arguments = ["--settle", "8s", &names];
        let comparing = verify(scene, &arguments);
        let restarting = async {
            integration_tests::wait::pass(Duration::from_secs(1)).await;
            mongod.restart().await
        };
        let (said, restarted) = tokio::join!(comparing, restarting);
        restarted?;
        let said = said?;
        ensure!(said.code == Some(1), "{:?}: {} {}", said.code, said.out, said.complaints);
        says(&said.out, &["missing   5"])
    })
    .await
}
