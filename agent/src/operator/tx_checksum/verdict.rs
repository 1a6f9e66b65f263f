//! From rates to advice. Hosts with the fault are faster by far with `off`; those without lose by it, and a busy machine
//! doubles no rate three times in turns.

use std::fmt;

use serde::Serialize;

/// Bits in a second of one pair of transfers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Turn {
    /// With checksums left to the device below.
    pub on: u64,
    /// With checksums that the kernel makes.
    pub off: u64,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Off is not faster by far in each turn.
    Leave,
    /// It is.
    Off,
    /// Nothing arrived at all.
    Nothing,
}

/// All turns, the rates in their middle, and what follows.
#[derive(Debug, Serialize)]
pub struct Measured {
    /// As they came.
    pub turns: Vec<Turn>,
    /// The median with `on`, bits in a second.
    pub on: u64,
    /// The median with `off`.
    pub off: u64,
    /// What to do.
    pub verdict: Verdict,
}

impl Measured {
    /// Judges turns.
    pub fn of(turns: Vec<Turn>) -> Self {
        let verdict = if turns.iter().all(|turn| turn.on == 0 && turn.off == 0) {
            Verdict::Nothing
        } else if turns.iter().all(Turn::is_for_off) {
            Verdict::Off
        } else {
            Verdict::Leave
        };
        Self {
            on: median(turns.iter().map(|turn| turn.on)),
            off: median(turns.iter().map(|turn| turn.off)),
            turns,
            verdict,
        }
    }
}

impl Turn {
    fn is_for_off(&self) -> bool {
        self.off > 0 && self.off >= self.on.saturating_mul(2)
    }
}

fn median(rates: impl Iterator<Item = u64>) -> u64 {
    let mut rates: Vec<u64> = rates.collect();
    rates.sort_unstable();
    rates.get(rates.len() / 2).copied().unwrap_or_default()
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (choice, rate) in [("on", self.on), ("off", self.off)] {
            let each = self.turns.iter().map(|turn| match choice {
                "on" => mega(turn.on),
                _ => mega(turn.off),
            });
            let each: Vec<String> = each.collect();
            let middle = mega(rate);
            writeln!(f, "{choice:<4} {middle} Mbit/s ({})", each.join(", "))?;
        }
        f.write_str(match self.verdict {
            Verdict::Leave => "leave it: off is not twice as fast in each turn",
            Verdict::Off => {
                "set Backend.TxChecksum to \"off\": it is at least twice as fast in each turn"
            }
            Verdict::Nothing => "nothing arrived",
        })
    }
}

fn mega(rate: u64) -> String {
    (rate / 1_000_000).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEGA: u64 = 1_000_000;

    fn verdict(turns: &[(u64, u64)]) -> Verdict {
        let turns = turns.iter().map(|(on, off)| Turn {
            on: on * MEGA,
            off: off * MEGA,
        });
        Measured::of(turns.collect()).verdict
    }

    #[test]
    fn off_is_advised_only_where_it_is_twice_as_fast_in_each_turn() {
        // As reported of hosts with the fault: 50 to 300 against more than 9,000; and where transfers hang.
        assert_eq!(
            verdict(&[(50, 9100), (300, 9300), (120, 8000)]),
            Verdict::Off
        );
        assert_eq!(verdict(&[(0, 900), (0, 950), (0, 20)]), Verdict::Off);
        // As measured on hosts without it, and on a busy machine.
        assert_eq!(
            verdict(&[(11300, 3000), (11000, 3100), (9000, 3000)]),
            Verdict::Leave
        );
        assert_eq!(
            verdict(&[(3700, 2600), (900, 2500), (800, 2400)]),
            Verdict::Leave
        );
        assert_eq!(
            verdict(&[(1000, 1999), (500, 2500), (500, 2500)]),
            Verdict::Leave
        );
        assert_eq!(verdict(&[(0, 0), (0, 900), (0, 900)]), Verdict::Leave);
        assert_eq!(verdict(&[(0, 0), (0, 0), (0, 0)]), Verdict::Nothing);
    }

    #[test]
    fn a_reader_sees_the_middle_of_each_all_turns_and_what_to_do() {
        let turn = |on, off| Turn {
            on: on * MEGA,
            off: off * MEGA,
        };
        let measured = Measured::of(vec![turn(50, 9100), turn(300, 9300), turn(120, 8000)]);
        assert_eq!(
            measured.to_string(),
            "on   120 Mbit/s (50, 300, 120)\noff  9100 Mbit/s (9100, 9300, 8000)\nset Backend.TxChecksum to \"off\": it is at least twice as fast in each turn"
        );
        let json = serde_json::to_value(&measured).unwrap();
        assert_eq!(json["verdict"], "off");
        assert_eq!(json["turns"][1]["on"], 300 * MEGA);
    }
}
