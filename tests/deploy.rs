//! What kustomize builds from `deploy/k8s` is valid Kubernetes and agrees with the configuration inside it; so do `docker-compose.yml` and the
//! units of `deploy/systemd`.
//!
//! kubectl builds it, the schemas are those of kubernetes-validate; `make test` fetches both. No cluster is asked.

mod common;

#[path = "deploy/compose.rs"]
mod compose;
#[path = "deploy/systemd.rs"]
mod systemd;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;
use std::time::Duration;

use common::{free_port, root};
use serde_json::{Value, json};

const CONFIG_FILE: &str = "bellwether.toml";

#[test]
fn every_build_is_valid_kubernetes() {
    for (version, mut definitions) in schemas() {
        let mut validators = BTreeMap::new();
        for (build, resource) in BUILDS.iter().flat_map(|build| build.resources.iter().map(move |resource| (build, resource))) {
            let place =
                format!("{}, Kubernetes {version}: {} {}", build.name, text(&resource["kind"]), text(&resource["metadata"]["name"]));
            // KEDA's own; what matters of it has a test below.
            if text(&resource["apiVersion"]).starts_with("keda.sh/") {
                continue;
            }
            let name = definition(&definitions, resource).unwrap_or_else(|| panic!("{place}: there is no {}", resource["apiVersion"]));
            let validator = validators.entry(name.clone()).or_insert_with(|| {
                definitions["$ref"] = json!(format!("#/$defs/{name}"));
                jsonschema::validator_for(&definitions).expect("a valid schema")
            });
            let errors: Vec<String> =
                validator.iter_errors(resource).map(|error| format!("{place}: {}: {error}", error.instance_path())).collect();
            assert!(errors.is_empty(), "\n{}", errors.join("\n"));
            let mut misspelt = resource.clone();
            misspelt["metadata"]["lables"] = json!({});
            assert!(!validator.is_valid(&misspelt), "{place}: the schema accepts anything");
        }
    }
}

#[test]
fn each_role_has_pods_that_run_the_configuration_of_the_config_map() {
    for build in BUILDS.iter() {
        let roles: Vec<&str> = build.of_kind("Deployment").map(role).collect();
        match build.name.as_str() {
            WHOLE => assert_eq!(roles, ["classifier", "deliver", "ingest", "monitor"], "{}", build.name),
            _ => assert_eq!(roles, ["classifier", "monitor"], "{}", build.name),
        }
        for workload in build.workloads() {
            let place = build.place(workload);
            let (pod, container) = (pod(workload), container(workload));
            let mount =
                list(&container["volumeMounts"]).iter().find(|mount| mount["name"] == "config").expect("a mount of the configuration");
            let volume = list(&pod["volumes"]).iter().find(|volume| volume["name"] == "config").expect("a volume of the configuration");
            assert_eq!(volume["configMap"]["name"], build.config_map()["metadata"]["name"], "{place}");
            let file = format!("{}/{CONFIG_FILE}", text(&mount["mountPath"]));
            let arguments = match role(workload) {
                "topics" => json!(["topics", "create", "-c", file]),
                other @ ("ingest" | "deliver") => json!([other, "-c", file]),
                role => json!(["run", "--role", role, "-c", file]),
            };
            assert_eq!(container["args"], arguments, "{place}");
            // Exit code 64 for a variable that names no key.
            let config = build.config(workload);
            if workload["kind"] == "Deployment" {
                assert_eq!(workload["metadata"]["name"], format!("bellwether-{}", role(workload)), "{place}");
                // Who asks the feeds is one, whatever the pod is called: a second one is fenced off by the same name.
                let instance = if role(workload) == "ingest" { "" } else { POD_NAME };
                assert_eq!(config["kafka"]["instance"].as_str(), Some(instance), "{place}: kafka.instance");
            }
        }
    }
}

