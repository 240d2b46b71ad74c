//! A learner of one's own: each holds private numbers, and together they learn their mean.
//! `cargo run --example own_learner` runs five on this machine, without a network;
//! `cargo run --example own_learner -- NODE EXPERIMENT KEY.pem 3 4 8` runs one on a node.

use colearn_contracts::Parameters;
use colearn_records::keys;
use colearn_sdk::learner::{Learner, Proposed, Result, Score, Weights};
use colearn_sdk::{client, local};

struct Mean {
    private: Vec<f64>,
    current: f64,
}

impl Mean {
    fn read(weights: &Weights) -> Result<f64> {
        Ok(std::str::from_utf8(weights.bytes())?.parse()?)
    }

    fn error(&self, guess: f64) -> f64 {
        self.private.iter().map(|x| (x - guess).powi(2)).sum::<f64>() / self.private.len() as f64
    }
}

impl Learner for Mean {
    fn propose(&mut self) -> Result<Proposed> {
        let mean = self.private.iter().sum::<f64>() / self.private.len() as f64;
        let better = self.current + 0.5 * (mean - self.current);
        Ok(Proposed::Weights(Weights::new(better.to_string())))
    }

    fn test(&mut self, weights: &Weights) -> Result<Score> {
        let (new, old) = (self.error(Self::read(weights)?), self.error(self.current));
        Ok(Score::new(-new, new <= old))
    }

    fn accept(&mut self, weights: &Weights) -> Result<()> {
        self.current = Self::read(weights)?;
        Ok(())
    }

    fn current(&self) -> Weights {
        Weights::new(self.current.to_string())
    }
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [node, experiment, key, numbers @ ..] = arguments.as_slice() else {
        let mean = |i: u32| Mean { private: vec![f64::from(i), 10.0], current: 0.0 };
        let mut learners: Vec<Mean> = (1..=5).map(mean).collect();
        let parameters = Parameters { max_rounds: Some(15), ..Parameters::default() };
        local::run(&mut learners, parameters, |_, round| println!("{:?}", round.result))?;
        println!("the learners' shared mean: {:.3}", learners[0].current);
        return Ok(());
    };
    let private = numbers.iter().map(|x| x.parse()).collect::<std::result::Result<_, _>>()?;
    let options = client::Options::new(node, experiment.parse()?, keys::load(key.as_ref())?);
    let run = client::run(Mean { private, current: 0.0 }, options);
    let (learner, summary) = tokio::runtime::Runtime::new()?.block_on(run)?;
    println!("after {} rounds: {:.3}", summary.rounds, learner.current);
    Ok(())
}
