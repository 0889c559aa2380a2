//! Which traces are kept: the samplers of the OpenTelemetry specification, by their names there.

use thiserror::Error;

/// Which traces are kept. The first span of each is ours, so the specification's `parentbased_` samplers decide as those that
/// they are based on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampler {
    /// Of 2^63 traces, so many are kept.
    bound: u64,
}

/// Why there is no sampler.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SamplerError {
    /// No sampler has this name.
    #[error(
        "OTEL_TRACES_SAMPLER={0}: must be always_on, always_off, traceidratio, parentbased_always_on, parentbased_always_off or parentbased_traceidratio"
    )]
    Name(String),
    /// The ratio is none.
    #[error("OTEL_TRACES_SAMPLER_ARG={0}: must be a number from 0 to 1")]
    Ratio(String),
}

const ALL: u64 = 1 << 63;

impl Default for Sampler {
    /// Keeps all.
    fn default() -> Self {
        Self { bound: ALL }
    }
}

impl Sampler {
    /// The sampler of this name (`OTEL_TRACES_SAMPLER`) and argument (`OTEL_TRACES_SAMPLER_ARG`). Empty ones count as
    /// not given.
    ///
    /// # Errors
    /// [`SamplerError`].
    pub fn parse(name: &str, argument: &str) -> Result<Self, SamplerError> {
        match name.strip_prefix("parentbased_").unwrap_or(name) {
            "" | "always_on" => Ok(Self::default()),
            "always_off" => Ok(Self { bound: 0 }),
            "traceidratio" if argument.is_empty() => Ok(Self::default()),
            "traceidratio" => {
                let ratio = argument.parse::<f64>().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
                let ratio = ratio.ok_or_else(|| SamplerError::Ratio(argument.to_owned()))?;
                // Exact for 0 and 1; a float cast never wraps.
                Ok(Self { bound: (ratio * ALL as f64) as u64 })
            }
            _ => Err(SamplerError::Name(name.to_owned())),
        }
    }

    /// Whether the trace of this number is kept: as OpenTelemetry's SDK for Go decides.
    pub(super) fn keeps(self, trace: u128) -> bool {
        let low = (trace & u128::from(u64::MAX)) as u64;
        low >> 1 < self.bound
    }
}
