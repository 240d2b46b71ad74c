//! How fast the built-in models train, against the machine's matrix multiplication; what privacy and
//! the ledger cost. `cargo bench --bench learning`.

#![allow(clippy::unwrap_used)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use colearn_contracts::Parameters;
use colearn_learning::data::{Column, Dataset, Embedded, Schema, Split, Target, Targets};
use colearn_learning::model::{Activation, ModelSpec};
use colearn_learning::network::Workspace;
use colearn_learning::optimizer::Optimizer;
use colearn_learning::private::{DpSgd, Noise, Privacy};
use colearn_learning::{BuiltinLearner, Training};
use colearn_sdk::learner::{self, Learner, Proposed, Result, Score, Scored, Weights};
use colearn_sdk::local;
use colearn_testkit::Figures;
use ndarray::Array2;
use ndarray::linalg::general_mat_mul;

/// The best of several tries: the others were disturbed.
fn best(tries: u32, mut run: impl FnMut()) -> f64 {
    let time = |run: &mut dyn FnMut()| {
        let started = Instant::now();
        run();
        started.elapsed().as_secs_f64()
    };
    (0..tries).map(|_| time(&mut run)).fold(f64::INFINITY, f64::min)
}

/// f32 operations a second of one core, on matrices that fit no cache but the last.
fn peak() -> f64 {
    let n = 768;
    let a = Array2::<f32>::from_elem((n, n), 1.5);
    let mut c = Array2::<f32>::zeros((n, n));
    let seconds = best(7, || general_mat_mul(1.0, &a, &a, 0.0, black_box(&mut c)));
    2.0 * (n as f64).powi(3) / seconds
}

/// Random images of MNIST's size.
fn images(rows: usize) -> Dataset {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as f32 / 255.0
    };
    let features = Array2::from_shape_simple_fn((rows, 784), &mut next);
    let classes = (0..10).map(|class| class.to_string()).collect();
    Dataset {
        name: "noise".to_owned(),
        schema: Schema {
            features: vec![Column::Block { name: "x".into(), width: 784, mean: 0.0, scale: 1.0 }],
            target: Target::Class { name: "y".into(), classes },
        },
        features: features.into_shared(),
        targets: Targets::Classes((0..rows).map(|row| (row % 10) as u32).collect()),
        test_from: rows,
        notes: Vec::new(),
    }
}

fn training(figures: &mut Figures) {
    let peak = peak();
    let told = format!("{:.1} GFLOP/s (f32, 768 cubed)", peak / 1e9);
    figures.told("matrix multiplication, one core", &told);
    let data = images(8192);
    let rows: Vec<usize> = (0..data.rows()).collect();
    let spec = ModelSpec::new(vec![128], Activation::Relu, data.schema.clone());
    let parameters = (784 * 128 + 128 * 10) as f64;
    // Forward, the weights' gradient, and through the upper layer back.
    let operations = 2.0 * (2.0 * parameters + 1280.0);
    let optimizer = Optimizer::Sgd { learning_rate: 0.01, momentum: 0.9 };
    for batch in [32, 256] {
        let mut network = spec.untrained(1);
        let mut memory = optimizer.start(&network);
        let mut workspace = Workspace::default();
        let seconds = best(5, || {
            for rows in rows.chunks(batch) {
                network.gradient(data.view(), &data.targets, rows, &mut workspace);
                optimizer.step(&mut network, &workspace.gradients, &mut memory);
            }
        });
        let speed = rows.len() as f64 / seconds;
        let ratio = speed * operations / peak;
        let figure = format!("MLP 784-128-10, batch {batch}, to matrix multiplication");
        figures.told(&figure, &format!("{speed:.0} examples/s, ratio {ratio:.2}"));
        let privacy = Privacy {
            noise_multiplier: 1.0,
            clip: 1.0,
            delta: 1e-5,
            budget: None,
            noise: Noise::Secret,
        };
        let mut sgd = DpSgd::new(privacy, batch, rows.len()).unwrap();
        let private = best(5, || {
            for _ in 0..rows.len() / batch {
                sgd.gradient(&network, &data, &rows, &mut workspace);
                optimizer.step(&mut network, &workspace.gradients, &mut memory);
            }
        });
        let slowdown = private / seconds;
        let told = format!("{:.0} examples/s, slowdown {slowdown:.2}", rows.len() as f64 / private);
        figures.at_most(&format!("the same with DP-SGD, batch {batch}"), &told, slowdown, 2.0);
    }
}

