//! Charts without script: SVG with a band, a line, marks of changes and axes. The page's script puts a zoomable one in their place.

use std::fmt::Write as _;

use burrow_benchstat::math::rank::Interval;
use burrow_web::words::{calendar, escape_into};
use protocol_benchfmt::{Class, Scaler};

/// Units of width for each point that is drawn: a screen has no more, and a page with sixty charts has to be sent.
const APART: u32 = 2;

/// What is drawn.
#[derive(Debug, Clone)]
pub struct Chart<'a> {
    /// What it shows, for those who do not see it.
    pub title: &'a str,
    /// Class of its unit, for the axis. `None`: numbers are parts, and the axis shows percents.
    pub class: Option<Class>,
    /// Moments (Unix seconds) with their values.
    pub points: &'a [(i64, Interval)],
    /// Indices of points that begin a new level, with whether it is worse.
    pub marks: &'a [(usize, bool)],
    /// Levels to draw as steps; as many as points, or none.
    pub levels: &'a [f64],
    /// Indices of points where what they are compared with changed.
    pub rebased: &'a [usize],
    /// Single values, for a scatter: index of the point and value.
    pub dots: &'a [(usize, f64)],
    /// Width and height in its own units.
    pub size: (u32, u32),
}

impl Chart<'_> {
    /// The picture.
    pub fn svg(&self) -> String {
        let (width, height) = (f64::from(self.size.0), f64::from(self.size.1));
        let (left, right, top, bottom) = (58.0, 8.0, 8.0, 20.0);
        let mut out = String::with_capacity(16 << 10);
        let _ = write!(out, "<svg class=\"series\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"");
        escape_into(&mut out, self.title);
        out.push_str("\">");
        let finite: Vec<f64> = self.points.iter().map(|(_, value)| value.center).filter(|value| value.is_finite()).collect();
        if finite.is_empty() {
            let _ = write!(out, "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">no values</text></svg>", width / 2.0, height / 2.0);
            return out;
        }
        let (low, high) = self.range();
        let last = self.points.len().saturating_sub(1).max(1) as f64;
        let x = |at: f64| left + (width - left - right) * at / last;
        let y = |value: f64| top + (height - top - bottom) * (1.0 - ((value - low) / (high - low)).clamp(-0.05, 1.05));
        self.axis(&mut out, low, high, width - right, left, &y);
        self.dates(&mut out, height, &x);
        let groups = self.groups();
        if self.points.iter().any(|(_, value)| value.low < value.high) {
            out.push_str("<path class=\"band\" d=\"");
            let mut first = true;
            for (at, value) in groups.iter().map(|group| (group.at, group.high)).chain(groups.iter().rev().map(|group| (group.at, group.low))) {
                let _ = write!(out, "{}{:.1} {:.1}", if first { 'M' } else { 'L' }, x(at), y(value));
                first = false;
            }
            out.push_str("Z\"/>");
        }
        if !self.dots.is_empty() {
            out.push_str("<path class=\"dots\" d=\"");
            for (at, value) in self.dots.iter().filter(|(_, value)| value.is_finite()) {
                let _ = write!(out, "M{:.1} {:.1}h.01", x(*at as f64), y(*value));
            }
            out.push_str("\"/>");
        }
        for at in self.rebased {
            let _ = write!(out, "<line class=\"rebase\" x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"{top}\" y2=\"{1}\"/>", x(*at as f64), height - bottom);
        }
        out.push_str("<path class=\"line\" d=\"");
        for (number, group) in groups.iter().enumerate() {
            let _ = write!(out, "{}{:.1} {:.1}", if number == 0 { 'M' } else { 'L' }, x(group.at), y(group.center));
        }
        out.push_str("\"/>");
        if let [only] = groups.as_slice() {
            let _ = write!(out, "<circle class=\"point\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\"/>", x(only.at), y(only.center));
        }
        self.level_line(&mut out, &x, &y);
        for (at, worse) in self.marks {
            let (word, sign) = if *worse { ("worse", "▲") } else { ("better", "▼") };
            let Some((_, value)) = self.points.get(*at) else { continue };
            let (cx, cy) = (x(*at as f64), y(value.center));
            let _ = write!(
                out,
                "<g class=\"mark {word}\"><line x1=\"{cx:.1}\" x2=\"{cx:.1}\" y1=\"{top}\" y2=\"{:.1}\"/><circle cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"4\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\">{sign} {word}</text></g>",
                height - bottom,
                (cx + 5.0).min(width - 56.0),
                top + 10.0
            );
        }
        out.push_str("</svg>");
        out
    }

    fn range(&self) -> (f64, f64) {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        // Wide intervals of few runs must not flatten the line: centers rule, intervals count as far as they are near.
        for (_, value) in self.points.iter().filter(|(_, value)| value.center.is_finite()) {
            (low, high) = (low.min(value.center), high.max(value.center));
        }
        let span = (high - low).max(high.abs().max(low.abs()) * 0.02).max(f64::MIN_POSITIVE);
        for (_, value) in self.points {
            if value.low.is_finite() && value.low > low - span {
                low = low.min(value.low);
            }
            if value.high.is_finite() && value.high < high + span {
                high = high.max(value.high);
            }
        }
        let middle = (low + high) / 2.0;
        let half = ((high - low) / 2.0).max(span / 2.0) * 1.1;
        if self.class.is_none() {
            // Ratios are read against zero.
            return ((middle - half).min(-0.005), (middle + half).max(0.005));
        }
        (middle - half, middle + half)
    }

    fn axis(&self, out: &mut String, low: f64, high: f64, end: f64, left: f64, y: &impl Fn(f64) -> f64) {
        let step = nice((high - low) / 4.0);
        let first = (low / step).ceil();
        let ticks: Vec<f64> = (0..8).map(|number| (first + f64::from(number)) * step).take_while(|tick| *tick <= high).collect();
        let scaler = self.class.map(|class| Scaler::common(ticks.iter().copied().chain([step]).filter(|tick| *tick != 0.0), class));
        let decimals = ((-step.log10() - 2.0).ceil().max(0.0) as usize).min(4);
        for tick in ticks {
            let at = y(tick);
            let class = if self.class.is_none() && tick.abs() < step / 10.0 { "zero" } else { "grid" };
            let _ = write!(out, "<line class=\"{class}\" x1=\"{left}\" x2=\"{end}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>");
            let text = match &scaler {
                Some(scaler) => trimmed(&scaler.format(tick)),
                None => format!("{:+.decimals$}%", if tick.abs() < step / 10.0 { 0.0 } else { tick * 100.0 }),
            };
            let _ = write!(out, "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>", left - 6.0, at + 4.0);
        }
    }

    fn dates(&self, out: &mut String, height: f64, x: &impl Fn(f64) -> f64) {
        let last = self.points.len() - 1;
        let mut places = vec![(0, "start"), (last, "end")];
        if last >= 8 && self.size.0 >= 500 {
            places.insert(1, (last / 2, "middle"));
        }
        if last == 0 {
            places.truncate(1);
        }
        for (at, anchor) in places {
            let Some((at_s, _)) = self.points.get(at) else { continue };
            let date = calendar(at_s.saturating_mul(1000));
            let date = date.rsplitn(3, ' ').nth(2).unwrap_or(&date);
            let _ = write!(out, "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{date}</text>", x(at as f64), height - 5.0);
        }
    }

    /// Points, or so many at a time that the screen can show: their middle, and all of their range.
    fn groups(&self) -> Vec<Drawn> {
        let size = self.points.len().div_ceil((self.size.0 / APART).max(1) as usize).max(1);
        let mut groups = Vec::with_capacity(self.points.len() / size + 1);
        for (number, chunk) in self.points.chunks(size).enumerate() {
            let mut centers: Vec<f64> = chunk.iter().map(|(_, value)| value.center).filter(|value| value.is_finite()).collect();
            if centers.is_empty() {
                continue;
            }
            centers.sort_by(f64::total_cmp);
            let center = burrow_benchstat::math::ratio::median(&centers);
            let low = chunk.iter().map(|(_, value)| if value.low.is_finite() { value.low } else { value.center }).fold(center, f64::min);
            let high = chunk.iter().map(|(_, value)| if value.high.is_finite() { value.high } else { value.center }).fold(center, f64::max);
            groups.push(Drawn { at: (number * size) as f64 + (chunk.len() - 1) as f64 / 2.0, low, center, high });
        }
        groups
    }

    fn level_line(&self, out: &mut String, x: &impl Fn(f64) -> f64, y: &impl Fn(f64) -> f64) {
        let mut from = 0;
        let mut path = String::new();
        for at in 1..=self.levels.len() {
            if self.levels.get(at) != self.levels.get(from) {
                if let Some(level) = self.levels.get(from).filter(|level| level.is_finite()) {
                    let _ = write!(path, "M{:.1} {:.1}H{:.1}", x(from as f64), y(*level), x((at - 1) as f64));
                }
                from = at;
            }
        }
        if !path.is_empty() {
            let _ = write!(out, "<path class=\"level\" d=\"{path}\"/>");
        }
    }
}

struct Drawn {
    at: f64,
    low: f64,
    center: f64,
    high: f64,
}

/// Zeros behind the point that say nothing.
fn trimmed(text: &str) -> String {
    let digits = text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '-'))).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    if number.contains('.') { format!("{}{unit}", number.trim_end_matches('0').trim_end_matches('.')) } else { text.to_owned() }
}

