//! A learner of one's own on a CSV file of one's own: logistic regression of two classes, by gradient descent.
//! Whoever creates the experiment begins: `own_data DATA SCHEMA initial INITIAL.json`, then
//! `colearn experiment create NAME --weights INITIAL.json --media-type application/json --plan plan.toml ...`.
//! Everybody takes part by `own_data DATA SCHEMA join NODE EXPERIMENT KEY.pem PLAN.toml`.

use std::path::Path;

use colearn_learning::data::{CsvOptions, Dataset, Schema, Share, Split, Targets};
use colearn_records::keys;
use colearn_records::plan::Plan;
use colearn_sdk::client::{self, Memory, Options, Trust};
use colearn_sdk::learner::{Learner, Proposed, Result, Score, Weights};

/// Passes over the rows for a proposal, and the size of their steps.
const PASSES: usize = 20;
const STEP: f32 = 0.5;

struct Logistic {
    share: Share,
    /// One for each input, and one more.
    model: Vec<f32>,
}

impl Logistic {
    fn read(&self, weights: &Weights) -> Result<Vec<f32>> {
        let model: Vec<f32> = serde_json::from_slice(weights.bytes())?;
        // Others may propose anything.
        match model.len() == self.model.len() && model.iter().all(|it| it.is_finite()) {
            true => Ok(model),
            false => Err("not a model of these columns".into()),
        }
    }

    /// Rows, each with the chance that a model gives to its second class, and whether it is of that.
    fn seen(&self, rows: &[usize], model: &[f32]) -> Vec<(Vec<f32>, f32, f32)> {
        let (inputs, targets) = self.share.select(rows);
        let Targets::Classes(classes) = targets else { return Vec::new() };
        let rows = inputs.outer_iter().zip(classes).map(|(row, class)| {
            let row: Vec<f32> = row.iter().copied().chain([1.0]).collect();
            let sum: f32 = row.iter().zip(model).map(|(x, w)| x * w).sum();
            (row, 1.0 / (1.0 + (-sum).exp()), class as f32)
        });
        rows.collect()
    }

    fn accuracy(&self, rows: &[usize], model: &[f32]) -> f64 {
        let seen = self.seen(rows, model);
        let right = seen.iter().filter(|(_, chance, is)| (*chance > 0.5) == (*is > 0.5)).count();
        right as f64 / seen.len().max(1) as f64
    }
}

impl Learner for Logistic {
    fn propose(&mut self) -> Result<Proposed> {
        let mut model = self.model.clone();
        for _ in 0..PASSES {
            let seen = self.seen(&self.share.train, &model);
            let step = STEP / seen.len().max(1) as f32;
            for (row, chance, is) in &seen {
                model.iter_mut().zip(row).for_each(|(w, x)| *w -= step * (chance - is) * x);
            }
        }
        Ok(Proposed::Weights(Weights::new(serde_json::to_vec(&model)?)))
    }

    fn test(&mut self, weights: &Weights) -> Result<Score> {
        let (new, vote) = (self.read(weights)?, &self.share.vote);
        let (better, now) = (self.accuracy(vote, &new), self.accuracy(vote, &self.model));
        Ok(Score::new(better, better >= now))
    }

    fn accept(&mut self, weights: &Weights) -> Result<()> {
        self.model = self.read(weights)?;
        Ok(())
    }

    fn current(&self) -> Weights {
        Weights::new(serde_json::to_vec(&self.model).unwrap_or_default())
    }
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [data, schema, rest @ ..] = arguments.as_slice() else {
        return Err(
            "say DATA SCHEMA initial FILE, or DATA SCHEMA join NODE EXPERIMENT KEY PLAN".into()
        );
    };
    let schema = Some(Schema::read(schema.as_ref())?);
    let data = Dataset::load(Path::new(data), &CsvOptions { schema, ..CsvOptions::default() })?;
    let model = vec![0.0; data.width() + 1];
    // Most rows to train on, some to vote on what others propose, some that decide nothing.
    let shares = std::sync::Arc::new(data).split(Split::Iid, 1, 1)?;
    let share = shares.into_iter().next().ok_or("no data")?;
    let learner = Logistic { share, model };
    match rest {
        [word, file] if word == "initial" => std::fs::write(file, learner.current().bytes())?,
        [word, node, experiment, key, plan] if word == "join" => {
            let (file, plan) = (Path::new(key), Plan::read(plan.as_ref())?);
            let key = keys::load(file)?;
            let options = Options {
                // What it has signed and seen outlives this process.
                data: Some(Memory::beside(file, keys::learner_id(&key))?),
                // And it joins nothing else, nowhere else.
                trust: Trust { pins: plan.pins.clone(), ..Trust::default() },
                plan: Some(plan),
                ..Options::new(node, experiment.parse()?, key)
            };
            let run = client::run(learner, options);
            let (_, summary) = tokio::runtime::Runtime::new()?.block_on(run)?;
            println!("finished after {} rounds", summary.rounds);
        }
        _ => return Err("say initial FILE, or join NODE EXPERIMENT KEY PLAN".into()),
    }
    Ok(())
}
