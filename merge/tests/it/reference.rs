//! The specification once more, read line by line: slow, with sums of 128 bits everywhere, nothing in blocks or parallel. And
//! random models, on which it must agree with the crate to the bit.

use std::sync::LazyLock;

use colearn_merge::Fate;

use crate::files::{Tensor, file, merge};

const ONE: f64 = 4_294_967_296.0;

#[derive(Clone, Copy, PartialEq)]
enum Role {
    Weight,
    Statistic,
    Counted,
}

/// A model: of each tensor its type and role, and its values, floats as they are.
struct Shape {
    tensors: Vec<(&'static str, Role, usize)>,
}

/// Values of a model, tensor by tensor.
#[derive(Clone)]
enum Values {
    Floats(Vec<f64>),
    Whole(Vec<i128>),
}

type Model = Vec<Values>;

struct Outcome {
    void: Vec<bool>,
    open: Option<Vec<Vec<u8>>>,
    guarded: Option<Vec<Vec<u8>>>,
}

fn admissible(model: &Model) -> bool {
    model.iter().all(|values| match values {
        Values::Floats(values) => {
            values.iter().all(|value| value.is_finite() && value.abs() < 1_048_576.0)
        }
        Values::Whole(_) => true,
    })
}

fn fix(value: f64) -> i128 {
    (value * ONE).round_ties_even() as i128
}

fn rdiv(a: i128, n: i128) -> i128 {
    (2 * a + n).div_euclid(2 * n)
}

/// Step 1: what the steps see of a model.
fn flat(shape: &Shape, model: &Model) -> Vec<i128> {
    let weights = shape.tensors.iter().zip(model).filter(|((_, role, _), _)| *role == Role::Weight);
    weights
        .flat_map(|(_, values)| match values {
            Values::Floats(values) => values.iter().map(|value| fix(*value)).collect::<Vec<_>>(),
            Values::Whole(_) => unreachable!(),
        })
        .collect()
}

fn middle(mut values: Vec<i128>) -> i128 {
    values.sort();
    let (a, b) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
    if values.len().is_multiple_of(2) { rdiv(a + b, 2) } else { a }
}

fn lower_median(mut values: Vec<i128>) -> i128 {
    values.sort();
    values[(values.len() - 1) / 2]
}

fn square(values: impl Iterator<Item = i128>) -> i128 {
    values.map(|value| value * value).fold(0, i128::saturating_add)
}

fn outcome(
    shape: &Shape,
    base: &Model,
    previous: &Model,
    updates: &[Model],
    clip: i128,
    momentum: i128,
) -> Outcome {
    let b = if admissible(base) { flat(shape, base) } else { Vec::new() };
    let step = |update: &Model| -> Vec<i128> {
        flat(shape, update).iter().zip(&b).map(|(update, base)| update - base).collect()
    };
    let void: Vec<bool> = updates
        .iter()
        .map(|update| {
            !admissible(base) || !admissible(update) || square(step(update).into_iter()) >= 1 << 125
        })
        .collect();
    let updates: Vec<&Model> =
        updates.iter().zip(&void).filter(|(_, void)| !**void).map(|(update, _)| update).collect();
    let k = updates.len();
    if k == 0 || !admissible(base) || !admissible(previous) {
        return Outcome { void, open: None, guarded: None };
    }
    let d: Vec<Vec<i128>> = updates.iter().map(|update| step(update)).collect();
    let weights = b.len();

    // Steps 4 and 5.
    let n: Vec<i128> =
        d.iter().map(|d| square(d.iter().copied()).cast_unsigned().isqrt() as i128).collect();
    let l = lower_median(n.clone()) * clip / 1000;
    let c = |i: usize, w: usize| {
        if n[i] <= l { d[i][w] } else { (d[i][w] * ((l << 30) / n[i])) >> 30 }
    };
    let open: Vec<i128> =
        (0..weights).map(|w| rdiv((0..k).map(|i| c(i, w)).sum(), k as i128)).collect();

    // Steps 6 and 7.
    let m = k - (k - 1) / 2;
    let distance = |i: usize, j: usize| square(d[i].iter().zip(&d[j]).map(|(i, j)| i - j));
    let neighbours: Vec<Vec<usize>> = (0..k)
        .map(|i| {
            let mut order: Vec<(i128, usize)> = (0..k).map(|j| (distance(i, j), j)).collect();
            order.sort();
            order.into_iter().take(m).map(|(_, j)| j).collect()
        })
        .collect();
    let guarded: Vec<i128> = (0..weights)
        .map(|w| {
            middle(
                neighbours
                    .iter()
                    .map(|near| rdiv(near.iter().map(|j| d[*j][w]).sum(), m as i128))
                    .collect(),
            )
        })
        .collect();
    let coheres = m < 2 || {
        let typical = (0..k)
            .map(|i| {
                let others = neighbours[i].iter().filter(|j| **j != i);
                lower_median(others.map(|j| distance(i, *j)).collect())
            })
            .collect();
        let squares = d.iter().map(|d| square(d.iter().copied())).collect();
        2 * lower_median(typical) <= 3 * lower_median(squares)
    };

    // Steps 8 and 9.
    let before = flat(shape, previous);
    let write = |step: &[i128]| {
        let mut results =
            (0..weights).map(|w| b[w] + step[w] + rdiv((b[w] - before[w]) * momentum, 1000));
        let mut tensors = Vec::new();
        for (at, (dtype, role, elements)) in shape.tensors.iter().enumerate() {
            let mut bytes = Vec::new();
            for element in 0..*elements {
                let column = || {
                    updates.iter().map(|update| match &update[at] {
                        Values::Floats(values) => fix(values[element]),
                        Values::Whole(values) => values[element],
                    })
                };
                let value = match role {
                    Role::Weight => results.next()?,
                    Role::Statistic => middle(column().collect()),
                    Role::Counted => lower_median(column().collect()),
                };
                match role {
                    Role::Counted => bytes.extend(whole_bytes(dtype, value)),
                    Role::Weight | Role::Statistic => {
                        if value.abs() >= 1 << 52 {
                            return None;
                        }
                        bytes.extend(float_bytes(dtype, value as f64 / ONE)?);
                    }
                }
            }
            tensors.push(bytes);
        }
        Some(tensors)
    };
    Outcome { void, open: write(&open), guarded: if coheres { write(&guarded) } else { None } }
}

/// What a format of sixteen bits has, by its definition: bits and values of all that are finite and not negative.
fn sixteen(dtype: &str) -> &'static [(u16, f64)] {
    static HALF: LazyLock<Vec<(u16, f64)>> = LazyLock::new(|| list(5, 10));
    static BRAIN: LazyLock<Vec<(u16, f64)>> = LazyLock::new(|| list(8, 7));

