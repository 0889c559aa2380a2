//! What the driver answers when it is not to answer honestly.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tonic::Code;

type Edit = Arc<dyn Fn(&mut dyn Any) + Send + Sync>;

/// How one call is answered.
#[derive(Clone)]
pub enum Reply {
    /// Honestly: the call has its effect and succeeds, or fails as the specification says.
    Ok,
    /// Fails with this code and message; no effect.
    Error(Code, String),
    /// Fails with this code and message although it had its effect.
    ErrorAfter(Code, String),
    /// As the inner reply, after this time. The driver goes on even if the caller has given up by then.
    Delay(Duration, Box<Reply>),
    /// It has its effect and never ends; the caller's deadline does.
    LostReply,
    /// No effect, and it never ends.
    Hang,
    /// Honestly, but with the reply changed: see [`Reply::edit`].
    Edited(Edit),
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Reply::Ok => f.write_str("Ok"),
            Reply::Error(code, text) => write!(f, "Error({code:?}, {text})"),
            Reply::ErrorAfter(code, text) => write!(f, "ErrorAfter({code:?}, {text})"),
            Reply::Delay(time, inner) => write!(f, "Delay({time:?}, {inner:?})"),
            Reply::LostReply => f.write_str("LostReply"),
            Reply::Hang => f.write_str("Hang"),
            Reply::Edited(_) => f.write_str("Edited"),
        }
    }
}

impl Reply {
    /// Fails with `code`; no effect.
    pub fn error(code: Code, message: &str) -> Reply {
        Reply::Error(code, message.to_owned())
    }

    /// As `self`, but after `time`.
    pub fn after(self, time: Duration) -> Reply {
        Reply::Delay(time, Box::new(self))
    }

    /// The honest reply, changed by `change`: a lie, or something the model does not know.
    pub fn edit<T: 'static>(change: impl Fn(&mut T) + Send + Sync + 'static) -> Reply {
        Reply::Edited(Arc::new(move |reply: &mut dyn Any| {
            if let Some(reply) = reply.downcast_mut::<T>() {
                change(reply);
            }
        }))
    }
}

/// The replies to come, by method and, more exactly, by what the call is about.
#[derive(Debug, Default)]
pub(super) struct Script {
    queued: BTreeMap<(String, String), VecDeque<Reply>>,
    standing: BTreeMap<(String, String), Reply>,
}

impl Script {
    pub(super) fn queue(&mut self, method: &str, subject: &str, replies: Vec<Reply>) {
        self.queued.entry((method.to_owned(), subject.to_owned())).or_default().extend(replies);
    }

    pub(super) fn stand(&mut self, method: &str, subject: &str, reply: Reply) {
        self.standing.insert((method.to_owned(), subject.to_owned()), reply);
    }

    pub(super) fn clear(&mut self) {
        *self = Script::default();
    }

    /// The reply to this call: what is queued for its subject, for its method, then what stands.
    pub(super) fn next(&mut self, method: &str, subject: &str) -> Reply {
        let keys = [(method.to_owned(), subject.to_owned()), (method.to_owned(), String::new())];
        for key in &keys {
            if let Some(reply) = self.queued.get_mut(key).and_then(VecDeque::pop_front) {
                return reply;
            }
        }
        keys.iter().find_map(|key| self.standing.get(key).cloned()).unwrap_or(Reply::Ok)
    }
}
