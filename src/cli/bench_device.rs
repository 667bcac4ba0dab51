//! `bellwether bench-device`: what this machine's devices give, how much of it the classifier uses, and which settings are best.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde_json::json;

use super::lines::Lines;
use super::{ConfigArgument, Failure};
use crate::classify::batch::Limits;
use crate::classify::bench::{DeviceReport, Plan, Rate, SettingReport, measure};
use crate::config::{Config, Device, ModelConfig};

/// Headlines with and without a second sentence; every name in them is invented.
const TEXTS: &str = include_str!("../../config/scenario/bank-run.jsonl");
const CPU_TEXTS: usize = 768;
const GPU_TEXTS: usize = 32_768;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  bellwether bench-device
  bellwether bench-device news.jsonl --sessions 1x1,2x1,1x2 --batch 8x2048,32x2048
  bellwether bench-device --device cpu,cuda:0,tensorrt:0 --format json > devices.json

The bare session runs the same texts, tokenised beforehand and sorted by length as a whole, in the best of several batch \
sizes, on as many sessions and threads. A ratio is the median of the rounds' ratios. The cache of texts is off.")]
pub struct Arguments {
    /// Texts, as for `classify`: JSON lines or plain ones; without it, those of the demo
    file: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgument,
    /// Model directory, instead of the configuration's
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// cpu, cuda:N, tensorrt:N or auto, instead of the configuration's; several with commas
    #[arg(long, value_delimiter = ',')]
    device: Vec<Device>,
    /// Sessions and threads of each, such as 2x1; several with commas
    #[arg(long, value_delimiter = ',', value_parser = pair, value_name = "SxT")]
    sessions: Vec<(usize, usize)>,
    /// Batch budgets: texts and tokens, such as 32x2048; several with commas
    #[arg(long, value_delimiter = ',', value_parser = pair, value_name = "TEXTSxTOKENS")]
    batch: Vec<(usize, usize)>,
    /// Rounds; what is compared alternates within each
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Texts of a round, the file's again from its start where it has fewer [default: 768 on a CPU, 32768 on a GPU]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    texts: Option<u32>,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
}

fn pair(text: &str) -> Result<(usize, usize), String> {
    let number = |text: &str| text.parse().ok().filter(|&number: &usize| number > 0);
    text.split_once('x')
        .and_then(|(one, other)| number(one).zip(number(other)))
        .ok_or_else(|| "must be two numbers above 0, such as 2x1".to_owned())
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut config = Config::load(arguments.config.config.as_deref())?;
    if let Some(model) = &arguments.model {
        config.model.directory.clone_from(model);
        (config.model.topic_directory, config.model.sentiment_directory) = Default::default();
    }
    super::start_logging(&config.log);
    let given = read(arguments.file.as_deref())?;
    let devices = if arguments.device.is_empty() { vec![config.model.device] } else { arguments.device.clone() };
    let mut output = std::io::stdout().lock();
    let mut reports = Vec::new();
    for device in devices {
        let config = ModelConfig { device, ..config.model.clone() };
        let gpu = device.is_gpu();
        let count = arguments.texts.map_or(if gpu { GPU_TEXTS } else { CPU_TEXTS }, |count| count as usize);
        let texts: Vec<String> = given.iter().cycle().take(count).cloned().collect();
        let report = measure(&config, &texts, &plan(arguments, &config, gpu))?;
        if matches!(arguments.format, Format::Text) {
            print(&report, &mut output)?;
        }
        reports.push(report);
    }
    if matches!(arguments.format, Format::Json) {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let all = json!({"version": env!("CARGO_PKG_VERSION"), "cpu": cpu_name(), "cores": cores, "devices": reports});
        writeln!(output, "{all:#}")?;
    }
    Ok(())
}

fn plan(arguments: &Arguments, config: &ModelConfig, gpu: bool) -> Plan {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let configured = match config.sessions {
        0 if gpu => 2,
        0 => cores.div_ceil(config.threads_per_session),
        sessions => sessions,
    };
    let mut sessions = vec![(configured, config.threads_per_session)];
    sessions.extend(if gpu { vec![(1, 1), (2, 1)] } else { vec![(1, 1), (cores, 1), (1, cores)] });
    let mut budgets = vec![(config.batch_texts, config.batch_tokens)];
    budgets.extend(if gpu { vec![(64, 4096), (128, 8192), (256, 16_384), (512, 32_768)] } else { vec![(8, 2048), (16, 2048), (32, 2048)] });
    let or_given = |given: &Vec<(usize, usize)>, mut tried: Vec<(usize, usize)>| {
        if !given.is_empty() {
            tried.clone_from(given);
        }
        let mut seen = std::collections::BTreeSet::new();
        tried.retain(|pair| seen.insert(*pair));
        tried
    };
    Plan {
        sessions: or_given(&arguments.sessions, sessions),
        budgets: or_given(&arguments.batch, budgets).into_iter().map(|(texts, tokens)| Limits { texts, tokens }).collect(),
        shapes: if gpu { vec![32, 128, 256, 512] } else { vec![4, 8, 16, 32, 64] },
        rounds: arguments.rounds.into(),
    }
}

