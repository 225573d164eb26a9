//! The measurement: starts everything, then goes through all loads and targets round by round, so that
//! whatever else the machine does is spread over all.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use tokio::time::timeout;

use crate::{
    certificates,
    load::{self, Bounds, Seen},
    peers::{Control, Layout, Peer, Place, Running, Target},
    process::{CpuTimes, Process, free_addresses},
    results::{Measured, Minute, Results, Sample, Skipped},
    run::{Args, Budget},
    shapes::{self, Shape},
    statistics::median,
};

/// How often each target is started, to see how long that takes. It stays after the last.
const STARTS: usize = 3;
/// A target that fails this often is not tried again.
const FAILURES: usize = 2;
/// Beyond the time a cell should take.
const CELL_GRACE: Duration = Duration::from_secs(10);

/// Everything that runs. Dropping it ends it.
#[derive(Debug)]
pub struct Bench {
    results: Results,
    /// One for each of `results.targets`.
    running: Vec<Running>,
    failures: Vec<usize>,
    /// Holds the control plane.
    place: Place,
    _echo: Process,
}

impl Bench {
    /// Starts the echo server, the control plane and every target there is.
    ///
    /// # Errors
    ///
    /// If the first of these fails. A target that does not start is left out, loudly.
    pub async fn start(args: &Args, folder: &Path) -> anyhow::Result<Self> {
        let here = std::env::current_dir()?;
        let bench = std::env::current_exe()?;
        let weft = std::path::absolute(&args.weft)?;
        let certificates = folder.join("certificates");
        fs::create_dir(&certificates)?;
        certificates::write(&certificates)?;
        let [app] = free_addresses()?;
        let listen = ["echo".to_owned(), format!("--listen={app}")];
        let echo = Process::start("echo", args.load_core, &bench, &listen, &[], folder)?;
        let mut results = Results {
            mode: if args.quick { "quick" } else { "full" },
            processor: processor(),
            load_before: load_average(),
            weft_binary_bytes: fs::metadata(&weft).map_or(0, |metadata| metadata.len()),
            ..Results::default()
        };
        let mesh = here.join("mesh/mesh.yaml");
        let mut controls = [None, None];
        let layouts = [(Layout::Pair, None), (Layout::Hop, Some(app))];
        for (control, (layout, outside)) in controls.iter_mut().zip(layouts) {
            let folder = folder.join(layout.name());
            match Control::start(weft.clone(), &mesh, outside, args.load_core, &folder).await {
                Ok(started) => *control = Some(started),
                Err(error) => skip(&mut results, Peer::Weft, layout, &error),
            }
        }
        let [control, hop_control] = controls;
        let mut this = Self {
            results,
            running: Vec::new(),
            failures: Vec::new(),
            place: Place {
                app,
                core: args.proxy_core,
                folder: folder.to_owned(),
                certificates,
                tools: here.join("tests/.tools/bench"),
                bench,
                control,
                hop_control,
            },
            _echo: echo,
        };
        for target in targets(&args.only) {
            let (peer, layout) = (target.peer.name(), target.layout.name());
            let mut skipped = this.results.skipped.iter();
            if !skipped.any(|skipped| (skipped.peer, skipped.layout) == (peer, layout)) {
                this.start_target(target).await;
            }
        }
        Ok(this)
    }

    async fn start_target(&mut self, target: Target) {
        let mut measured = Measured::new(target);
        let (mut first_call, mut ready) = (Vec::new(), Vec::new());
        let starts = if target.layout == Layout::Direct {
            1
        } else {
            STARTS
        };
        let mut last: Option<Running> = None;
        for _ in 0..starts {
            last.take().into_iter().for_each(Running::stop);
            match self.place.start(target).await {
                Ok(running) => {
                    first_call.push(running.started_in.as_secs_f64() * 1e3);
                    ready.extend(running.ready_in.map(|time| time.as_secs_f64() * 1e3));
                    last = Some(running);
                }
                Err(error) => {
                    return skip(&mut self.results, target.peer, target.layout, &error);
                }
            }
        }
        if target.layout != Layout::Direct {
            measured.first_call_ms = median(first_call);
            measured.ready_ms = median(ready);
        }
        if !matches!(target.peer, Peer::Direct | Peer::Hyper | Peer::Copy) {
            let version = self.place.version(target.peer).unwrap_or_default();
            self.results.versions.insert(target.peer.name(), version);
        }
        self.results.targets.push(measured);
        self.running.extend(last);
        self.failures.push(0);
    }

