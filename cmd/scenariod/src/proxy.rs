//! The embedded Toxiproxy alone: `scenariod proxy`, or this program under the name `toxiproxy-server`. Flags, config file,
//! environment and log are those of the stock server, so that it can take that one's place.

use std::io::Write;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use prometheus::Registry;
use telemetry::logging::LogFormat;
use telemetry::output;
use tokio::io::AsyncReadExt;
use toxiproxy::server::{self, MetricsConfig, Server, ServerConfig};
use tracing::level_filters::LevelFilter;

use crate::failure::{Failure, infrastructure, usage};
use crate::goflags::{self, Bad, Kind, Value};

/// Name of the stock program.
const STOCK: &str = "toxiproxy-server";
/// Largest config file.
const CONFIG_MAX: u64 = 16 * 1024 * 1024;

const FLAGS: &[(&str, Kind, &str)] = &[
    ("config", Kind::Text, "JSON file of proxies to make at the start, as for POST /populate"),
    ("host", Kind::Text, "Host that the API listens on (default \"localhost\")"),
    ("port", Kind::Text, "Port that the API listens on; 0: any free one, logged (default \"8474\")"),
    ("proxy-metrics", Kind::Switch, "Serve metrics of the proxies on /metrics"),
    ("runtime-metrics", Kind::Switch, "Serve metrics of the process on /metrics"),
    (
        "seed",
        Kind::Number,
        "Seed of the toxics' dice: the same seed, the same dice (default: random, logged)",
    ),
    ("version", Kind::Switch, "Print the version of Toxiproxy whose API this is"),
];

/// What was typed.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    host: String,
    port: String,
    config: Option<PathBuf>,
    seed: Option<i64>,
    runtime_metrics: bool,
    proxy_metrics: bool,
    version: bool,
    /// Ignored, as the stock server does.
    rest: Vec<String>,
}

impl Options {
    fn parse(args: &[String]) -> Result<Self, Bad> {
        let known = |name: &str| FLAGS.iter().find(|(flag, _, _)| *flag == name).map(|(_, kind, _)| *kind);
        let flags = goflags::parse(args, known)?;
        let mut options = Self {
            host: "localhost".to_owned(),
            port: "8474".to_owned(),
            config: None,
            seed: None,
            runtime_metrics: false,
            proxy_metrics: false,
            version: false,
            rest: flags.rest,
        };
        for (name, value) in flags.given {
            match (name.as_str(), value) {
                ("host", Value::Text(host)) => options.host = host,
                ("port", Value::Text(port)) => options.port = port,
                ("config", Value::Text(file)) => {
                    options.config = Some(file).filter(|file| !file.is_empty()).map(PathBuf::from);
                }
                ("seed", Value::Number(seed)) => options.seed = Some(seed),
                ("runtime-metrics", Value::Switch(on)) => options.runtime_metrics = on,
                ("proxy-metrics", Value::Switch(on)) => options.proxy_metrics = on,
                ("version", Value::Switch(on)) => options.version = on,
                _ => {}
            }
        }
        Ok(options)
    }

    /// Where the API listens; the colons of an IPv6 host need brackets.
    fn listen(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    fn metrics(&self) -> Result<MetricsConfig, prometheus::Error> {
        let program = if self.runtime_metrics {
            let registry = Registry::new();
            telemetry::metrics::process(&registry)?;
            telemetry::metrics::build_info(&registry, "toxiproxy", env!("CARGO_PKG_VERSION"))?;
            Some(registry)
        } else {
            None
        };
        Ok(MetricsConfig { proxies: self.proxy_metrics, program })
    }
}

/// Serves until SIGINT, SIGTERM, SIGHUP or SIGQUIT.
pub fn main(args: &[String]) -> ExitCode {
    let options = match Options::parse(args) {
        Ok(options) => options,
        Err(Bad::Help) => {
            say(&help());
            return ExitCode::SUCCESS;
        }
        Err(bad @ Bad::Usage(_)) => {
            say(&format!("{bad}\n{}", help()));
            return ExitCode::from(2);
        }
    };
    if options.version {
        telemetry::logging::init(LogFormat::Text, &[]);
        output::print(&format!("{STOCK} version {}\n", server::VERSION));
        return output::exit_code(0);
    }
    log(std::env::var("LOG_LEVEL").ok().as_deref());
    descriptors::raise();
    if !options.rest.is_empty() {
        tracing::warn!("ignored, as flags end at the first other word: {}", options.rest.join(" "));
    }
    // For the API; the bytes have threads of their own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(serve(&options)),
        Err(error) => Err(infrastructure(error)),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tracing::error!("{:#}", failure.error());
            ExitCode::from(failure.exit_code())
        }
    }
}

