//! Weights that an ONNX file keeps in other files: which ones, and whether they are the model's own.
//!
//! A model file may name any path of the machine as the place of a tensor, and ONNX Runtime would read it. Only files in the
//! model's directory are a part of it. Field numbers are those of `onnx.proto3`, wire types those of Protocol Buffers'
//! "Encoding" document.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Messages on the way from a model to its tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Message {
    Model,
    Training,
    Function,
    Graph,
    Node,
    Attribute,
    SparseTensor,
    Tensor,
    ExternalEntry,
}

impl Message {
    /// What a field holds, where a tensor may be in it.
    fn field(self, number: u64) -> Option<Self> {
        use Message::{Attribute, ExternalEntry, Function, Graph, Model, Node, SparseTensor, Tensor, Training};
        Some(match (self, number) {
            (Model, 7) | (Training, 1 | 2) | (Attribute, 6 | 11) => Graph,
            (Model, 20) => Training,
            (Model, 25) => Function,
            (Graph, 1) | (Function, 7) => Node,
            (Graph, 5) | (Attribute, 5 | 10) | (SparseTensor, 1 | 2) => Tensor,
            (Graph, 15) | (Attribute, 22 | 23) => SparseTensor,
            (Node, 5) | (Function, 11) => Attribute,
            (Tensor, 13) => ExternalEntry,
            _ => return None,
        })
    }
}

/// Graphs within graphs that are followed; more are refused.
const DEEPEST: usize = 64;

/// The places that tensors of the file name, as they stand there.
///
/// # Errors
/// Where the bytes are not those of Protocol Buffers.
pub fn locations(onnx: &[u8]) -> Result<BTreeSet<String>, &'static str> {
    let mut found = BTreeSet::new();
    walk(Message::Model, onnx, DEEPEST, &mut found)?;
    Ok(found)
}

fn walk(message: Message, mut bytes: &[u8], deeper: usize, found: &mut BTreeSet<String>) -> Result<(), &'static str> {
    let deeper = deeper.checked_sub(1).ok_or("graphs within graphs without end")?;
    let (mut key, mut value) = (&[][..], &[][..]);
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let (number, wire) = (tag >> 3, tag & 7);
        match wire {
            0 => drop(varint(&mut bytes)?),
            1 => drop(take(&mut bytes, 8)?),
            2 => {
                let length = varint(&mut bytes)?;
                let held = take(&mut bytes, usize::try_from(length).map_err(|_| CUT)?)?;
                match (message, number) {
                    (Message::ExternalEntry, 1) => key = held,
                    (Message::ExternalEntry, 2) => value = held,
                    _ => {
                        if let Some(inner) = message.field(number) {
                            walk(inner, held, deeper, found)?;
                        }
                    }
                }
            }
            5 => drop(take(&mut bytes, 4)?),
            _ => return Err("not an ONNX file"),
        }
    }
    if message == Message::ExternalEntry && key == b"location" {
        found.insert(String::from_utf8_lossy(value).into_owned());
    }
    Ok(())
}

const CUT: &str = "the file is cut off";

fn take<'bytes>(bytes: &mut &'bytes [u8], length: usize) -> Result<&'bytes [u8], &'static str> {
    let (taken, rest) = bytes.split_at_checked(length).ok_or(CUT)?;
    *bytes = rest;
    Ok(taken)
}

fn varint(bytes: &mut &[u8]) -> Result<u64, &'static str> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err("not an ONNX file")
}

