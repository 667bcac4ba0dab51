//! ONNX Runtime: the environment, sessions on a device, and one batch through a session.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::CStr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread;

use ort::AsPointer;
use ort::editor::{Graph, Model, Node, ONNX_DOMAIN, Opset};
use ort::environment::Environment;
use ort::ep::{ArenaExtendStrategy, CUDA, ExecutionProviderDispatch, TensorRT};
use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{IoBinding, Session, SessionOutputs};
use ort::value::{DynTensor, Outlet, Shape, SymbolicDimensions, Tensor, TensorElementType, TensorRef, ValueType};

use super::Error;
use super::batch::{Batch, Limits, Shapes, plan};
use super::model::{Encoder, Head, ModelDirectory};
use crate::config::{Device, ModelConfig};
use crate::news::{Logits, ModelIdentity};

/// Logits of one text; a head that the encoder does not carry is empty.
#[derive(Debug, Clone, Default)]
pub struct HeadOutputs {
    pub logits: Logits,
    pub truncated: bool,
    pub unknown_share: f64,
}

impl HeadOutputs {
    pub fn merge(&mut self, other: Logits) {
        if !other.topic.is_empty() {
            self.logits.topic = other.topic;
        }
        if !other.sentiment.is_empty() {
            self.logits.sentiment = other.sentiment;
        }
    }
}

fn runtime(error: impl std::fmt::Display) -> Error {
    Error::Runtime(error.to_string())
}

fn fail(error: ort::Error) -> Error {
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
pub fn shapes(device: Device) -> Shapes {
    if is_gpu(device) { Shapes::Few } else { Shapes::Any }
}

fn is_gpu(device: Device) -> bool {
    matches!(device, Device::Cuda(_) | Device::TensorRt(_))
}

/// One session per encoder, owned by one thread.
pub struct EncoderSession {
    session: Session,
    topic: Option<Head>,
    sentiment: Option<Head>,
    token_types: bool,
    /// Memory that stays, for a device that copies what it is given; `None`: inputs are read where they lie.
    bound: Option<Bound>,
}

/// Inputs and outputs of a session in memory that the device reads and writes by itself (page-locked on a GPU), kept for
/// every shape. With [`Shapes::Few`] these are few.
struct Bound {
    outputs: MemoryInfo<'static>,
    allocator: Allocator,
    by_shape: HashMap<[usize; 2], Binding>,
}

struct Binding {
    binding: IoBinding,
    ids: Tensor<i64>,
    mask: Tensor<i64>,
}

impl Bound {
    /// `index`: of the device.
    fn new(session: &Session, memory: AllocationDevice<'static>, index: i32) -> Result<Self, Error> {
        let of = |kind| MemoryInfo::new(memory.clone(), index, AllocatorType::Device, kind).map_err(runtime);
        let (inputs, outputs) = (of(MemoryType::CPUInput)?, of(MemoryType::CPUOutput)?);
        let allocator = Allocator::new(session, inputs).map_err(runtime)?;
        Ok(Self { outputs, allocator, by_shape: HashMap::new() })
    }

    /// Copies the batch into the memory of its shape, and tells the session to take it from there.
    fn bind(&mut self, session: &Session, token_types: bool, batch: &Batch) -> Result<&IoBinding, Error> {
        let shape = [batch.rows, batch.width];
        let Self { allocator, outputs, by_shape, .. } = self;
        let entry = match by_shape.entry(shape) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let new = || Tensor::<i64>::new(allocator, shape).map_err(fail);
                let mut binding = session.create_binding().map_err(fail)?;
                if token_types {
                    let mut zeros = new()?;
                    zeros.extract_tensor_mut().1.fill(0);
                    binding.bind_input("token_type_ids", &zeros).map_err(fail)?;
                }
                for output in session.outputs() {
                    binding.bind_output_to_device(output.name(), outputs).map_err(fail)?;
                }
                entry.insert(Binding { binding, ids: new()?, mask: new()? })
            }
        };
        for (name, tensor, values) in [("input_ids", &mut entry.ids, &batch.ids), ("attention_mask", &mut entry.mask, &batch.mask)] {
            tensor.extract_tensor_mut().1.copy_from_slice(values);
            entry.binding.bind_input(name, tensor).map_err(fail)?;
        }
        Ok(&entry.binding)
    }
}

/// A loaded model: where it runs, its files, and for every session thread one session an encoder.
pub type Opened = (Device, ModelDirectory, Vec<Vec<EncoderSession>>);

