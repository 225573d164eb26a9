//! `bench run`: what it takes, how long it takes, where the report goes.

use std::{
    fs,
    path::{Path, PathBuf},
    process,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};

use crate::{
    load::Bounds,
    matrix::Bench,
    plot,
    process::output,
    report,
    shapes::{Pace, Shape},
};

/// What to run.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Under 3 minutes instead of 20: three short rounds, no minute of its own for stalls.
    #[arg(long)]
    pub quick: bool,
    /// How many rounds. Default: 5, or 3 with --quick.
    #[arg(long)]
    rounds: Option<usize>,
    /// Measure only these besides the direct path and Envoy: weft haproxy nginx nghttpx bare-hyper
    /// byte-copy.
    #[arg(long, num_args = 1..)]
    pub only: Vec<String>,
    /// Measure only loads whose name begins so, such as "50x10". Good for a profiler.
    #[arg(long)]
    pub shape: Option<String>,
    /// The core of client, server and control plane.
    #[arg(long, default_value_t = 0)]
    pub load_core: usize,
    /// The core of the proxies.
    #[arg(long, default_value_t = 1)]
    pub proxy_core: usize,
    /// The binary to measure.
    #[arg(long, default_value = "target/release/weft")]
    pub weft: PathBuf,
    /// Where results.json and plot.svg go.
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
}

/// How long everything takes.
#[derive(Debug)]
pub struct Budget {
    rounds: usize,
    bounds: Bounds,
    /// No round begins that would end later, and none goes on.
    limit: Duration,
    minute: Option<Bounds>,
    shape: Option<String>,
}

impl Budget {
    fn new(args: &Args) -> Self {
        let bounds = |warm_up, millis| Bounds {
            warm_up: Duration::from_millis(warm_up),
            duration: Duration::from_millis(millis),
            calls: 200_000,
        };
        if args.quick {
            Self {
                rounds: args.rounds.unwrap_or(3),
                bounds: bounds(100, 250),
                limit: Duration::from_secs(165),
                minute: None,
                shape: args.shape.clone(),
            }
        } else {
            Self {
                rounds: args.rounds.unwrap_or(5),
                bounds: bounds(200, 1_500),
                limit: Duration::from_secs(960),
                minute: Some(bounds(500, 60_000)),
                shape: args.shape.clone(),
            }
        }
    }

    /// Whether a load is measured at all.
    pub fn has(&self, shape: Shape) -> bool {
        let wanted = self.shape.as_deref();
        wanted.is_none_or(|wanted| shape.name.starts_with(wanted))
    }

    /// At the fixed rate a proxy uses little CPU. Of the largest load few calls fit, and some proxies end all open ones at about the same time.
    pub fn of(&self, shape: Shape) -> Bounds {
        let factor = match shape.pace {
            Pace::Streams(streams) if streams * shape.payload < 5_000_000 => 1,
            Pace::Streams(_) | Pace::Rate(_) => 2,
        };
        Bounds {
            duration: self.bounds.duration * factor,
            ..self.bounds
        }
    }
}

/// Runs it all and reports.
///
/// # Errors
///
/// If nothing can be measured. A peer that is missing or fails is only left out, loudly.
pub fn run(args: &Args) -> anyhow::Result<()> {
    // Before there is a second thread, which would not follow.
    let core = args.load_core.to_string();
    output(
        Path::new("taskset"),
        &["-cp", &core, &process::id().to_string()],
    )
    .context("taskset is needed: install util-linux")?;
    super::on_this_thread(async {
        tokio::select! {
            result = measure(args) => result,
            // What was started ends as it is dropped.
            _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
        }
    })
}

async fn measure(args: &Args) -> anyhow::Result<()> {
    let since = Instant::now();
    let budget = Budget::new(args);
    let folder = tempfile::tempdir()?;
    let mut bench = Bench::start(args, folder.path()).await?;
    eprintln!("bench: {} s to start everything", since.elapsed().as_secs());
    let mut last = Duration::ZERO;
    for round in 0..budget.rounds {
        if since.elapsed() + last > budget.limit {
            eprintln!("bench: no time for round {}", round + 1);
            break;
        }
        let started = Instant::now();
        bench.round(round, &budget, since + budget.limit).await;
        last = started.elapsed();
    }
    bench.weigh();
    if let Some(bounds) = budget.minute {
        bench.minutes(bounds).await;
    }
    let results = bench.finish();
    fs::create_dir_all(&args.out)?;
    let json = args.out.join("results.json");
    fs::write(&json, serde_json::to_string_pretty(&results)? + "\n")?;
    let svg = args.out.join("plot.svg");
    fs::write(&svg, plot::svg(&results))?;
    println!("{}", report::markdown(&results));
    eprintln!(
        "bench: {} s, {} and {}",
        since.elapsed().as_secs(),
        json.display(),
        svg.display()
    );
    ensure!(
        !results.targets.is_empty(),
        "nothing was measured, see above"
    );
    Ok(())
}
