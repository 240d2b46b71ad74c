//! An attack on one's own private training: rows that stand out are trained on or not by the toss of a coin, and guessed
//! from what each step shows. How often the guesses are right is a lower bound of the ε that the training really has.
//!
//! Steinke, Nasr and Jagielski 2023 (arXiv:2305.08846): many canaries, one training. The attacker is the strongest that DP-SGD
//! is to withstand: it knows all rows but which canaries were there, and sees the gradient of each step.

use colearn_dp::guessing::Guesses;
use colearn_dp::{DpError, Segment, epsilon_of};
use ndarray::{Array1, Array2, Axis, concatenate};
use rand::rngs::SysRng;
use rand::{Rng, RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha12Rng;
use rand_distr::{Distribution as _, StandardNormal};

use super::builtin::BuiltinError;
use super::data::{Dataset, Targets};
use super::model::ModelSpec;
use super::network::{Layer, Network, Workspace};
use super::private::{DpSgd, Noise, Privacy};
use super::training::Training;

/// The fewest canaries: fewer prove nothing.
pub const LEAST_CANARIES: usize = 20;
/// The most: each is compared with each.
pub const MOST_CANARIES: usize = 4000;
/// How long a canary's inputs are, in deviations of an input of an ordinary row: its gradient is clipped in any case.
const LENGTH: f32 = 50.0;
/// About what part of the canaries something is guessed. Each is tried, and the confidence divided among them.
const PARTS: [u64; 4] = [1, 2, 4, 10];

/// How an audit is made.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct AuditPlan {
    /// How many canaries.
    pub canaries: usize,
    /// How sure the lower bound is to be, above 0 and below 1.
    pub confidence: f64,
    /// The noise multiplier that is claimed; the training's own unless what is looked for is a lie.
    pub claimed: f64,
    /// Where canaries, their coins and the order of steps come from; `None` for the operating system.
    pub seed: Option<u64>,
}

/// What an audit has found.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Audited {
    /// Rows besides canaries.
    pub rows: usize,
    /// The canaries, and how many of them were trained on.
    pub canaries: usize,
    /// Those that were trained on.
    pub included: usize,
    /// The guesses that prove most.
    pub guesses: Guesses,
    /// The ε that they prove, at the plan's confidence.
    pub lower: f64,
    /// What would have been proven if all guesses about all canaries were right: no audit of so many canaries can find more.
    pub most: f64,
    /// The ε that the accountants allow.
    pub upper: f64,
    /// The δ of both.
    pub delta: f64,
    /// The steps, and each one's sampling rate.
    pub steps: u64,
    /// The probability of each row to be in a batch.
    pub sampling: f64,
}

impl Audited {
    /// Whether more was proven than is allowed: noise, clipping, sampling or accounting is broken.
    pub fn is_refuted(&self) -> bool {
        self.lower > self.upper
    }
}

