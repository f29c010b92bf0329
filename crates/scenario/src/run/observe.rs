//! Reads the observation stream of the client under test, aligned with the run's clock. A stream that breaks is asked for
//! again, and what is missing is a gap.

use std::time::Duration;

use observation::clock::{Alignment, RunClock, SuspendWatch, suspended};
use observation::continuity::{BadLines, Seen, Ticks};
use observation::ndjson::{Decoder, LineError};
use observation::{Gap, GapReason, Hello, Record, SCHEMA_VERSION};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Records that may wait for the journal.
const QUEUE: usize = 4096;
/// Pause between attempts to connect.
const PAUSE: Duration = Duration::from_millis(250);
/// A tick comes every 100 ms; silence for this long is a broken stream.
const SILENCE: Duration = Duration::from_secs(3);

/// No stream there.
#[derive(Debug, thiserror::Error)]
#[error(
    "no observations at {url}/v1/observations: {why}; start `loadgen`, or name its address with --observe"
)]
pub struct NoStream {
    url: String,
    why: String,
}

/// A record at its moment on the run's clock.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    /// Aligned.
    pub at_us: u64,
    /// What.
    pub record: Record,
}

/// A stream that has been greeted.
#[derive(Debug)]
pub struct Stream {
    /// Who speaks.
    pub hello: Hello,
    /// How well the clocks are aligned, ± µs.
    pub uncertainty_us: u64,
    /// What is said, the hello first.
    pub records: mpsc::Receiver<Observed>,
}

struct Connection {
    response: reqwest::Response,
    decoder: Decoder,
    hello: Hello,
    alignment: Alignment,
}

/// Waits up to `patience` for the stream's hello; then reads until `stop`.
pub async fn connect(
    url: &str,
    clock: RunClock,
    patience: Duration,
    stop: CancellationToken,
) -> Result<Stream, NoStream> {
    let no_stream = |why: String| NoStream { url: url.to_owned(), why };
    let http = reqwest::Client::builder().no_proxy().connect_timeout(SILENCE).build();
    let http = http.map_err(|error| no_stream(error.to_string()))?;
    let address = format!("{}/v1/observations", url.trim_end_matches('/'));
    let deadline = Instant::now() + patience;
    let connection = loop {
        match open(&http, &address, clock).await {
            Ok(connection) => break connection,
            Err(why) if Instant::now() >= deadline => return Err(no_stream(why)),
            Err(_) => sleep(PAUSE).await,
        }
    };
    let (sender, records) = mpsc::channel(QUEUE);
    let (hello, uncertainty_us) = (connection.hello.clone(), connection.alignment.uncertainty_us);
    tokio::spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = read_for_ever(connection, http, address, clock, sender) => {}
        }
    });
    Ok(Stream { hello, uncertainty_us, records })
}

async fn open(http: &reqwest::Client, address: &str, clock: RunClock) -> Result<Connection, String> {
    let sent = clock.now_us();
    let mut response = match timeout(SILENCE, http.get(address).send()).await {
        Err(_) => return Err(format!("no answer within {SILENCE:?}")),
        Ok(Err(error)) => return Err(root(&error)),
        Ok(Ok(response)) => response.error_for_status().map_err(|error| error.to_string())?,
    };
    let mut decoder = Decoder::default();
    loop {
        let chunk = match timeout(SILENCE, response.chunk()).await {
            Ok(Ok(Some(chunk))) => chunk,
            Ok(Ok(None)) | Err(_) => return Err("the stream has no hello".to_owned()),
            Ok(Err(error)) => return Err(root(&error)),
        };
        decoder.push(&chunk);
        if let Some(first) = decoder.next_record::<Record>() {
            let hello = match first.and_then(Record::believed) {
                Ok(Record::Hello(hello)) => hello,
                Ok(_) => return Err("the stream does not begin with a hello; is it a loadgen?".to_owned()),
                Err(error @ LineError::Later { .. }) => return Err(error.to_string()),
                Err(error) => return Err(format!("the stream does not begin with a hello: {error}")),
            };
            if hello.v > SCHEMA_VERSION {
                return Err(LineError::Later { version: hello.v.into() }.to_string());
            }
            let alignment = Alignment::from_exchange(sent, clock.now_us(), hello.at_us);
            return Ok(Connection { response, decoder, hello: *hello, alignment });
        }
    }
}

