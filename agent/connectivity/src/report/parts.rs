//! What a report consists of.

use serde::Serialize;
use tweed_model::Family;

use crate::judge::Fault;
use crate::plan::Side;

/// What came of a test.
#[derive(Clone, Debug, Serialize)]
pub struct PathReport {
    /// Whether everything works that was to be tested.
    pub ok: bool,
    pub nodes: Vec<String>,
    /// How many other nodes each has probed, where that isn't all of them.
    pub sampled: Option<usize>,
    /// Every way between two responders.
    pub ways: Vec<Cell>,
    /// Every service address and resolver, as each responder found it.
    pub locals: Vec<LocalCell>,
    /// What is broken; the important first.
    pub findings: Vec<Finding>,
}

/// One way between two responders in one family.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    /// The node that probed, and where there.
    pub from: (String, Side),
    /// The node that was probed, and where there.
    pub to: (String, Side),
    /// The address family.
    pub family: Family,
    /// How long a connection took to come about, in microseconds.
    pub micros: Option<u64>,
    /// What is wrong.
    #[serde(flatten)]
    pub fault: Option<Fault>,
    /// Whether another way's fault is why: then there is no finding of its own.
    pub explained: bool,
}

/// One service address or resolver, as one responder found it.
#[derive(Clone, Debug, Serialize)]
pub struct LocalCell {
    /// The node that asked, and where there.
    pub from: (String, Side),
    /// The service or resolver that was asked.
    pub to: String,
    /// What is wrong.
    pub fault: Option<String>,
}

/// Something broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// From where to where.
    pub place: String,
    /// What is wrong.
    pub what: String,
    /// What to look at.
    pub hint: String,
}
