//! What attackers send that need nobody else.

use rand::Rng;
use rand_distr::{Distribution as _, StandardNormal};

use super::Attack;

/// How far a free rider goes from the model that there is, in each weight: the rules take no model that was
/// the global one before.
const HARDLY: f32 = 1e-4;

/// What is sent instead of a weight that was learned; `None` if it is that one.
pub(in super::super) fn spoil(
    attack: Attack,
    base: f32,
    learned: f32,
    random: &mut impl Rng,
) -> Option<f32> {
    let step = learned - base;
    let mut normal = || -> f32 { StandardNormal.sample(random) };
    match attack {
        Attack::SignFlip | Attack::Withheld | Attack::HalfWithheld => Some(base - step),
        Attack::Scaled => Some(base + 10.0 * step),
        Attack::Random => Some(normal()),
        Attack::Nan => Some(f32::NAN),
        Attack::Zero => Some(base + HARDLY * normal()),
        Attack::LabelFlip
        | Attack::Backdoor
        | Attack::Alie
        | Attack::Ipm
        | Attack::Mimic
        | Attack::Mixed
        | Attack::Limit
        | Attack::Gate
        | Attack::Adaptive
        | Attack::Own => None,
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn each_sends_what_it_says() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut of = |attack| spoil(attack, 1.0, 1.5, &mut random);
        assert_eq!(of(Attack::SignFlip), Some(0.5));
        assert_eq!(of(Attack::Withheld), Some(0.5));
        assert_eq!(of(Attack::Scaled), Some(6.0));
        assert!(of(Attack::Nan).is_some_and(f32::is_nan));
        assert!(of(Attack::Zero).is_some_and(|sent| sent != 1.0 && (sent - 1.0).abs() < 1e-3));
        assert_ne!(of(Attack::Random), of(Attack::Random));
        assert_eq!(of(Attack::LabelFlip), None);
    }
}
