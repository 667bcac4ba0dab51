//! `docker-compose.yml` is valid, gives its services few rights, and agrees with `config/compose.toml`. No Docker is asked.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use bellwether::config::Config;
use serde_json::{Value, json};

use crate::common::root;
use crate::{assert_starts, kubernetes, list, text};

const CONFIG_FILE: &str = "/etc/bellwether/bellwether.toml";

fn read(file: &str) -> Value {
    let text = std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    let mut document: serde_norway::Value = serde_norway::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
    document.apply_merge().expect("what is merged is there");
    serde_json::to_value(document).expect("YAML that JSON can tell")
}

/// The services of the program itself.
fn services() -> Vec<(String, Value)> {
    let document = read("docker-compose.yml");
    let services = document["services"].as_object().expect("services").clone();
    services.into_iter().filter(|(_, service)| service["image"] == "bellwether:local").collect()
}

fn config() -> Config {
    Config::load(Some(&root().join("config/compose.toml"))).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn the_compose_files_are_valid() {
    let path = kubernetes().join("compose.json");
    let schema = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{} ({error}): `make test` fetches it", path.display()));
    let mut schema: Value = serde_json::from_str(&schema).expect("a JSON Schema");
    // References stay inside.
    schema.as_object_mut().expect("an object").remove("$id");
    let validator = jsonschema::validator_for(&schema).expect("a valid schema");
    for file in ["docker-compose.yml", "docker-compose.gpu.yml"] {
        let mut document = read(file);
        let errors: Vec<String> = validator.iter_errors(&document).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{file}:\n{}", errors.join("\n"));
        document["services"]["bellwether"]["comand"] = json!([]);
        assert!(!validator.is_valid(&document), "{file}: the schema accepts anything");
    }
}

#[test]
fn the_services_start_the_program_and_only_two_must_be_asked_for() {
    let services = services();
    let names: Vec<&str> = services.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["topics", "bellwether", "ingest", "deliver"]);
    let deadline = Duration::from_millis(config().shutdown.deadline.ms().unsigned_abs());
    for (name, service) in &services {
        let command: Vec<&str> = list(&service["command"]).iter().map(text).collect();
        let expected: &[&str] = match name.as_str() {
            "bellwether" => &["run"],
            "topics" => &["topics", "create"],
            other => &[other],
        };
        assert_eq!(command, [expected, &["-c", CONFIG_FILE]].concat(), "{name}");
        assert_starts(name, &command);
        let asked_for = ["deliver", "ingest"].contains(&name.as_str());
        assert_eq!(service.get("profiles"), asked_for.then(|| json!([name])).as_ref(), "{name}");
        if name != "topics" {
            assert_eq!(service["depends_on"]["topics"]["condition"], "service_completed_successfully", "{name}");
            let grace = humantime::parse_duration(text(&service["stop_grace_period"])).expect("a duration");
            assert!(grace > deadline, "{name}: killed after {grace:?}, while draining may take {deadline:?}");
        }
    }
}

#[test]
fn services_have_no_rights_that_they_do_not_need() {
    for (name, service) in services() {
        assert_eq!(service["user"], "10001:10001", "{name}");
        assert!(service["read_only"] == true && service["cap_drop"] == json!(["ALL"]), "{name}");
        assert_eq!(service["security_opt"], json!(["no-new-privileges:true"]), "{name}");
        for volume in list(&service["volumes"]) {
            let read_only = volume["read_only"] == true || volume.as_str().is_some_and(|volume| volume.ends_with(":ro"));
            assert!(read_only, "{name}: {volume}");
            assert!(volume["target"] != "/run/webhooks" || name == "deliver", "{name} has the webhooks' secrets");
        }
        for port in service["ports"].as_array().into_iter().flatten() {
            assert!(text(port).starts_with("127.0.0.1:"), "{name}: everybody gets at {port}");
        }
    }
}

#[test]
fn each_health_check_asks_the_address_that_its_service_has_and_believes_200_only() {
    let config = config();
    let scraped = read("dashboards/prometheus/prometheus.yml")["scrape_configs"][0].clone();
    for (name, service) in services() {
        let address = match name.as_str() {
            "topics" => continue,
            "ingest" => &config.ingest.metrics_listen,
            "deliver" => &config.deliver.metrics_listen,
            _ => &config.http.metrics_listen,
        };
        let address: std::net::SocketAddr = address.parse().expect("an address");
        assert!(address.ip().is_unspecified(), "{name}: Prometheus is another container");
        let [kind, bash, flag, script, port] = &list(&service["healthcheck"]["test"])[..] else { panic!("{name}: five words") };
        assert_eq!((text(kind), text(bash), text(flag), text(port)), ("CMD", "bash", "-c", address.port().to_string().as_str()), "{name}");
        let target = json!(format!("{name}:{}", address.port()));
        let found = scraped["static_configs"][0]["targets"] == json!([target])
            || list(&scraped["dns_sd_configs"])
                .iter()
                .any(|lookup| *lookup == json!({"names": [name], "type": "A", "port": address.port()}));
        assert!(found, "Prometheus does not ask {target}");

        for (status, healthy) in [("200 OK", true), ("503 Service Unavailable", false)] {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            let port = listener.local_addr().expect("it has one").port().to_string();
            let answers = std::thread::spawn(move || {
                let (stream, _) = listener.accept().expect("a connection");
                let lines = BufReader::new(&stream).lines().map(|line| line.expect("a request"));
                let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
                assert_eq!(head[0], "GET /ready HTTP/1.1");
                write!(&stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").expect("it takes the answer");
            });
            // Compose makes one dollar of two.
            let check = Command::new("bash").args(["-c", &text(script).replace("$$", "$"), &port]).stderr(Stdio::null()).status();
            assert_eq!(check.expect("bash").success(), healthy, "{name}: {status}");
            answers.join().expect("the answer");
        }
    }
}
