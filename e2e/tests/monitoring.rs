//! Alerts and dashboard, by a real Prometheus that scrapes a real agent.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tweed_lab::agent::Agent;
use tweed_lab::binaries::Binaries;
use tweed_lab::cluster::Cluster;
use tweed_lab::document;
use tweed_lab::http;
use tweed_lab::launch::{config, vxlan};
use tweed_lab::namespace::Place;
use tweed_lab::topology::Topology;
use tweed_lab::wait::timed;
use tweed_model::Family;

use crate::page::block;

/// Where Prometheus answers.
const PORT: u16 = 9_090;
/// Two rounds of scraping and a rate over them, on a machine with other work.
const SCRAPED: Duration = Duration::from_secs(40);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/chart/monitoring")
}

fn text(name: &str) -> Result<String> {
    let file = folder().join(name);
    fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))
}

/// The values of a key in the file of alerts.
fn values<'a>(alerts: &'a str, key: &str) -> Vec<&'a str> {
    let lines = alerts.lines().map(str::trim);
    let lines = lines.map(|line| line.trim_start_matches("- "));
    let values = lines.filter_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
    values.collect()
}

fn promtool(words: &[&str], file: &Path) -> Result<()> {
    let output = Command::new("promtool").args(words).arg(file).output();
    let output =
        output.context("promtool: `.ci/setup test` installs it with Debian's prometheus")?;
    let said = [output.stdout, output.stderr].concat();
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&said)
    );
    Ok(())
}

#[test]
fn each_alert_fires_for_what_it_is_about_and_names_a_check_of_the_doctor() -> Result<()> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/monitoring/alerts.test.yaml");
    promtool(&["check", "rules"], &folder().join("alerts.yaml"))?;
    promtool(&["test", "rules"], &tests)?;
    let (alerts, tests) = (text("alerts.yaml")?, fs::read_to_string(&tests)?);
    let names = values(&alerts, "alert");
    ensure!(!names.is_empty() && names.len() <= 8, "{names:?}");
    for name in &names {
        let fires = format!("alertname: {name}\n        exp_alerts:");
        let quiet = format!("alertname: {name} }}");
        ensure!(tests.contains(&fires), "no test has {name} fire");
        ensure!(tests.contains(&quiet), "no test keeps {name} quiet");
    }
    let checks = values(&alerts, "doctor");
    ensure!(checks.len() == names.len(), "{checks:?}");
    let page = document::read("docs/DOCTOR.md")?;
    for check in checks {
        ensure!(
            page.contains(&format!("\n| `{check}` |")),
            "{check} is no check"
        );
    }
    Ok(())
}

/// A Prometheus with its data in a folder; ends with this value.
struct Prometheus<'a> {
    place: Place<'a>,
    process: Child,
    _folder: tempfile::TempDir,
}

impl<'a> Prometheus<'a> {
    fn start(place: Place<'a>, scrapes: u16) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("prometheus.yml");
        let settings = format!(
            "global: {{ scrape_interval: 1s }}\n\
             rule_files: [{}]\n\
             scrape_configs:\n- job_name: tweed\n  static_configs: [{{ targets: ['127.0.0.1:{scrapes}'] }}]\n",
            self::folder().canonicalize()?.join("alerts.yaml").display()
        );
        fs::write(&file, settings)?;
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{PORT}"))
            .arg("--log.level=error");
        let process = place.spawn(&mut command)?;
        Ok(Self {
            place,
            process,
            _folder: folder,
        })
    }

    /// What a query finds.
    fn ask(&self, query: &str) -> Result<Vec<Value>> {
        let path = format!("/api/v1/query?query={}", encoded(query));
        let (code, answer) = http::get(self.place, PORT, &path)?;
        let answer: Value = serde_json::from_str(&answer).context(answer)?;
        ensure!(
            code == 200 && answer["status"] == "success",
            "{query}: {answer}"
        );
        let found = answer["data"]["result"].as_array();
        Ok(found.cloned().unwrap_or_default())
    }

    fn finds(&self, query: &str) -> Result<()> {
        ensure!(!self.ask(query)?.is_empty(), "{query} finds nothing");
        Ok(())
    }
}