#[test]
fn the_arguments_of_the_pods_start_the_program() {
    let build = built(WHOLE);
    for workload in build.workloads() {
        let folder = build.config_folder();
        let file = folder.path().join(CONFIG_FILE).to_str().expect("a path in UTF-8").to_owned();
        let arguments = list(&container(workload)["args"]).iter().map(text);
        let arguments: Vec<&str> = arguments.map(|argument| if argument.ends_with(CONFIG_FILE) { &file } else { argument }).collect();
        let brokers = format!("127.0.0.1:{}", free_port());
        let mut command = bellwether(&arguments, workload);
        command.env("BELLWETHER_KAFKA__BROKERS", &brokers).env("BELLWETHER_KAFKA__TIMEOUT", "1s");
        for address in ["HTTP__LISTEN", "HTTP__METRICS_LISTEN", "INGEST__METRICS_LISTEN", "DELIVER__METRICS_LISTEN"] {
            command.env(format!("BELLWETHER_{address}"), "");
        }
        let output = command.env("BELLWETHER_MODEL__DEVICE", "cpu").output().expect("the binary that was built for this test");
        // It gets as far as the brokers, which are not there.
        assert!(output.status.code() == Some(69) && said(&output).contains(&brokers), "{}: {}", build.place(workload), said(&output));
    }
}

#[test]
fn probes_ports_and_grace_fit_the_configuration() {
    for build in BUILDS.iter() {
        for deployment in build.of_kind("Deployment") {
            let (place, pod, container) = (build.place(deployment), pod(deployment), container(deployment));
            let config = build.config(deployment);
            let address = |section: &str, key: &str| string(&config, section, key).parse::<std::net::SocketAddr>().expect("an address");
            let section = match role(deployment) {
                alone @ ("ingest" | "deliver") => alone,
                _ => "http",
            };
            let metrics = address(section, "metrics_listen");
            assert!(metrics.ip().is_unspecified(), "{place}: probes come from outside the pod, but it listens on {metrics}");
            let mut ports = vec![json!({"name": "metrics", "containerPort": metrics.port()})];
            if section == "http" {
                let page = address(section, "listen");
                assert!(page.ip().is_loopback(), "{place}: everybody in the cluster gets at the page on {page}");
                ports.insert(0, json!({"name": "http", "containerPort": page.port()}));
            }
            assert_eq!(container["ports"], json!(ports), "{place}");
            for (probe, path) in [("startupProbe", "/ready"), ("readinessProbe", "/ready"), ("livenessProbe", "/live")] {
                assert_eq!(container[probe]["httpGet"], json!({"path": path, "port": "metrics"}), "{place}: {probe}");
            }
            let deadline = humantime::parse_duration(string(&config, "shutdown", "deadline")).expect("a duration");
            let grace = Duration::from_secs(number(&pod["terminationGracePeriodSeconds"]));
            assert!(grace > deadline, "{place}: killed after {grace:?}, while draining may take {deadline:?}");
            // One goes first where a pod more needs a GPU more, and where there may be only one.
            let takes_gpu = container["resources"]["limits"].get(GPU).is_some();
            let strategy = match role(deployment) {
                "ingest" => json!({"type": "Recreate"}),
                _ if takes_gpu => json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}),
                _ => json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}),
            };
            assert_eq!(deployment["spec"]["strategy"], strategy, "{place}");
            assert!(role(deployment) != "ingest" || deployment["spec"]["replicas"] == 1, "{place}: one process asks all feeds");
        }
    }
}

#[test]
fn services_and_budgets_select_the_pods_of_one_role() {
    for build in BUILDS.iter() {
        for deployment in build.of_kind("Deployment") {
            let name = &deployment["metadata"]["name"];
            let place = build.place(deployment);
            let find = |kind: &str| build.of_kind(kind).find(|other| other["metadata"]["name"] == *name);
            let service = find("Service").unwrap_or_else(|| panic!("{place} has no Service"));
            let budget = find("PodDisruptionBudget");
            let mut selectors = vec![&deployment["spec"]["selector"]["matchLabels"], &service["spec"]["selector"]];
            match budget {
                Some(budget) => {
                    assert_eq!(budget["spec"]["maxUnavailable"], 1, "{place}");
                    selectors.push(&budget["spec"]["selector"]["matchLabels"]);
                }
                None => assert_eq!(deployment["spec"]["replicas"], 1, "{place} has no PodDisruptionBudget"),
            }
            for selector in selectors {
                let selected: Vec<&Value> =
                    build.workloads().filter(|other| selects(selector, other)).map(|other| &other["metadata"]["name"]).collect();
                assert_eq!(selected, [name], "{place}: {selector}");
            }
            let ports = list(&container(deployment)["ports"]);
            for (port, of_service) in ports.iter().zip(list(&service["spec"]["ports"])) {
                assert_eq!((&of_service["name"], &of_service["targetPort"]), (&port["name"], &port["name"]), "{place}");
                assert_eq!(of_service["port"], port["containerPort"], "{place}");
            }
            let metrics = ports.iter().find(|port| port["name"] == "metrics").expect("a port for metrics");
            let scrape = json!({"prometheus.io/scrape": "true", "prometheus.io/port": metrics["containerPort"].to_string(), "prometheus.io/path": "/metrics"});
            assert_eq!(service["metadata"]["annotations"], scrape, "{place}");
        }
    }
}