fn root(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

async fn read_for_ever(
    mut connection: Connection,
    http: reqwest::Client,
    address: String,
    clock: RunClock,
    sender: mpsc::Sender<Observed>,
) {
    let mut ticks = Ticks::default();
    loop {
        let instance = connection.hello.instance.clone();
        let Some(why) = read(connection, clock, &sender, &mut ticks).await else { return };
        let from_us = clock.now_us();
        connection = loop {
            match open(&http, &address, clock).await {
                Ok(connection) => break connection,
                Err(_) => sleep(PAUSE).await,
            }
        };
        let restarted = connection.hello.instance != instance;
        if restarted {
            ticks = Ticks::default();
        } else {
            ticks.resume();
        }
        let to_us = clock.now_us();
        let gap = Gap { from_us, to_us, reason: GapReason::Broken { why, restarted } };
        tracing::warn!(reason = %gap.reason, "observations were lost");
        if sender.send(Observed { at_us: to_us, record: Record::Gap(gap) }).await.is_err() {
            return;
        }
    }
}

/// Reads one connection to its end; gives why it ended, `None` when nobody listens any more.
async fn read(
    mut connection: Connection,
    clock: RunClock,
    sender: &mpsc::Sender<Observed>,
    ticks: &mut Ticks,
) -> Option<String> {
    let instance = connection.hello.instance.clone();
    let hello = Record::Hello(Box::new(connection.hello));
    sender.send(Observed { at_us: clock.now_us(), record: hello }).await.ok()?;
    let mut watch = SuspendWatch::new(suspended());
    let mut bad_lines = BadLines::new(clock.now_us());
    let mut ticked = Instant::now();
    loop {
        while let Some(next) = connection.decoder.next_record::<Record>() {
            let next = next.and_then(Record::believed);
            let now_us = clock.now_us();
            let unread = match &next {
                Ok(_) => bad_lines.good(now_us),
                Err(error) => bad_lines.bad(now_us, error),
            };
            if let Some(gap) = unread {
                tell(gap, sender).await?;
            }
            let Ok(record) = next else { continue };
            match &record {
                Record::Hello(hello) if hello.instance != instance => {
                    return Some("another hello came within the stream".to_owned());
                }
                Record::Tick(tick) => {
                    ticked = Instant::now();
                    match ticks.seen(tick) {
                        Seen::New => {}
                        Seen::Again => continue,
                        Seen::After(gap) => {
                            let ours = |theirs| connection.alignment.to_ours(theirs);
                            let (from_us, to_us) = (ours(gap.from_us), ours(gap.to_us));
                            tell(Gap { from_us, to_us, ..gap }, sender).await?;
                        }
                    }
                }
                _ => {}
            }
            let Some(theirs) = moment(&record) else { continue };
            let at_us = connection.alignment.to_ours(theirs);
            sender.send(Observed { at_us, record }).await.ok()?;
        }
        let chunk = timeout(SILENCE, connection.response.chunk()).await;
        if let Some(slept) = watch.slept(suspended()) {
            // The other clock may have gone on: they are to be compared again.
            return Some(format!("this machine was suspended for {:.1} s", slept.as_secs_f64()));
        }
        match chunk {
            Ok(Ok(Some(chunk))) => connection.decoder.push(&chunk),
            Ok(Ok(None)) => return Some("the stream ended".to_owned()),
            Ok(Err(error)) => return Some(root(&error)),
            Err(_) => return Some(format!("silent for {SILENCE:?}")),
        }
        if ticked.elapsed() > SILENCE {
            return Some(format!("no tick for {SILENCE:?}"));
        }
    }
}

/// Records what is missing; `None` when nobody listens any more.
async fn tell(gap: Gap, sender: &mpsc::Sender<Observed>) -> Option<()> {
    tracing::warn!(reason = %gap.reason, "observations were lost");
    sender.send(Observed { at_us: gap.to_us, record: Record::Gap(gap) }).await.ok()
}

/// When a record of the client's was made, on its own clock; records of other kinds are not the client's to send.
fn moment(record: &Record) -> Option<u64> {
    match record {
        Record::Hello(hello) => Some(hello.at_us),
        Record::Tick(tick) => Some(tick.at_us),
        Record::Event(event) => Some(event.at_us),
        Record::Host(host) => Some(host.at_us),
        Record::LookAside(look_aside) => Some(look_aside.at_us),
        Record::Gap(gap) => Some(gap.to_us),
        _ => None,
    }
}
