//! The parameters of the claim's VolumeAttributesClass.
//!
//! The class is the last thing that is looked at, and read from the API server each time.

use std::collections::BTreeMap;

use kubernetes::object::WireAttributesClass;

use super::super::error::ProvisionError;

/// The mutable parameters.
///
/// # Errors
/// There is no such class, or it is another driver's.
pub(crate) fn mutable_parameters(
    name: &str,
    class: Option<WireAttributesClass>,
    driver: &str,
) -> Result<BTreeMap<String, String>, ProvisionError> {
    let Some(class) = class else { return Err(ProvisionError::AttributesMissing(name.to_owned())) };
    if *class.driver_name != *driver {
        return Err(ProvisionError::AttributesForeign {
            name: name.to_owned(),
            named: class.driver_name.into(),
            driver: driver.to_owned(),
        });
    }
    Ok(class.parameters.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::super::super::outcome::State;
    use super::*;
    use serde_json::json;

    #[test]
    fn class_must_exist_and_be_the_driver_s() {
        let class = |driver: &str, parameters| {
            serde_json::from_value(json!({"driverName": driver, "parameters": parameters})).unwrap()
        };
        let fast = [("iops".to_owned(), "9".to_owned())];
        let found = mutable_parameters("gold", class("test-driver", json!({"iops": "9"})), "test-driver");
        assert_eq!(found.unwrap(), fast.into());
        assert!(
            mutable_parameters("gold", class("test-driver", json!(null)), "test-driver").unwrap().is_empty()
        );
        for (class, text, state) in [
            (None, "volumeattributesclasses.storage.k8s.io \"gold\" not found", State::NoChange),
            (class("other", json!({})), "is other's, not test-driver's", State::Finished),
        ] {
            let error = mutable_parameters("gold", class, "test-driver").unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
            assert_eq!(error.state(true, true), state, "{error}");
        }
    }
}