async fn serve(options: &Options) -> Result<(), Failure> {
    let stop = telemetry::shutdown::token().context("signals").map_err(infrastructure)?;
    let listen = options.listen();
    let addr = server::resolve(&listen).await.with_context(|| format!("-host, -port: {listen}"));
    let seed = options.seed.map_or_else(rand::random, i64::cast_unsigned);
    let config = ServerConfig {
        addr: addr.map_err(usage)?,
        seed: Some(seed),
        threads: std::thread::available_parallelism().map_or(1, NonZero::get),
        extensions: memcache_toxics::KINDS,
        metrics: options.metrics().context("metrics").map_err(infrastructure)?,
        ..ServerConfig::default()
    };
    // The port first: without an API a proxy is of no use, and nothing is to be undone.
    let server = Server::bind(config).await.context("the API").map_err(infrastructure)?;
    tracing::info!(version = server::VERSION, seed = seed.cast_signed(), "Starting Toxiproxy");
    if let Some(file) = &options.config {
        populate(&server, file).await;
    }
    tracing::info!(address = %server.addr(), "Starting Toxiproxy HTTP server");
    server.run(stop.cancelled_owned()).await;
    tracing::info!("Toxiproxy has ended");
    Ok(())
}

/// A file that is missing or bad keeps nothing from starting.
async fn populate(server: &Server, file: &Path) {
    let shown = file.display();
    match read(file).await {
        Err(error) => tracing::error!("-config {shown}: {error}; no proxies are made"),
        Ok(json) => match server.populate(&json).await {
            Ok(made) => tracing::info!(proxies = made.len(), "-config {shown}: proxies are made"),
            Err(error) => tracing::error!("-config {shown}: {error}"),
        },
    }
}

async fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut json = Vec::new();
    tokio::fs::File::open(file).await?.take(CONFIG_MAX + 1).read_to_end(&mut json).await?;
    if json.len() as u64 > CONFIG_MAX {
        return Err(std::io::Error::other(format!("larger than {CONFIG_MAX} bytes")));
    }
    Ok(json)
}

/// JSON lines on standard output, of the level that the stock server's names mean.
fn log(wanted: Option<&str>) {
    let level = wanted.map_or(Some(LevelFilter::INFO), level);
    // The error says that logging is on already.
    let _ = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_target(false)
        .with_max_level(level.unwrap_or(LevelFilter::INFO))
        .with_writer(std::io::stdout)
        // A line that cannot be written is lost: told on standard error, which may be closed too, it would be a panic.
        .log_internal_errors(false)
        .try_init();
    if level.is_none() {
        let wanted = wanted.unwrap_or_default();
        tracing::error!(
            "LOG_LEVEL is {wanted:?}, and is ignored; write panic, fatal, error, warn, info, debug or trace"
        );
    }
}

fn level(name: &str) -> Option<LevelFilter> {
    Some(match name.to_ascii_lowercase().as_str() {
        "" => LevelFilter::INFO,
        "panic" | "fatal" | "error" => LevelFilter::ERROR,
        "warn" => LevelFilter::WARN,
        "info" => LevelFilter::INFO,
        "debug" => LevelFilter::DEBUG,
        "trace" => LevelFilter::TRACE,
        _ => return None,
    })
}

/// The flags, in the words of Go.
pub fn help() -> String {
    let mut text = String::from("Usage of scenariod proxy:\n");
    for (name, kind, help) in FLAGS {
        let value = match kind {
            Kind::Text => " string",
            Kind::Number => " int",
            Kind::Switch => "",
        };
        text += &format!("  -{name}{value}\n    \t{help}\n");
    }
    text + "Environment: LOG_LEVEL (panic, fatal, error, warn, info, debug, trace; default info).\n\
        Exit codes: 0 after SIGINT, SIGTERM, SIGHUP or SIGQUIT, 2 usage, 4 the API's port cannot be had.\n"
}

fn say(text: &str) {
    // Nobody reading is no failure.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(words: &[&str]) -> Options {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        Options::parse(&words).unwrap()
    }

    #[test]
    fn the_defaults_are_the_stock_servers() {
        assert_eq!(options(&[]).listen(), "localhost:8474");
        assert_eq!(options(&["-host=::1", "--port", "1"]).listen(), "[::1]:1");
        assert_eq!(options(&["-host="]).listen(), ":8474");
        assert_eq!(options(&["-config="]).config, None);
        assert!(!options(&["-proxy-metrics", "-proxy-metrics=false"]).proxy_metrics);
    }

    #[test]
    fn log_levels_have_the_stock_servers_names() {
        assert_eq!(level("panic"), Some(LevelFilter::ERROR));
        assert_eq!(level("WARN"), Some(LevelFilter::WARN));
        assert_eq!(level("loud"), None);
    }
}
