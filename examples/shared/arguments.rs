//! The command line.

/// Options of the form `--name VALUE` and flags, each taken once. `finish` rejects those that no call took.
#[derive(Debug)]
pub(crate) struct Arguments(Vec<String>);

impl Arguments {
    /// Reads the arguments of this process.
    pub(crate) fn of_this_process() -> Self {
        Self(std::env::args().skip(1).collect())
    }

    /// Takes these arguments.
    pub(crate) fn of<const N: usize>(arguments: [&str; N]) -> Self {
        Self(arguments.map(str::to_owned).into())
    }

    /// Takes the value of an option, or `None` if it wasn't given.
    pub(crate) fn option(&mut self, name: &str) -> Result<Option<String>, String> {
        Ok(self.values::<1>(name)?.map(|[value]| value))
    }

    /// Takes the `N` values of an option, or `None` if it wasn't given.
    pub(crate) fn values<const N: usize>(
        &mut self,
        name: &str,
    ) -> Result<Option<[String; N]>, String> {
        let Some(at) = self.0.iter().position(|given| given == name) else { return Ok(None) };
        let values = self.0.get(at + 1..=at + N).map(<[String]>::to_vec);
        let values = values.and_then(|values| values.try_into().ok());
        let values = values.ok_or_else(|| format!("{name} needs {N} value(s) after it"))?;
        self.0.drain(at..=at + N);
        Ok(Some(values))
    }

    /// Takes a flag, and returns whether it was given.
    pub(crate) fn flag(&mut self, name: &str) -> bool {
        let at = self.0.iter().position(|given| given == name);
        at.map(|at| self.0.remove(at)).is_some()
    }

    /// Takes a command: this word and all that stands behind it, which is returned. It is called
    /// after the options, whose values may be the same word.
    pub(crate) fn command(&mut self, word: &str) -> Option<Vec<String>> {
        let at = self.0.iter().position(|given| given == word)?;
        Some(self.0.split_off(at).split_off(1))
    }

    /// Rejects the first argument that is left.
    pub(crate) fn finish(self) -> Result<(), String> {
        self.0.first().map_or(Ok(()), |unknown| {
            Err(format!("{unknown} is no option of this example, or was given twice; see --help"))
        })
    }
}
