//! A consumer group whose members come, go and are killed under load: nothing is missing, the copy goes back only after
//! a kill, and the group's offsets reach the ends. A small form runs always; the long one is ignored.

use std::time::Duration;

use anyhow::{Result, ensure};
use bson::RawDocumentBuf;
use integration_tests::{
    daemon::Daemon,
    load::{
        Random,
        counted::{self, Changes},
    },
    observe::{Observer, Steps},
    scene::Scene,
    servers, topic, wait,
};
use mongodb::Collection;

const SOON: Duration = Duration::from_secs(60);
const COLLECTIONS: [&str; 4] = ["one", "two", "three", "four"];
/// For each collection: 24 partitions in all.
const PARTITIONS: u32 = 6;

/// How much happens.
#[derive(Clone, Copy, Debug)]
struct Form {
    /// A third member joins and leaves so often before anybody is killed, and again before each kill but the first.
    joins: usize,
    kills: usize,
    /// Writes after each change, at most.
    most_writes: usize,
    /// Writes a second in each collection.
    rate: u32,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_joins_and_leaves_and_one_that_is_killed_lose_nothing() -> Result<()> {
    changes_under_load(Form { joins: 1, kills: 1, most_writes: 400, rate: 100 }).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "seven minutes; run with: cargo test --package integration-tests many_changes_of_the_group -- --ignored"]
async fn many_changes_of_the_group_lose_nothing() -> Result<()> {
    changes_under_load(Form { joins: 3, kills: 10, most_writes: 2_000, rate: 150 }).await
}

async fn changes_under_load(form: Form) -> Result<()> {
    Scene::play(servers::shared().await?, "changes", async |scene| {
        println!("seed {}", scene.pair.begun.time);
        let topics = format!("[sources.shop.topic_creation]\npartitions = {PARTITIONS}");
        let mut source = scene.daemon(&scene.config(&scene.source(&topics)))?;
        source.start_ready().await?;
        let plan = counted::Plan { documents: 400, hot: 40, rate: form.rate };
        for name in COLLECTIONS {
            counted::insert(&scene.original(name), plan.documents).await?;
        }
        let mut group = Group::start(scene).await?;
        let load: Vec<_> =
            COLLECTIONS.iter().map(|name| Changes::start(&scene.original(name), plan)).collect();

        let observer = Observer::start(copies(scene));
        for _ in 0..form.joins {
            group.join_and_leave(&load, form).await?;
        }
        group.judge("without a kill", &observer.stop().await?, 0)?;

        let observer = Observer::start(copies(scene));
        group.kill_and_restart(&load, form).await?;
        for _ in 1..form.kills {
            for _ in 0..form.joins {
                group.join_and_leave(&load, form).await?;
            }
            group.kill_and_restart(&load, form).await?;
        }
        let mut writes = 0;
        for changes in load {
            writes += changes.stop().await?;
        }
        println!("{writes} writes");
        scene.complete(0).await?;
        group.judge("with kills", &observer.stop().await?, form.kills)?;
        group.all_is_committed().await?;
        group.leave().await?;
        source.terminate().await
    })
    .await
}

fn copies(scene: &Scene) -> Vec<Collection<RawDocumentBuf>> {
    COLLECTIONS.iter().map(|name| scene.copied(name)).collect()
}

/// Two members that stay, and one that comes and goes.
struct Group<'a> {
    scene: &'a Scene,
    stays: [Daemon; 2],
    guest: Daemon,
    random: Random,
}

impl<'a> Group<'a> {
    /// Starts the two, and waits until both have partitions.
    async fn start(scene: &'a Scene) -> Result<Self> {
        let lines = "kafka.properties.session.timeout.ms = \"6000\"";
        let member = || scene.daemon(&scene.config(&scene.sink(lines)));
        let random = Random::new(scene.pair.begun.time.into(), 0);
        let mut group = Self { scene, stays: [member()?, member()?], guest: member()?, random };
        for member in &mut group.stays {
            member.start_ready().await?;
        }
        for member in &group.stays {
            has_taken(member, 0).await?;
        }
        Ok(group)
    }

    /// The guest joins, works, and leaves in good order.
    async fn join_and_leave(&mut self, load: &[Changes], form: Form) -> Result<()> {
        let before = taken_count(&self.guest)?;
        self.guest.start()?;
        has_taken(&self.guest, before).await?;
        self.work(load, form).await?;
        self.guest.terminate().await?;
        self.work(load, form).await
    }

    /// Kills one of the two wherever it is, and starts it again once the group has gone on for a while.
    async fn kill_and_restart(&mut self, load: &[Changes], form: Form) -> Result<()> {
        let victim = self.random.below(self.stays.len());
        let before = taken_count(&self.stays[victim])?;
        self.stays[victim].kill9()?;
        self.work(load, form).await?;
        self.stays[victim].start()?;
        has_taken(&self.stays[victim], before).await?;
        self.work(load, form).await
    }

    /// Returns after some more writes.
    async fn work(&mut self, load: &[Changes], form: Form) -> Result<()> {
        let count = || load.iter().map(Changes::count).sum::<u64>();
        let enough = count() + 1 + self.random.below(form.most_writes) as u64;
        wait::until("more writes", SOON, async || Ok((count() >= enough).then_some(()))).await
    }

    /// Each kill, and each time that a member began anew by itself, may have made one replay.
    fn judge(&self, when: &str, seen: &[Steps], kills: usize) -> Result<()> {
        let mut failures = 0;
        for member in self.members() {
            failures += member.errors()?.iter().filter(|line| line.contains("will be tried again")).count();
        }
        let most_backs = seen.iter().map(Steps::most_backs).max();
        let look_count: usize = seen.iter().map(Steps::look_count).sum();
        println!("{when}: {look_count} looks, most steps back {most_backs:?}, {failures} members began anew");
        seen.iter().try_for_each(|steps| steps.check(kills + failures))
    }

    async fn all_is_committed(&self) -> Result<()> {
        let (pair, group) = (&self.scene.pair, format!("millrace.{}.copy", self.scene.name));
        wait::until("the group's offsets to reach the ends", SOON, async || {
            let (all, topics) = (pair.record_count().await?, pair.topics().await?);
            let committed = topic::committed(&pair.kafka, &group, topics).await?;
            ensure!(committed == all, "{committed} of {all} are committed");
            Ok(Some(()))
        })
        .await
    }

    async fn leave(&mut self) -> Result<()> {
        for member in &mut self.stays {
            member.terminate().await?;
        }
        Ok(())
    }

    fn members(&self) -> impl Iterator<Item = &Daemon> {
        self.stays.iter().chain([&self.guest])
    }
}

/// How often the group gave this member something. A change that gives it nothing is told too.
fn taken_count(member: &Daemon) -> Result<usize> {
    // One that never started has no log.
    let log = member.log().unwrap_or_default();
    let is_taken =
        |line: &&str| line.contains("partitions assigned") && !line.contains("\"partitions\":\"\"");
    Ok(log.lines().filter(is_taken).count())
}

/// Waits until the group has given this member something since `before` times.
async fn has_taken(member: &Daemon, before: usize) -> Result<()> {
    wait::until("a member to have partitions", SOON, async || {
        Ok((taken_count(member)? > before).then_some(()))
    })
    .await
}