/// Where a location of a file in `directory` leads, links followed.
///
/// # Errors
/// What is wrong with it: it leads out of the directory, or nowhere.
pub fn resolve(directory: &Path, location: &str) -> Result<PathBuf, String> {
    let place = directory.join(location);
    let real = |path: &Path| path.canonicalize().map_err(|error| format!("{} cannot be read: {error}", path.display()));
    let outside = || {
        format!(
            "weights at {location:?}, outside the model's directory, are not read: put the file beside model.onnx, and its name into it"
        )
    };
    // Said first, so that nobody learns from the answer which files there are.
    if Path::new(location).components().any(|part| !matches!(part, std::path::Component::Normal(_) | std::path::Component::CurDir)) {
        return Err(outside());
    }
    let (file, own) = (real(&place)?, real(directory)?);
    if file.starts_with(&own) { Ok(file) } else { Err(outside()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u64, held: &[u8]) -> Vec<u8> {
        let mut bytes = vec![(number << 3 | 2) as u8 | if number > 15 { 0x80 } else { 0 }];
        if number > 15 {
            bytes.push((number >> 4) as u8);
        }
        assert!(held.len() < 1 << 14);
        bytes.extend([(held.len() & 0x7f) as u8 | 0x80, (held.len() >> 7) as u8]);
        bytes.extend(held);
        bytes
    }

    fn tensor(location: &str) -> Vec<u8> {
        let entry = |key: &str, value: &str| field(13, &[field(1, key.as_bytes()), field(2, value.as_bytes())].concat());
        [field(8, b"weight"), entry("location", location), entry("length", "12"), vec![0x70, 1]].concat()
    }

    #[test]
    fn every_place_of_a_tensor_is_looked_at() {
        let graph = |parts: &[Vec<u8>]| field(7, &parts.concat());
        let node = |attribute: &[u8]| field(1, &field(5, attribute));
        let inner = field(5, &tensor("in-a-branch"));
        let model = [
            vec![0x08, 0x0a],
            graph(&[
                field(5, &tensor("initializer")),
                field(15, &[field(1, &tensor("sparse-values")), field(2, &tensor("sparse-indices"))].concat()),
                node(&field(5, &tensor("constant"))),
                node(&field(10, &tensor("constants"))),
                node(&field(6, &inner)),
                node(&field(22, &field(1, &tensor("sparse-constant")))),
            ]),
            field(25, &field(7, &field(5, &field(5, &tensor("in-a-function"))))),
            field(20, &field(1, &field(5, &tensor("in-training")))),
        ]
        .concat();
        let expected =
            ["constant", "constants", "in-a-branch", "in-a-function", "in-training", "initializer", "sparse-constant", "sparse-indices"];
        let expected: BTreeSet<String> = expected.into_iter().chain(["sparse-values"]).map(str::to_owned).collect();
        assert_eq!(locations(&model).unwrap(), expected);
        assert_eq!(locations(b""), Ok(BTreeSet::new()));
        assert_eq!(locations(&model[..model.len() - 1]), Err(CUT));
        assert!(locations(b"\xff not a model").is_err());
    }

    #[test]
    fn graphs_within_graphs_have_an_end() {
        let mut graph = Vec::new();
        for _ in 0..100 {
            graph = field(1, &field(5, &field(6, &graph)));
        }
        assert_eq!(locations(&field(7, &graph)), Err("graphs within graphs without end"));
    }

    #[test]
    fn weights_lie_in_the_directory_of_the_model() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("model");
        std::fs::create_dir_all(model.join("data")).unwrap();
        for file in ["model/data/weights.bin", "secret"] {
            std::fs::write(folder.path().join(file), "x").unwrap();
        }
        std::os::unix::fs::symlink("../secret", model.join("link")).unwrap();
        assert_eq!(resolve(&model, "data/weights.bin").unwrap(), model.join("data/weights.bin").canonicalize().unwrap());
        assert_eq!(resolve(&model, "./data/weights.bin").unwrap(), model.join("data/weights.bin").canonicalize().unwrap());
        let secret = folder.path().join("secret");
        for outside in ["../secret", "data/../../secret", secret.to_str().unwrap(), "link", "../no-such-file"] {
            let why = resolve(&model, outside).unwrap_err();
            assert!(why.contains("outside the model's directory, are not read"), "{outside}: {why}");
        }
        assert!(resolve(&model, "gone.bin").unwrap_err().contains("gone.bin cannot be read"));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
            let _ = locations(&bytes);
        }
    }
}