/// Trains a model of this kind on some rows and canaries, and attacks it. The training needs noise.
///
/// # Errors
/// If the plan or the training says what cannot be, or there is no entropy.
pub fn audit(
    data: &Dataset,
    rows: &[usize],
    spec: &ModelSpec,
    training: &Training,
    plan: &AuditPlan,
) -> Result<Audited, BuiltinError> {
    training.check().map_err(BuiltinError::Training)?;
    let Some(privacy) = training.privacy() else {
        return Err(BuiltinError::Training("there is no noise to audit; give noise"));
    };
    if !(LEAST_CANARIES..=MOST_CANARIES).contains(&plan.canaries) {
        return Err(BuiltinError::Training("canaries must be 20 to 4000"));
    }
    if !(plan.confidence > 0.0 && plan.confidence < 1.0) {
        return Err(BuiltinError::Training("confidence must be above 0 and below 1"));
    }
    let mut random = match plan.seed {
        Some(seed) => ChaCha12Rng::seed_from_u64(seed),
        None => ChaCha12Rng::try_from_rng(&mut SysRng).map_err(|_| DpError::Entropy)?,
    };
    let noise = match plan.seed {
        Some(_) => Noise::Seeded(random.next_u64()),
        None => Noise::Secret,
    };
    let mut network = spec.untrained(random.next_u64());
    let planted = plant(data, rows, &network, plan.canaries, &mut random);
    let included: Vec<bool> = (0..plan.canaries).map(|_| random.random_bool(0.5)).collect();
    let first = rows.len();
    let trained_on: Vec<usize> = (0..first)
        .chain((0..plan.canaries).filter(|at| included[*at]).map(|at| first + at))
        .collect();
    // The sampling rate must not tell how many canaries there are.
    let all = first + plan.canaries;
    let mut sgd = DpSgd::new(Privacy { noise, ..privacy }, training.batch, all)?;
    let steps = (training.epochs * all.div_ceil(training.batch)) as u64;
    let segment = sgd.takes(steps).segment;
    let sampling = segment.sampling_nanos as f64 / 1e9;
    let upper = epsilon_of(&[Segment { noise: plan.claimed, sampling, steps }], privacy.delta)?;
    let optimizer = training.optimizer(spec.is_classifier());
    let mut state = optimizer.start(&network);
    let mut workspace = Workspace::default();
    let mut seen = Seen::nothing(plan.canaries);
    let mut spaces = [Workspace::default(), Workspace::default()];
    let (clip, size) = (privacy.clip as f32, training.batch as f32);
    for _ in 0..steps {
        sgd.gradient(&network, &planted, &trained_on, &mut workspace);
        let (data, noisy, sampling) = (&planted, &workspace.gradients[..], sampling as f32);
        let step = Step { data, first, noisy, clip, size, sampling };
        seen.observe(&network, &step, &mut spaces);
        optimizer.step(&mut network, &workspace.gradients, &mut state);
    }
    if !network.is_finite() {
        return Err(BuiltinError::Diverged);
    }
    let scores = seen.scores(sampling, privacy.noise_multiplier * privacy.clip);
    let confidence = 1.0 - (1.0 - plan.confidence) / PARTS.len() as f64;
    let proven = |guesses: &Guesses| guesses.epsilon(privacy.delta, confidence);
    let attacks = PARTS.map(|part| guess(&scores, &included, plan.canaries as u64 / part));
    let best = attacks.iter().copied().reduce(|a, b| if proven(&b) > proven(&a) { b } else { a });
    let guesses = best.unwrap_or(attacks[0]);
    let canaries = plan.canaries as u64;
    let perfect = Guesses { canaries, guesses: canaries, right: canaries };
    Ok(Audited {
        rows: first,
        canaries: plan.canaries,
        included: included.iter().filter(|it| **it).count(),
        guesses,
        lower: proven(&guesses),
        most: proven(&perfect),
        upper,
        delta: privacy.delta,
        steps,
        sampling,
    })
}

/// The rows, and after them canaries: inputs in directions of their own, and what the model takes for least likely.
fn plant(
    data: &Dataset,
    rows: &[usize],
    network: &Network,
    canaries: usize,
    random: &mut impl Rng,
) -> Dataset {
    let (own, targets) = data.select(rows);
    let width = own.ncols();
    let mut features = Array2::<f32>::zeros((canaries, width));
    for mut row in features.rows_mut() {
        row.mapv_inplace(|_| StandardNormal.sample(random));
        let length = row.dot(&row).sqrt();
        if length > 0.0 {
            row.mapv_inplace(|x| x * LENGTH / length);
        }
    }
    let all: Vec<usize> = (0..canaries).collect();
    let predicted = network.predict(features.view(), &all);
    let targets = match targets {
        Targets::Classes(mut classes) => {
            classes.extend(predicted.rows().into_iter().map(|row| {
                let least = row.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1));
                least.map_or(0, |(class, _)| class as u32)
            }));
            Targets::Classes(classes)
        }
        Targets::Numbers(mut numbers) => {
            let far =
                |at: usize| predicted[[at, 0]] + LENGTH * if random.random() { 1.0 } else { -1.0 };
            numbers.extend(all.iter().copied().map(far));
            Targets::Numbers(numbers)
        }
    };
    // Both have as many columns.
    let features =
        concatenate(Axis(0), &[own.view(), features.view()]).unwrap_or(own).into_shared();
    Dataset { features, targets, ..data.clone() }
}

/// What the steps have shown of who was there.
struct Seen {
    /// What the canaries' clipped gradients have in common, summed over all steps: `[canaries, canaries]`.
    each: Array2<f64>,
    /// What they have in common with the noisy sums, less what is known of those.
    with: Array1<f64>,
}

