//! Using a built-in model: what it makes of the rows of a table. Its header says everything that takes.

use std::io::{self, Read, Write};
use std::path::Path;

use colearn_sdk::learner::Weights;
use ndarray::Array2;

use crate::data::unlabelled::Unlabelled;
use crate::data::{DataError, DialectOptions, Target, Targets};
use crate::metric::{ClassScores, Metric, per_class};
use crate::model::{ModelSpec, WeightsError};
use crate::network::Network;

/// A built-in model that is used.
#[derive(Clone, Debug)]
pub struct Predictor {
    spec: ModelSpec,
    network: Network,
}

/// What a model makes of some rows.
#[derive(Clone, Debug)]
pub struct Predictions {
    target: Target,
    /// The probabilities of the classes, or the numbers, scaled: `[rows, outputs]`.
    outputs: Array2<f32>,
    /// The rows whose targets the table had, and these.
    known: Option<(Vec<usize>, Targets)>,
    /// The table's columns that mean nothing to the model.
    pub passed_over: Vec<String>,
    /// What was found of how the table is written, that people might not expect.
    pub notes: Vec<String>,
}

impl Predictor {
    /// The model of some weights.
    ///
    /// # Errors
    /// If they are not of a built-in model.
    pub fn new(weights: &Weights) -> Result<Self, WeightsError> {
        let spec = ModelSpec::of(weights)?;
        let network = spec.read(weights)?;
        Ok(Self { spec, network })
    }

    /// What it is, and what its inputs mean.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// What it makes of a file, CSV (plain or gzip) or Parquet, with the columns that it was trained on, in any order. The
    /// column that it predicts need not be there.
    ///
    /// # Errors
    /// If the file cannot be read, lacks a column, or has values that the model knows nothing about, or such that
    /// it comes to no number.
    pub fn predict_file(
        &self,
        path: &Path,
        dialect: &DialectOptions,
    ) -> Result<Predictions, DataError> {
        let rows = Unlabelled::open(path, &self.spec.schema, dialect)?;
        self.rows(&path.display().to_string(), rows)
    }

    /// The same of a table in the form of a CSV file, called `name` in messages.
    ///
    /// # Errors
    /// As [`Self::predict_file`].
    pub fn predict(
        &self,
        name: &str,
        table: &mut dyn Read,
        dialect: &DialectOptions,
    ) -> Result<Predictions, DataError> {
        let rows = Unlabelled::read(name, table, &self.spec.schema, dialect)?;
        self.rows(name, rows)
    }

    fn rows(&self, name: &str, rows: Unlabelled) -> Result<Predictions, DataError> {
        let Unlabelled { features, known, passed_over, places, notes } = rows;
        let rows: Vec<usize> = (0..features.nrows()).collect();
        let outputs = self.network.predict(features.view(), &rows);
        let told = |output: &f32| match &self.spec.schema.target {
            Target::Class { .. } => output.is_finite(),
            Target::Number { mean, scale, .. } => in_its_unit(*output, *mean, *scale).is_finite(),
        };
        let broken = outputs.rows().into_iter().position(|outputs| !outputs.iter().all(told));
        if let Some(row) = broken {
            let message = format!(
                "what the model makes of row {} is no finite number; its values are far from those that it was \
                 trained on, or the model is broken",
                row + 1
            );
            return Err(places.fail_in(name, row, message));
        }
        Ok(Predictions {
            target: self.spec.schema.target.clone(),
            outputs,
            known,
            passed_over,
            notes,
        })
    }
}

