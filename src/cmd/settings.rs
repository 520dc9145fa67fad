//! Properties and logs of one process, as every role and command begins.

use anyhow::Context;
use goosefs_core::config::{Environment, Overrides, Properties, keys};
use goosefs_core::telemetry::{self, Format};

/// Loads the properties and starts logging; what was ignored is logged once.
///
/// # Errors
/// What is wrong with a property, file or `-D`.
pub(super) fn load(role: &'static str, define: Vec<String>) -> anyhow::Result<Properties> {
    goosefs_ufs::secret::check_command_line(&define)?;
    let (properties, warnings) =
        Properties::load(&Environment::of_process(), &Overrides { definitions: define, role })?;
    let format = match properties.choice(&keys::LOGS_FORMAT)?.as_str() {
        "JSON" => Format::Json,
        _ => Format::Text,
    };
    // A command's own output is what a person wants to see; a role's log is all there is.
    let quiet = role == "USER" && !properties.is_set(&keys::LOGS_LEVEL);
    let filter = if quiet { "warn" } else { properties.text(&keys::LOGS_LEVEL) };
    telemetry::init(filter, format).context("start logging")?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    Ok(properties)
}
