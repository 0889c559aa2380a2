//! The requests that sidecars make besides watches: one method each, typed by the wire object.
//!
//! A write returns the server's reply, so that the caller can put it into its cache. Once leadership has
//! ended, a write is not sent and fails with [`NotLeading`].

use http::header::{CONTENT_TYPE, HeaderValue};
use kube::Client;
use kube::api::{
    DeleteParams, GetParams, ListParams, Patch, PatchParams, PostParams, Preconditions, Request,
};
use kube::core::ListMeta;
use kube::core::response::Status;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::limit::{MakesWay, NotLeading};
use super::object::name::is_path_segment;
use super::object::{NoObject, Uid, Wire, version_number};
use base::leadership::Leadership;

mod span;

/// Why a request failed.
pub type Error = kube::Error;

/// Which of the patch formats a body is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// RFC 7386: lists are replaced as a whole.
    Merge,
    /// Kubernetes' own: lists such as finalizers are merged by the server, so that two writers who each
    /// care for their own element never conflict.
    Strategic,
    /// RFC 6902: a list of operations; `test` makes them depend on what is there. For custom resources, whose
    /// lists cannot be merged.
    Json,
}

/// The objects of the API server, as this process may change them.
///
/// Some names come from texts that users write. One that would lead a request elsewhere is the name of no object.
#[derive(Clone)]
pub struct Objects {
    client: Client,
    leadership: Leadership,
    makes_way: bool,
}

impl Objects {
    /// Objects behind `client`, changed only while `leadership` holds.
    pub fn new(client: Client, leadership: Leadership) -> Self {
        Self { client, leadership, makes_way: false }
    }

    /// The same objects, whose writes make way for those of others.
    pub(crate) fn making_way(self) -> Self {
        Self { makes_way: true, ..self }
    }

    /// The client, for watches.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Sends a write if we lead. The request carries the leadership, which is checked again after a wait for
    /// the request limit (see [`super::limit`]).
    async fn write(&self, mut request: http::Request<Vec<u8>>) -> Result<String, Error> {
        if !self.leadership.holds() {
            return Err(Error::Service(Box::new(NotLeading)));
        }
        request.extensions_mut().insert(self.leadership.clone());
        if self.makes_way {
            request.extensions_mut().insert(MakesWay);
        }
        let span = span::begin(&request);
        let reply = self.client.request_text(request).await;
        let error = reply.as_ref().err();
        span::end(span, error.and_then(status).map(|status| status.code), error.map(|error| || text(error)));
        reply
    }

    /// Reads one object; `None` when there is none.
    pub async fn get<W: Wire>(&self, namespace: &str, name: &str) -> Result<Option<W>, Error> {
        // Not parsed into `W` at once: whole PersistentVolumes are read from values elsewhere, and one way of reading them is a
        // third of a megabyte less code than two.
        let object = self.raw::<W>(namespace, name).await?;
        object.map(serde_json::from_value).transpose().map_err(Error::SerdeError)
    }

    /// Whether there is such an object; asks for its metadata only.
    pub async fn exists<W: Wire>(&self, namespace: &str, name: &str) -> Result<bool, Error> {
        Ok(self.version::<W>(namespace, name).await?.is_some())
    }

