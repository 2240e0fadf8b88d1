//! Command line of the executor.

use std::io::Write as _;
use std::process::ExitCode;

use lexopt::prelude::*;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "batchwright-exec: {error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<(), lexopt::Error> {
    let mut parser = lexopt::Parser::from_env();
    match parser.next()? {
        Some(Long("version")) => {
            writeln!(std::io::stdout(), "batchwright-exec {}", batchwright_exec::VERSION)
                .map_err(|error| lexopt::Error::Custom(Box::new(error)))?;
            Ok(())
        }
        Some(argument) => Err(argument.unexpected()),
        None => Err("nothing to do, try `--version`".into()),
    }
}
