//! Promise 1 under faults, on real Apache Kafka: whatever breaks, a `read_committed` reader finds each item, pane and alert once,
//! and the log says what broke and what mends it.

mod common;

use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use common::cluster::Cluster;
use common::newsroom::Newsroom;
use common::proxy::{Mode, Proxy};
use common::{Broker, Process, finish, free_port, root, wait_for};

/// A few records in one answer of the broker, so that a fault meets work that is under way.
const SLOWLY: &str = "'max.partition.fetch.bytes' = '1'";

const RETRIES: &str = "Kafka client error; it retries by itself";
const ANEW: &str = "begins anew, from what is committed";

/// The lines of a log that hold all of `parts`.
fn lines<'a>(log: &'a str, parts: &[&str]) -> Vec<&'a str> {
    log.lines().filter(|line| parts.iter().all(|part| line.contains(part))).collect()
}

fn assert_says(log: &str, parts: &[&str]) {
    assert!(!lines(log, parts).is_empty(), "no line says {parts:?}:\n{log}");
}

fn health(process: &Process) -> String {
    process.status()["health"]["state"].as_str().unwrap_or_default().to_owned()
}

/// So many that a quick machine is still at work when a fault strikes.
const ITEMS: usize = 5000;

#[test]
fn a_cluster_that_loses_leaders_and_coordinators_and_is_gone_for_a_minute_costs_nothing() {
    let cluster = Cluster::start();
    // Names whose coordinators are on one node, and that is not the controller's.
    let coordinator = 3;
    let monitors = cluster.name_with_coordinator("__consumer_offsets", coordinator, (0..).map(|number| format!("desk-{number}-monitor")));
    let id = cluster.name_with_coordinator("__transaction_state", coordinator, (0..).map(|number| format!("{monitors}-{number}")));
    let (group, instance) = (monitors.strip_suffix("-monitor").unwrap(), id.strip_prefix(&format!("{monitors}-")).unwrap());
    let names = format!("group = '{group}'\ninstance = '{instance}'");
    let brokers = cluster.addresses();
    let mut news = Newsroom::open(&brokers, &brokers, "replication_factor = 3", &names, SLOWLY);
    let mut process = news.site.run("both");
    process.wait_ready();

    let leader = 2;
    assert!(cluster.leaders("news.observations").contains(&Some(leader)), "each node leads one of the three partitions");
    news.publish(ITEMS / 2);
    news.wait_until_under_way(&process, 0, 100);
    cluster.node(leader).kill();
    news.publish(ITEMS / 2);
    news.wait_until_all_are_scored();
    assert!(cluster.leaders("news.observations").iter().all(|node| node.is_some_and(|node| node != leader)), "others lead");
    assert_says(&process.log(), &[RETRIES, &cluster.node(leader).address()]);
    cluster.node(leader).restart();

    let before = Newsroom::scored_by(&process);
    news.publish(ITEMS / 2);
    news.wait_until_under_way(&process, before, 100);
    cluster.node(coordinator).kill();
    news.publish(ITEMS / 2);
    news.wait_until_all_are_scored();
    let now = cluster.coordinators(&[&monitors], &[&id]);
    assert!(now.iter().all(|node| node.is_some_and(|node| node != coordinator)), "both coordinators moved: {now:?}");
    assert_says(&process.log(), &[RETRIES, &cluster.node(coordinator).address()]);
    cluster.node(coordinator).restart();

    // They stand still for a minute, then they are down for a minute.
    let before = news.publish_at_once(&process, ITEMS);
    while_it_waits(&process, || cluster.nodes().iter().for_each(|node| node.signal("-STOP")));
    std::thread::sleep(Duration::from_secs(60));
    assert!(Newsroom::scored_by(&process) < before + ITEMS as u64, "they stood still half way, not at the end");
    assert_eq!(health(&process), "degraded");
    cluster.nodes().iter().for_each(|node| node.signal("-CONT"));
    news.wait_until_all_are_scored();

    let before = news.publish_at_once(&process, ITEMS);
    while_it_waits(&process, || cluster.nodes().iter().for_each(Broker::kill));
    std::thread::sleep(Duration::from_secs(60));
    assert!(Newsroom::scored_by(&process) < before + ITEMS as u64, "they went half way, not at the end");
    assert_eq!(health(&process), "degraded");
    std::thread::scope(|scope| cluster.nodes().iter().for_each(|node| drop(scope.spawn(|| node.restart()))));
    news.wait_until_all_are_scored();
    news.close_and_check("leaders, coordinators and all brokers went and came");
    assert_eq!(health(&process), "ok");
    let said = finish(vec![process]);
    assert_says(&said, &[ANEW]);
}

