//! `playhouse admin`: what administrators do from a shell.
use std::fmt::Write;

use anyhow::{Context, Result};
use reqwest::Method;
use serde_json::Value;

use super::client::Client;
use super::{AdminArgs, AdminTask, ClusterTask, NodesArgs};
use crate::cluster::identity;
use crate::domain::ports::Clock;
use crate::system::SystemClock;

/// Does what was asked.
pub async fn run(args: &AdminArgs) -> Result<()> {
    match &args.task {
        AdminTask::Cluster(task) => cluster(task),
        AdminTask::Nodes(args) => nodes(args).await,
    }
}

fn cluster(task: &ClusterTask) -> Result<()> {
    match task {
        ClusterTask::Init { dir } => {
            identity::init(dir, SystemClock.now())?;
            let dir = dir.display();
            println!("The authority of a new cluster is in {dir}. Next: playhouse admin cluster add-node {dir} NAME");
        }
        ClusterTask::AddNode { dir, name } => {
            let [certificate, key] = identity::add_node(dir, name, SystemClock.now())?;
            let authority = dir.join("authority.pem");
            println!("Take these to {name}, and name them in its cluster.toml:");
            for (setting, file) in [("authority", &authority), ("certificate", &certificate), ("key", &key)] {
                println!("  {setting} = \"{}\"", file.display());
            }
        }
    }
    Ok(())
}

async fn nodes(args: &NodesArgs) -> Result<()> {
    let mut client = Client::new(&args.url)?;
    client.login(&args.username, &args.password).await?;
    let answer: Value = client.send(client.request(Method::GET, "/api/v1/admin/nodes")).await?.json().await?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&answer)?);
        return Ok(());
    }
    print!("{}", table(&answer).context("the server does not say who is there")?);
    Ok(())
}

fn table(answer: &Value) -> Option<String> {
    let me = answer["me"].as_str()?;
    let mut out = format!("{:<20} {:<22} {:<28} {:>5} {:>8}  state\n", "node", "address", "roles", "load", "protocol");
    for node in answer["data"].as_array()? {
        let name = node["node"].as_str()?;
        let roles: Vec<&str> = node["roles"].as_array()?.iter().filter_map(Value::as_str).collect();
        let state = match (node["state"].as_str()?, name == me, node["is_connected"].as_bool()?) {
            ("draining", ..) => "leaving",
            ("aside", ..) => "cut off: has let go of everything",
            ("without_catalog", ..) => "up, without the catalog",
            (_, true, _) => "up, asked",
            (_, false, true) => "up",
            (_, false, false) => "up, heard of",
        };
        let (address, load) = (node["address"].as_str()?, node["load"].as_f64()?);
        // With itself a node speaks none, and nodes of the first release do not say.
        let protocol = node["protocol"].as_u64().map_or_else(|| "-".to_owned(), |version| version.to_string());
        writeln!(out, "{name:<20} {address:<22} {:<28} {load:>5.1} {protocol:>8}  {state}", roles.join(",")).ok()?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_shown_as_a_table() {
        let answer = serde_json::json!({ "me": "a", "data": [
            {"node": "a", "address": "192.0.2.1:4700", "roles": ["edge", "api"], "load": 0.25, "state": "up", "is_connected": false, "protocol": null},
            {"node": "b", "address": "192.0.2.2:4700", "roles": ["api"], "load": 1, "state": "draining", "is_connected": true, "protocol": 2},
        ]});
        let lines: Vec<String> = table(&answer).unwrap().lines().map(str::to_owned).collect();
        assert!(
            lines[1].starts_with("a ") && lines[1].contains("edge,api") && lines[1].ends_with("up, asked"),
            "{lines:?}"
        );
        assert!(lines[1].contains("0.2        -  up"), "{lines:?}");
        assert!(lines[2].starts_with("b ") && lines[2].ends_with("1.0        2  leaving"), "{lines:?}");
        assert_eq!(table(&Value::Null), None);
    }
}