#[test]
fn pods_have_no_rights_that_they_do_not_need() {
    for build in BUILDS.iter() {
        for workload in build.workloads() {
            let (place, pod, container) = (build.place(workload), pod(workload), container(workload));
            let user = json!({"runAsNonRoot": true, "runAsUser": 10001, "runAsGroup": 10001, "seccompProfile": {"type": "RuntimeDefault"}});
            assert_eq!(pod["securityContext"], user, "{place}");
            let rights = json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}});
            assert_eq!(container["securityContext"], rights, "{place}");
            for key in ["hostNetwork", "hostPID", "hostIPC", "initContainers"] {
                assert!(pod.get(key).is_none(), "{place}: {key}");
            }
            assert_eq!(list(&pod["containers"]).len(), 1, "{place}");
            for resource in ["cpu", "memory"] {
                for bound in ["requests", "limits"] {
                    assert!(container["resources"][bound][resource].is_string(), "{place}: resources.{bound}.{resource}");
                }
            }
            assert_eq!(pod["automountServiceAccountToken"], false, "{place}");
            let account = build.of_kind("ServiceAccount").find(|account| account["metadata"]["name"] == pod["serviceAccountName"]);
            assert_eq!(account.expect("the pods' account")["automountServiceAccountToken"], false, "{place}");
        }
    }
    let dockerfile = std::fs::read_to_string(root().join("Dockerfile")).expect("the Dockerfile");
    assert!(dockerfile.contains("USER 10001:10001"), "the image runs as somebody else");
}

#[test]
fn secrets_are_files_that_only_who_needs_them_has() {
    for build in BUILDS.iter() {
        for workload in build.workloads() {
            let (place, container) = (build.place(workload), container(workload));
            let volume = list(&pod(workload)["volumes"]).iter().find(|volume| volume["name"] == "webhooks");
            let mount = list(&container["volumeMounts"]).iter().find(|mount| mount["name"] == "webhooks");
            let Some((volume, mount)) = volume.zip(mount) else {
                assert_ne!(role(workload), "deliver", "{place} has no secrets");
                continue;
            };
            assert_eq!(role(workload), "deliver", "{place} has secrets of the webhooks");
            assert!(volume["secret"]["secretName"] == "bellwether-webhooks" && mount["readOnly"] == true, "{place}");
            let config: toml::Table = text(&build.config_map()["data"][CONFIG_FILE]).parse().expect("TOML");
            for (name, webhook) in config["webhooks"].as_table().expect("webhooks") {
                let file = format!("file:{}/{name}", text(&mount["mountPath"]));
                assert_eq!(webhook["secret"].as_str(), Some(file.as_str()), "{place}: webhooks.{name}");
            }
        }
    }
}

