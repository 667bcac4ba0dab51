//! Sessions of ONNX Runtime, and one batch through a session.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::CStr;
use std::thread;

use ort::AsPointer;
use ort::environment::Environment;
use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::{IoBinding, Session, SessionOutputs};
use ort::value::{Tensor, TensorElementType, TensorRef, ValueType};

use super::Error;
use super::batch::{Batch, Limits, plan};
use super::device::{Profile, cuda_provider, fail, options, runtime, shapes};
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
        let Self { allocator, outputs, by_shape } = self;
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

/// Which model a start would run; `None` where only a start can tell: device `auto` with a GPU build of ONNX Runtime.
pub fn identity(config: &ModelConfig) -> Result<Option<ModelIdentity>, Error> {
    if config.device == Device::Auto && cuda_provider(config).is_ok_and(|provider| provider.is_file()) {
        return Ok(None);
    }
    ModelDirectory::load(config, config.device).map(|directory| Some(directory.identity))
}

fn open_on(environment: &Environment, config: &ModelConfig, device: Device) -> Result<Opened, Error> {
    let gpu = device.is_gpu();
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
            Device::Cuda(index) | Device::TensorRt(index) => {
                Some(Bound::new(&session, AllocationDevice::CUDA_PINNED, index).map_err(|error| refuse(error.to_string()))?)
            }
        };
        let mut opened = Self { session, topic: encoder.topic.clone(), sentiment: encoder.sentiment.clone(), token_types, bound };
        if device.is_gpu() && !opened.nodes().iter().any(|(name, _)| !name.contains("CPU")) {
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
        outputs(&mut self.session, self.bound.as_mut(), self.token_types, batch).map(drop)
    }

    /// Runs one batch; the rows of its texts come back in the batch's order.
    pub fn run(&mut self, batch: &Batch) -> Result<Vec<Logits>, Error> {
        let outputs = outputs(&mut self.session, self.bound.as_mut(), self.token_types, batch)?;
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

fn outputs<'a>(
    session: &'a mut Session,
    bound: Option<&'a mut Bound>,
    token_types: bool,
    batch: &Batch,
) -> Result<SessionOutputs<'a>, Error> {
    if let Some(bound) = bound {
        let binding = bound.bind(session, token_types, batch)?;
        return session.run_binding(binding).map_err(fail);
    }
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
    use std::path::Path;

    use super::*;
    use crate::classify::batch::Shapes;
    use crate::classify::device::environment;
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
