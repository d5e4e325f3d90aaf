//! `burrow why`: the history of a build, from the running coordinator or from its data folder.

use std::process::ExitCode;

use burrow_results::Results;
use burrow_results::model::BuildId;
use burrow_store::Db;
use serde_json::Value;

use crate::cli::{CoordinatorAt, WhyArgs};
use crate::client::{Client, Trouble};
use crate::failure::Failure;

pub(crate) async fn run(args: WhyArgs) -> Result<ExitCode, Failure> {
    let id = args.build;
    let client = Client::new(&args.at.coordinator, args.at.token_file.as_deref())?;
    let asked = burrow_task::spawn_blocking(move || client.get_json(&format!("/build/{id}.json"))).await.map_err(Failure::infrastructure)?;
    let build = match asked {
        Ok(build) => build,
        Err(Trouble::Unreachable(text)) => {
            let results = Results::new(open_folder(&args.at, &text).await?);
            let build = results.build(BuildId(id)).await.map_err(Failure::infrastructure)?;
            let build = build.ok_or_else(|| Failure::usage(format!("there is no build {id} in {}", args.at.data.display())))?;
            serde_json::to_value(build).map_err(Failure::infrastructure)?
        }
        Err(trouble) => return Err(trouble.into()),
    };
    print!("{}", explain(&build));
    Ok(ExitCode::SUCCESS)
}

/// The database in the data folder, when no coordinator answered (`trouble` says how).
pub(crate) async fn open_folder(at: &CoordinatorAt, trouble: &str) -> Result<Db, Failure> {
    let file = at.data.join("burrow.db");
    if !file.is_file() {
        return Err(Failure::infrastructure(format!(
            "{trouble}; and there is no Burrow data in {}. Name the coordinator with --coordinator URL or its folder with --data DIR",
            at.data.display()
        )));
    }
    Db::open(&format!("sqlite:{}", file.display()), burrow_results::MIGRATIONS).await.map_err(|error| Failure::infrastructure(format!("{trouble}; {error}")))
}

/// A build's page as text.
fn explain(build: &Value) -> String {
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
    let hash = text(build, "hash");
    let mut lines = vec![
        format!(
            "build {}: {} of {} at {}",
            build.get("id").unwrap_or(&Value::Null),
            text(build, "builder"),
            text(build, "repo"),
            hash.get(..12).unwrap_or(&hash)
        ),
        format!("  {}", text(build, "title")),
        format!("  state: {}", text(build, "state")),
    ];
    if let Some(waiting) = build.get("waiting").filter(|waiting| waiting.is_object()) {
        lines.push(format!("  waits: {} (place {} in its queue)", text(waiting, "reason"), waiting.get("position").unwrap_or(&Value::Null)));
    }
    for attempt in build.get("attempts_list").and_then(Value::as_array).into_iter().flatten() {
        let message = text(attempt, "message");
        let message = if message.is_empty() { message } else { format!(": {message}") };
        lines.push(format!("  attempt {} on {}: {}{message}", attempt.get("number").unwrap_or(&Value::Null), text(attempt, "worker"), text(attempt, "state")));
    }
    for entry in build.get("history").and_then(Value::as_array).into_iter().flatten() {
        let at = entry.get("at_ms").and_then(Value::as_i64).and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        let at = at.map(|at| at.strftime("%F %T").to_string()).unwrap_or_default();
        lines.push(format!("  {at} UTC  {}: {}", text(entry, "actor"), text(entry, "text")));
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn a_build_tells_its_history() {
        let build = json!({
            "id": 7, "builder": "linux", "repo": "app", "hash": "0123456789abcdef", "title": "fix", "state": "queued",
            "waiting": {"position": 2, "reason": "all 4 machines of kind local are busy"},
            "attempts_list": [{"number": 1, "worker": "local-1", "state": "infra_failed", "message": "the worker was lost"}],
            "history": [{"at_ms": 1_767_225_600_000_i64, "actor": "scheduler", "text": "asked for"}],
        });
        let expected = "build 7: linux of app at 0123456789ab\n  fix\n  state: queued\n  waits: all 4 machines of kind local are busy (place 2 in its queue)\n  \
                        attempt 1 on local-1: infra_failed: the worker was lost\n  2026-01-01 00:00:00 UTC  scheduler: asked for\n";
        assert_eq!(super::explain(&build), expected);
    }
}
