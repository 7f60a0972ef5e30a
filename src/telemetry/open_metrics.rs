//! A snapshot as text, by <https://prometheus.io/docs/specs/om/open_metrics_spec/>.

use std::fmt;

use super::families::{Family, Label, Sample, Unit, Values, families};
use super::{CommitTimes, Metrics};

impl fmt::Display for Metrics {
    /// OpenMetrics 1.0 text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# TYPE token_tracker_build info")?;
        writeln!(f, "# HELP token_tracker_build The library")?;
        writeln!(f, "token_tracker_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"))?;
        families(self).iter().try_for_each(|family| write_family(f, family))?;
        writeln!(f, "# EOF")
    }
}

fn write_family(f: &mut fmt::Formatter<'_>, family: &Family) -> fmt::Result {
    let name = name(family);
    let kind = match family.values {
        Values::Counter(_) => "counter",
        Values::Gauge(_) => "gauge",
        Values::Histogram(_) => "histogram",
    };
    writeln!(f, "# TYPE {name} {kind}")?;
    if let Some(unit) = unit(family.unit) {
        writeln!(f, "# UNIT {name} {unit}")?;
    }
    writeln!(f, "# HELP {name} {}", family.help)?;
    match &family.values {
        Values::Counter(samples) => write_samples(f, &format!("{name}_total"), samples),
        Values::Gauge(samples) => write_samples(f, &name, samples),
        Values::Histogram(times) => write_histogram(f, &name, times),
    }
}

/// The name has the unit at its end.
fn name(family: &Family) -> String {
    let name = family.name.replace('.', "_");
    unit(family.unit).map_or(name.clone(), |unit| format!("{name}_{unit}"))
}

fn unit(unit: Unit) -> Option<&'static str> {
    match unit {
        Unit::Bytes => Some("bytes"),
        Unit::Count => None,
        Unit::Seconds => Some("seconds"),
    }
}

fn write_samples(f: &mut fmt::Formatter<'_>, name: &str, samples: &[Sample]) -> fmt::Result {
    for Sample { labels, value } in samples {
        write!(f, "{name}")?;
        for (at, Label { kind, value }) in labels.iter().enumerate() {
            let before = if at == 0 { '{' } else { ',' };
            write!(f, "{before}{}=\"{value}\"", kind.label())?;
        }
        let after = if labels.is_empty() { "" } else { "}" };
        writeln!(f, "{after} {value}")?;
    }
    Ok(())
}

fn write_histogram(f: &mut fmt::Formatter<'_>, name: &str, times: &CommitTimes) -> fmt::Result {
    for bucket in &times.buckets {
        // In its canonical form, which has a decimal point.
        let bound = bucket.up_to.as_secs_f64();
        writeln!(f, "{name}_bucket{{le=\"{bound:?}\"}} {}", bucket.count)?;
    }
    writeln!(f, "{name}_bucket{{le=\"+Inf\"}} {}", times.count)?;
    writeln!(f, "{name}_sum {}", times.sum.as_secs_f64())?;
    writeln!(f, "{name}_count {}", times.count)
}
