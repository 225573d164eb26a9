//! The shedder before a workload with a number of workers, in virtual time.

use std::{cmp::Reverse, collections::BinaryHeap};

use rand::{SeedableRng, rngs::StdRng};

use super::*;

const WORK: Duration = Duration::from_millis(10);
/// Calls per second that ten workers can answer.
const CAPACITY: f64 = 1000.0;
/// What comes later is of no use to anybody.
const USEFUL: Duration = Duration::from_millis(80);

/// A workload that works on as many calls at once as it has workers and lets the others wait in line.
struct Workload {
    shedder: Shedder,
    rng: StdRng,
    start: Instant,
    now: Instant,
    /// When each worker is free.
    workers: BinaryHeap<Reverse<Instant>>,
    /// When a call is answered, when it was admitted, what it was.
    under_way: BinaryHeap<Reverse<(Instant, Instant, Criticality)>>,
    work: Duration,
    /// Whether the time calls take is exponentially distributed, or always the same.
    is_uneven: bool,
}

/// What came of some seconds.
#[derive(Default)]
struct Outcome {
    offered: [u32; 4],
    answered: [u32; 4],
    latencies: Vec<Duration>,
}

impl Outcome {
    fn goodput(&self) -> u32 {
        self.answered.iter().sum()
    }

    /// How many were answered while it was of use.
    fn useful(&self) -> usize {
        let useful = |latency: &&Duration| **latency <= USEFUL;
        self.latencies.iter().filter(useful).count()
    }

    fn passed(&self) -> f64 {
        f64::from(self.goodput()) / f64::from(self.offered.iter().sum::<u32>())
    }

    fn p99(&mut self) -> Duration {
        self.latencies.sort_unstable();
        self.latencies[self.latencies.len() * 99 / 100]
    }

    fn share(&self, grade: Criticality) -> f64 {
        f64::from(self.answered[grade as usize]) / f64::from(self.offered[grade as usize])
    }
}

impl Workload {
    fn new(settings: AdaptiveConcurrency) -> Self {
        Self::with_workers(10, settings)
    }

    fn with_workers(workers: usize, settings: AdaptiveConcurrency) -> Self {
        let now = Instant::now();
        Self {
            shedder: Shedder::new(settings, now),
            rng: StdRng::seed_from_u64(11),
            start: now,
            now,
            workers: (0..workers).map(|_| Reverse(now)).collect(),
            under_way: BinaryHeap::new(),
            work: WORK,
            is_uneven: false,
        }
    }

    /// Offers calls at random instants, so many per second of each grade, and nothing waits for them.
    fn offer(&mut self, seconds: u64, per_second: [f64; 4]) -> Outcome {
        let mut outcome = Outcome::default();
        let end = self.now + Duration::from_secs(seconds);
        let total: f64 = per_second.iter().sum();
        loop {
            let gap = -(1.0 - self.rng.random::<f64>()).ln() / total;
            self.now += Duration::from_secs_f64(gap);
            self.answer(&mut outcome);
            if self.now >= end {
                self.now = end;
                return outcome;
            }
            let mut drawn = self.rng.random::<f64>() * total;
            let grade = Criticality::ALL.into_iter().find(|grade| {
                drawn -= per_second[*grade as usize];
                drawn < 0.0
            });
            self.arrive(grade.unwrap_or(Criticality::CriticalPlus), &mut outcome);
        }
    }

    fn arrive(&mut self, grade: Criticality, outcome: &mut Outcome) {
        outcome.offered[grade as usize] += 1;
        let in_flight = self.under_way.len() as u32;
        if self
            .shedder
            .admit(grade, in_flight, self.now, &mut self.rng)
            .is_err()
        {
            return;
        }
        let Reverse(free) = self.workers.pop().expect("there is one");
        let factor = match self.is_uneven {
            true => -(1.0 - self.rng.random::<f64>()).ln(),
            false => 1.0,
        };
        let done = free.max(self.now) + self.work.mul_f64(factor);
        self.workers.push(Reverse(done));
        self.under_way.push(Reverse((done, self.now, grade)));
    }

