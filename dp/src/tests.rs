//! The accountants against values computed by others, and against each other.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use rayon::prelude::*;

use super::{
    Accountant, Composition, DpError, Mechanism, Segment, Steps, epsilon_of, normal, pld, rdp,
};

/// The rows of a reference file: some that the repository has, and the whole grid they are from where the
/// folder with it is there.
fn reference(name: &str) -> Vec<HashMap<String, String>> {
    let own = match name {
        "dp_reference.csv" => include_str!("reference/dp_reference.csv"),
        "dp_rdp_orders.csv" => include_str!("reference/dp_rdp_orders.csv"),
        "dp_inverse.csv" => include_str!("reference/dp_inverse.csv"),
        other => panic!("no reference {other}"),
    };
    let mut rows = read(own);
    assert!(rows.len() >= 20, "{name}: {} rows", rows.len());
    if let Some(path) = colearn_testkit::reference(name) {
        rows.extend(read(&std::fs::read_to_string(path).unwrap()));
    }
    rows
}

/// The rows of a CSV text, whose comments say where they are from.
fn read(text: &str) -> Vec<HashMap<String, String>> {
    let mut reader = csv::ReaderBuilder::new().comment(Some(b'#')).from_reader(text.as_bytes());
    let header = reader.headers().unwrap().clone();
    let row = |record: csv::StringRecord| {
        header.iter().map(str::to_owned).zip(record.iter().map(str::to_owned)).collect()
    };
    reader.records().map(|record| row(record.unwrap())).collect()
}

fn number(row: &HashMap<String, String>, column: &str) -> Option<f64> {
    row[column].parse().ok()
}

fn mechanism(row: &HashMap<String, String>) -> Mechanism {
    Mechanism::new(number(row, "sigma").unwrap(), number(row, "q").unwrap()).unwrap()
}

#[test]
fn divergences_are_those_of_direct_integration() {
    for row in reference("dp_rdp_orders.csv") {
        let (alpha, expected) =
            (number(&row, "order").unwrap(), number(&row, "rdp_step_integral").unwrap());
        let error = (rdp::step(mechanism(&row), alpha) / expected - 1.0).abs();
        let allowed = if alpha.fract() == 0.0 { 1e-9 } else { 1e-7 };
        assert!(error <= allowed, "{row:?}: off by {error:e}");
    }
}

#[test]
fn epsilons_are_those_of_the_references() {
    let rows = reference("dp_reference.csv");
    let worst: Vec<(f64, f64)> = rows
        .par_iter()
        .map(|row| {
            let delta = number(row, "delta").unwrap();
            let count = row["steps"].parse().unwrap();
            let steps = [Steps { mechanism: mechanism(row), count }];
            let by_rdp = rdp::epsilon(&steps, delta);
            let exact = number(row, "eps_rdp_exact").unwrap();
            assert!((by_rdp - exact).abs() <= 1e-6 * exact.max(1.0), "{row:?}: rdp {by_rdp}");
            let by_pld = pld::epsilon(&steps, delta);
            let tight = number(row, "eps_pld_dpacc").unwrap();
            assert!(by_pld - tight <= 0.02, "{row:?}: pld {by_pld}");
            // The reference rounds up too, on another grid.
            assert!(by_pld - tight >= -0.02 - 2e-3 * tight, "{row:?}: pld {by_pld}");
            if let Some(gaussian) = number(row, "eps_gaussian_exact_q1") {
                assert!(by_pld >= gaussian - 1e-9 * gaussian, "{row:?}: pld {by_pld}");
            }
            (by_pld - tight, tight - by_pld)
        })
        .collect();
    let most = |pick: fn(&(f64, f64)) -> f64| worst.iter().map(pick).fold(0.0, f64::max);
    eprintln!("pld: at most {:.5} above and {:.5} below", most(|x| x.0), most(|x| x.1));
}

#[test]
fn noise_multipliers_are_those_of_the_references() {
    reference("dp_inverse.csv").par_iter().for_each(|row| {
        let ask = |accountant: Accountant| {
            let (epsilon, delta) = (number(row, "target_eps"), number(row, "delta"));
            let (q, steps) = (number(row, "q").unwrap(), row["steps"].parse().unwrap());
            accountant.noise_multiplier(epsilon.unwrap(), delta.unwrap(), q, steps).unwrap()
        };
        for (accountant, column) in
            [(Accountant::Rdp, "sigma_rdp_exact"), (Accountant::Pld, "sigma_pld_dpacc")]
        {
            let expected = number(row, column).unwrap();
            let found = ask(accountant);
            assert!((found / expected - 1.0).abs() < 5e-3, "{row:?}: {accountant:?} {found}");
        }
    });
}

