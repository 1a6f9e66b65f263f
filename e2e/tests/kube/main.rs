//! Scenarios on a real Kubernetes. Clusters are dear, so the scenarios of one share it and run one after another; this
//! program has its own order of them instead of the test harness's.

mod byhand;
mod control;
mod harness;

fn main() -> std::process::ExitCode {
    let mut report = harness::Report::from_args();
    byhand::play(&mut report);
    control::play(&mut report);
    report.finish()
}
