//! The units in `deploy/systemd` are valid, leave the services few rights, and fit what the program does. No systemd runs for it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use bellwether::config::Config;

use crate::common::root;
use crate::{assert_starts, said};

const PROGRAM: &str = "/usr/local/bin/bellwether";
/// Of 10, as `systemd-analyze security` has it; up to 2 it says "OK".
const MOST_EXPOSED: &str = "20";

fn units() -> BTreeMap<String, String> {
    let files = std::fs::read_dir(root().join("deploy/systemd")).expect("deploy/systemd").map(|entry| entry.expect("an entry").path());
    let units = files.filter(|path| path.extension().is_some_and(|extension| extension == "service"));
    let named = |path: PathBuf| (path.file_stem().unwrap().to_str().unwrap().to_owned(), std::fs::read_to_string(&path).unwrap());
    let units: BTreeMap<_, _> = units.map(named).collect();
    assert_eq!(units.keys().collect::<Vec<_>>(), ["bellwether", "bellwether-deliver", "bellwether-ingest"]);
    units
}

/// The values of a key, in their order.
fn values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    unit.lines().filter_map(|line| line.split_once('=').filter(|(name, _)| *name == key)).map(|(_, value)| value).collect()
}

fn analyze(arguments: &[&str], unit: &str) -> (bool, String) {
    let folder = tempfile::tempdir().expect("a directory for temporary files");
    let path = folder.path().join("bellwether.service");
    std::fs::write(&path, unit).expect("the temporary directory takes files");
    let output = Command::new("systemd-analyze").args(arguments).arg(&path).output();
    let output = output.unwrap_or_else(|error| panic!("systemd-analyze cannot be started ({error}): `make test` installs it"));
    (output.status.success(), said(&output))
}

#[test]
fn systemd_reads_the_units_without_a_word() {
    let verify =
        |unit: &str| analyze(&["verify", "--man=no", "--recursive-errors=no"], &unit.replace(PROGRAM, env!("CARGO_BIN_EXE_bellwether")));
    for (name, unit) in units() {
        assert_eq!(verify(&unit), (true, String::new()), "{name}");
        let (_, found) = verify(&unit.replace("NoNewPrivileges", "NoNewPrivilege"));
        assert!(found.contains("NoNewPrivilege"), "{name}: a misspelt key is not found: {found}");
    }
}

#[test]
fn what_the_services_are_exposed_to_is_little_and_the_same_for_each() {
    let rights = |unit: &str| {
        let section = unit.split_once("# A user that").expect("the part on rights").1;
        section.split_once("\n[Install]").expect("the last section").0.to_owned()
    };
    let units = units();
    for (name, unit) in &units {
        let (little, judged) = analyze(&["security", "--offline=true", "--no-pager", "--threshold", MOST_EXPOSED], unit);
        assert!(little, "{name}: {judged}");
        assert_eq!(rights(unit), rights(&units["bellwether"]), "{name}");
    }
    let (little, _) =
        analyze(&["security", "--offline=true", "--no-pager", "--threshold", MOST_EXPOSED], "[Service]\nExecStart=/bin/true\n");
    assert!(!little, "whatever a unit leaves open is little");
}

#[test]
fn the_units_fit_what_the_program_does() {
    let deadline = Duration::from_millis(Config::default().shutdown.deadline.ms().unsigned_abs());
    for (name, unit) in units() {
        let [start] = values(&unit, "ExecStart")[..] else { panic!("{name}: one command") };
        let words: Vec<&str> = start.split(' ').collect();
        let command = name.strip_prefix("bellwether-").unwrap_or("run");
        assert_eq!(words, [PROGRAM, command, "-c", "/etc/bellwether/bellwether.toml"], "{name}");
        assert_starts(&name, &words[1..]);
        // Who reloads says so by a signal; to the others it would be the end.
        let reload: &[&str] = if command == "run" { &["/bin/kill -HUP $MAINPID"] } else { &[] };
        assert_eq!(values(&unit, "ExecReload"), reload, "{name}");
        let [stop] = values(&unit, "TimeoutStopSec")[..] else { panic!("{name}: one time to stop") };
        assert!(
            humantime::parse_duration(stop).is_ok_and(|stop| stop > deadline),
            "{name}: killed after {stop}, while draining may take {deadline:?}"
        );
        assert_eq!(values(&unit, "Restart"), ["on-failure"], "{name}");
        assert_eq!(values(&unit, "RestartPreventExitStatus"), ["64"], "{name}");
    }
}
