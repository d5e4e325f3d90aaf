//! The state of the machine while something ran, as far as it can be read.

use std::fs;

/// Numbers that explain noise.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Machine {
    /// Processes that wanted to run, over the last minute.
    pub load: Option<f64>,
    /// Mean clock rate of the processors, in MHz.
    pub megahertz: Option<f64>,
    /// The warmest sensor, in degrees Celsius.
    pub celsius: Option<f64>,
}

impl Machine {
    /// Reads what this machine shows. On systems without these files, and in most virtual machines, some of it is missing.
    #[must_use]
    pub fn now() -> Machine {
        let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<f64>().ok();
        let load = fs::read_to_string("/proc/loadavg").ok().and_then(|text| text.split_whitespace().next()?.parse().ok());
        let scaled: Vec<f64> =
            (0..1024).map_while(|cpu| number(&format!("/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_cur_freq"))).map(|khz| khz / 1000.0).collect();
        let rates = if scaled.is_empty() { cpuinfo(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default()) } else { scaled };
        let zones = (0..64).map_while(|zone| number(&format!("/sys/class/thermal/thermal_zone{zone}/temp")));
        // Thousandths of a degree; sensors that are not there say 0 or less.
        let celsius = zones.map(|temperature| temperature / 1000.0).filter(|celsius| *celsius > 0.0).reduce(f64::max);
        Machine { load, megahertz: mean(&rates), celsius }
    }

    /// The numbers that are known, with units.
    #[must_use]
    pub fn values(&self) -> Vec<(f64, &'static str)> {
        let all = [(self.load, "load"), (self.megahertz, "MHz"), (self.celsius, "celsius")];
        all.into_iter().filter_map(|(value, unit)| Some(((value? * 100.0).round() / 100.0, unit))).collect()
    }
}

fn cpuinfo(text: &str) -> Vec<f64> {
    let rates = text.lines().filter(|line| line.starts_with("cpu MHz"));
    rates.filter_map(|line| line.split_once(':')?.1.trim().parse().ok()).collect()
}

fn mean(numbers: &[f64]) -> Option<f64> {
    (!numbers.is_empty()).then(|| numbers.iter().sum::<f64>() / numbers.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_rates_are_in_the_list_of_processors() {
        let rates = cpuinfo("processor\t: 0\ncpu MHz\t\t: 2600.500\n\nprocessor\t: 1\ncpu MHz\t\t: 2599.500\n");
        assert_eq!(mean(&rates), Some(2600.0));
        let machine = Machine { load: Some(0.125), megahertz: mean(&rates), celsius: None };
        assert_eq!(machine.values(), [(0.13, "load"), (2600.0, "MHz")]);
        assert_eq!(mean(&cpuinfo("")), None);
    }
}
