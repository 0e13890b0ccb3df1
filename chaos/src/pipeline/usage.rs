//! What a process uses, from /proc.

/// Clock ticks a second in /proc/<pid>/stat: 100 on every Linux that Rust's standard library knows.
const TICKS_A_SECOND: u64 = 100;
/// Fields between the name of the process and its user time.
const FIELDS_BEFORE_USER_TIME: usize = 11;

/// What a process uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) resident_kb: u64,
    pub(crate) resident_peak_kb: u64,
    pub(crate) cpu_ms: u64,
}

impl Usage {
    /// None for a process that is gone.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Self::parse(&status, &stat)
    }

    fn parse(status: &str, stat: &str) -> Option<Self> {
        let kb = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name))?;
            line.split_whitespace().nth(1)?.parse().ok()
        };
        // The name stands in parentheses and may hold anything.
        let mut times = stat
            .rsplit_once(')')?
            .1
            .split_whitespace()
            .skip(FIELDS_BEFORE_USER_TIME);
        let (user, system): (u64, u64) = (times.next()?.parse().ok()?, times.next()?.parse().ok()?);
        Some(Self {
            resident_kb: kb("VmRSS:")?,
            resident_peak_kb: kb("VmHWM:")?,
            cpu_ms: (user + system) * 1000 / TICKS_A_SECOND,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_memory_and_times_whatever_the_name_is() {
        let status = "Name:\tmy) sync\nVmHWM:\t  2048 kB\nVmRSS:\t  1024 kB\n";
        let stat = "7 (my) sync) S 1 7 7 0 -1 4194560 900 0 0 0 120 30 0 0 20 0 4 0 100 0 0";
        let usage = Usage::parse(status, stat).unwrap();
        assert_eq!(
            usage,
            Usage {
                resident_kb: 1024,
                resident_peak_kb: 2048,
                cpu_ms: 1500
            }
        );
    }

    #[test]
    fn this_process_is_seen_and_no_process_is_not() {
        assert!(Usage::of(std::process::id()).unwrap().resident_kb > 0);
        assert_eq!(Usage::of(u32::MAX), None);
    }
}