    fn answer(&mut self, outcome: &mut Outcome) {
        while let Some(&Reverse((done, admitted, grade))) = self.under_way.peek()
            && done <= self.now
        {
            self.under_way.pop();
            let method = self.shedder.method("/a.B/C");
            self.shedder.answered(method, admitted, done);
            outcome.answered[grade as usize] += 1;
            outcome.latencies.push(done - admitted);
        }
    }

    fn critical(&mut self, seconds: u64, per_second: f64) -> Outcome {
        self.offer(seconds, [0.0, 0.0, per_second, 0.0])
    }
}

#[test]
fn at_five_times_the_capacity_goodput_and_latency_hold_and_recover() {
    let mut workload = Workload::new(AdaptiveConcurrency::default());
    let calm = workload.critical(20, 0.8 * CAPACITY);
    let passed = calm.passed();
    assert!(passed > 0.99, "{passed} pass while there is room");
    let peak = workload.critical(20, CAPACITY).goodput();

    let mut overload = workload.critical(30, 5.0 * CAPACITY);
    let goodput = f64::from(overload.goodput()) / 30.0;
    assert!(
        goodput > 0.9 * CAPACITY,
        "{goodput} calls/s at five times the capacity"
    );
    assert!(
        goodput > 0.9 * f64::from(peak) / 20.0,
        "{goodput} of {peak}"
    );
    let p99 = overload.p99();
    assert!(p99 < WORK * 5, "{p99:?}");

    workload.critical(2, 0.8 * CAPACITY);
    let after = workload.critical(8, 0.8 * CAPACITY);
    let passed = after.passed();
    assert!(passed > 0.99, "{passed} pass within ten seconds");
}

#[test]
fn a_start_in_the_middle_of_an_overload_finds_the_pace_whatever_the_workers() {
    for (workers, is_uneven) in [(1, false), (1, true), (2, false), (16, false), (16, true)] {
        let mut workload = Workload::with_workers(workers, AdaptiveConcurrency::default());
        workload.is_uneven = is_uneven;
        let capacity = workers as f64 / WORK.as_secs_f64();
        workload.critical(5, 5.0 * capacity);
        let useful = workload.critical(10, 5.0 * capacity).useful();
        let share = useful as f64 / 10.0 / capacity;
        assert!(share > 0.9, "{share} of what {workers} workers can");

        workload.critical(10, 0.5 * capacity);
        let passed = workload.critical(20, 0.5 * capacity).passed();
        // Bursts of long calls queue before one worker even at half of what it can.
        let expected = if is_uneven { 0.95 } else { 0.99 };
        assert!(passed > expected, "{passed} pass after ten seconds");
    }
}

#[test]
fn a_workload_that_becomes_slower_for_good_under_overload_is_learned_and_faster_too() {
    for workers in [1, 2, 16] {
        let mut workload = Workload::with_workers(workers, AdaptiveConcurrency::default());
        let capacity = workers as f64 / WORK.as_secs_f64();
        // Long enough that pauses between probes are.
        workload.critical(60, 5.0 * capacity);
        for (slower, useful) in [(3, 3 * USEFUL), (1, USEFUL)] {
            workload.work = slower * WORK;
            workload.critical(10, 5.0 * capacity);
            let mut overload = workload.critical(10, 5.0 * capacity);
            let goodput = f64::from(overload.goodput()) / 10.0;
            let share = goodput * f64::from(slower) / capacity;
            assert!(share > 0.9, "{share} of what {workers} workers can now");
            assert!(overload.p99() < useful, "{:?}", overload.p99());
        }
    }
}