/// The process gets no further meanwhile, however quick it is.
fn while_it_waits(process: &Process, act: impl FnOnce()) {
    process.signal("-STOP");
    act();
    process.signal("-CONT");
}

#[test]
fn connections_that_are_refused_or_reset_or_stand_still_cost_nothing() {
    let behind = free_port();
    let proxy = Proxy::start(behind);
    let broker = Broker::start_with_listener("PROXIED", "PLAINTEXT", behind, proxy.port, "");
    let seen = format!("127.0.0.1:{}", proxy.port);
    let mut news = Newsroom::open(&broker.address(), &seen, "", "", SLOWLY);
    let mut process = news.site.run("both");
    process.wait_ready();
    proxy.set(Mode::CutAfter(10_000));
    wait_for("forty connections to be cut off", 60, || {
        news.publish(200);
        news.wait_until_all_are_scored();
        (proxy.cut() >= 40).then_some(())
    });
    proxy.set(Mode::Pass);
    assert_says(&process.log(), &["Disconnected: connection reset by peer"]);

    let disturb = |news: &mut Newsroom, mode: Mode, what: &str| {
        let before = news.publish_at_once(&process, ITEMS);
        proxy.set(mode);
        assert!(Newsroom::scored_by(&process) < before + ITEMS as u64, "{what} half way, not at the end");
        // Until the transaction that is open cannot be finished in time.
        wait_for("the fault to be felt", 60, || (health(&process) == "degraded").then_some(()));
        proxy.set(Mode::Pass);
        news.wait_until_all_are_scored();
    };
    disturb(&mut news, Mode::Refuse, "refused");
    assert_says(&process.log(), &["Connection refused"]);
    disturb(&mut news, Mode::Stall, "held up");
    news.close_and_check("connections were cut, refused and held up");
    assert_eq!(health(&process), "ok");
    let said = finish(vec![process]);
    assert_says(&said, &[ANEW]);
}

#[test]
fn a_stop_while_the_brokers_stand_still_ends_in_time_and_costs_nothing() {
    let broker = Broker::start();
    let mut news = Newsroom::open(&broker.address(), &broker.address(), "", "", SLOWLY);
    let mut process = news.site.run("both");
    process.wait_ready();
    news.publish_at_once(&process, ITEMS);
    broker.signal("-STOP");
    std::thread::sleep(Duration::from_secs(1));
    process.signal("-TERM");
    let (code, said) = process.wait_for_end("the process to stop without its brokers");
    assert_eq!(code, Some(0), "{said}");
    assert_says(&said, &["stopped without its last commit"]);
    broker.signal("-CONT");
    let mut next = news.site.run("both");
    next.wait_ready();
    news.close_and_check("a process was stopped while its brokers stood still");
    finish(vec![next]);
}