impl Seen {
    fn nothing(canaries: usize) -> Self {
        Self { each: Array2::zeros((canaries, canaries)), with: Array1::zeros(canaries) }
    }

    /// Adds a step, before which the network was this.
    fn observe(&mut self, network: &Network, step: &Step<'_>, spaces: &mut [Workspace; 2]) {
        let Step { data, first, noisy, clip, size, sampling } = *step;
        let [ordinary, canaries] = spaces;
        // The ordinary rows are known, though not which of them were drawn.
        let rows: Vec<usize> = (0..data.rows()).collect();
        let (known, planted) = rows.split_at(first);
        network.clipped_gradient(data.view(), &data.targets, known, clip, ordinary);
        for (known, noisy) in ordinary.gradients.iter_mut().zip(noisy) {
            for (known, noisy) in known.slices_mut().into_iter().zip(noisy.slices()) {
                for (known, noisy) in known.iter_mut().zip(noisy) {
                    *known = noisy * size - sampling * *known;
                }
            }
        }
        let (each, with) = network.clipped_products(
            data.view(),
            &data.targets,
            planted,
            clip,
            &ordinary.gradients,
            canaries,
        );
        self.each.zip_mut_with(&each, |sum, it| *sum += f64::from(*it));
        self.with.zip_mut_with(&with, |sum, it| *sum += f64::from(*it));
    }

    /// How likely each canary looks to have been there, whatever the others look like: the best linear estimate of ones and zeros
    /// that are as likely, from sums that each of them is in at this rate, under noise of this deviation.
    fn scores(mut self, sampling: f64, deviation: f64) -> Vec<f64> {
        let weight = sampling / (deviation * deviation);
        // What would be seen if all of them were there by half.
        let half = self.each.sum_axis(Axis(1)) * (sampling / 2.0);
        let right = (self.with - half) * weight;
        self.each *= sampling * weight;
        self.each.diag_mut().mapv_inplace(|it| it + 4.0);
        solve(&self.each, &right)
    }
}

/// One step, and what is known of it.
#[derive(Clone, Copy)]
struct Step<'a> {
    data: &'a Dataset,
    first: usize,
    noisy: &'a [Layer],
    clip: f32,
    size: f32,
    sampling: f32,
}

/// Solves a symmetric system whose matrix is positive definite (Cholesky).
fn solve(matrix: &Array2<f64>, right: &Array1<f64>) -> Vec<f64> {
    let dot = |one: &[f64], other: &[f64]| one.iter().zip(other).map(|(a, b)| a * b).sum::<f64>();
    let mut lower: Vec<Vec<f64>> = Vec::with_capacity(right.len());
    let mut solved: Vec<f64> = Vec::with_capacity(right.len());
    for (at, row) in matrix.rows().into_iter().enumerate() {
        let mut own: Vec<f64> = Vec::with_capacity(at + 1);
        for (before, value) in lower.iter().zip(row) {
            // The last of a row is its diagonal.
            let (diagonal, others) = before.split_last().unwrap_or((&1.0, &[]));
            own.push((value - dot(others, &own)) / diagonal);
        }
        // Only rounding could make it less.
        let diagonal = (row[at] - dot(&own, &own)).max(f64::MIN_POSITIVE).sqrt();
        solved.push((right[at] - dot(&own, &solved)) / diagonal);
        own.push(diagonal);
        lower.push(own);
    }
    for at in (0..solved.len()).rev() {
        solved[at] /= lower[at][at];
        let (rest, own) = (&lower[at], solved[at]);
        solved[..at].iter_mut().zip(rest).for_each(|(it, by)| *it -= by * own);
    }
    solved
}

