//! Families of metrics, put together when somebody asks and written as OpenMetrics.

use std::borrow::Cow;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, MetricEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// A label and its value.
pub(super) type Label = (&'static str, Cow<'static, str>);

/// Some families.
#[derive(Default, Debug)]
pub(super) struct Families(Vec<Family>);

/// A metric by all its labels.
#[derive(Debug)]
pub(super) struct Family {
    name: &'static str,
    help: &'static str,
    unit: Option<Unit>,
    kind: MetricType,
    samples: Vec<(Vec<Label>, Value)>,
    histogram: Option<Histogram>,
}

/// What a sample says.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value {
    Whole(u64),
    Real(f64),
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Whole(value)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Whole(value.into())
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Self::Whole(value as u64)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Whole(value.into())
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

impl Families {
    fn add(&mut self, name: &'static str, help: &'static str, kind: MetricType) -> &mut Family {
        let (unit, samples, histogram) = (None, Vec::new(), None);
        self.0.push(Family { name, help, unit, kind, samples, histogram });
        let last = self.0.len() - 1;
        &mut self.0[last]
    }

    /// What goes up and down.
    pub(super) fn gauge(&mut self, name: &'static str, help: &'static str) -> &mut Family {
        self.add(name, help, MetricType::Gauge)
    }

    /// What only grows; its samples have `_total` behind their name.
    pub(super) fn counter(&mut self, name: &'static str, help: &'static str) -> &mut Family {
        self.add(name, help, MetricType::Counter)
    }

    /// What does not change; its sample has `_info` behind its name, and says everything in labels.
    pub(super) fn info(&mut self, name: &'static str, help: &'static str) -> &mut Family {
        self.add(name, help, MetricType::Info)
    }

    /// How often something had which size.
    pub(super) fn histogram(
        &mut self,
        name: &'static str,
        help: &'static str,
        histogram: Histogram,
    ) -> &mut Family {
        let family = self.add(name, help, MetricType::Histogram);
        family.histogram = Some(histogram);
        family
    }

    /// In OpenMetrics' text form, without its last line.
    pub(super) fn text(self, prefix: Option<&str>) -> Result<String, fmt::Error> {
        let mut registry = prefix.map_or_else(Registry::default, Registry::with_prefix);
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        text::encode_registry(&mut text, &registry)?;
        Ok(text)
    }
}

impl Family {
    /// In what it is measured; that becomes the end of its name.
    pub(super) fn in_unit(&mut self, unit: Unit) -> &mut Self {
        self.unit = Some(unit);
        self
    }

    /// In seconds.
    pub(super) fn in_seconds(&mut self) -> &mut Self {
        self.in_unit(Unit::Seconds)
    }

    /// In bytes.
    pub(super) fn in_bytes(&mut self) -> &mut Self {
        self.in_unit(Unit::Bytes)
    }

    /// Its one sample.
    pub(super) fn is(&mut self, value: impl Into<Value>) {
        self.samples.push((Vec::new(), value.into()));
    }

    /// Its one sample, if it is known.
    pub(super) fn may_be(&mut self, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.is(value);
        }
    }

    /// A sample with these labels.
    pub(super) fn sample<const N: usize>(&mut self, labels: [Label; N], value: impl Into<Value>) {
        self.samples.push((labels.into(), value.into()));
    }
}

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for family in &self.0 {
            // A family without samples says nothing.
            if family.samples.is_empty() && family.histogram.is_none() {
                continue;
            }
            let Family { name, help, unit, kind, samples, histogram } = family;
            let mut metric = encoder.encode_descriptor(name, help, unit.as_ref(), *kind)?;
            for (labels, value) in samples {
                match (kind, labels.is_empty()) {
                    (MetricType::Info, _) => metric.encode_info(labels)?,
                    (_, true) => write(&mut metric, *kind, *value)?,
                    (_, false) => write(&mut metric.encode_family(labels)?, *kind, *value)?,
                }
            }
            if let Some(histogram) = histogram {
                histogram.encode(metric)?;
            }
        }
        Ok(())
    }
}

fn write(metric: &mut MetricEncoder<'_>, kind: MetricType, value: Value) -> Result<(), fmt::Error> {
    const NONE: Option<&Exemplar<Vec<Label>, f64>> = None;
    match (kind, value) {
        (MetricType::Counter, Value::Whole(value)) => metric.encode_counter(&value, NONE),
        (MetricType::Counter, Value::Real(value)) => metric.encode_counter(&value, NONE),
        (_, Value::Whole(value)) => metric.encode_gauge(&value),
        (_, Value::Real(value)) => metric.encode_gauge(&value),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_open_metrics_and_labels_are_escaped() {
        let mut families = Families::default();
        families.info("build", "What it is.").sample([("version", "1".into())], 1_u64);
        families.gauge("nothing", "Of which nothing is known.").may_be(None::<u64>);
        families.gauge("sent", "Bytes.").in_bytes().is(7_u64);
        let labels = [("by", "a\"b\\c\nd".into()), ("class", "R8".into())];
        families.counter("refusals", "What was refused.").sample(labels, 3_u64);
        let histogram = Histogram::new([1.0, 2.0]);
        histogram.observe(1.5);
        families.histogram("took", "How long.", histogram).in_seconds();
        let expected = "# HELP colearn_build What it is.\n\
            # TYPE colearn_build info\n\
            colearn_build_info{version=\"1\"} 1\n\
            # HELP colearn_sent_bytes Bytes.\n\
            # TYPE colearn_sent_bytes gauge\n\
            # UNIT colearn_sent_bytes bytes\n\
            colearn_sent_bytes 7\n\
            # HELP colearn_refusals What was refused.\n\
            # TYPE colearn_refusals counter\n\
            colearn_refusals_total{by=\"a\\\"b\\\\c\\nd\",class=\"R8\"} 3\n\
            # HELP colearn_took_seconds How long.\n\
            # TYPE colearn_took_seconds histogram\n\
            # UNIT colearn_took_seconds seconds\n\
            colearn_took_seconds_sum 1.5\n\
            colearn_took_seconds_count 1\n\
            colearn_took_seconds_bucket{le=\"1.0\"} 0\n\
            colearn_took_seconds_bucket{le=\"2.0\"} 1\n\
            colearn_took_seconds_bucket{le=\"+Inf\"} 1\n";
        assert_eq!(families.text(Some("colearn")).unwrap(), expected);
    }
}