/// Loads the model, opens the sessions of every thread on the device asked for, and runs each once.
///
/// # Errors
/// [`Error::Device`] where a named device cannot be used; [`Error::Model`] where heads and labels do not fit the graph.
pub fn open(environment: &Environment, config: &ModelConfig) -> Result<Opened, Error> {
    match config.device {
        Device::Auto => match open_on(environment, config, Device::Cuda(0)) {
            Err(Error::Device { why, .. }) => {
                tracing::info!(why, "no GPU in use: model.device = \"auto\" chose the CPU");
                open_on(environment, config, Device::Cpu)
            }
            opened => opened,
        },
        named => open_on(environment, config, named),
    }
}

/// Where a GPU build of ONNX Runtime has its CUDA provider.
fn cuda_provider(config: &ModelConfig) -> Result<PathBuf, Error> {
    Ok(find_library(config)?.with_file_name("libonnxruntime_providers_cuda.so"))
}

/// Which model a start would run; `None` where only a start can tell: device `auto` with a GPU build of ONNX Runtime.
pub fn identity(config: &ModelConfig) -> Result<Option<ModelIdentity>, Error> {
    if config.device == Device::Auto && cuda_provider(config).is_ok_and(|provider| provider.is_file()) {
        return Ok(None);
    }
    ModelDirectory::load(config, config.device).map(|directory| Some(directory.identity))
}

fn open_on(environment: &Environment, config: &ModelConfig, device: Device) -> Result<Opened, Error> {
    let gpu = is_gpu(device);
    let provider = cuda_provider(config)?;
    if gpu && !provider.is_file() {
        let why = format!("{} is missing: this ONNX Runtime is a CPU build; install onnxruntime-gpu's libraries there", provider.display());
        return Err(Error::Device { device, why });
    }
    let directory = ModelDirectory::load(config, device)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // Two on a GPU: while one is copied or read, the other computes.
    let automatic = if gpu { 2 } else { cores.div_ceil(config.threads_per_session) };
    let count = if config.sessions == 0 { automatic } else { config.sessions };
    let open = || {
        directory.encoders.iter().map(|encoder| EncoderSession::open(environment, config, encoder, device)).collect::<Result<Vec<_>, _>>()
    };
    // A GPU's second session finds the engine that the first one has built; on a CPU each takes a core for a second.
    let sessions: Result<Vec<_>, Error> = match gpu {
        true => (0..count).map(|_| open()).collect(),
        false => thread::scope(|scope| {
            let threads: Vec<_> = (0..count).map(|_| scope.spawn(open)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap_or(Err(Error::Stopped))).collect()
        }),
    };
    let sessions = sessions?;
    Ok((device, directory, sessions))
}

/// What a TensorRT engine is built for: the inputs of the graph, as ONNX Runtime names shapes.
struct Profile {
    least: String,
    usual: String,
    most: String,
}