    fn list(exponent_bits: u32, fraction_bits: u32) -> Vec<(u16, f64)> {
        let bias = (1 << (exponent_bits - 1)) - 1;
        let infinite = ((1 << exponent_bits) - 1) << fraction_bits;
        let value = |bits: u16| {
            let fraction =
                f64::from(bits & ((1 << fraction_bits) - 1)) / f64::from(1 << fraction_bits);
            match i32::from(bits >> fraction_bits) {
                0 => fraction * 2_f64.powi(1 - bias),
                exponent => (1.0 + fraction) * 2_f64.powi(exponent - bias),
            }
        };
        (0..infinite).map(|bits| (bits, value(bits))).collect()
    }

    if dtype == "F16" { &HALF } else { &BRAIN }
}

/// The nearest, ties to even; `None` if that is too large, or would be infinite.
fn float_bytes(dtype: &str, value: f64) -> Option<Vec<u8>> {
    let single = value as f32;
    let (rounded, bytes) = match dtype {
        "F64" => (value, value.to_le_bytes().to_vec()),
        "F32" => (single.into(), single.to_le_bytes().to_vec()),
        _ => {
            let all = sixteen(dtype);
            let magnitude = f64::from(single.abs());
            let at = all.partition_point(|(_, value)| *value <= magnitude);
            let (low, below) = all[at - 1];
            // The largest of all is half an ulp below what would be next.
            let above =
                all.get(at).map_or_else(|| 2.0 * below - all[at - 2].1, |(_, value)| *value);
            let up = match (magnitude - below).total_cmp(&(above - magnitude)) {
                std::cmp::Ordering::Less => false,
                std::cmp::Ordering::Equal => low % 2 == 1,
                std::cmp::Ordering::Greater => true,
            };
            if up && at == all.len() {
                return None;
            }
            let (bits, rounded) = if up { all[at] } else { all[at - 1] };
            let sign = if single < 0.0 { 0x8000 } else { 0 };
            (rounded, (bits | sign).to_le_bytes().to_vec())
        }
    };
    (rounded.abs() < 1_048_576.0).then_some(bytes)
}

