//! What every process tells: its build, CPU, memory and start, by the names that Prometheus' own clients use.

use crate::usage;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Debug)]
struct Process {
    start_s: f64,
}

pub(super) fn register(registry: &mut Registry) {
    registry.register(
        "mysync_build",
        "The build of this process",
        Info::new([("version", env!("CARGO_PKG_VERSION"))]),
    );
    let start_s = SystemTime::now().duration_since(UNIX_EPOCH);
    registry.register_collector(Box::new(Process {
        start_s: start_s.map_or(0.0, |since| since.as_secs_f64()),
    }));
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let cpu = ConstCounter::new(usage::cpu_seconds());
        let help = "CPU time, user and system, seconds";
        let metric = encoder.encode_descriptor("process_cpu_seconds", help, None, cpu.metric_type())?;
        cpu.encode(metric)?;
        #[allow(clippy::cast_precision_loss)]
        let gauges = [
            (
                "process_resident_memory_bytes",
                "Resident memory, bytes",
                usage::resident_bytes() as f64,
            ),
            (
                "process_start_time_seconds",
                "Start of the process, seconds since 1970",
                self.start_s,
            ),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value);
            let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        Ok(())
    }
}