#[test]
fn a_process_that_stood_still_drops_what_it_had_and_joins_anew() {
    let broker = Broker::start();
    let properties = format!("'max.poll.interval.ms' = '6000'\n{SLOWLY}");
    let mut news = Newsroom::open(&broker.address(), &broker.address(), "", "", &properties);
    let assigned = |process: &Process| {
        ["classifier", "monitor"].map(|role| process.metric(&format!("bellwether_partitions_assigned{{role=\"{role}\"}}")) as i32)
    };
    let (mut one, mut two) = (news.site.run("both"), news.site.run("both"));
    one.wait_ready();
    two.wait_ready();
    let shared = |one: &Process, two: &Process| {
        let (first, second) = (assigned(one), assigned(two));
        (0..2).all(|role| first[role] > 0 && second[role] > 0 && first[role] + second[role] == 3).then_some(())
    };
    wait_for("both to share the partitions", 60, || shared(&one, &two));
    news.publish_at_once(&one, 1500);
    one.signal("-STOP");
    // Longer than max.poll.interval.ms: for it to wake up as a member that was given up.
    std::thread::sleep(Duration::from_secs(8));
    wait_for("the other to have all partitions", 60, || (assigned(&two) == [3, 3]).then_some(()));
    news.wait_until_all_are_scored();
    one.signal("-CONT");
    wait_for("it to join anew", 60, || shared(&one, &two));
    wait_for("it to be well again, although there is nothing to commit", 60, || (health(&one) == "ok").then_some(()));
    news.publish(500);
    news.close_and_check("one of two stood still");
    assert_says(&one.log(), &[ANEW, "stood still", "give it enough CPU"]);
    finish(vec![one, two]);
}

#[test]
fn topics_that_differ_or_grow_or_go_are_named_with_their_mend() {
    let broker = Broker::start();
    let topics = |arguments: &[&str]| {
        broker.tool(&[&["org.apache.kafka.tools.TopicCommand", "--bootstrap-server", &broker.address()], arguments].concat());
    };
    let properties = "'topic.metadata.refresh.interval.ms' = '500'\n'topic.metadata.propagation.max.ms' = '1000'";
    let mut news = Newsroom::open(&broker.address(), &broker.address(), "", "", properties);
    topics(&["--alter", "--topic", "sentiment.windows", "--partitions", "4"]);
    let (code, said) = news.site.run("monitor").wait_for_end("the start to be refused");
    assert_eq!(code, Some(69), "{said}");
    let counts = "\"news.observations\" (3 partitions) and \"sentiment.windows\" (4 partitions)";
    assert_says(&said, &[counts, "must have the same number of partitions", "make one of them anew"]);
    topics(&["--delete", "--topic", "sentiment.windows"]);
    news.site.create_topics();

    let mut process = news.site.run("both");
    process.wait_ready();
    news.publish(600);
    news.wait_until_all_are_scored();
    topics(&["--alter", "--topic", "news.raw", "--partitions", "5"]);
    news.partitions = 5;
    news.publish(400);
    news.wait_until_all_are_scored();
    assert_says(&process.log(), &[ANEW, "\"news.raw\" has other partitions than before"]);
    assert_eq!(process.metric("bellwether_observations_total{outcome=\"late\"}"), 0.0);

    // An output is gone: what was in its transaction is read again.
    topics(&["--delete", "--topic", "news.scored"]);
    news.forget_scored();
    news.publish(300);
    let (code, said) = process.wait_for_end("the missing output to be noticed");
    assert_eq!(code, Some(69), "{said}");
    assert_says(&said, &["\"news.scored\" does not exist; create it with `bellwether topics create`"]);
    news.site.create_topics();
    let mut process = news.site.run("both");
    process.wait_ready();
    news.wait_until_all_are_scored();

    // The input is gone.
    topics(&["--delete", "--topic", "news.raw"]);
    let (code, said) = process.wait_for_end("the missing input to be noticed");
    assert_eq!(code, Some(69), "{said}");
    assert_says(&said, &["\"news.raw\" does not exist; create it with `bellwether topics create`"]);
    topics(&["--create", "--topic", "news.raw", "--partitions", "5", "--replication-factor", "1"]);
    let mut process = news.site.run("both");
    process.wait_ready();
    news.publish(300);
    news.close_and_check("topics changed");
    finish(vec![process]);
}