#[test]
fn the_scaler_asks_for_the_lag_of_the_classifiers_group() {
    let build = built("overlays/autoscale");
    let [scaler] = build.of_kind("ScaledObject").collect::<Vec<_>>()[..] else { panic!("one ScaledObject") };
    assert_eq!(scaler["apiVersion"], "keda.sh/v1alpha1");
    let spec = &scaler["spec"];
    let name = &spec["scaleTargetRef"]["name"];
    let target = build.of_kind("Deployment").find(|deployment| deployment["metadata"]["name"] == *name).expect("a Deployment to scale");
    assert_eq!(role(target), "classifier");
    assert!(target["spec"].get("replicas").is_none(), "each apply would set the number of pods back");

    // No schema of KEDA's is at hand: its own fields by name, what it hands on by the schema of Kubernetes.
    let fields: Vec<&String> = spec.as_object().expect("an object").keys().collect();
    assert_eq!(fields, ["advanced", "maxReplicaCount", "minReplicaCount", "pollingInterval", "scaleTargetRef", "triggers"]);
    let advanced = &spec["advanced"];
    let behavior = &advanced["horizontalPodAutoscalerConfig"]["behavior"];
    assert_eq!(*advanced, json!({ "horizontalPodAutoscalerConfig": { "behavior": behavior } }));
    for (version, mut definitions) in schemas() {
        let name = "io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerBehavior";
        assert!(definitions["$defs"].get(name).is_some(), "Kubernetes {version} has no {name}");
        definitions["$ref"] = json!(format!("#/$defs/{name}"));
        jsonschema::validate(&definitions, behavior).unwrap_or_else(|error| panic!("{}: {error}", error.instance_path()));
    }

    let config = build.config(target);
    let [trigger] = &list(&spec["triggers"])[..] else { panic!("one trigger") };
    assert_eq!(trigger["type"], "kafka");
    let expected = json!({
        "bootstrapServers": string(&config, "kafka", "brokers"),
        "consumerGroup": format!("{}-classifier", string(&config, "kafka", "group")),
        "topic": config["kafka"]["topics"]["raw"].as_str(),
        "offsetResetPolicy": string(&config, "kafka", "start"),
        "lagThreshold": trigger["metadata"]["lagThreshold"],
        // KEDA takes text only.
        "limitToPartitionsWithLag": "true",
    });
    assert_eq!(trigger["metadata"], expected);
    let threshold = text(&trigger["metadata"]["lagThreshold"]).parse::<u32>();
    assert!(threshold.is_ok_and(|records| records > 0), "lagThreshold is a number of records, as text");
    let (least, most) = (number(&spec["minReplicaCount"]), number(&spec["maxReplicaCount"]));
    let partitions = config["kafka"]["create"]["partitions"].as_integer().expect("a number");
    assert!((1..most).contains(&least), "between {least} and {most} there is nothing to scale");
    assert!(most <= partitions as u64, "{most} pods for {partitions} partitions");
}

#[test]
fn only_classifiers_take_a_gpu_and_the_image_for_it() {
    let compose = |file: &str, image: &Value| {
        let text = std::fs::read_to_string(root().join(file)).expect("a compose file");
        assert!(text.contains(&format!("  image: {}\n", image.as_str().expect("an image"))), "{file} builds another image than {image}");
    };
    let build = built("overlays/gpu");
    for workload in build.workloads() {
        let (place, container) = (build.place(workload), container(workload));
        let config = build.config(workload);
        if role(workload) != "classifier" {
            assert!(container["resources"]["limits"].get(GPU).is_none(), "{place}");
            compose("docker-compose.yml", &container["image"]);
            continue;
        }
        assert_eq!(container["resources"]["limits"][GPU], "1", "{place}");
        assert_eq!(pod(workload)["tolerations"], json!([{"key": GPU, "operator": "Exists", "effect": "NoSchedule"}]), "{place}");
        assert_eq!(string(&config, "model", "device"), "cuda:0", "{place}");
        compose("docker-compose.gpu.yml", &container["image"]);
    }
}

#[test]
fn the_overlay_of_the_readme_moves_everything_to_its_namespace_and_images() {
    let build = built(README_BUILD);
    assert!(build.of_kind("ScaledObject").count() == 1 && build.config_map()["data"].get(CONFIG_FILE).is_some());
    for resource in &build.resources {
        assert_eq!(resource["metadata"]["namespace"], "bellwether", "{}", build.place(resource));
    }
    for workload in build.workloads() {
        let image = text(&container(workload)["image"]);
        let gpu = role(workload) == "classifier";
        assert!(image.starts_with("registry.example/") && image.ends_with("-gpu") == gpu, "{}: {image}", build.place(workload));
        assert!(container(workload)["envFrom"][0]["secretRef"].is_object(), "{}", build.place(workload));
        let volume = list(&pod(workload)["volumes"]).iter().find(|volume| volume["name"] == "http").expect("a volume of the tokens");
        let mount = list(&container(workload)["volumeMounts"]).iter().find(|mount| mount["name"] == "http").expect("a mount of it");
        assert!(volume["secret"].is_object() && mount["readOnly"] == true, "{}", build.place(workload));
    }
}

// --- Builds

const GPU: &str = "nvidia.com/gpu";
/// With feeds and webhooks.
const WHOLE: &str = "overlays/feeds-and-webhooks";
const README_BUILD: &str = "the README's overlay";
const WEBHOOK_SECRET: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const POD_NAME: &str = "bellwether-5d7c9-x2v4q";

/// All resources that `kubectl apply -k` would send.
struct Build {
    name: String,
    resources: Vec<Value>,
}