impl Drop for Prometheus<'_> {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn encoded(text: &str) -> String {
    let bytes = text.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    });
    bytes.collect()
}

/// All queries of a dashboard, with its variables as Grafana would set them.
fn queries(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().into_iter().flatten();
    let targets = panels
        .filter_map(|panel| panel["targets"].as_array())
        .flatten();
    let queries = targets.filter_map(|target| target["expr"].as_str());
    queries
        .map(|query| {
            query
                .replace("$__rate_interval", "10s")
                .replace("$instance", ".*")
        })
        .collect()
}

/// The metrics that a text names.
fn metrics_in(text: &str) -> Vec<&str> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let known = ["tweed_", "process_"];
    let metrics = words.filter(|word| known.iter().any(|prefix| word.starts_with(prefix)));
    metrics.collect()
}

#[test]
fn every_query_of_the_dashboard_and_every_metric_of_the_alerts_is_there() -> Result<()> {
    let dashboard: Value = serde_json::from_str(&text("dashboard.json")?)?;
    let alerts = text("alerts.yaml")?;
    let (queries, metrics) = (queries(&dashboard), metrics_in(&alerts));
    ensure!(
        queries.len() >= 25 && metrics.len() >= 9,
        "{queries:?} {metrics:?}"
    );
    // Some have no samples where all is well.
    let documents =
        document::read("docs/CONFIGURATION.md")? + &document::read("docs/DATA-PLANE.md")?;
    for metric in metrics_in(&queries.join(" ")) {
        let name = metric.trim_end_matches("_bucket");
        let short = name.trim_start_matches("tweed_");
        let told = [name, short]
            .iter()
            .any(|name| documents.contains(&format!("`{name}`")));
        ensure!(told, "{metric} is no metric");
    }
    let udp = serde_json::json!({ "Type": "udp" });
    Topology::hosts(2).play(|lab| {
        let cluster = Cluster::on_files(lab, &config(&[Family::V4], &udp))?;
        cluster.talks(Family::V4)?;
        let place = lab.hosts[0].place();
        let prometheus = Prometheus::start(place, 10_500)?;
        for query in &queries {
            timed("the dashboard shows something", SCRAPED, || {
                prometheus.finds(query)
            })?;
        }
        for metric in metrics {
            prometheus.finds(metric)?;
        }
        let firing = prometheus.ask("ALERTS")?;
        if !firing.is_empty() {
            bail!("alerts on a cluster on which all is well: {firing:?}");
        }
        Ok(())
    })
}

#[test]
fn the_views_of_all_nodes_say_what_bad_pairs_have_in_common() -> Result<()> {
    Topology::hosts(3).play(|lab| {
        let cluster = Cluster::on_files(lab, &vxlan())?;
        let tweedd = Binaries::locate()?.tweedd;
        let views = || {
            let documents: Result<Vec<String>> = cluster.agents.iter().map(view).collect();
            let file = lab.hosts[0].path("/run/views");
            fs::write(&file, documents?.concat())?;
            let words = ["connectivity", "views", "/run/views"];
            let mut command = Command::new(&tweedd);
            let output = lab.hosts[0].place().output(command.args(words), "")?;
            let text = String::from_utf8(output.stdout)?;
            Ok::<_, anyhow::Error>((output.status.success(), text))
        };
        timed("all is well", SCRAPED, || {
            let (ok, text) = views()?;
            ensure!(
                ok && text.contains("3 nodes see it, all nodes answer"),
                "{text}"
            );
            Ok(())
        })?;
        block(&lab.hosts[2])?;
        let common = format!("all 2 pairs with {} ", lab.hosts[2].v4());
        timed("what they have in common", SCRAPED, || {
            let (ok, text) = views()?;
            let told = text.contains(&common) && text.contains("UDP 8472 blocked");
            ensure!(!ok && told && text.contains("both sides say so"), "{text}");
            Ok(())
        })?;
        Ok(())
    })
}

/// What `tweedd status -o json` prints.
fn view(agent: &Agent<'_>) -> Result<String> {
    Ok(agent.status()?.to_string())
}