impl Profile {
    /// For the graph's inputs, each of texts × tokens.
    fn of(inputs: &[&str], config: &ModelConfig, longest: usize) -> Self {
        let all = |rows: usize, width: usize| inputs.iter().map(|name| format!("{name}:{rows}x{width}")).collect::<Vec<_>>().join(",");
        Self { least: all(1, 16), usual: all(config.batch_texts, 32.min(longest)), most: all(config.batch_texts, longest) }
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

fn options(environment: &Environment, config: &ModelConfig, device: Device, profile: Option<&Profile>) -> Result<SessionBuilder, Error> {
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

impl EncoderSession {
    fn open(environment: &Environment, config: &ModelConfig, encoder: &Encoder, device: Device) -> Result<Self, Error> {
        let refuse = |why: String| match device {
            Device::Auto | Device::Cpu => Error::Runtime(why),
            _ => Error::Device { device, why },
        };
        // An engine is built for shapes of the inputs, and only a session tells which inputs there are.
        let profile = match device {
            Device::TensorRt(_) => {
                let plain = ModelConfig { device: Device::Cpu, ..config.clone() };
                let graph = options(environment, &plain, Device::Cpu, None)?.commit_from_file(&encoder.onnx).map_err(runtime)?;
                let inputs: Vec<&str> = graph.inputs().iter().map(|input| input.name()).collect();
                Some(Profile::of(&inputs, config, encoder.max_length))
            }
            _ => None,
        };
        let mut builder = options(environment, config, device, profile.as_ref())?;
        let session = builder.commit_from_file(&encoder.onnx).map_err(|error| refuse(format!("{}: {error}", encoder.onnx.display())))?;
        let has = |name: &str| session.inputs().iter().any(|input| input.name() == name);
        for name in ["input_ids", "attention_mask"] {
            if !has(name) {
                return Err(Error::Model(format!("{} has no input {name:?}", encoder.onnx.display())));
            }
        }
        for head in [&encoder.topic, &encoder.sentiment].into_iter().flatten() {
            check_head(&session, encoder, head)?;
        }
        let token_types = has("token_type_ids");
        let bound = match device {
            Device::Auto | Device::Cpu => None,
            Device::Cuda(index) | Device::TensorRt(index) => Some(Bound::new(&session, AllocationDevice::CUDA_PINNED, index)?),
        };
        let mut opened = Self { session, topic: encoder.topic.clone(), sentiment: encoder.sentiment.clone(), token_types, bound };
        if is_gpu(device) && !opened.nodes().iter().any(|(name, _)| !name.contains("CPU")) {
            return Err(refuse("ONNX Runtime placed every node on the CPU".into()));
        }
        let probe = encoder.encode(&["Warm-up.".to_owned()])?;
        for batch in plan(&probe, Limits { texts: 1, tokens: usize::MAX }, encoder.form(shapes(device))) {
            opened.run(&batch).map_err(|error| refuse(error.to_string()))?;
        }
        Ok(opened)
    }

    /// Runs one batch and leaves what comes out: what ONNX Runtime takes for it, and nothing else.
    pub fn run_bare(&mut self, batch: &Batch) -> Result<(), Error> {
        self.outputs(batch).map(drop)
    }

    fn outputs(&mut self, batch: &Batch) -> Result<SessionOutputs<'_>, Error> {
        let Some(bound) = &mut self.bound else { return outputs(&mut self.session, self.token_types, batch) };
        let binding = bound.bind(&self.session, self.token_types, batch)?;
        self.session.run_binding(binding).map_err(fail)
    }

    /// Runs one batch; the rows of its texts come back in the batch's order.
    pub fn run(&mut self, batch: &Batch) -> Result<Vec<Logits>, Error> {
        let (topic, sentiment) = (self.topic.clone(), self.sentiment.clone());
        let outputs = self.outputs(batch)?;
        let texts = batch.places.len();
        let rows = |head: &Option<Head>| -> Result<Vec<Vec<f32>>, Error> {
            let Some(head) = head else { return Ok(vec![Vec::new(); texts]) };
            let value = &outputs[head.output.as_str()];
            let flat: Vec<f32> = match value.dtype().tensor_type() {
                Some(TensorElementType::Float16) => {
                    value.try_extract_tensor::<half::f16>().map_err(fail)?.1.iter().map(|value| value.to_f32()).collect()
                }
                _ => value.try_extract_tensor::<f32>().map_err(fail)?.1.to_vec(),
            };
            let of_texts = &flat[..flat.len().min(texts * head.labels)];
            match flat.len() == batch.rows * head.labels && of_texts.iter().all(|value| value.is_finite()) {
                true => Ok(of_texts.chunks(head.labels).map(<[f32]>::to_vec).collect()),
                false => {
                    Err(Error::Inference(format!("{} gave {} values for {} rows, or not finite ones", head.output, flat.len(), batch.rows)))
                }
            }
        };
        let (topics, sentiments) = (rows(&topic)?, rows(&sentiment)?);
        Ok(topics.into_iter().zip(sentiments).map(|(topic, sentiment)| Logits { topic, sentiment }).collect())
    }

    /// Graph nodes by execution provider.
    fn nodes(&self) -> Vec<(String, usize)> {
        let api = ort::api();
        let mut counts: Vec<(String, usize)> = Vec::new();
        let (mut subgraphs, mut subgraph_count) = (std::ptr::null(), 0usize);
        // SAFETY: the session outlives this call, and the arrays and names returned belong to the session.
        unsafe {
            let status = (api.Session_GetEpGraphAssignmentInfo)(self.session.ptr(), &mut subgraphs, &mut subgraph_count);
            if ort::Error::result_from_status(status).is_err() {
                return counts;
            }
            for index in 0..subgraph_count {
                let subgraph = *subgraphs.add(index);
                let (mut name, mut nodes, mut node_count) = (std::ptr::null(), std::ptr::null(), 0usize);
                let named = ort::Error::result_from_status((api.EpAssignedSubgraph_GetEpName)(subgraph, &mut name)).is_ok();
                let counted =
                    ort::Error::result_from_status((api.EpAssignedSubgraph_GetNodes)(subgraph, &mut nodes, &mut node_count)).is_ok();
                if named && counted {
                    let name = CStr::from_ptr(name).to_string_lossy().into_owned();
                    match counts.iter_mut().find(|(other, _)| *other == name) {
                        Some((_, count)) => *count += node_count,
                        None => counts.push((name, node_count)),
                    }
                }
            }
        }
        counts
    }
}

fn outputs<'a>(session: &'a mut Session, token_types: bool, batch: &Batch) -> Result<SessionOutputs<'a>, Error> {
    let shape = [batch.rows, batch.width];
    let mut inputs = ort::inputs![
        "input_ids" => TensorRef::from_array_view((shape, batch.ids.as_slice())).map_err(fail)?,
        "attention_mask" => TensorRef::from_array_view((shape, batch.mask.as_slice())).map_err(fail)?,
    ];
    let zeros = vec![0i64; if token_types { batch.ids.len() } else { 0 }];
    if token_types {
        inputs.push(("token_type_ids".into(), TensorRef::from_array_view((shape, zeros.as_slice())).map_err(fail)?.into()));
    }
    session.run(inputs).map_err(fail)
}