impl Predictions {
    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.outputs.nrows()
    }

    /// Writes them as CSV, a line for each row in the table's order: the `prediction`, and of a class the probability
    /// of each as `p_CLASS`.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        let mut writer = csv::Writer::from_writer(to);
        let probabilities = self.target.classes().iter().map(|class| format!("p_{class}"));
        let header: Vec<String> =
            std::iter::once("prediction".to_owned()).chain(probabilities).collect();
        writer.write_record(&header)?;
        for outputs in self.outputs.rows() {
            match &self.target {
                Target::Class { classes, .. } => {
                    let mut likeliest = 0;
                    for (at, output) in outputs.iter().enumerate() {
                        if *output > outputs[likeliest] {
                            likeliest = at;
                        }
                    }
                    writer.write_field(&classes[likeliest])?;
                    for output in outputs {
                        writer.write_field(output.to_string())?;
                    }
                    writer.write_record(None::<&[u8]>)?;
                }
                Target::Number { mean, scale, .. } => {
                    writer.write_record([in_its_unit(outputs[0], *mean, *scale).to_string()])?;
                }
            }
        }
        writer.flush()
    }

    /// How many of the rows have their target in the table, and how good the predictions of these are, by each
    /// measure that suits: higher is better. `None` where no row has it.
    pub fn scores(&self) -> Option<(usize, Vec<(Metric, f64)>)> {
        let (rows, targets) = self.known.as_ref().filter(|(rows, _)| !rows.is_empty())?;
        let outputs = self.outputs.select(ndarray::Axis(0), rows);
        let all: Vec<usize> = (0..rows.len()).collect();
        let classifier = matches!(self.target, Target::Class { .. });
        let metrics = Metric::all(classifier).iter();
        let scores = metrics.map(|metric| (*metric, metric.score(&outputs, targets, &all)));
        Some((rows.len(), scores.collect()))
    }

    /// How each class fares in the rows that have their target in the table, in the order of the model's classes.
    /// `None` where no row has it, and where a number is predicted.
    pub fn classes(&self) -> Option<Vec<(&str, ClassScores)>> {
        let (rows, targets) = self.known.as_ref().filter(|(rows, _)| !rows.is_empty())?;
        let Targets::Classes(classes) = targets else { return None };
        let outputs = self.outputs.select(ndarray::Axis(0), rows);
        let all: Vec<usize> = (0..rows.len()).collect();
        let names = self.target.classes().iter().map(String::as_str);
        Some(names.zip(per_class(&outputs, classes, &all)).collect())
    }
}

