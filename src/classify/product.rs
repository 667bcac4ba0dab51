//! What a device can do at most, in the number format of its model: the measure that `bellwether bench-device` holds a model to.

use ort::editor::{Graph, Model, Node, ONNX_DOMAIN, Opset};
use ort::environment::Environment;
use ort::memory::Allocator;
use ort::session::Session;
use ort::value::{DynTensor, Outlet, Shape, SymbolicDimensions, Tensor, TensorElementType, ValueType};

use super::Error;
use super::device::{fail, options, runtime};
use crate::config::ModelConfig;

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
        let gpu = config.device.is_gpu();
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
