//! A test of whether two sets of measurements have one mean (Welch 1947).

/// The measurements of a class, in nanoseconds.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<u32>);

/// A choice of measurements: all, or the shorter ones.
#[derive(Clone, Copy, Debug)]
pub struct Crop {
    pub name: &'static str,
    share: f64,
}

/// The percentile is that of all classes together, so that all are cropped alike. Other work of the
/// machine makes a few measurements very long, which hide small differences in the t of all.
pub const CROPS: [Crop; 3] = [
    Crop { name: "all", share: 1.0 },
    Crop { name: "below the 99th percentile", share: 0.99 },
    Crop { name: "below the 90th percentile", share: 0.9 },
];

impl Samples {
    pub fn push(&mut self, nanos: u128) {
        self.0.push(u32::try_from(nanos).unwrap_or(u32::MAX));
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        let at = sorted.len() / 2;
        f64::from(*sorted.select_nth_unstable(at).1)
    }

    /// Returns the mean, and the variance of the mean, of measurements up to a limit.
    fn mean(&self, limit: u32) -> (f64, f64) {
        let taken =
            || self.0.iter().filter(|nanos| **nanos <= limit).map(|nanos| f64::from(*nanos));
        let count = taken().count() as f64;
        let mean = taken().sum::<f64>() / count;
        let variance = taken().map(|nanos| (nanos - mean).powi(2)).sum::<f64>() / (count - 1.0);
        (mean, variance / count)
    }
}

/// Returns the longest measurement of a crop.
pub fn limit(classes: &[Samples], crop: Crop) -> u32 {
    let mut all: Vec<u32> = classes.iter().flat_map(|class| class.0.iter().copied()).collect();
    let at = ((all.len() as f64 * crop.share) as usize).min(all.len() - 1);
    *all.select_nth_unstable(at).1
}

/// Computes Welch's t, and the difference of the means in nanoseconds.
pub fn t(one: &Samples, other: &Samples, limit: u32) -> (f64, f64) {
    let ((one, of_one), (other, of_other)) = (one.mean(limit), other.mean(limit));
    ((one - other) / (of_one + of_other).sqrt(), one - other)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed by hand: means 2 and 5, variances 1 and 4, three of each.
    #[test]
    fn a_small_example() {
        let (one, other) = (Samples(vec![1, 2, 3]), Samples(vec![3, 5, 7]));
        let (t, difference) = t(&one, &other, u32::MAX);
        assert!((t + 3.0 / (5.0_f64 / 3.0).sqrt()).abs() < 1e-12 && difference == -3.0, "{t}");
        assert_eq!(one.median(), 2.0);
    }

    #[test]
    fn cropping_is_by_all_classes_together() {
        let classes = [Samples((1..=50).collect()), Samples((51..=100).collect())];
        assert_eq!(CROPS.map(|crop| limit(&classes, crop)), [100, 100, 91]);
        assert_eq!(classes[1].mean(91).0, 71.0);
    }
}