/// Without sampling the answer has a closed form (Balle and Wang 2018, arXiv:1805.06530): n steps of
/// noise σ are one of noise σ / √n.
#[test]
fn the_gaussian_mechanism_is_accounted_for_exactly() {
    let delta_of = |sigma: f64, epsilon: f64| {
        normal::below(0.5 / sigma - epsilon * sigma)
            - epsilon.exp() * normal::below(-0.5 / sigma - epsilon * sigma)
    };
    for (sigma, count) in [(1.0, 1), (2.0, 10), (20.0, 1000), (5.0, 7)] {
        let single: f64 = sigma / (count as f64).sqrt();
        let steps = [Steps { mechanism: Mechanism::new(sigma, 1.0).unwrap(), count }];
        for delta in [1e-3, 1e-5, 1e-8] {
            let epsilon = Accountant::Pld.epsilon(&steps, delta).unwrap();
            // Never below the truth, and not a thousandth above it.
            assert!(delta_of(single, epsilon) <= delta, "{sigma} {count} {delta}: {epsilon}");
            assert!(delta_of(single, epsilon - 2e-3) > delta, "{sigma} {count} {delta}: {epsilon}");
        }
    }
}

#[test]
fn different_steps_add_up() {
    let of = |noise, sampling, count| Steps {
        mechanism: Mechanism::new(noise, sampling).unwrap(),
        count,
    };
    for accountant in [Accountant::Rdp, Accountant::Pld] {
        let epsilon = |steps: &[Steps]| accountant.epsilon(steps, 1e-5).unwrap();
        let whole = epsilon(&[of(1.0, 0.01, 500)]);
        let halves = epsilon(&[of(1.0, 0.01, 200), of(1.0, 0.01, 300)]);
        assert!((whole - halves).abs() < 1e-3, "{accountant:?}: {whole} {halves}");
        let (a, b) = ([of(1.0, 0.01, 500)], [of(2.0, 0.02, 500)]);
        let both = epsilon(&[a[0], b[0]]);
        assert!(both > epsilon(&a).max(epsilon(&b)), "{accountant:?}");
        assert!(both < epsilon(&a) + epsilon(&b), "{accountant:?}");
        assert_eq!(epsilon(&[]), 0.0);
        assert_eq!(epsilon(&[of(1.0, 0.01, 0)]), 0.0);
    }
}

#[test]
fn what_is_stated_is_the_smaller_of_both_bounds() {
    let of = |noise, sampling, steps| Segment { noise, sampling, steps };
    let weak = [of(0.6, 0.1, 144), of(1.0, 0.1, 144)];
    let steps = weak.map(|it| Steps {
        mechanism: Mechanism::new(it.noise, it.sampling).unwrap(),
        count: it.steps,
    });
    let epsilon = epsilon_of(&weak, 1e-5).unwrap();
    assert_eq!(epsilon, rdp::epsilon(&steps, 1e-5).min(pld::epsilon(&steps, 1e-5)));
    // Also where epsilon is small, or the steps are very many.
    for (segment, delta, right) in
        [(of(50.0, 0.01, 1000), 1e-5, 0.0167), (of(20.0, 0.01, 1_000_000), 2e-12, 3.54)]
    {
        let epsilon = epsilon_of(&[segment], delta).unwrap();
        assert!(epsilon <= right * 1.01, "{segment:?}: {epsilon}");
    }
    assert_eq!(epsilon_of(&[of(0.01, 0.1, 1)], 1e-5), Err(DpError::Noise(0.01)));
    assert_eq!(epsilon_of(&[of(1.0, 0.0, 1)], 1e-5), Err(DpError::Sampling(0.0)));
    assert_eq!(epsilon_of(&weak, 1.0), Err(DpError::Delta(1.0)));
    assert_eq!(epsilon_of(&[], 1e-5), Ok(0.0));
}

