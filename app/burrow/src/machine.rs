//! `burrow machine`: enrol, list, drain, undrain, revoke.

use std::process::ExitCode;

use burrow_store::{Db, sql};
use comfy_table::{Table, presets};
use serde_json::{Value, json};

use crate::cli::{MachineArgs, MachineCommand};
use crate::client::{Client, Trouble, escape};
use crate::failure::Failure;
use crate::why::open_folder;

pub(crate) async fn run(args: MachineArgs) -> Result<ExitCode, Failure> {
    let client = Client::new(&args.at.coordinator, args.at.token_file.as_deref())?;
    let (command, asked) = burrow_task::spawn_blocking(move || {
        let asked = ask(&client, &args.command);
        (args.command, asked)
    })
    .await
    .map_err(Failure::infrastructure)?;
    let text = match asked {
        Ok(text) => text,
        Err(Trouble::Unreachable(trouble)) => in_folder(&open_folder(&args.at, &trouble).await?, &command, &trouble).await?,
        Err(trouble) => return Err(trouble.into()),
    };
    println!("{text}");
    Ok(ExitCode::SUCCESS)
}

/// Asks the running coordinator.
fn ask(client: &Client, command: &MachineCommand) -> Result<String, Trouble> {
    match command {
        MachineCommand::Enroll { host_type } => {
            let answer = client.post_json("/api/v1/machines/enroll", &json!({"host_type": host_type}))?;
            let field = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
            Ok(joining(host_type, &field("token"), &field("address")))
        }
        MachineCommand::List => {
            let answer = client.get_json("/machines.json")?;
            let field = |machine: &Value, name: &str| machine.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
            let names = ["id", "pool", "host_type", "hostname", "state", "note"];
            let machines = answer.get("machines").and_then(Value::as_array).into_iter().flatten();
            Ok(table(names, machines.map(|machine| names.map(|name| field(machine, name)))))
        }
        MachineCommand::Drain { machine } => {
            client.post_form(&format!("/machines/{}/drain", escape(machine)), "on=1")?;
            Ok(format!("{machine} gets no new builds; what it runs goes on"))
        }
        MachineCommand::Undrain { machine } => {
            client.post_form(&format!("/machines/{}/drain", escape(machine)), "on=0")?;
            Ok(format!("{machine} gets builds again"))
        }
        MachineCommand::Revoke { machine } => {
            client.post_json(&format!("/api/v1/machines/{}/revoke", escape(machine)), &json!({}))?;
            Ok(format!("{machine} is locked out; enrol it again to let it join"))
        }
    }
}

/// What to do on the machine that shall join.
fn joining(host_type: &str, token: &str, address: &str) -> String {
    format!(
        "On the machine that shall join, within a day and once:\n\n  buildlet --coordinator {address} --reverse-type {host_type} --enroll {token}\n\n\
         Later starts need no token: the machine keeps its own key."
    )
}

/// Without a running coordinator: what its data folder allows.
async fn in_folder(db: &Db, command: &MachineCommand, trouble: &str) -> Result<String, Failure> {
    let text = match command {
        MachineCommand::Enroll { .. } => return Err(Failure::infrastructure(format!("{trouble}; a machine can be enrolled only while its coordinator runs"))),
        MachineCommand::List => {
            let query = "SELECT id, host_type, hostname, revoked, draining, note FROM machines ORDER BY host_type, id";
            let rows = db.query(query, ()).await.map_err(Failure::infrastructure)?;
            let line = |row: &burrow_store::Row| -> Result<[String; 5], burrow_store::Error> {
                let state = match (row.bool(3)?, row.bool(4)?) {
                    (true, _) => "revoked",
                    (_, true) => "draining",
                    _ => "not connected",
                };
                Ok([row.text(0)?.to_owned(), row.text(1)?.to_owned(), row.text(2)?.to_owned(), state.to_owned(), row.text(5)?.to_owned()])
            };
            let lines = rows.iter().map(line).collect::<Result<Vec<_>, _>>().map_err(Failure::infrastructure)?;
            table(["id", "host_type", "hostname", "state", "note"], lines.into_iter())
        }
        MachineCommand::Drain { machine } => set(db, machine, "UPDATE machines SET draining = 1 WHERE id = $1", "will get no new builds").await?,
        MachineCommand::Undrain { machine } => set(db, machine, "UPDATE machines SET draining = 0 WHERE id = $1", "will get builds again").await?,
        MachineCommand::Revoke { machine } => set(db, machine, "UPDATE machines SET revoked = 1 WHERE id = $1", "is locked out").await?,
    };
    db.close().await;
    Ok(text)
}

async fn set(db: &Db, machine: &str, statement: &'static str, done: &str) -> Result<String, Failure> {
    if db.query("SELECT id FROM machines WHERE id = $1", (machine,)).await.map_err(Failure::infrastructure)?.is_empty() {
        return Err(Failure::usage(format!("there is no enrolled machine {machine:?}; `burrow machine list` shows them")));
    }
    db.commit(vec![sql(statement, (machine,))]).await.map_err(Failure::infrastructure)?;
    Ok(format!("{machine} {done}"))
}

fn table<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(head.map(|name| name.replace('_', " ")));
    let mut empty = true;
    for row in rows {
        table.add_row(row);
        empty = false;
    }
    if empty { "There are no machines. `burrow machine enroll --host-type TYPE` lets one join.".into() } else { table.trim_fmt() }
}
