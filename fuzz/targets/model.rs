//! A model directory: any `config.json` and any ONNX file is read, or refused.
#![no_main]

use std::sync::LazyLock;

use bellwether::classify::external::locations;
use bellwether::classify::model::ModelDirectory;
use bellwether::config::{Config, Device, ModelConfig};
use libfuzzer_sys::fuzz_target;

static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let memory = std::path::Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.expect("a folder can be made")
});
static MODEL: LazyLock<ModelConfig> = LazyLock::new(|| ModelConfig { directory: FOLDER.path().to_owned(), ..Config::default().model });

fuzz_target!(|bytes: &[u8]| {
    if let [b'O', onnx @ ..] = bytes {
        let _ = locations(onnx);
        return;
    }
    std::fs::write(FOLDER.path().join("config.json"), bytes).expect("the folder is writable");
    // There is no model.onnx: it does not get further than to look for it.
    assert!(ModelDirectory::load(&MODEL, Device::Cpu).is_err());
});
