//! `goosefs getConf`: the value of one property and nothing else, or all properties.

use super::out;
use crate::cli::GetConfArgs;
use goosefs_core::config::{Environment, Kind, Overrides, Properties, Source, keys, value};
use goosefs_ufs::secret::shown;
use std::process::ExitCode;

pub(super) fn run(args: &GetConfArgs, define: Vec<String>) -> ExitCode {
    let overrides = Overrides { definitions: define, role: if args.master { "MASTER" } else { "USER" } };
    let outcome = Properties::load(&Environment::of_process(), &overrides)
        .map_err(anyhow::Error::from)
        .and_then(|(properties, _)| print(args, &properties));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn print(args: &GetConfArgs, properties: &Properties) -> anyhow::Result<()> {
    match &args.key {
        Some(name) => print_one(args, properties, name),
        None => {
            print_all(args, properties);
            Ok(())
        }
    }
}

fn print_one(args: &GetConfArgs, properties: &Properties, name: &str) -> anyhow::Result<()> {
    let key = keys::ALL.iter().find(|key| key.matches(name));
    let found = properties.raw(name);
    anyhow::ensure!(
        key.is_some() || found.is_some(),
        "property {name} is not known (`goosefs getConf` lists all)"
    );
    let (text, source) = found.unwrap_or(("", Source::Default));
    let text = match (&args.unit, key.map(|key| key.kind)) {
        (Some(unit), Some(kind)) => in_unit(kind, text, unit)?,
        _ => shown(name, text).to_owned(),
    };
    out::line(&if args.source { source.to_string() } else { text });
    Ok(())
}

fn print_all(args: &GetConfArgs, properties: &Properties) {
    for key in keys::ALL {
        let (text, source) = properties.raw(key.name).unwrap_or((key.default, Source::Default));
        let source = if args.source { format!(" ({source})") } else { String::new() };
        out::line(&format!("{}={text}{source}", key.name));
    }
    for (name, text, source) in properties.iter() {
        if !keys::ALL.iter().any(|key| key.name == name) {
            let source = if args.source { format!(" ({source})") } else { String::new() };
            out::line(&format!("{name}={}{source}", shown(name, text)));
        }
    }
}

fn in_unit(kind: Kind, text: &str, unit: &str) -> anyhow::Result<String> {
    let upper = unit.to_ascii_uppercase();
    let per_unit = match (kind, upper.as_str()) {
        (Kind::Size, "B") | (Kind::Duration, "MS") => 1,
        (Kind::Size, "KB") => 1 << 10,
        (Kind::Size, "MB") => 1 << 20,
        (Kind::Size, "GB") => 1 << 30,
        (Kind::Size, "TB") => 1 << 40,
        (Kind::Duration, "S") => 1000,
        (Kind::Duration, "M") => 60_000,
        (Kind::Duration, "H") => 3_600_000,
        (Kind::Duration, "D") => 86_400_000,
        _ => anyhow::bail!("--unit {unit} does not fit: sizes take B, KB, MB, GB, TB, times MS, S, M, H, D"),
    };
    let amount = match kind {
        Kind::Size => value::size(text).map(u128::from),
        _ => value::duration(text).flatten().map(|time| time.as_millis()),
    };
    Ok(amount.map_or_else(|| text.to_owned(), |amount| (amount / per_unit).to_string()))
}
