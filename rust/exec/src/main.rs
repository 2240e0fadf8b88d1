//! Command line of the executor.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is the command line")]

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use batchwright_exec::{VERSION, host, inspect, run};
use lexopt::prelude::*;

const HELP: &str = "\
Runs the jobs of one batchwright collection on this machine.

usage: batchwright-exec run FILE [--task N] [--log FILE] [--beat SECONDS]
       batchwright-exec host ...
       batchwright-exec inspect FILE
       batchwright-exec --version | --help

run      runs the jobs of a collection (jobs/HH/CHUNK.bwc) and reports below runs/ and logs/
         --task N        the array task; else from the scheduler's environment
         --log FILE      what the executor itself says goes there instead of stderr
         --beat SECONDS  between signs of life (30)
host     the queue of a host without a scheduler
inspect  prints a registry file as JSON lines, without unpickling anything

exit codes of run
  0   every job ended, or was given back; what became of each is in the run file
  64  wrong arguments
  65  the collection cannot be read
  73  the run could not be claimed: the folder cannot be written
  74  results were lost: the run file could not be written
";

const USAGE: u8 = 64;

fn main() -> ExitCode {
    match dispatch() {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Err(error) => {
            eprintln!("batchwright-exec: {error}; see `batchwright-exec --help`");
            ExitCode::from(USAGE)
        }
    }
}

fn dispatch() -> Result<i32, lexopt::Error> {
    let mut parser = lexopt::Parser::from_env();
    match parser.next()? {
        Some(Long("version")) => println!("batchwright-exec {VERSION}"),
        Some(Short('h') | Long("help")) => print!("{HELP}"),
        Some(Value(command)) => match command.to_str() {
            Some("run") => return Ok(run::command(&run_options(&mut parser)?)),
            Some("host") => {
                let arguments: Vec<OsString> = parser.raw_args()?.collect();
                return Ok(host::command(&arguments));
            }
            Some("inspect") => return inspect_file(&mut parser),
            _ => return Err(format!("unknown command `{}`", command.display()).into()),
        },
        Some(argument) => return Err(argument.unexpected()),
        None => return Err("nothing to do".into()),
    }
    Ok(0)
}

fn run_options(parser: &mut lexopt::Parser) -> Result<run::Options, lexopt::Error> {
    let mut file = None;
    let mut options = run::Options::new(PathBuf::new());
    while let Some(argument) = parser.next()? {
        match argument {
            Value(path) if file.is_none() => file = Some(PathBuf::from(path)),
            Long("task") => options.task = Some(parser.value()?.parse()?),
            Long("log") => options.log = Some(parser.value()?.into()),
            Long("beat") => options.beat = parser.value()?.parse()?,
            other => return Err(other.unexpected()),
        }
    }
    options.file = file.ok_or("`run` needs the path of a collection")?;
    Ok(options)
}

fn inspect_file(parser: &mut lexopt::Parser) -> Result<i32, lexopt::Error> {
    let path = PathBuf::from(parser.value()?);
    if let Some(argument) = parser.next()? {
        return Err(argument.unexpected());
    }
    let mut out = std::io::stdout().lock();
    Ok(match inspect::inspect(&path, &mut out) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("batchwright-exec: {error}");
            65
        }
    })
}