fn whole_bytes(dtype: &str, value: i128) -> Vec<u8> {
    value.to_le_bytes()[..width(dtype)].to_vec()
}

fn width(dtype: &str) -> usize {
    match dtype {
        "F64" | "I64" | "U64" => 8,
        "F32" | "I32" | "U32" => 4,
        "F16" | "BF16" | "I16" | "U16" => 2,
        _ => 1,
    }
}

/// What decides the random models: the same on every machine.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn bits(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.bits() % end as u64) as usize
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// From -1 to 1.
    pub(crate) fn around_zero(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    }
}

/// A float that its type can hold; now and then at the edges of what is admissible, seldom beyond.
fn float(random: &mut Random, dtype: &str, near: f64, wild: bool) -> f64 {
    let value = match random.below(if wild { 400 } else { 300 }) {
        0..200 => near + 0.1 * random.around_zero(),
        200..230 => near,
        230..240 => 0.0,
        240..250 => (random.below(9) as f64 - 4.0) / 2.0,
        250..300 => near + 1e-9 * random.around_zero(),
        300..330 => 1000.0 * random.around_zero(),
        330..396 => 1_048_575.0 * random.around_zero(),
        _ => random.one_of(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1_048_576.0, -2e6, 1e300]),
    };
    match dtype {
        "F64" => value,
        "F32" => f64::from(value as f32),
        _ if !value.is_finite() => value,
        // Cut to what the sixteen bits can say, whichever way: it is the input.
        "BF16" => f64::from(f32::from_bits((value as f32).to_bits() & 0xffff_0000)),
        _ => {
            let all = sixteen(dtype);
            let at = all.partition_point(|(_, other)| *other <= value.abs());
            all[at - 1].1.copysign(value)
        }
    }
}

fn input_bytes(dtype: &str, values: &Values) -> Vec<u8> {
    match values {
        Values::Whole(values) => {
            values.iter().flat_map(|value| whole_bytes(dtype, *value)).collect()
        }
        Values::Floats(values) => values
            .iter()
            .flat_map(|value| match dtype {
                "F64" => value.to_le_bytes().to_vec(),
                "F32" => (*value as f32).to_le_bytes().to_vec(),
                "BF16" => (*value as f32).to_le_bytes()[2..].to_vec(),
                _ if !value.is_finite() => 0x7c00_u16.to_le_bytes().to_vec(),
                _ => {
                    let found = sixteen(dtype).iter().find(|(_, other)| *other == value.abs());
                    let sign = if value.is_sign_negative() { 0x8000 } else { 0 };
                    (found.unwrap().0 | sign).to_le_bytes().to_vec()
                }
            })
            .collect(),
    }
}

fn model_file(shape: &Shape, model: &Model, shuffle: Option<&mut Random>) -> Vec<u8> {
    let mut tensors: Vec<Tensor> = shape
        .tensors
        .iter()
        .zip(model)
        .enumerate()
        .map(|(at, ((dtype, _, elements), values))| Tensor {
            name: format!("t{at}"),
            dtype,
            shape: vec![*elements as u64],
            data: input_bytes(dtype, values),
        })
        .collect();
    if let Some(random) = shuffle {
        for at in 1..tensors.len() {
            tensors.swap(at, random.below(at + 1));
        }
    }
    let statistics: Vec<String> = shape
        .tensors
        .iter()
        .enumerate()
        .filter(|(_, (_, role, _))| *role == Role::Statistic)
        .map(|(at, _)| format!("t{at}"))
        .collect();
    file(&tensors, &statistics.iter().map(String::as_str).collect::<Vec<_>>())
}

fn random_shape(random: &mut Random, most: usize) -> Shape {
    let tensors = (0..random.below(4) + 1)
        .map(|_| {
            let dtype = random.one_of(&[
                "F64", "F32", "F32", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U64", "U32",
                "U16", "U8", "BOOL",
            ]);
            let role = match (dtype.contains('F'), random.below(4)) {
                (false, _) => Role::Counted,
                (true, 0) => Role::Statistic,
                (true, _) => Role::Weight,
            };
            (dtype, role, random.below(most))
        })
        .collect();
    Shape { tensors }
}