/// A graph of matrix products and little else: what the device can do at most, in the number format of its model.
pub struct MatrixProduct {
    pub name: &'static str,
    /// Of one run; a multiplication and an addition are two.
    pub operations: f64,
    session: Session,
    input: DynTensor,
}

impl MatrixProduct {
    /// u8 × s8 on a CPU, fp16 on a GPU: there a chain of products between a small input and a small output, so that
    /// copying does not count.
    pub fn new(environment: &Environment, config: &ModelConfig) -> Result<Self, Error> {
        let gpu = is_gpu(config.device);
        let (rows, width, products) = if gpu { (8192, 4096, 32) } else { (512, 1024, 1) };
        let allocator = Allocator::default();
        let mut noise = (0_u32..).map(|index| index.wrapping_mul(2_654_435_761) >> 16);
        let mut graph = Graph::new().map_err(runtime)?;
        let add = |graph: &mut Graph, operator: &str, inputs: [&str; 2], output: &str| {
            let inputs = inputs.into_iter().filter(|name| !name.is_empty()).collect::<Vec<_>>();
            let node = Node::new(operator, ONNX_DOMAIN, output, inputs, [output], []).map_err(runtime)?;
            graph.add_node(node).map_err(runtime)
        };
        let plain = |name: &str, ty, shape: [usize; 2]| {
            let shape = Shape::new(shape.map(|side| side as i64));
            Outlet::new(name, ValueType::Tensor { ty, dimension_symbols: SymbolicDimensions::empty(shape.len()), shape })
        };
        let input = if gpu {
            // Such that the products neither grow nor vanish: zeros would be multiplied faster.
            let scale = (3.0 / width as f32).sqrt() / 32768.0;
            for (name, shape) in [("rows", [rows, width]), ("weight", [width, width])] {
                let mut tensor = Tensor::<half::f16>::new(&allocator, shape).map_err(runtime)?;
                let factor = if name == "rows" { 1.0 / 32768.0 } else { scale };
                tensor.extract_tensor_mut().1.fill_with(|| half::f16::from_f32((noise.next().unwrap_or(0) as f32 - 32768.0) * factor));
                graph.add_initializer(name, tensor, false).map_err(runtime)?;
            }
            graph.set_inputs([plain("input", TensorElementType::Float16, [1, width])]).map_err(runtime)?;
            graph.set_outputs([plain("output", TensorElementType::Float16, [1, 1])]).map_err(runtime)?;
            add(&mut graph, "Add", ["rows", "input"], "product0")?;
            for product in 0..products {
                add(&mut graph, "MatMul", [&format!("product{product}"), "weight"], &format!("product{}", product + 1))?;
            }
            add(&mut graph, "ReduceMax", [&format!("product{products}"), ""], "output")?;
            Tensor::from_array(([1, width], vec![half::f16::ZERO; width])).map_err(runtime)?.upcast()
        } else {
            let mut weight = Tensor::<i8>::new(&allocator, [width, width]).map_err(runtime)?;
            weight.extract_tensor_mut().1.fill_with(|| noise.next().unwrap_or(0) as i8);
            graph.add_initializer("weight", weight, false).map_err(runtime)?;
            graph.set_inputs([plain("input", TensorElementType::Uint8, [rows, width])]).map_err(runtime)?;
            graph.set_outputs([plain("output", TensorElementType::Int32, [rows, width])]).map_err(runtime)?;
            add(&mut graph, "MatMulInteger", ["input", "weight"], "output")?;
            let numbers: Vec<u8> = noise.take(rows * width).map(|number| number as u8).collect();
            Tensor::from_array(([rows, width], numbers)).map_err(runtime)?.upcast()
        };
        let mut model = Model::new([Opset::new(ONNX_DOMAIN, 20).map_err(runtime)?]).map_err(runtime)?;
        model.set_graph(graph).map_err(runtime)?;
        let session = model.into_session(&options(environment, config, config.device, None)?).map_err(runtime)?;
        let name = if gpu { "fp16 MatMul" } else { "int8 MatMulInteger" };
        let operations = 2.0 * (rows * width * width * products) as f64;
        let mut product = Self { name, operations, session, input };
        product.run()?;
        Ok(product)
    }

