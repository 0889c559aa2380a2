//! The command line of `mooring explain`.

use base::flag::{Dialect, Exit, FlagSet};

use crate::ask::Kind;
use crate::decide::Target;
use crate::status::Place;

base::flags! {
    /// The flags of `mooring explain`.
    pub(crate) struct Flags {
        "namespace" namespace: String = "", "Namespace of the claim or snapshot; also -n. Empty: that of the kubeconfig's context.";
        "context" context: String = "", "Context of the kubeconfig. Empty: the current one.";
        "kubeconfig" kubeconfig: String = "", "Path of the kubeconfig. Empty: KUBECONFIG, else ~/.kube/config, else the pod's service account.";
        "output" output: String = "text", "text or json; also -o.";
        "status" status: String = "", "Where sidecars serve their status pages, with commas between: http://HOST:PORT, or NAMESPACE/POD:PORT through the API server (https:NAMESPACE/POD:PORT if it is served with TLS). Adds the next try and its last error.";
        "watch" watch: bool = false, "Print the answer again whenever it changes; also -w.";
    }
}

/// What a command line asks for.
#[derive(Debug, Clone)]
pub struct Request {
    pub(crate) flags: Flags,
    /// How we were called.
    pub(crate) program: String,
    /// Its namespace is still that of the command line.
    pub(crate) target: Target,
    /// The status pages to read.
    pub(crate) pages: Vec<Place>,
}

const USAGE: &str = "pvc|pv|va|snapshot NAME [-n NAMESPACE] [-o json] [--watch] [--status URL]";

/// Reads the command line (without the program's name).
///
/// # Errors
/// Help was asked for, or the command line is wrong: one line says how.
pub fn parse(program: &str, args: Vec<String>) -> Result<Request, Exit> {
    let refuse = |line: String| Exit { code: 2, ..Exit::refuse(line) };
    let (flags, words) = split(args);
    let mut set = FlagSet::new(program, Dialect::Posix);
    set.group::<Flags>();
    let parsed = set.parse(flags).map_err(|exit| match exit.code {
        0 => Exit { stderr: format!("Usage: {program} {USAGE}\n\n{}", exit.stderr), ..exit },
        // The last line says what is wrong; those above are the usage.
        _ => refuse(exit.stderr.trim_end().lines().last().unwrap_or_default().to_owned()),
    })?;
    let flags: Flags = parsed.read();
    if !matches!(flags.output.as_str(), "text" | "json") {
        return Err(refuse(format!("--output is {:?}: it may be text or json", flags.output)));
    }
    let (kind, name) = match words.as_slice() {
        [kind, name] => (kind.as_str(), name.as_str()),
        [word] if word.contains('/') => word.split_once('/').unwrap_or_default(),
        [] => return Err(refuse(format!("say what to explain: {program} {USAGE}"))),
        [word] => return Err(refuse(format!("{word:?} has no name: {program} {USAGE}"))),
        more => {
            return Err(refuse(format!("one object at a time, not {}: {program} {USAGE}", more.join(" "))));
        }
    };
    let known = kind_of(kind);
    let kind =
        known.ok_or_else(|| refuse(format!("cannot explain {kind:?}: only pvc, pv, va and snapshot")))?;
    if !kubernetes::object::is_subdomain(name) {
        return Err(refuse(format!("{name:?} is not the name of an object")));
    }
    if !flags.namespace.is_empty() && !kubernetes::object::is_label(&flags.namespace) {
        return Err(refuse(format!("--namespace {:?} is not the name of a namespace", flags.namespace)));
    }
    let words = flags.status.split(',').map(str::trim).filter(|word| !word.is_empty());
    let pages =
        words.map(Place::parse).collect::<Result<_, _>>().map_err(|error| refuse(error.to_string()))?;
    let target = Target { kind, namespace: flags.namespace.clone(), name: name.to_owned() };
    Ok(Request { flags, program: program.to_owned(), target, pages })
}