fn random_model(random: &mut Random, shape: &Shape, near: Option<&Model>, wild: bool) -> Model {
    shape
        .tensors
        .iter()
        .enumerate()
        .map(|(at, (dtype, role, elements))| match role {
            Role::Counted => Values::Whole(
                (0..*elements)
                    .map(|_| {
                        let bits = match random.below(3) {
                            0 => random.bits(),
                            1 => random.bits() % 4,
                            _ => u64::MAX - random.bits() % 4,
                        };
                        match *dtype {
                            "I64" => bits.cast_signed().into(),
                            "I32" => (bits as i32).into(),
                            "I16" => (bits as i16).into(),
                            "I8" => (bits as i8).into(),
                            "U64" => bits.into(),
                            "U32" => (bits as u32).into(),
                            "U16" => (bits as u16).into(),
                            "U8" => (bits as u8).into(),
                            _ => (bits & 1).into(),
                        }
                    })
                    .collect(),
            ),
            Role::Weight | Role::Statistic => Values::Floats(
                (0..*elements)
                    .map(|element| {
                        let near = match near.map(|near| &near[at]) {
                            Some(Values::Floats(values)) if values[element].is_finite() => {
                                values[element]
                            }
                            _ => 0.3,
                        };
                        float(random, dtype, near, wild)
                    })
                    .collect(),
            ),
        })
        .collect()
}

/// One random case; says what came of it.
fn compare(seed: u64, most: usize) -> (usize, bool, bool) {
    let random = &mut Random::new(seed);
    let shape = random_shape(random, most);
    let wild = random.below(3) == 0;
    let wild_base = wild && random.below(4) == 0;
    let base = random_model(random, &shape, None, wild_base);
    let previous = if random.below(3) == 0 {
        base.clone()
    } else {
        random_model(random, &shape, Some(&base), false)
    };
    let mut updates: Vec<Model> = Vec::new();
    for _ in 0..random.below(10) + 1 {
        let twin = random.below(6) == 0 && !updates.is_empty();
        let wild = wild && random.below(3) == 0;
        updates.push(match twin {
            true => updates[random.below(updates.len())].clone(),
            false => random_model(random, &shape, Some(&base), wild),
        });
    }
    let clip = random.one_of(&[1000, 1500, 2000, 10_000]);
    let momentum = random.one_of(&[0, 1, 333, 500, 900, 1000]);
    let expected = outcome(&shape, &base, &previous, &updates, clip.into(), momentum.into());

    let base_file = model_file(&shape, &base, None);
    let previous_file = model_file(&shape, &previous, None);
    let files: Vec<Vec<u8>> =
        updates.iter().map(|update| model_file(&shape, update, Some(random))).collect();
    let merged = merge(&base_file, Some(&previous_file), &files, clip, momentum);
    let header = 8 + u64::from_le_bytes(base_file[..8].try_into().unwrap()) as usize;
    let whole = |data: &Vec<Vec<u8>>| [&base_file[..header], &data.concat()].concat();
    assert_eq!(merged.open, expected.open.as_ref().map(whole), "open, seed {seed}");
    assert_eq!(merged.guarded, expected.guarded.as_ref().map(whole), "guarded, seed {seed}");
    if !merged.report.updates.is_empty() {
        let void: Vec<bool> =
            merged.report.updates.iter().map(|fate| matches!(fate, Fate::Void(_))).collect();
        assert_eq!(void, expected.void, "seed {seed}");
    }
    let voids = expected.void.iter().filter(|void| **void).count();
    (voids, expected.open.is_some(), expected.guarded.is_some())
}

#[test]
fn random_models_are_merged_to_the_bit() {
    let cases: Vec<_> = (0..600).map(|seed| compare(seed, 40)).collect();
    // That all kinds are among them.
    assert!(cases.iter().filter(|case| case.0 > 0 && case.1).count() > 20);
    assert!(cases.iter().filter(|case| case.1 && !case.2).count() > 50);
    assert!(cases.iter().filter(|case| case.2).count() > 200);
    assert!(cases.iter().filter(|case| !case.1).count() > 5);
}

/// Longer than the blocks that threads work on.
#[test]
fn longer_random_models_are_merged_to_the_bit() {
    for seed in 1000..1020 {
        compare(seed, 3000);
    }
}