    pub fn run(&mut self) -> Result<(), Error> {
        self.session.run(ort::inputs!["input" => &self.input]).map_err(fail).map(drop)
    }
}

/// Graph nodes by execution provider over all encoders of one thread.
pub fn node_counts(sessions: &[EncoderSession]) -> Vec<(String, usize)> {
    let mut counts = std::collections::BTreeMap::new();
    for (name, count) in sessions.iter().flat_map(EncoderSession::nodes) {
        *counts.entry(name).or_insert(0) += count;
    }
    counts.into_iter().collect()
}

/// The head's output exists and is as wide as it has labels.
fn check_head(session: &Session, encoder: &Encoder, head: &Head) -> Result<(), Error> {
    let onnx = encoder.onnx.display();
    let output = session.outputs().iter().find(|output| output.name() == head.output).ok_or_else(|| {
        let names: Vec<&str> = session.outputs().iter().map(|output| output.name()).collect();
        Error::Model(format!("{onnx} has no output {:?} (it has {})", head.output, names.join(", ")))
    })?;
    let width = match output.dtype() {
        ValueType::Tensor { shape, .. } => shape.last().copied(),
        _ => None,
    };
    match width {
        // −1: the graph leaves the width open; the first batch shows it, and the warm-up checks that.
        Some(width) if width == -1 || width == head.labels as i64 => Ok(()),
        _ => Err(Error::Model(format!(
            "{onnx}: output {:?} has {} logits but config.json has {} labels",
            head.output,
            width.map_or_else(|| "no".into(), |width| width.to_string()),
            head.labels
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::prepare;
    use crate::config::Config;

    /// What a GPU is given, on the CPU: few shapes, rows of padding, memory that stays.
    #[test]
    fn bound_memory_and_few_shapes_give_what_a_plain_session_gives() {
        let config =
            ModelConfig { directory: Path::new(env!("CARGO_MANIFEST_DIR")).join("models/finnews-e5-small"), ..Config::default().model };
        let environment = environment(&config).expect("make test fetches ONNX Runtime");
        let directory = ModelDirectory::load(&config, Device::Cpu).unwrap();
        let encoder = &directory.encoders[0];
        let open = || EncoderSession::open(&environment, &config, encoder, Device::Cpu).unwrap();
        let (mut plain, mut bound) = (open(), open());
        bound.bound = Some(Bound::new(&bound.session, AllocationDevice::CPU, 0).unwrap());
        let text = |number: usize| prepare(&format!("Harbour Bank {}", "loses deposits and cuts its dividend ".repeat(number % 7)));
        // The same shapes come again: what stands in the memory of one must not be what it was before.
        for first in [0, 50, 100] {
            let encoded = encoder.encode(&(first..first + 21).map(text).collect::<Vec<_>>()).unwrap();
            let limits = Limits { texts: 8, tokens: 512 };
            let run = |session: &mut EncoderSession, shapes: Shapes| {
                let mut rows = vec![Logits::default(); encoded.len()];
                for batch in plan(&encoded, limits, encoder.form(shapes)) {
                    for (&place, row) in batch.places.iter().zip(session.run(&batch).unwrap()) {
                        rows[place] = row;
                    }
                }
                rows
            };
            let (expected, found) = (run(&mut plain, Shapes::Any), run(&mut bound, Shapes::Few));
            for (expected, found) in expected.iter().zip(&found) {
                let pairs = expected.topic.iter().chain(&expected.sentiment).zip(found.topic.iter().chain(&found.sentiment));
                assert!(
                    pairs.clone().count() > 3 && pairs.clone().all(|(one, other)| (one - other).abs() < 1e-3),
                    "{expected:?} {found:?}"
                );
            }
        }
        let kept = bound.bound.as_ref().unwrap().by_shape.len();
        assert!((2..=8).contains(&kept), "{kept} shapes");
    }
}