/// Guesses that those with the highest scores were there, and that those with the lowest were not.
fn guess(scores: &[f64], included: &[bool], guesses: u64) -> Guesses {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*a].total_cmp(&scores[*b]));
    let half = guesses as usize / 2;
    let absent = order.iter().take(half).filter(|at| !included[**at]).count();
    let present = order.iter().rev().take(half).filter(|at| included[**at]).count();
    Guesses {
        canaries: scores.len() as u64,
        guesses: 2 * half as u64,
        right: (absent + present) as u64,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::data::Embedded;
    use super::super::model::Activation;
    use super::*;

    fn audited(which: Embedded, noise: f64, claimed: f64) -> Audited {
        let data = Dataset::embedded(which).unwrap();
        let rows: Vec<usize> = (0..data.rows().min(400)).collect();
        let spec = ModelSpec::new(vec![16], Activation::Relu, data.schema.clone());
        let training =
            Training { noise: Some(noise), batch: 100, epochs: 8, ..Training::default() };
        let plan = AuditPlan { canaries: 200, confidence: 0.95, claimed, seed: Some(1) };
        audit(&data, &rows, &spec, &training, &plan).unwrap()
    }

    #[test]
    fn training_as_it_is_claimed_passes_and_with_less_noise_is_found_out() {
        for which in [Embedded::Digits, Embedded::BreastCancer, Embedded::Diabetes] {
            let right = audited(which, 20.0, 20.0);
            assert!(!right.is_refuted(), "{which:?}: {right:?}");
            assert!(right.upper < right.most, "more could be proven: {which:?}: {right:?}");
            let broken = audited(which, 0.3, 20.0);
            assert!(broken.is_refuted(), "{which:?}: {broken:?}");
            assert_eq!(broken.upper, right.upper);
            // What is said openly is no lie, and an attack proves some of it.
            let honest = audited(which, 0.3, 0.3);
            assert!(!honest.is_refuted(), "{which:?}: {honest:?}");
            assert_eq!(honest.lower, broken.lower);
        }
    }

    #[test]
    fn what_cannot_be_audited_is_refused() {
        let data = Dataset::embedded(Embedded::Iris).unwrap();
        let spec = ModelSpec::new(vec![], Activation::Relu, data.schema.clone());
        let plan = AuditPlan { canaries: 40, confidence: 0.9, claimed: 1.0, seed: None };
        let private = Training { noise: Some(1.0), ..Training::default() };
        let ask = |training: &Training, plan: &AuditPlan| {
            audit(&data, &[0, 1, 60], &spec, training, plan)
        };
        ask(&private, &plan).unwrap();
        assert!(ask(&Training::default(), &plan).unwrap_err().to_string().contains("noise"));
        assert!(ask(&private, &AuditPlan { canaries: 3, ..plan }).is_err());
        assert!(ask(&private, &AuditPlan { confidence: 1.0, ..plan }).is_err());
        assert!(ask(&private, &AuditPlan { claimed: 0.0, ..plan }).is_err());
    }

    #[test]
    fn products_are_those_of_the_gradients() {
        let data = Dataset::embedded(Embedded::Iris).unwrap();
        let network = Network::new(&[4, 5, 3], Activation::Relu, true, 1);
        let rows = [0, 60, 120];
        let gradient = |row: usize| {
            let mut workspace = Workspace::default();
            network.clipped_gradient(data.view(), &data.targets, &[row], 0.5, &mut workspace);
            workspace.gradients
        };
        let dot = |one: &[Layer], other: &[Layer]| -> f32 {
            let values = |layers: &[Layer]| -> Vec<f32> {
                layers.iter().flat_map(Layer::slices).flatten().copied().collect()
            };
            values(one).iter().zip(values(other)).map(|(a, b)| a * b).sum()
        };
        let other = gradient(30);
        let mut workspace = Workspace::default();
        let (each, with) = network.clipped_products(
            data.view(),
            &data.targets,
            &rows,
            0.5,
            &other,
            &mut workspace,
        );
        for (at, row) in rows.iter().enumerate() {
            let own = gradient(*row);
            assert!((with[at] - dot(&own, &other)).abs() < 1e-5);
            for (beside, other) in rows.iter().enumerate() {
                assert!((each[[at, beside]] - dot(&own, &gradient(*other))).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn a_system_is_solved() {
        let matrix = ndarray::array![[4.0, 2.0, 0.4], [2.0, 5.0, 1.0], [0.4, 1.0, 3.0]];
        let expected = ndarray::array![1.0, -2.0, 0.5];
        let found = solve(&matrix, &matrix.dot(&expected));
        assert!(found.iter().zip(&expected).all(|(found, it)| (found - it).abs() < 1e-12));
    }

    #[test]
    fn guesses_are_those_at_the_ends() {
        let scores = [5.0, -1.0, 0.5, 3.0, -7.0, 0.0];
        let included = [true, true, false, true, false, false];
        let found = guess(&scores, &included, 4);
        assert_eq!(found, Guesses { canaries: 6, guesses: 4, right: 3 });
    }
}