#[test]
fn a_quick_bound_is_one_and_close_where_it_matters() {
    for (noise, sampling, count, above) in [
        // Long runs, for which it is there.
        (1.0, 0.1, 2_880, 1.01),
        (0.6, 0.1, 2_880, 1.01),
        (1.0, 0.01, 28_800, 1.01),
        (8.0, 0.05, 28_800, 1.01),
        (2.0, 1.0, 2_880, 1.01),
        // Short ones, which cost nothing anyway.
        (4.0, 0.01, 144, 3.0),
        (50.0, 0.01, 144, 5.0),
    ] {
        let steps = [Steps { mechanism: Mechanism::new(noise, sampling).unwrap(), count }];
        let (exact, quick) = (pld::epsilon(&steps, 1e-5), pld::quick_epsilon(&steps, 1e-5));
        assert!(quick >= exact * (1.0 - 1e-9), "{steps:?}: {quick} below {exact}");
        assert!(quick <= exact * above, "{steps:?}: {quick} far above {exact}");
    }
}

#[test]
fn extremes_are_answered_and_nonsense_is_not() {
    for (noise, sampling, count) in [
        (0.05, 1.0, 100_000),
        (0.05, 0.5, 10),
        (1e4, 1e-6, 1),
        (0.3, 1e-7, 1_000_000_000),
        (1.0, 1.0, 1_000_000),
    ] {
        let steps = [Steps { mechanism: Mechanism::new(noise, sampling).unwrap(), count }];
        let rdp = Accountant::Rdp.epsilon(&steps, 1e-6).unwrap();
        let pld = Accountant::Pld.epsilon(&steps, 1e-6).unwrap();
        assert!(pld >= 0.0 && rdp >= 0.0 && !pld.is_nan() && !rdp.is_nan());
        assert!(pld <= rdp * 1.01 + 0.02, "{noise} {sampling} {count}: {pld} {rdp}");
    }
    assert_eq!(Mechanism::new(0.0, 0.1), Err(DpError::Noise(0.0)));
    assert!(Mechanism::new(f64::NAN, 0.1).is_err());
    assert_eq!(Mechanism::new(1.0, 0.0), Err(DpError::Sampling(0.0)));
    assert_eq!(Mechanism::new(1.0, 1.5), Err(DpError::Sampling(1.5)));
    assert_eq!(Accountant::Rdp.epsilon(&[], 0.0), Err(DpError::Delta(0.0)));
    assert_eq!(Accountant::Pld.noise_multiplier(-1.0, 1e-5, 0.1, 1), Err(DpError::Epsilon(-1.0)));
    let unreachable = Accountant::Rdp.noise_multiplier(1e-9, 1e-5, 1.0, 1_000_000_000);
    assert_eq!(unreachable, Err(DpError::Unreachable(1e-9)));
}

#[test]
fn more_steps_never_reveal_less() {
    let epsilon = |steps| {
        let segment = crate::Segment { noise: 20.0, sampling: 0.001, steps };
        crate::epsilon_of(&[segment], 1e-5).unwrap()
    };
    let mut last = 0.0;
    for steps in [1_000_000, 100_000_000, 100_000_001, 1_000_000_000, 1_000_000_000_000] {
        let now = epsilon(steps);
        assert!(now > last, "{now} after {steps} steps, {last} before");
        last = now;
    }
}

#[test]
fn a_composition_knows_no_order_and_only_grows() {
    let delta_picos = 10_000_000;
    let (weak, strong) = ((600_000, 10_000_000, 40), (1_000_000, 20_000_000, 70));
    let of = |list: &[(u64, u64, u64)]| {
        let mut composition = Composition::default();
        list.iter().for_each(|(noise, sampling, steps)| composition.add(*noise, *sampling, *steps));
        composition
    };
    assert_eq!(of(&[weak, strong, weak]), of(&[strong, weak, weak]));
    assert_eq!(of(&[weak, strong, weak]).steps(), 150);
    // Also from where on it is composed on the coarser grid, which is only a little worse.
    let settings = |at: u64| (1_000_000 + 100_000 * at, 10_000_000, 2_000);
    let (mut done, mut last) = (Composition::default(), 0);
    for at in 0..12 {
        let (noise, sampling, steps) = settings(at);
        done.add(noise, sampling, steps);
        let now = done.epsilon_micros(delta_picos).unwrap();
        assert!(now > last, "{now} with {at} settings, {last} before");
        last = now;
    }
    let steps: Vec<Steps> = done
        .segments()
        .map(|it| Steps {
            mechanism: Mechanism::new(it.noise, it.sampling).unwrap(),
            count: it.steps,
        })
        .collect();
    let fine = pld::epsilon(&steps, 1e-5) * 1e6;
    assert!((fine * 1.000_001..fine * 1.01).contains(&(last as f64)), "{last} {fine}");
    assert_eq!(of(&[(1, 1, 1)]).epsilon_micros(delta_picos), Err(DpError::Noise(1e-6)));
}
