//! ONNX Runtime: the environment, sessions on a device, and one batch through a session.

use std::ffi::CStr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ort::AsPointer;
use ort::editor::{Graph, Model, Node, ONNX_DOMAIN, Opset};
use ort::environment::Environment;
use ort::ep::{CUDA, ExecutionProviderDispatch, TensorRT};
use ort::memory::Allocator;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{Session, SessionOutputs};
use ort::value::{DynTensor, Outlet, Shape, SymbolicDimensions, Tensor, TensorElementType, TensorRef, ValueType};

use super::Error;
use super::batch::{Batch, Limits, plan};
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

/// One session per encoder, owned by one thread.
pub struct EncoderSession {
    session: Session,
    topic: Option<Head>,
    sentiment: Option<Head>,
    token_types: bool,
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
    let gpu = !matches!(device, Device::Cpu | Device::Auto);
    let provider = cuda_provider(config)?;
    if gpu && !provider.is_file() {
        let why = format!("{} is missing: this ONNX Runtime is a CPU build; install onnxruntime-gpu's libraries there", provider.display());
        return Err(Error::Device { device, why });
    }
    let directory = ModelDirectory::load(config, device)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let automatic = if gpu { 1 } else { cores.div_ceil(config.threads_per_session) };
    let count = if config.sessions == 0 { automatic } else { config.sessions };
    let sessions = (0..count)
        .map(|_| directory.encoders.iter().map(|encoder| EncoderSession::open(environment, config, encoder, device)).collect())
        .collect::<Result<_, _>>()?;
    Ok((device, directory, sessions))
}

fn provider(device: Device) -> Option<ExecutionProviderDispatch> {
    // Without `error_on_failure` ONNX Runtime would fall back to the CPU in silence.
    match device {
        Device::Auto | Device::Cpu => None,
        Device::Cuda(index) => Some(CUDA::default().with_device_id(index).build().error_on_failure()),
        Device::TensorRt(index) => Some(TensorRT::default().with_device_id(index).build().error_on_failure()),
    }
}

fn options(environment: &Environment, config: &ModelConfig, device: Device) -> Result<SessionBuilder, Error> {
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
    match provider(device) {
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
        let mut builder = options(environment, config, device)?;
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
        let mut opened = Self { session, topic: encoder.topic.clone(), sentiment: encoder.sentiment.clone(), token_types };
        if !matches!(device, Device::Auto | Device::Cpu) && !opened.nodes().iter().any(|(name, _)| !name.contains("CPU")) {
            return Err(refuse("ONNX Runtime placed every node on the CPU".into()));
        }
        let probe = encoder.encode(&["Warm-up.".to_owned()])?;
        for batch in plan(&probe, Limits { texts: 1, tokens: usize::MAX }, encoder.pad_id) {
            opened.run(&batch).map_err(|error| refuse(error.to_string()))?;
        }
        Ok(opened)
    }

    /// Runs one batch and leaves what comes out: what ONNX Runtime takes for it, and nothing else.
    pub fn run_bare(&mut self, batch: &Batch) -> Result<(), Error> {
        outputs(&mut self.session, self.token_types, batch).map(drop)
    }

    /// Runs one batch; the rows come back in the batch's order.
    pub fn run(&mut self, batch: &Batch) -> Result<Vec<Logits>, Error> {
        let outputs = outputs(&mut self.session, self.token_types, batch)?;
        let rows = |head: &Option<Head>| -> Result<Vec<Vec<f32>>, Error> {
            let Some(head) = head else { return Ok(vec![Vec::new(); batch.rows()]) };
            let value = &outputs[head.output.as_str()];
            let flat: Vec<f32> = match value.dtype().tensor_type() {
                Some(TensorElementType::Float16) => {
                    value.try_extract_tensor::<half::f16>().map_err(fail)?.1.iter().map(|value| value.to_f32()).collect()
                }
                _ => value.try_extract_tensor::<f32>().map_err(fail)?.1.to_vec(),
            };
            match flat.len() == batch.rows() * head.labels && flat.iter().all(|value| value.is_finite()) {
                true => Ok(flat.chunks(head.labels).map(<[f32]>::to_vec).collect()),
                false => Err(Error::Inference(format!(
                    "{} gave {} values for {} texts, or not finite ones",
                    head.output,
                    flat.len(),
                    batch.rows()
                ))),
            }
        };
        let (topics, sentiments) = (rows(&self.topic)?, rows(&self.sentiment)?);
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
    let shape = [batch.rows(), batch.width];
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
        let gpu = matches!(config.device, Device::Cuda(_) | Device::TensorRt(_));
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
        let session = model.into_session(&options(environment, config, config.device)?).map_err(runtime)?;
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
