//! The requests of lists and watches.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use kube::Resource;
use kube::api::{ListParams, Request, WatchParams};

use crate::api::Error;
use crate::limit::Continuation;
use crate::object::Object;

/// Objects that one page of a list brings at most. A page is parsed and dropped before the next one is asked for.
const PAGE: u32 = 500;
/// How long the server keeps a watch open, in seconds.
const LIFETIME: u32 = 290;

/// How a kind is watched.
#[derive(Debug, Clone, Default)]
pub struct WatchOptions {
    /// Ask for the list as a stream (Kubernetes 1.34 and later): never a page in memory.
    pub streaming: bool,
    /// A field selector; empty for all objects.
    pub fields: String,
    /// A label selector; empty for all objects.
    pub labels: String,
    /// One namespace only; empty for all.
    pub namespace: String,
    /// Ask for metadata only: name, labels, annotations, finalizers. The rest of the wire object stays at its default.
    pub metadata_only: bool,
    /// Without the permission, work goes on: a refusal is logged once, by whoever shares this flag.
    pub refusal: Option<Arc<AtomicBool>>,
    /// Another version of the API group than that of the wire type, for a cluster that serves only that one.
    pub version: Option<&'static str>,
}

impl WatchOptions {
    /// The request for a watch from this version on. With `list`, the stream begins with the whole list, and `version` is
    /// empty: the server then lists the newest state.
    pub(super) fn watch<T: Object>(
        &self,
        version: &str,
        list: bool,
    ) -> Result<http::Request<Vec<u8>>, Error> {
        let params = WatchParams {
            field_selector: selector(&self.fields),
            label_selector: selector(&self.labels),
            timeout: Some(LIFETIME),
            send_initial_events: list,
            ..WatchParams::default()
        };
        let path = self.path::<T>();
        let request = if self.metadata_only {
            path.watch_metadata(&params, version)
        } else {
            path.watch(&params, version)
        };
        request.map_err(Error::BuildRequest)
    }

    /// The request for one page. Only the first page of a list counts for the request limit: at a low rate the
    /// continue token of a long list would otherwise expire before the last page.
    pub(super) fn page<T: Object>(&self, token: Option<String>) -> Result<http::Request<Vec<u8>>, Error> {
        let continues = token.is_some();
        let params = ListParams {
            field_selector: selector(&self.fields),
            label_selector: selector(&self.labels),
            limit: Some(PAGE),
            continue_token: token,
            ..ListParams::default()
        };
        let path = self.path::<T>();
        let request = if self.metadata_only { path.list_metadata(&params) } else { path.list(&params) };
        let mut request = request.map_err(Error::BuildRequest)?;
        if continues {
            request.extensions_mut().insert(Continuation);
        }
        Ok(request)
    }

    fn path<T: Object>(&self) -> Request {
        let path = T::Wire::url_path(&(), selector(&self.namespace).as_deref());
        let Some(version) = self.version else { return Request::new(path) };
        Request::new(path.replacen(&format!("/{}/", T::Wire::version(&())), &format!("/{version}/"), 1))
    }
}

fn selector(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::AttributesClass;

    #[test]
    fn another_version_of_the_group_is_asked_for() {
        let asked = |version| {
            let options = WatchOptions { version, ..WatchOptions::default() };
            options.page::<AttributesClass>(None).unwrap().uri().path().to_owned()
        };
        assert_eq!(asked(None), "/apis/storage.k8s.io/v1/volumeattributesclasses");
        assert_eq!(asked(Some("v1beta1")), "/apis/storage.k8s.io/v1beta1/volumeattributesclasses");
    }

    /// A list of 100,000 objects must end before the API server forgets its version, at the smallest rate too.
    #[test]
    fn pages_are_large_and_only_the_first_one_takes_a_token() {
        let page = |token: Option<&str>| {
            let request = WatchOptions::default().page::<AttributesClass>(token.map(str::to_owned)).unwrap();
            let is_large = request.uri().query().is_some_and(|query| query.contains("limit=500"));
            (is_large, request.extensions().get::<Continuation>().is_some())
        };
        assert_eq!(page(None), (true, false));
        assert_eq!(page(Some("more")), (true, true));
    }
}
