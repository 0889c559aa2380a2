//! `csc snapshot-metadata …`: which blocks hold data, and which changed.

use csi::{Redact, v1};
use tonic::Streaming;

use crate::cli::Metadata;
use crate::connection::Session;
use crate::failure::Failure;
use crate::output::{line, reply};

pub(crate) async fn run(session: &Session, command: Metadata) -> Result<(), Failure> {
    match command {
        Metadata::Allocated { blocks, id } => {
            let request = v1::GetMetadataAllocatedRequest {
                snapshot_id: id,
                starting_offset: blocks.starting_offset,
                max_results: blocks.max_results,
                secrets: session.secrets(),
            };
            print(session, session.stream(request).await?, |reply| &reply.block_metadata).await
        }
        Metadata::Delta { blocks, base, target } => {
            let request = v1::GetMetadataDeltaRequest {
                base_snapshot_id: base,
                target_snapshot_id: target,
                starting_offset: blocks.starting_offset,
                max_results: blocks.max_results,
                secrets: session.secrets(),
            };
            print(session, session.stream(request).await?, |reply| &reply.block_metadata).await
        }
    }
}

/// One line a block: byte offset and size.
async fn print<R: Redact>(
    session: &Session,
    mut stream: Streaming<R>,
    blocks: impl Fn(&R) -> &Vec<v1::BlockMetadata>,
) -> Result<(), Failure> {
    while let Some(message) = stream.message().await? {
        if session.form.is_some() {
            reply(session.form, &message, |_| String::new());
        } else {
            for block in blocks(&message) {
                line(&format!("{}\t{}", block.byte_offset, block.size_bytes));
            }
        }
    }
    Ok(())
}