fn kind_of(word: &str) -> Option<Kind> {
    Some(match word.to_ascii_lowercase().as_str() {
        "pvc" | "pvcs" | "persistentvolumeclaim" | "persistentvolumeclaims" => Kind::Claim,
        "pv" | "pvs" | "persistentvolume" | "persistentvolumes" => Kind::Volume,
        "va" | "volumeattachment" | "volumeattachments" => Kind::Attachment,
        "snapshot" | "vs" | "snapshots" | "volumesnapshot" | "volumesnapshots" => Kind::Snapshot,
        _ => return None,
    })
}

/// The flags, each as one word that is spelt out, and the other words.
fn split(args: Vec<String>) -> (Vec<String>, Vec<String>) {
    let (mut flags, mut words) = (Vec::new(), Vec::new());
    let mut args = args.into_iter();
    while let Some(word) = args.next() {
        let takes_value =
            matches!(word.as_str(), "--namespace" | "--context" | "--kubeconfig" | "--output" | "--status");
        match word.as_str() {
            "-w" => flags.push("--watch".to_owned()),
            "-n" => flags.extend(["--namespace".to_owned()].into_iter().chain(args.next())),
            "-o" => flags.extend(["--output".to_owned()].into_iter().chain(args.next())),
            _ if takes_value => flags.extend([word].into_iter().chain(args.next())),
            _ => match (short(&word, "-n", "--namespace"), short(&word, "-o", "--output")) {
                (Some(flag), _) | (None, Some(flag)) => flags.push(flag),
                (None, None) if word.starts_with('-') => flags.push(word),
                (None, None) => words.push(word),
            },
        }
    }
    (flags, words)
}

/// `-nNAME` and `-n=NAME` as `--namespace=NAME`.
fn short(word: &str, letter: &str, flag: &str) -> Option<String> {
    let value = word.strip_prefix(letter)?;
    Some(format!("{flag}={}", value.strip_prefix('=').unwrap_or(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &str) -> Result<Request, Exit> {
        parse("mooring explain", args.split_whitespace().map(str::to_owned).collect())
    }

    #[test]
    fn flags_may_stand_anywhere() {
        for args in [
            "pvc data -n team",
            "-nteam pvc data",
            "pvc -n=team data",
            "pvc/data --namespace team",
            "--namespace=team PVC data",
        ] {
            let request = parsed(args).unwrap();
            let expected =
                Target { kind: Kind::Claim, namespace: "team".to_owned(), name: "data".to_owned() };
            assert_eq!(request.target, expected, "{args}");
        }
        assert!(
            parsed("va x -w -ojson")
                .is_ok_and(|request| request.flags.watch && request.flags.output == "json")
        );
    }

    #[test]
    fn bad_input_is_told_in_one_line() {
        for (args, expected) in [
            ("", "say what to explain"),
            ("pvc", "\"pvc\" has no name"),
            ("pvc a b", "one object at a time, not pvc a b"),
            ("deployment a", "cannot explain \"deployment\": only pvc, pv, va and snapshot"),
            ("pvc A_B", "\"A_B\" is not the name of an object"),
            ("pvc a -n X", "--namespace \"X\" is not the name of a namespace"),
            ("pvc a -o yaml", "--output is \"yaml\": it may be text or json"),
            ("pvc a --status localhost", "--status \"localhost\": write http://HOST:PORT"),
            ("pvc a --nothing", "unknown flag: --nothing"),
            ("pvc a -n", "flag needs an argument"),
        ] {
            let exit = parsed(args).unwrap_err();
            assert!(exit.code == 2 && exit.stderr.contains(expected), "{args}: {}", exit.stderr);
            assert_eq!(exit.stderr.matches('\n').count(), 1, "{args}");
        }
    }

    #[test]
    fn help_says_how_it_is_called() {
        let exit = parsed("--help").unwrap_err();
        assert!(exit.code == 0 && exit.stderr.starts_with("Usage: mooring explain pvc|pv|va|snapshot NAME"));
    }
}