#[test]
fn the_least_critical_is_shed_first_and_the_most_critical_not_at_all() {
    let mut workload = Workload::new(AdaptiveConcurrency::default());
    workload.critical(5, 0.5 * CAPACITY);
    let part = 0.4 * CAPACITY;
    let outcome = workload.offer(30, [5.0 * part, part, part, part]);
    let shares = Criticality::ALL.map(|grade| outcome.share(grade));
    assert!(shares.is_sorted(), "{shares:?}");
    assert!(shares[3] > 0.995, "{shares:?}");
    assert!(shares[2] > 0.95, "{shares:?}");
    assert!(shares[0] < 0.1, "{shares:?}");
    assert!(f64::from(outcome.goodput()) / 30.0 > 0.9 * CAPACITY);
}

#[test]
fn few_workers_spare_the_most_critical_too() {
    for workers in [1, 2, 3] {
        let mut workload = Workload::with_workers(workers, AdaptiveConcurrency::default());
        let capacity = workers as f64 / WORK.as_secs_f64();
        workload.critical(5, 0.5 * capacity);
        let part = 0.4 * capacity;
        let mut outcome = workload.offer(60, [10.0 * part, part, part, part]);
        let shares = Criticality::ALL.map(|grade| outcome.share(grade));
        assert!(shares[3] > 0.97, "{workers} workers: {shares:?}");
        let goodput = f64::from(outcome.goodput()) / 60.0 / capacity;
        assert!(goodput > 0.9, "{workers} workers: {goodput}");
        assert!(outcome.p99() < 10 * WORK, "{:?}", outcome.p99());
    }
}

#[test]
fn the_most_critical_alone_cannot_drown_the_workload() {
    let mut workload = Workload::new(AdaptiveConcurrency::default());
    let mut outcome = workload.offer(30, [0.0, 0.0, 0.0, 5.0 * CAPACITY]);
    assert!(f64::from(outcome.goodput()) / 30.0 > 0.9 * CAPACITY);
    assert!(outcome.p99() < WORK * 6, "{:?}", outcome.p99());
}

#[test]
fn a_workload_that_becomes_slower_is_not_strangled() {
    let mut workload = Workload::new(AdaptiveConcurrency::default());
    workload.critical(20, 0.5 * CAPACITY);
    workload.work = WORK * 4;
    workload.critical(20, 0.2 * CAPACITY);
    let after = workload.critical(20, 0.2 * CAPACITY);
    let passed = after.passed();
    assert!(passed > 0.95, "{passed} at 80 % of what it can now");
}

#[test]
fn the_bounds_are_kept() {
    let settings = AdaptiveConcurrency {
        min_concurrency: 3,
        max_concurrency: 6,
    };
    let mut workload = Workload::new(settings);
    for per_second in [100.0, 8000.0, 50.0] {
        workload.critical(10, per_second);
        assert!((3..=6).contains(&workload.shedder.limit()));
    }
    assert!(workload.now > workload.start);
}

#[test]
fn few_slow_calls_prove_nothing() {
    let mut workload = Workload::new(AdaptiveConcurrency::default());
    let before = workload.shedder.limit();
    for n in 0..200u64 {
        let started = workload.now;
        workload
            .shedder
            .admit(Criticality::Critical, 0, started, &mut workload.rng)
            .expect("room");
        workload.now += Duration::from_millis(10 + 40 * (n % 7));
        let method = workload.shedder.method("/a.B/Poll");
        workload.shedder.answered(method, started, workload.now);
    }
    assert_eq!(workload.shedder.limit(), before);
}

#[test]
fn advice_depends_on_how_much_a_call_matters() {
    let mut workload = Workload::new(AdaptiveConcurrency::default());
    let (now, rng) = (workload.now, &mut workload.rng);
    let refused = workload
        .shedder
        .admit(Criticality::Sheddable, 999, now, rng);
    assert_eq!(refused, Err(RetryAdvice::Never));
    let refused = workload.shedder.admit(Criticality::Critical, 999, now, rng);
    assert!(matches!(refused, Err(RetryAdvice::After(wait)) if wait > Duration::from_millis(10)));
}
