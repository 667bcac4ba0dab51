//! ONNX Runtime on a device: its library, the environment, and how sessions are made there.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ort::environment::Environment;
use ort::ep::{ArenaExtendStrategy, CUDA, ExecutionProviderDispatch, TensorRT};
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};

use super::Error;
use super::batch::Shapes;
use crate::config::{Device, ModelConfig};

pub(super) fn runtime(error: impl std::fmt::Display) -> Error {
    Error::Runtime(error.to_string())
}

pub(super) fn fail(error: ort::Error) -> Error {
    Error::Inference(error.to_string())
}

/// The process-wide environment. ONNX Runtime is loaded once; later calls give the same.
pub fn environment(config: &ModelConfig) -> Result<Environment, Error> {
    static ENVIRONMENT: OnceLock<Result<Environment, Error>> = OnceLock::new();
    ENVIRONMENT
        .get_or_init(|| {
            let library = find_library(config)?;
            ort::init_from(&library)
                .map_err(|error| Error::Runtime(format!("{} cannot be loaded: {error}", library.display())))?
                .with_name("bellwether")
                .with_telemetry(false)
                .build()
                .map_err(runtime)
        })
        .clone()
}

fn find_library(config: &ModelConfig) -> Result<PathBuf, Error> {
    let named = match config.onnxruntime.as_os_str().is_empty() {
        true => std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()).map(PathBuf::from),
        false => Some(config.onnxruntime.clone()),
    };
    let candidates = match named {
        Some(path) => vec![path],
        None => default_libraries(),
    };
    candidates.iter().find(|path| path.is_file()).cloned().ok_or_else(|| {
        let tried: Vec<String> = candidates.iter().map(|path| path.display().to_string()).collect();
        Error::Runtime(format!("no library at {}; run `make build`, or set model.onnxruntime or ORT_DYLIB_PATH", tried.join(", ")))
    })
}

/// `.runtime/onnxruntime/` under the working directory and under the folders above the binary.
fn default_libraries() -> Vec<PathBuf> {
    let local = Path::new(".runtime/onnxruntime/libonnxruntime.so");
    let mut paths = vec![local.to_owned()];
    if let Ok(binary) = std::env::current_exe() {
        paths.extend(binary.ancestors().skip(1).take(3).map(|folder| folder.join(local)));
    }
    paths
}

/// The shapes that a device is given batches in.
pub(super) fn shapes(device: Device) -> Shapes {
    if device.is_gpu() { Shapes::Few } else { Shapes::Any }
}

/// Where a GPU build of ONNX Runtime has its CUDA provider.
pub(super) fn cuda_provider(config: &ModelConfig) -> Result<PathBuf, Error> {
    Ok(find_library(config)?.with_file_name("libonnxruntime_providers_cuda.so"))
}

/// What a TensorRT engine is built for: the inputs of the graph, as ONNX Runtime names shapes.
pub(super) struct Profile {
    least: String,
    usual: String,
    most: String,
}

impl Profile {
    /// For the graph's inputs, each of texts × tokens.
    pub(super) fn of(inputs: &[&str], config: &ModelConfig, longest: usize) -> Self {
        let all = |rows: usize, width: usize| inputs.iter().map(|name| format!("{name}:{rows}x{width}")).collect::<Vec<_>>().join(",");
        Self { least: all(1, 16.min(longest)), usual: all(config.batch_texts, 32.min(longest)), most: all(config.batch_texts, longest) }
    }
}

fn provider(config: &ModelConfig, device: Device, profile: Option<&Profile>) -> Result<Option<ExecutionProviderDispatch>, Error> {
    let memory = config.gpu_memory_mib << 20;
    // Without `error_on_failure` ONNX Runtime would fall back to the CPU in silence.
    Ok(match device {
        Device::Auto | Device::Cpu => None,
        Device::Cuda(index) => {
            let cuda = CUDA::default().with_device_id(index).with_memory_limit(memory);
            Some(cuda.with_arena_extend_strategy(ArenaExtendStrategy::SameAsRequested).build().error_on_failure())
        }
        Device::TensorRt(index) => {
            let engines = engines(config, device)?.display().to_string();
            let mut tensorrt = TensorRT::default().with_device_id(index).with_max_workspace_size(memory).with_fp16(true);
            tensorrt = tensorrt.with_engine_cache(true).with_engine_cache_path(&engines);
            tensorrt = tensorrt.with_timing_cache(true).with_timing_cache_path(&engines).with_layer_norm_fp32_fallback(true);
            if let Some(Profile { least, usual, most }) = profile {
                tensorrt = tensorrt.with_profile_min_shapes(least).with_profile_opt_shapes(usual).with_profile_max_shapes(most);
            }
            Some(tensorrt.build().error_on_failure())
        }
    })
}

/// Where TensorRT keeps its engines, which take minutes to build.
fn engines(config: &ModelConfig, device: Device) -> Result<PathBuf, Error> {
    let empty = |path: &PathBuf| path.as_os_str().is_empty();
    let folder = match (empty(&config.engine_cache), empty(&config.directory)) {
        (false, _) => config.engine_cache.clone(),
        (true, false) => config.directory.join("engines"),
        (true, true) => config.topic_directory.join("engines"),
    };
    std::fs::create_dir_all(&folder).map_err(|error| {
        let why = format!("{} cannot be made: {error}; set model.engine_cache to a folder for TensorRT's engines", folder.display());
        Error::Device { device, why }
    })?;
    Ok(folder)
}

pub(super) fn options(
    environment: &Environment,
    config: &ModelConfig,
    device: Device,
    profile: Option<&Profile>,
) -> Result<SessionBuilder, Error> {
    let builder = Session::builder(environment)
        .map_err(runtime)?
        .with_optimization_level(GraphOptimizationLevel::All)
        .map_err(runtime)?
        .with_intra_threads(config.threads_per_session)
        .map_err(runtime)?
        // Spinning takes the cores that the other sessions need.
        .with_intra_op_spinning(false)
        .map_err(runtime)?
        .with_config_entry("session.record_ep_graph_assignment_info", "1")
        .map_err(runtime)?;
    match provider(config, device, profile)? {
        None => Ok(builder),
        Some(provider) => builder.with_execution_providers([provider]).map_err(|error| Error::Device { device, why: error.to_string() }),
    }
}
