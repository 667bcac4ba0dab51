//! Requests that Schemathesis makes up from docs/openapi.yaml, right and wrong ones; `make test` installs it.

use std::path::PathBuf;
use std::process::Command;

use bellwether::config::HttpConfig;

use crate::common::root;
use crate::openapi::{busy_server, operations};
use crate::server::{Holders, bearer, span};

/// So many requests of each kind are made up for each operation.
const EXAMPLES: &str = "20";

#[test]
fn no_request_that_the_document_allows_or_forbids_is_answered_otherwise() {
    let holders = Holders::new();
    let server = busy_server(&HttpConfig {
        metrics_listen: String::new(),
        // Some requests say that they are longer than they are.
        time_limit: span(1_000),
        requests_per_second: 1_000_000,
        burst: 1_000_000,
        ..holders.config()
    });
    let program = runtime().join("schemathesis");
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", &program).args(["-m", "schemathesis.cli", "run"]).arg(root().join("docs/openapi.yaml"));
    command.args(["--url", &format!("http://{}", server.page), "--header", &format!("Authorization: {}", bearer(&holders.viewer))]);
    // An event stream has no end to wait for; openapi.rs reads one.
    command.args(["--exclude-path", "/api/v1/events", "--max-redirects", "0", "--request-timeout", "10"]);
    command.args(["--max-examples", EXAMPLES, "--seed", "1", "--no-color"]);
    let folder = tempfile::tempdir().unwrap();
    let output = command.current_dir(folder.path()).output().unwrap_or_else(|error| panic!("python3 cannot be started: {error}"));
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let hint = format!("`make test` installs schemathesis in {}", program.display());
    assert!(output.status.success(), "{} ({hint}):\n{said}", output.status);
    let tried = format!("Tested: {}", operations().len() - 1);
    assert!(said.contains(&tried), "not all operations were tried:\n{said}");
}

fn runtime() -> PathBuf {
    std::env::var_os("BELLWETHER_RUNTIME_DIR").map_or_else(|| root().join(".runtime"), PathBuf::from)
}