    /// resourceVersion of an object; `None` if there is no such object. Asks for its metadata only.
    pub async fn version<W: Wire>(&self, namespace: &str, name: &str) -> Result<Option<u64>, Error> {
        if !is_path_segment(name) {
            return Ok(None);
        }
        let request = path::<W>(namespace).get_metadata(name, &GetParams::default());
        match self.client.request::<NoObject>(request.map_err(Error::BuildRequest)?).await {
            Ok(object) => Ok(Some(version_number(object.metadata.resource_version.as_deref()))),
            Err(error) if is_missing(&error, name) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads all objects of a namespace. One that cannot be parsed is logged and left out. The number is the list's
    /// version: what changes later has a greater one.
    pub async fn list<W: Wire>(&self, namespace: &str) -> Result<(Vec<W>, u64), Error> {
        let mut objects = Vec::new();
        let take = |item| match serde_json::from_value(item) {
            Ok(object) => objects.push(object),
            Err(error) => {
                base::error!(error, "Skipped a malformed object";
                    "resource" => W::plural(&()), "namespace" => namespace);
            }
        };
        let version = pages(&self.client, &path::<W>(namespace), ListParams::default(), take).await?;
        Ok((objects, version))
    }

    /// Creates an object.
    pub async fn create<W: Wire>(&self, namespace: &str, body: &impl Serialize) -> Result<W, Error> {
        let body = serde_json::to_vec(body).map_err(Error::SerdeError)?;
        let request =
            path::<W>(namespace).create(&PostParams::default(), body).map_err(Error::BuildRequest)?;
        read(&self.write(request).await?)
    }

    /// Patches an object, or its subresource (`status`) when that is not empty.
    pub async fn patch<W: Wire>(
        &self,
        namespace: &str,
        name: &str,
        subresource: &str,
        format: Format,
        body: &Value,
    ) -> Result<W, Error> {
        let params = PatchParams::default();
        let path = path::<W>(namespace);
        // A JSON patch goes out as it is, under its own content type: kube's type for it would parse it first.
        let patch = match format {
            Format::Strategic => Patch::Strategic(body),
            Format::Merge | Format::Json => Patch::Merge(body),
        };
        let mut request = if subresource.is_empty() {
            path.patch(name, &params, &patch)
        } else {
            path.patch_subresource(subresource, name, &params, &patch)
        }
        .map_err(Error::BuildRequest)?;
        if format == Format::Json {
            request
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static("application/json-patch+json"));
        }
        read(&self.write(request).await?)
    }

    /// Puts a whole object in place of the one of its resourceVersion (409 when that has changed). `object` is what
    /// [`Objects::raw`] gave, changed: every field that we do not know is sent back as it was.
    pub async fn replace<W: Wire>(
        &self,
        namespace: &str,
        name: &str,
        subresource: &str,
        object: &Value,
    ) -> Result<W, Error> {
        let body = serde_json::to_vec(object).map_err(Error::SerdeError)?;
        let (path, params) = (path::<W>(namespace), PostParams::default());
        let request = if subresource.is_empty() {
            path.replace(name, &params, body)
        } else {
            path.replace_subresource(subresource, name, &params, body)
        };
        read(&self.write(request.map_err(Error::BuildRequest)?).await?)
    }

    /// Reads one object whole; `None` when there is none.
    pub async fn raw<W: Wire>(&self, namespace: &str, name: &str) -> Result<Option<Value>, Error> {
        if !is_path_segment(name) {
            return Ok(None);
        }
        let request = path::<W>(namespace).get(name, &GetParams::default()).map_err(Error::BuildRequest)?;
        match self.client.request::<Value>(request).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if is_missing(&error, name) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes an object if it still has this uid. It counts as gone if there is none of that name, or one
    /// with another uid.
    pub async fn delete<W: Wire>(&self, namespace: &str, name: &str, uid: &Uid) -> Result<Deleted<W>, Error> {
        let preconditions = Preconditions { uid: Some(uid.to_string()), resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        let request = path::<W>(namespace).delete(name, &params).map_err(Error::BuildRequest)?;
        match self.write(request).await {
            Ok(reply) => {
                let kind: Kind<'_> = serde_json::from_str(&reply).map_err(Error::SerdeError)?;
                if kind.kind == "Status" {
                    return Ok(Deleted::Gone);
                }
                let object: W = read(&reply)?;
                let waits = object.meta().finalizers.as_ref().is_some_and(|list| !list.is_empty());
                let waits = waits && object.meta().deletion_timestamp.is_some();
                Ok(if waits { Deleted::Pending(Box::new(object)) } else { Deleted::Gone })
            }
            Err(error) if is_gone(&error, name) => Ok(Deleted::Gone),
            Err(error) => Err(error),
        }
    }
}

impl Objects {
    /// Deletes an object if it still has this resourceVersion (409 when that has changed). It counts as deleted if there is
    /// none of that name.
    pub async fn delete_unchanged<W: Wire>(
        &self,
        namespace: &str,
        name: &str,
        version: &str,
    ) -> Result<(), Error> {
        let preconditions = Preconditions { uid: None, resource_version: Some(version.to_owned()) };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        let request = path::<W>(namespace).delete(name, &params).map_err(Error::BuildRequest)?;
        match self.write(request).await {
            Err(error) if !is_missing(&error, name) => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

/// Lists a page at a time, and gives each object to `take`. Returns the version of the list.
///
/// # Errors
/// The API server's refusal, or no answer.
pub async fn pages(
    client: &Client,
    path: &Request,
    params: ListParams,
    mut take: impl FnMut(Value),
) -> Result<u64, Error> {
    let mut params = params.limit(PAGE);
    loop {
        let request = path.list(&params).map_err(Error::BuildRequest)?;
        let page = client.request::<Page>(request).await?;
        page.items.into_iter().for_each(&mut take);
        params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
        if params.continue_token.is_none() {
            return Ok(version_number(page.metadata.resource_version.as_deref()));
        }
    }
}

/// Objects of one page of a list.
const PAGE: u32 = 500;

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    metadata: ListMeta,
    #[serde(default = "Vec::new")]
    items: Vec<Value>,
}

/// What kind of thing a reply is.
#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(default)]
    kind: &'a str,
}

/// What is left of an object after a delete request.
#[derive(Debug)]
pub enum Deleted<W> {
    /// Nothing.
    Gone,
    /// It waits for its finalizers.
    Pending(Box<W>),
}

/// The API server's answer behind an error, if it answered.
pub fn status(error: &Error) -> Option<&Status> {
    match error {
        Error::Api(status) => Some(status),
        _ => None,
    }
}

/// Whether the API server answered with this HTTP code.
pub fn is(error: &Error, code: u16) -> bool {
    status(error).is_some_and(|status| status.code == code)
}

/// Whether the API server itself says that there is no object of this name. Anything else that answers 404, such as a
/// proxy or a server that does not know the kind, says nothing about the object.
pub fn is_missing(error: &Error, name: &str) -> bool {
    status(error).is_some_and(|status| {
        let details = status.details.as_ref();
        status.code == 404
            && status.reason == "NotFound"
            && details.is_some_and(|details| details.name == name)
    })
}

/// Whether the object of this name that a write was for is gone; another may have the name by now.
pub fn is_gone(error: &Error, name: &str) -> bool {
    is_missing(error, name) || is_for_another(error)
}

/// Whether the API server no longer knows the version that was asked for.
pub fn is_expired(error: &Error) -> bool {
    status(error).is_some_and(|status| status.code == 410 || status.reason == "Expired")
}

/// Whether a write for one uid (see [`super::patch::only`]) was refused because another object has the name.
pub fn is_for_another(error: &Error) -> bool {
    status(error).is_some_and(|status| match status.code {
        422 => status.message.contains("metadata.uid: "),
        409 => status.message.contains("UID in precondition: "),
        _ => false,
    })
}

/// The error as an operator should read it: the API server's own message when there is one.
pub fn text(error: &Error) -> String {
    let said = status(error).map(|status| status.message.clone()).filter(|message| !message.is_empty());
    said.unwrap_or_else(|| error.to_string())
}

fn read<W: Wire>(reply: &str) -> Result<W, Error> {
    serde_json::from_str(reply).map_err(Error::SerdeError)
}

fn path<W: Wire>(namespace: &str) -> Request {
    Request::new(W::url_path(&(), Some(namespace).filter(|namespace| !namespace.is_empty())))
}

#[cfg(test)]
mod tests;
