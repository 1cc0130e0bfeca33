//! The command line: `cargo run -p abi`.

use abi::Result;
use abi::model::Table;
use abi::proof::Witnesses;
use std::process::ExitCode;

fn main() -> ExitCode {
    match prove() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("abi: {error}");
            ExitCode::from(3)
        }
    }
}

fn prove() -> Result<bool> {
    let proof = Witnesses::hear()?.prove(&Table::wsk_sys())?;
    print!("{proof}");
    Ok(proof.unexplained.is_empty())
}