    /// Every load on every target once, until the time is up. Each round begins with another target.
    pub async fn round(&mut self, round: usize, budget: &Budget, until: Instant) {
        for (column, shape) in shapes::ALL.into_iter().enumerate() {
            if !budget.has(shape) {
                continue;
            }
            let mut line = format!("round {}, {}, µs of CPU:", round + 1, shape.name);
            let count = self.running.len();
            for turn in 0..count {
                if Instant::now() > until {
                    eprintln!("bench: no time for the rest of round {}", round + 1);
                    return;
                }
                let index = (turn + round) % count;
                let sample = self.sample(index, shape, budget.of(shape)).await;
                if let (Some(sample), Some(running)) = (&sample, self.running.get(index))
                    && !sample.cpu_us.is_empty()
                {
                    let cpu: f64 = sample.cpu_us.iter().sum();
                    let Target { peer, layout } = running.target;
                    line += &format!(" {}/{} {cpu:.2}", peer.name(), layout.name());
                }
                let measured = self.results.targets.get_mut(index);
                if let Some(cell) = measured.and_then(|measured| measured.cells.get_mut(column)) {
                    cell.samples.resize(round, None);
                    cell.samples.push(sample);
                }
            }
            eprintln!("bench: {line}");
        }
        self.results.rounds += 1;
    }

    async fn sample(&mut self, index: usize, shape: Shape, bounds: Bounds) -> Option<Sample> {
        if *self.failures.get(index)? >= FAILURES {
            return None;
        }
        match self.load(index, shape, bounds).await {
            Ok((seen, before, after)) => Some(Sample::new(&seen, &before, &after)),
            Err(error) => {
                let target = self.running.get(index)?.target;
                skip(
                    &mut self.results,
                    target.peer,
                    target.layout,
                    &error.context(shape.name),
                );
                *self.failures.get_mut(index)? += 1;
                None
            }
        }
    }

    async fn load(
        &self,
        index: usize,
        shape: Shape,
        bounds: Bounds,
    ) -> anyhow::Result<(Seen, CpuTimes, CpuTimes)> {
        let running = self.running.get(index).context("no such target")?;
        let processes = &running.processes;
        let reading = || {
            let times = processes.iter().map(Process::cpu);
            times.collect::<anyhow::Result<CpuTimes>>()
        };
        let limit = bounds.warm_up + bounds.duration + CELL_GRACE;
        let (seen, before, after) =
            timeout(limit, load::load(running.address, shape, bounds, reading))
                .await
                .context("it does not end")??;
        let first = seen.first_error.as_deref().unwrap_or_default();
        anyhow::ensure!(seen.calls > 0, "no call ended well in the time: {first}");
        if seen.errors > 0 {
            let Target { peer, layout } = running.target;
            let (peer, layout, shape) = (peer.name(), layout.name(), shape.name);
            let errors = seen.errors;
            eprintln!("bench: {peer}/{layout}, {shape}: {errors} calls FAILED, the first: {first}");
        }
        Ok((seen, before, after))
    }

    /// A minute at the fixed rate, for the direct path, Envoy and ourselves: who stalls?
    pub async fn minutes(&mut self, bounds: Bounds) {
        for index in 0..self.running.len() {
            let Some(target) = self.running.get(index).map(|running| running.target) else {
                continue;
            };
            if !matches!(
                (target.peer, target.layout),
                (Peer::Direct, _) | (Peer::Envoy | Peer::Weft, Layout::Pair)
            ) {
                continue;
            }
            match self.load(index, shapes::FIXED, bounds).await {
                Ok((seen, ..)) => self.results.minutes.push(Minute::new(target, &seen)),
                Err(error) => skip(
                    &mut self.results,
                    target.peer,
                    target.layout,
                    &error.context("a minute"),
                ),
            }
        }
    }

    /// Reads the memory of all proxies.
    pub fn weigh(&mut self) {
        for (running, measured) in self.running.iter().zip(&mut self.results.targets) {
            let processes = running.processes.iter().map(Process::resident_kb);
            measured.resident_kb = processes.sum::<anyhow::Result<u64>>().ok();
        }
    }

    /// Ends everything.
    pub fn finish(mut self) -> Results {
        self.running.drain(..).for_each(Running::stop);
        self.results.conclude();
        self.results
    }
}

/// What is measured unless it is missing, in the order of the report.
fn targets(only: &[String]) -> Vec<Target> {
    let wanted = |peer: Peer| {
        only.is_empty()
            || matches!(peer, Peer::Direct | Peer::Envoy)
            || only.iter().any(|name| name == peer.name())
    };
    let mut targets = vec![Target {
        peer: Peer::Direct,
        layout: Layout::Direct,
    }];
    for layout in [Layout::Hop, Layout::Pair] {
        // Two that copy bytes would not be mutual TLS.
        let stands = |peer: &Peer| match peer {
            Peer::Direct => false,
            Peer::Copy => layout == Layout::Hop,
            _ => true,
        };
        let peers = Peer::ALL.into_iter().filter(stands);
        targets.extend(
            peers
                .filter(|peer| wanted(*peer))
                .map(|peer| Target { peer, layout }),
        );
    }
    targets
}

fn skip(results: &mut Results, peer: Peer, layout: Layout, error: &anyhow::Error) {
    let (peer, layout) = (peer.name(), layout.name());
    let why = format!("{error:#}");
    eprintln!("bench: NOT MEASURED: {peer}/{layout}: {why}");
    results.skipped.push(Skipped { peer, layout, why });
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    let name = line.and_then(|line| Some(line.split_once(':')?.1.trim()));
    name.unwrap_or("unknown").to_owned()
}

fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace()
        .next()
        .unwrap_or("unknown")
        .to_owned()
}