/// 1, 2 or 5 times a power of ten, at least this.
fn nice(step: f64) -> f64 {
    let power = 10_f64.powf(step.log10().floor());
    let times = step / power;
    power
        * if times <= 1.0 {
            1.0
        } else if times <= 2.0 {
            2.0
        } else if times <= 5.0 {
            5.0
        } else {
            10.0
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: &[(i64, Interval)]) -> String {
        Chart { title: "a <b>", class: Some(Class::Decimal), points, marks: &[(1, true)], levels: &[], rebased: &[], dots: &[], size: (600, 200) }.svg()
    }

    #[test]
    fn any_numbers_make_a_picture() {
        let point = |center: f64| (0, Interval { low: center - 1.0, center, high: center + 1.0 });
        for values in
            [vec![], vec![1.0], vec![1.0, 2.0], vec![0.0; 5], vec![f64::NAN, 1.0], vec![1e300, -1e300], vec![5e-324; 3], (0..5_000).map(f64::from).collect()]
        {
            let svg = chart(&values.iter().map(|value| point(*value)).collect::<Vec<_>>());
            assert!(svg.starts_with("<svg") && svg.ends_with("</svg>") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            assert!(svg.contains("aria-label=\"a &lt;b&gt;\"") && svg.len() < 60_000);
        }
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!([0.3, 1.0, 1.7, 4.0, 70.0].map(nice), [0.5, 1.0, 2.0, 5.0, 100.0]);
        assert_eq!((trimmed("1.500µ"), trimmed("2.000"), trimmed("30")), ("1.5µ".to_owned(), "2".to_owned(), "30".to_owned()));
    }
}
