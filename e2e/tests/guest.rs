//! Tests that need what the host's kernel may lack, and some that must hold on an older one, in a virtual machine with
//! Debian's kernel. They stand in the packages that they are about; `tweed_lab::guest` says which run.

use std::process::ExitCode;

fn main() -> ExitCode {
    let words = std::env::args().skip(1);
    let words: Vec<String> = words.filter(|word| !word.starts_with('-')).collect();
    match tweed_lab::guest::run(&words) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("guest: {error:#}\n\ntest result: FAILED. 0 passed; 1 failed");
            ExitCode::FAILURE
        }
    }
}