/// The wall clock of one process (tests/clock/shift.c).
struct WallClock {
    folder: tempfile::TempDir,
}

impl WallClock {
    fn new() -> Self {
        let clock = Self { folder: tempfile::tempdir().unwrap() };
        let (source, library) = (root().join("tests/clock/shift.c"), clock.path("shift.so"));
        let compiled = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).args([&library, &source]).arg("-ldl").output().unwrap();
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        std::fs::write(clock.path("shift"), [0; 8]).unwrap();
        clock
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// Seconds before or after the right time. In place: the process has the file mapped.
    fn set(&self, seconds: i64) {
        let file = std::fs::OpenOptions::new().write(true).open(self.path("shift")).unwrap();
        file.write_at(&(seconds * 1000).to_ne_bytes(), 0).unwrap();
    }

    fn run(&self, news: &Newsroom) -> Process {
        let (library, shift) = (self.path("shift.so"), self.path("shift"));
        let environment = [("LD_PRELOAD", library.to_str().unwrap()), ("WALL_CLOCK_SHIFT", shift.to_str().unwrap())];
        let mut process = news.site.run_with("both", &environment);
        process.wait_ready();
        process
    }
}

#[test]
fn a_wall_clock_that_jumps_makes_nothing_late_and_nothing_stand_still() {
    let broker = Broker::start();
    let mut news = Newsroom::open(&broker.address(), &broker.address(), "", "", "");
    let clock = WallClock::new();
    let process = clock.run(&news);
    let event_time = |process: &Process| process.status()["event_time"].as_str().map(str::to_owned);
    news.publish(800);
    news.wait_until_all_are_scored();
    // Far ahead, then a little back. What librdkafka waits for at that moment it waits for as much longer.
    for (set, jump) in [(7200, "jump_ms=7"), (7192, "jump_ms=-")] {
        let before = wait_for("event time", 60, || event_time(&process));
        clock.set(set);
        wait_for("the jump to be noticed", 60, || (!lines(&process.log(), &["the wall clock was set", jump]).is_empty()).then_some(()));
        news.publish(300);
        news.wait_until_all_are_scored();
        wait_for("event time to go on", 60, || event_time(&process).filter(|now| *now > before));
    }
    let late = |process: &Process| process.metric("bellwether_observations_total{outcome=\"late\"}");
    assert_eq!(late(&process), 0.0);
    // A restart by a clock that is hours behind the one that the last commit was made by.
    finish(vec![process]);
    clock.set(-7200);
    let process = clock.run(&news);
    news.publish(300);
    news.close_and_check("the clock jumped");
    assert_eq!(late(&process), 0.0);
    finish(vec![process]);
}

#[test]
fn kafka_timestamps_that_jump_are_told_and_lose_and_double_nothing() {
    let broker = Broker::start();
    let mut news = Newsroom::open(&broker.address(), &broker.address(), "", "", "");
    let mut process = news.site.run("both");
    process.wait_ready();
    let now = chrono::Utc::now().timestamp_millis();
    let minutes = |count: i64| count * 60_000;
    let spell = |from: i64| (0..300).map(move |number| from + number * 1000);
    // Right, three quarters of an hour ahead, a day behind, and right again.
    let times: Vec<i64> = [minutes(-20), minutes(40), minutes(-1440), minutes(-15)].into_iter().flat_map(|at| spell(now + at)).collect();
    for part in times.chunks(300) {
        news.publish_dated_by_kafka(part);
        news.wait_until_all_are_scored();
    }
    news.publish_dated_by_kafka(&[now + minutes(58); 3]);
    news.check("Kafka timestamps jumped");
    assert!(process.metric("bellwether_observations_total{outcome=\"late\"}") >= 1100.0, "what came behind the jump is late");
    let said = finish(vec![process]);
    assert_says(&said, &["a Kafka timestamp is ahead of this machine's clock", "set the clock of its producer"]);
}