/// The base, every overlay, and the one that the README shows.
static BUILDS: LazyLock<Vec<Build>> = LazyLock::new(|| {
    let folder = root().join("deploy/k8s");
    let entries = std::fs::read_dir(folder.join("overlays")).expect("deploy/k8s/overlays");
    let mut names: Vec<String> = entries.map(|entry| format!("overlays/{}", entry.expect("an entry").file_name().display())).collect();
    names.sort();
    names.insert(0, "base".into());
    let mut builds: Vec<Build> = names.iter().map(|name| build(name, &folder.join(name))).collect();
    builds.push(readme_build());
    builds
});

fn built(name: &str) -> &'static Build {
    BUILDS.iter().find(|build| build.name == name).unwrap_or_else(|| panic!("there is no deploy/k8s/{name}"))
}

/// The README's overlay, in a copy of the folder, with the files that it asks for.
fn readme_build() -> Build {
    let readme = std::fs::read_to_string(root().join("deploy/k8s/README.md")).expect("deploy/k8s/README.md");
    // The patch that gives the pods their tokens goes on with the list at the overlay's end.
    let parts = readme.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().expect("split gives at least one part"));
    let kustomization: String = parts.collect();
    let copy = tempfile::tempdir().expect("a directory for temporary files");
    let overlay = copy.path().join("overlays/mine");
    std::fs::create_dir_all(&overlay).expect("the temporary directory takes files");
    for part in ["base", "components", "ingest", "deliver"] {
        let status = Command::new("cp").arg("-r").arg(root().join("deploy/k8s").join(part)).arg(copy.path()).status();
        assert!(status.is_ok_and(|status| status.success()), "{part} cannot be copied");
    }
    std::fs::copy(copy.path().join("base").join(CONFIG_FILE), overlay.join(CONFIG_FILE)).expect("the temporary directory takes files");
    std::fs::write(overlay.join("kustomization.yaml"), kustomization).expect("the temporary directory takes files");
    build(README_BUILD, &overlay)
}

fn build(name: &str, folder: &Path) -> Build {
    let scratch = tempfile::tempdir().expect("a directory for temporary files");
    let built = scratch.path().join("built.yaml");
    kubectl(Command::new(kubernetes().join("kubectl")).arg("kustomize").arg(folder).arg("--output").arg(&built));
    // It takes off an annotation that nothing has: what is left is YAML told as JSON, and --local asks no cluster.
    let as_json = ["annotate", "--local", "--output=json", "none-", "--filename"];
    let told = kubectl(Command::new(kubernetes().join("kubectl")).args(as_json).arg(&built));
    let resources: Result<Vec<Value>, _> = serde_json::Deserializer::from_slice(&told).into_iter().collect();
    Build { name: name.to_owned(), resources: resources.expect("kubectl writes JSON") }
}

fn kubectl(command: &mut Command) -> Vec<u8> {
    let hint = "`make test` fetches kubectl and the schemas";
    let output =
        command.env_remove("KUBECONFIG").output().unwrap_or_else(|error| panic!("{command:?} cannot be started ({error}): {hint}"));
    assert!(output.status.success(), "{command:?} failed:\n{}", said(&output));
    output.stdout
}

impl Build {
    fn of_kind(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.resources.iter().filter(move |resource| resource["kind"] == kind)
    }

    /// What has pods: Deployments, then Jobs.
    fn workloads(&self) -> impl Iterator<Item = &Value> {
        self.of_kind("Deployment").chain(self.of_kind("Job"))
    }

    fn place(&self, resource: &Value) -> String {
        format!("{}: {} {}", self.name, text(&resource["kind"]), text(&resource["metadata"]["name"]))
    }

    fn config_map(&self) -> &Value {
        let [map] = self.of_kind("ConfigMap").collect::<Vec<_>>()[..] else { panic!("{}: one ConfigMap", self.name) };
        map
    }

    /// A folder as the pods have it in `/etc/bellwether`, with what they have in `/run/webhooks` beside it.
    fn config_folder(&self) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a directory for temporary files");
        std::fs::write(folder.path().join("desk"), WEBHOOK_SECRET).expect("the temporary directory takes files");
        for (file, content) in self.config_map()["data"].as_object().expect("files") {
            let content = text(content).replace("/run/webhooks", folder.path().to_str().expect("a path in UTF-8"));
            std::fs::write(folder.path().join(file), content).expect("the temporary directory takes files");
        }
        folder
    }

    /// What is in force in the pods of a workload, as `bellwether check-config` says it.
    fn config(&self, workload: &Value) -> toml::Table {
        let folder = self.config_folder();
        let file = folder.path().join(CONFIG_FILE);
        let output = bellwether(&["check-config", "-c", file.to_str().expect("a path in UTF-8")], workload).output();
        let output = output.expect("the binary that was built for this test");
        assert!(output.status.success(), "{}: check-config: {}", self.place(workload), said(&output));
        String::from_utf8_lossy(&output.stdout).parse().expect("check-config writes TOML")
    }
}