/// A learner that counts the time it takes.
struct Timed(BuiltinLearner, Duration);

impl Timed {
    fn time<T>(&mut self, run: impl FnOnce(&mut BuiltinLearner) -> T) -> T {
        let started = Instant::now();
        let result = run(&mut self.0);
        self.1 += started.elapsed();
        result
    }
}

impl Learner for Timed {
    fn propose(&mut self) -> Result<Proposed> {
        self.time(Learner::propose)
    }

    fn privacy(&self) -> Option<learner::Privacy> {
        self.0.privacy()
    }

    fn test(&mut self, weights: &Weights) -> Result<Score> {
        self.time(|learner| learner.test(weights))
    }

    fn measure(&mut self, scored: Scored<'_>) -> Result<f64> {
        self.time(|learner| learner.measure(scored))
    }

    fn prefer(&mut self, guarded: Scored<'_>, open: Scored<'_>) -> Result<bool> {
        self.time(|learner| learner.prefer(guarded, open))
    }

    fn accept(&mut self, weights: &Weights) -> Result<()> {
        self.time(|learner| learner.accept(weights))
    }

    fn current(&self) -> Weights {
        self.0.current()
    }
}

fn rounds(
    figures: &mut Figures,
    name: &str,
    data: Dataset,
    learners: usize,
    rounds: u64,
    hidden: &[usize],
    epochs: usize,
) {
    let data = Arc::new(data);
    let spec = ModelSpec::new(hidden.to_vec(), Activation::Relu, data.schema.clone());
    let initial = spec.write(&spec.untrained(1)).unwrap();
    let shares = data.split(Split::Iid, learners, 1).unwrap();
    let training = Training { epochs, ..Training::default() };
    let mut timed: Vec<Timed> = shares
        .into_iter()
        .enumerate()
        .map(|(at, share)| {
            let learner = BuiltinLearner::new(share, training, initial.clone(), at as u64);
            Timed(learner.unwrap(), Duration::ZERO)
        })
        .collect();
    let parameters = Parameters { max_rounds: Some(rounds), ..Parameters::default() };
    let started = Instant::now();
    // One thread, so that the learners' times add up.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    pool.install(|| local::run(&mut timed, parameters, |_, _| {})).unwrap();
    let all = started.elapsed().as_secs_f64();
    let learning: f64 = timed.iter().map(|learner| learner.1.as_secs_f64()).sum();
    let figure = format!("{name}: {learners} learners, {rounds} rounds");
    let besides = 100.0 * (1.0 - learning / all);
    figures.told(&figure, &format!("{all:.2} s, {besides:.1} % of it not training or evaluation"));
}

fn main() {
    let mut figures = Figures::of("learning", env!("CARGO_TARGET_TMPDIR"));
    training(&mut figures);
    println!("local backend, one thread:");
    let digits = Dataset::embedded(Embedded::Digits).unwrap();
    let mut rounds = |name: &str, data, learners, count, hidden: &[usize], epochs| {
        rounds(&mut figures, name, data, learners, count, hidden, epochs);
    };
    rounds("MNIST-sized, MLP 784-128-10", images(20_000), 5, 15, &[128], 5);
    rounds("digits, softmax", digits.clone(), 100, 100, &[], 5);
    rounds("digits, MLP 64-32-10", digits, 5, 15, &[32], 5);
    rounds("MNIST-sized, 1000 learners", images(20_000), 1000, 20, &[128], 1);
    figures.end();
}