/// A number that was scaled, not with more digits than a model has.
fn in_its_unit(output: f32, mean: f64, scale: f64) -> f32 {
    (f64::from(output) * scale + mean) as f32
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::data::{Column, Schema};
    use crate::model::Activation;

    /// A model that says `yes` where `age` is above 30, or twice the age, whatever the job.
    fn predictor(target: Target) -> Predictor {
        let features = vec![
            Column::Number { name: "age".into(), mean: 30.0, scale: 10.0, missing: None },
            Column::Category {
                name: "job".into(),
                categories: vec!["cook".into(), "smith".into()],
                other: false,
            },
        ];
        let spec = ModelSpec::new(vec![], Activation::Relu, Schema { features, target });
        let mut network = spec.untrained(1);
        let outputs = spec.schema.target.width();
        let weight = [[0.0; 3], [2.0, 0.0, 0.0]];
        let weight: Vec<f32> = weight[2 - outputs..].concat();
        network.set_values(weight.into_iter().chain(vec![0.0; outputs]));
        Predictor::new(&spec.write(&network).unwrap()).unwrap()
    }

    fn class() -> Target {
        Target::Class { name: "default".into(), classes: vec!["no".into(), "yes".into()] }
    }

    fn csv(predictions: &Predictions) -> Vec<String> {
        let mut written = Vec::new();
        predictions.write(&mut written).unwrap();
        String::from_utf8(written).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn rows_are_predicted_in_their_order_and_what_means_nothing_is_passed_over() {
        let model = predictor(class());
        let table = "id,job,age\n7,cook,50\n8,smith,10\n";
        let told =
            model.predict("the table", &mut table.as_bytes(), &DialectOptions::default()).unwrap();
        assert_eq!((told.rows(), &told.passed_over[..]), (2, &["id".to_owned()][..]));
        assert!(told.scores().is_none());
        let lines = csv(&told);
        assert_eq!(lines[0], "prediction,p_no,p_yes");
        assert!(lines[1].starts_with("yes,0.01") && lines[2].starts_with("no,0.98"), "{lines:?}");
    }

    #[test]
    fn where_the_target_is_there_it_is_scored_and_empty_ones_are_left_out() {
        let model = predictor(class());
        let table = "job,age,default\ncook,50,yes\nsmith,10,yes\ncook,20,\nsmith,40,yes\n";
        let told =
            model.predict("the table", &mut table.as_bytes(), &DialectOptions::default()).unwrap();
        let (rows, scores) = told.scores().unwrap();
        assert_eq!((rows, csv(&told).len()), (3, 5));
        assert_eq!((scores[0].0, scores.len()), (Metric::Accuracy, 5));
        let classes = told.classes().unwrap();
        assert_eq!(classes[0], ("no", ClassScores { rows: 0, predicted: 1, right: 0 }));
        assert_eq!(classes[1], ("yes", ClassScores { rows: 3, predicted: 2, right: 2 }));
        assert!((scores[0].1 - 2.0 / 3.0).abs() < 1e-9);
        assert!(told.passed_over.is_empty());
        let refused = |table: &str| {
            model
                .predict("the table", &mut table.as_bytes(), &DialectOptions::default())
                .unwrap_err()
                .to_string()
        };
        let table = "job,age,default\ncook,50,maybe\n";
        assert!(refused(table).contains("line 2: column \"default\": \"maybe\""));
        let lacking = refused("x,default\n1,no\n");
        assert!(lacking.contains("no column age, job, which the model needs; it has: x, default"));
        assert!(refused("job,age\npilot,3\n").contains("line 2: column \"job\": \"pilot\""));
    }

    #[test]
    fn numbers_are_told_in_their_own_unit() {
        let model = predictor(Target::Number { name: "income".into(), mean: 100.0, scale: 50.0 });
        let told = model
            .predict(
                "x",
                &mut "job,age,income\ncook,40,200\n".as_bytes(),
                &DialectOptions::default(),
            )
            .unwrap();
        assert_eq!(csv(&told), ["prediction", "200"]);
        let (rows, scores) = told.scores().unwrap();
        assert_eq!((rows, scores[0], scores[1].0), (1, (Metric::Loss, 0.0), Metric::R2));
        // Of a single number nothing varies.
        assert!(scores[1].1.is_nan() && told.classes().is_none());
        let none =
            model.predict("x", &mut "job,age\n".as_bytes(), &DialectOptions::default()).unwrap();
        assert_eq!(csv(&none), ["prediction"]);
    }

    #[test]
    fn what_comes_to_no_number_is_an_error_with_its_row() {
        let scale = f64::from(f32::MAX);
        let number = predictor(Target::Number { name: "income".into(), mean: 100.0, scale });
        let mut class = predictor(class());
        class.network.set_values([0.0, 0.0, 0.0, 3e38, 0.0, 0.0, 0.0, 0.0]);
        for model in [number, class] {
            let table = "job,age\ncook,30\nsmith,3e38\n";
            let told = model
                .predict("x", &mut table.as_bytes(), &DialectOptions::default())
                .unwrap_err()
                .to_string();
            assert!(told.starts_with("x, line 3: ") && told.contains("row 2"), "{told}");
        }
    }

    #[test]
    fn what_is_packed_is_unpacked_wherever_it_comes_from() {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(b"job,age\ncook,50\n").unwrap();
        let packed = packed.finish().unwrap();
        let told =
            predictor(class()).predict("x", &mut &packed[..], &DialectOptions::default()).unwrap();
        assert_eq!(told.rows(), 1);
    }

    #[test]
    fn a_block_is_all_columns_but_the_target() {
        let block = Column::Block { name: "pixels".into(), width: 2, mean: 0.0, scale: 1.0 };
        let schema = Schema { features: vec![block], target: class() };
        let spec = ModelSpec::new(vec![], Activation::Relu, schema);
        let mut network = spec.untrained(1);
        network.set_values([1.0, 0.0, 0.0, 1.0, 0.0, 0.0]);
        let model = Predictor::new(&spec.write(&network).unwrap()).unwrap();
        let told = model
            .predict(
                "x",
                &mut "a,default,b\n1,no,0\n0,no,1\n".as_bytes(),
                &DialectOptions::default(),
            )
            .unwrap();
        let lines = csv(&told);
        assert!(lines[1].starts_with("no,") && lines[2].starts_with("yes,"), "{lines:?}");
        let refused = model
            .predict("x", &mut "a,b,c\n1,2,3\n".as_bytes(), &DialectOptions::default())
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("needs the 2 columns of pixels in their order, and it has 3"),
            "{refused}"
        );
    }
}