/// The program in the environment that a workload's pods have.
fn bellwether(arguments: &[&str], workload: &Value) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bellwether"));
    // The repository's root stands for the image's working directory: models/ and config/ are there.
    command.args(arguments).current_dir(root());
    for variable in container(workload)["env"].as_array().into_iter().flatten() {
        let from_field = variable.pointer("/valueFrom/fieldRef/fieldPath");
        let value = match from_field.map(text) {
            Some("metadata.name") => POD_NAME,
            Some(other) => panic!("{}: what is {other}?", variable["name"]),
            None => text(&variable["value"]),
        };
        command.env(text(&variable["name"]), value);
    }
    command
}

/// Arguments that end in a configuration file start the program: with feeds and a webhook it gets as far as the brokers, which are not there.
fn assert_starts(name: &str, arguments: &[&str]) {
    let folder = tempfile::tempdir().expect("a directory for temporary files");
    let file = folder.path().join(CONFIG_FILE);
    let brokers = format!("127.0.0.1:{}", free_port());
    let config = format!(
        "[kafka]\nbrokers = '{brokers}'\ntimeout = '1s'\n[http]\nlisten = ''\nmetrics_listen = ''\n\
         [ingest]\nmetrics_listen = ''\nfeeds = [{{ url = 'https://wire.example/rss.xml', source = 'wire.example' }}]\n\
         [deliver]\nmetrics_listen = ''\n[webhooks.desk]\nurl = 'https://desk.example/alerts'\nsecret = '{WEBHOOK_SECRET}'\n"
    );
    std::fs::write(&file, config).expect("the temporary directory takes files");
    let (_, arguments) = arguments.split_last().expect("a configuration file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_bellwether"));
    let output = command.args(arguments).arg(&file).current_dir(root()).output().expect("the binary that was built for this test");
    assert!(output.status.code() == Some(69) && said(&output).contains(&brokers), "{name}: {}", said(&output));
}

// --- Schemas

fn kubernetes() -> PathBuf {
    std::env::var_os("BELLWETHER_RUNTIME_DIR").map_or_else(|| root().join(".runtime"), PathBuf::from).join("kubernetes")
}

/// The definitions of each version of Kubernetes that `scripts/setup` fetches.
fn schemas() -> [(&'static str, Value); 2] {
    ["v1.28", "v1.37"].map(|version| {
        let path = kubernetes().join(format!("{version}.json"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{} ({error}): `make test` fetches it", path.display()));
        let mut definitions: Value = serde_json::from_str(&text).expect("a JSON Schema");
        // References stay inside.
        definitions.as_object_mut().expect("an object").remove("$id");
        (version, definitions)
    })
}

/// The name of the definition of a resource's group, version and kind.
fn definition(definitions: &Value, resource: &Value) -> Option<String> {
    let (group, version) = text(&resource["apiVersion"]).split_once('/').unwrap_or(("", text(&resource["apiVersion"])));
    let wanted = json!({"group": group, "version": version, "kind": resource["kind"]});
    let is_wanted =
        |definition: &Value| definition["x-kubernetes-group-version-kind"].as_array().is_some_and(|kinds| kinds.contains(&wanted));
    definitions["$defs"].as_object()?.iter().find(|(_, definition)| is_wanted(definition)).map(|(name, _)| name.clone())
}

// --- Values

fn pod(workload: &Value) -> &Value {
    &workload["spec"]["template"]["spec"]
}

fn container(workload: &Value) -> &Value {
    &pod(workload)["containers"][0]
}

fn role(workload: &Value) -> &str {
    text(&workload["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"])
}

/// Whether a selector takes the pods of a workload.
fn selects(selector: &Value, workload: &Value) -> bool {
    let labels = &workload["spec"]["template"]["metadata"]["labels"];
    selector.as_object().expect("a selector").iter().all(|(key, value)| labels.get(key) == Some(value))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is not text"))
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is not a whole number"))
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap_or_else(|| panic!("{value} is not a list"))
}

fn string<'a>(config: &'a toml::Table, section: &str, key: &str) -> &'a str {
    config[section][key].as_str().unwrap_or_else(|| panic!("{section}.{key} is not text"))
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
