//! The command line.

/// Options of the form `--name VALUE`, each taken once; what nobody took is refused.
#[derive(Debug)]
pub(crate) struct Arguments(Vec<String>);

impl Arguments {
    /// Those that this process was started with.
    pub(crate) fn of_this_process() -> Self {
        Self(std::env::args().skip(1).collect())
    }

    /// The value of an option, if it was given.
    pub(crate) fn option(&mut self, name: &str) -> Result<Option<String>, String> {
        Ok(self.values::<1>(name)?.map(|[value]| value))
    }

    /// The values of an option that has several.
    pub(crate) fn values<const N: usize>(
        &mut self,
        name: &str,
    ) -> Result<Option<[String; N]>, String> {
        let Some(at) = self.0.iter().position(|given| given == name) else { return Ok(None) };
        let values = self.0.get(at + 1..=at + N).map(<[String]>::to_vec);
        let values = values.and_then(|values| values.try_into().ok());
        let values = values.ok_or_else(|| format!("{name} is followed by {N} value(s)"))?;
        self.0.drain(at..=at + N);
        Ok(Some(values))
    }

    /// Refuses what is left.
    pub(crate) fn finish(self) -> Result<(), String> {
        self.0.first().map_or(Ok(()), |unknown| {
            Err(format!("{unknown} isn't an option, or was given before"))
        })
    }
}