fn read(file: Option<&Path>) -> Result<Vec<String>, Failure> {
    let lines = match file {
        None => Lines::within("the demo", TEXTS),
        Some(file) => Lines::open(file)?,
    };
    let texts = lines.map(|line| Ok(line?.text)).collect::<Result<Vec<_>, Failure>>()?;
    if texts.is_empty() {
        let name = file.unwrap_or(Path::new("-")).display();
        return Err(Failure::usage(anyhow::anyhow!("{name} has no texts")));
    }
    Ok(texts)
}

/// As the kernel names it; empty where there is no `/proc`.
fn cpu_name() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map(|(_, name)| name.trim().to_owned()).unwrap_or_default()
}

fn print(report: &DeviceReport, output: &mut impl Write) -> std::io::Result<()> {
    let nodes: Vec<String> = report.nodes.iter().map(|(provider, count)| format!("{count} on {provider}")).collect();
    writeln!(output, "{}: {} {}, nodes {}", report.device, report.model.name, report.model.version, nodes.join(", "))?;
    let length = report.tokens as f64 / report.texts as f64;
    let (texts, rounds, tokenizer) = (report.texts, report.rounds, report.tokenizer_texts_per_second);
    writeln!(
        output,
        "{texts} texts of {length:.1} tokens, median of {rounds} rounds; the tokenizer alone: {tokenizer:.0} texts/s a thread"
    )?;
    for setting in &report.settings {
        print_setting(setting, output)?;
    }
    writeln!(output)
}

fn print_setting(setting: &SettingReport, output: &mut impl Write) -> std::io::Result<()> {
    let SettingReport { sessions, threads_per_session, peak, shapes, bare, classifier } = setting;
    let peak_giga = peak.operations_per_second / 1e9;
    writeln!(output, "\n{sessions} × {threads_per_session} (sessions × threads); {}: {peak_giga:.0} billion operations/s", peak.product)?;
    let tried: Vec<String> = shapes.iter().map(|shape| format!("{} → {:.0}", shape.batch_texts, shape.texts_per_second)).collect();
    writeln!(output, "  bare session, texts in a batch → texts/s: {}", tried.join(", "))?;
    writeln!(
        output,
        "  {:22} {:>8} {:>9} {:>8} {:>8} {:>16} {:>10}",
        "", "texts/s", "tokens/s", "of peak", "padding", "of bare", "tokenizing"
    )?;
    let line = |name: String, rate: &Rate, rest: String| {
        let share = rate.share_of_peak.map_or("–".into(), |share| format!("{:.1}%", share * 100.0));
        let Rate { texts_per_second, tokens_per_second, padding_share, .. } = rate;
        format!("  {name:22} {texts_per_second:>8.0} {tokens_per_second:>9.0} {share:>8} {:>7.1}%{rest}", padding_share * 100.0)
    };
    writeln!(output, "{}", line(format!("bare, {} texts", bare.batch_texts), bare, String::new()))?;
    for budget in classifier {
        let [low, high] = budget.ratio_range;
        let ratio = format!("{:.3} ({low:.2}–{high:.2})", budget.ratio_to_bare);
        let rest = format!(" {ratio:>17} {:>9.1}%", budget.tokenizing_share * 100.0);
        writeln!(output, "{}", line(format!("{} texts, {} tokens", budget.rate.batch_texts, budget.batch_tokens), &budget.rate, rest))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_has_texts_and_an_empty_file_is_named() {
        assert!(read(None).is_ok_and(|texts| texts.len() > 1000));
        let file = tempfile::NamedTempFile::new().unwrap();
        let failure = read(Some(file.path())).unwrap_err();
        assert_eq!(failure.error.to_string(), format!("{} has no texts", file.path().display()));
    }

    #[test]
    fn a_pair_is_two_numbers_above_nothing() {
        assert_eq!(pair("2x1"), Ok((2, 1)));
        assert!(["2", "0x1", "ax1", "1x"].iter().all(|text| pair(text).is_err()));
    }
}
