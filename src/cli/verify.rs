//! `millrace verify`: whether two deployments have the same documents.

use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Args;

use super::{BAD_CONFIGURATION, complain};
use crate::{
    config::{self, Mongodb, Settings},
    verify::{self, Error, FieldOrder, Named, Options, Plan, Progress},
};

/// How often the progress bar is drawn.
const REDRAW: Duration = Duration::from_millis(200);
/// What is drawn of it, where the terminal does not say how wide it is.
const WIDTH: usize = 100;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The configuration file; not looked at with --from and --to.
    #[arg(long, default_value = "config.toml", conflicts_with_all = ["from", "to"])]
    config: PathBuf,
    /// The source whose documents the sink writes; needed where the configuration has several.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["from", "to"])]
    source: Option<String>,
    /// The deployment to compare, instead of a source's: a connection string, best as '${env:NAME}'.
    #[arg(long, value_name = "URI", requires = "to")]
    from: Option<String>,
    /// The deployment to compare it with, instead of a sink's.
    #[arg(long, value_name = "URI", requires = "from")]
    to: Option<String>,
    /// Parts that are read at once.
    #[arg(long, value_name = "NUMBER", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// A document that differs is reported when it has stayed so, with neither side changing, for this long.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = super::duration)]
    settle: Duration,
    /// Differences after which a namespace is left.
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    max_differences: u32,
    /// Take documents for equal that have the same fields in another order.
    #[arg(long)]
    ignore_field_order: bool,
    /// Print one JSON document instead of lines for people.
    #[arg(long)]
    json: bool,
    /// The sink; or with --from and --to the namespaces: db.coll, a pattern, or either with =TARGET, in which {db} and
    /// {coll} stand for the source's names.
    #[arg(value_name = "SINK | NAMESPACE[=TARGET]")]
    what: Vec<String>,
}

#[expect(clippy::print_stdout, reason = "printing is what this command is for")]
pub(super) fn main(arguments: &Arguments) -> ExitCode {
    let asked = match Asked::of(arguments) {
        Ok(asked) => asked,
        Err(message) => {
            complain(message);
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    match asked.compare(arguments) {
        Ok(report) => {
            print!("{}", if arguments.json { report.json() } else { report.text() });
            if report.is_equal() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            if arguments.json {
                print!("{}", verify::json_error(&error.to_string()));
            }
            complain(format!("not compared: {error}"));
            match error {
                Error::Refused(_) => ExitCode::from(BAD_CONFIGURATION),
                Error::Failed(_) => ExitCode::FAILURE,
            }
        }
    }
}

/// What is to be compared with what.
struct Asked {
    from: Mongodb,
    to: Mongodb,
    plan: Plan,
}

impl Asked {
    fn of(arguments: &Arguments) -> Result<Self, String> {
        if let (Some(from), Some(to)) = (&arguments.from, &arguments.to) {
            return Self::named(from, to, &arguments.what);
        }
        let settings = config::load(&arguments.config, config::environment());
        let settings = settings.map_err(|problems| problems.to_string())?;
        let sink = match arguments.what.as_slice() {
            [] => None,
            [sink] => Some(sink.as_str()),
            _ => return Err("name one sink; namespaces need --from and --to".to_owned()),
        };
        Self::pipeline(settings, arguments.source.as_deref(), sink)
    }

    fn named(from: &str, to: &str, namespaces: &[String]) -> Result<Self, String> {
        let uri = |option: &str, text: &str| {
            config::parse_uri(text, config::environment()).map_err(|invalid| format!("{option} {invalid}"))
        };
        let (from, to) = (uri("--from", from)?, uri("--to", to)?);
        let named = namespaces
            .iter()
            .map(|text| Named::parse(text).map_err(|invalid| format!("{text:?} {invalid}")))
            .collect::<Result<Vec<_>, _>>()?;
        if named.is_empty() {
            return Err(
                "name what to compare: NAMESPACE[=TARGET]…, like shop.orders or 'shop.*=copy.{coll}'".into(),
            );
        }
        Ok(Self { from, to, plan: Plan::Named(named) })
    }

    fn pipeline(settings: Settings, source: Option<&str>, sink: Option<&str>) -> Result<Self, String> {
        let source = one("source", settings.sources, |source| &source.name, source)?;
        let sink = one("sink", settings.sinks, |sink| &sink.name, sink)?;
        let (from, to) = (source.mongodb.clone(), sink.mongodb.clone());
        Ok(Self { from, to, plan: Plan::Pipeline(Box::new(source), Box::new(sink)) })
    }

    fn compare(&self, arguments: &Arguments) -> Result<verify::Report, Error> {
        let order = if arguments.ignore_field_order { FieldOrder::Ignored } else { FieldOrder::Counts };
        let options = Options {
            threads: usize::from(arguments.threads),
            settle: arguments.settle,
            max_differences: usize::try_from(arguments.max_differences).unwrap_or(usize::MAX),
            order,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime =
            runtime.map_err(|error| Error::Refused(format!("cannot start the runtime: {error}")))?;
        let progress = Arc::<Progress>::default();
        let outcome = runtime.block_on(async {
            let mut comparing =
                std::pin::pin!(verify::verify(&self.from, &self.to, &self.plan, options, &progress));
            let mut bar = Bar::new();
            loop {
                tokio::select! {
                    outcome = &mut comparing => {
                        bar.clear();
                        break outcome;
                    }
                    () = tokio::time::sleep(REDRAW) => bar.draw(&progress),
                }
            }
        });
        runtime.shutdown_timeout(Duration::from_millis(500));
        outcome
    }
}

/// The half of this name, or the only one.
fn one<T>(
    kind: &str,
    halves: Vec<T>,
    name_of: impl Fn(&T) -> &String,
    wanted: Option<&str>,
) -> Result<T, String> {
    let names: Vec<_> = halves.iter().map(|half| name_of(half).clone()).collect();
    let names = names.join(", ");
    let mut halves = halves.into_iter();
    match wanted {
        Some(wanted) => halves
            .find(|half| name_of(half) == wanted)
            .ok_or_else(|| format!("the configuration has no {kind} {wanted}; it has: {names}")),
        None => match (halves.next(), halves.next()) {
            (Some(only), None) => Ok(only),
            (None, _) => {
                Err(format!("the configuration has no {kind}; use --from URI --to URI NAMESPACE[=TARGET]…"))
            }
            _ => Err(format!("the configuration has several {kind}s, name one of: {names}")),
        },
    }
}

/// A line on a terminal that is drawn over itself; nothing elsewhere.
struct Bar {
    is_shown: bool,
    is_drawn: bool,
    begun: Instant,
}

impl Bar {
    fn new() -> Self {
        Self { is_shown: io::stderr().is_terminal(), is_drawn: false, begun: Instant::now() }
    }

    fn draw(&mut self, progress: &Progress) {
        if self.is_shown {
            let width = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok()).unwrap_or(WIDTH);
            self.write(&format!("\r\x1b[K{}", progress.line(self.begun.elapsed(), width.saturating_sub(1))));
            self.is_drawn = true;
        }
    }

    fn clear(&mut self) {
        if self.is_drawn {
            self.write("\r\x1b[K");
        }
    }

    fn write(&mut self, text: &str) {
        let mut out = io::stderr();
        // A terminal that has gone takes the bar with it, and nothing else.
        if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
            self.is_shown = false;
        }
    }
}
