//! The cases that end only when somebody acts: each with a word for the metric and what to do about it.

use flowstone_core::Verdict;

/// What somebody must put right before the rows can be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    /// `FORBIDDEN/8/index write (api)`.
    IndexWriteBlocked,
    /// `FORBIDDEN/5/index read-only (api)`.
    IndexReadOnly,
    /// `FORBIDDEN/12`, `TOO_MANY_REQUESTS/12`: the flood stage of the disk.
    DiskFull,
    /// `FORBIDDEN/6/cluster read-only (api)`, `FORBIDDEN/13/cluster read-only / allow delete (api)`.
    ClusterReadOnly,
    /// `FORBIDDEN/10/cluster create-index blocked (api)`: OpenSearch when no node has room.
    CreateIndexBlocked,
    /// Another `cluster_block_exception`.
    IndexBlocked,
    /// `index_closed_exception`.
    IndexClosed,
    /// `index_not_found_exception`: auto-create is off.
    IndexMissing,
    /// An alias that has no write index.
    NoWriteIndex,
    /// The cluster's limit of shards.
    ShardLimit,
    /// An index cannot be created for another reason (`validation_exception`, a template that does not parse).
    IndexNotCreatable,
    /// The ingest pipeline does not exist.
    PipelineMissing,
    /// A collection for time series of OpenSearch Serverless takes no ids.
    NoIds,
    /// 401: who are you?
    Credentials,
    /// 403: you may not.
    Privileges,
    /// A redirect.
    Redirected,
    /// 404 of no index: the path is wrong.
    WrongPath,
    /// The server does not understand our request: its version has changed, or something else is there.
    NotUnderstood,
    /// Something in front of the server refused the request.
    RefusedInFront,
    /// Something else answers at this address.
    NotAServer,
    /// A version before Elasticsearch 6.
    TooOld,
    /// A template maps `lat` or `lon` as a point.
    PointPerCoordinate,
    /// The template cannot be installed.
    TemplateRefused,
    /// The policy that deletes old indices cannot be put in place.
    PolicyRefused,
    /// The server cannot do what the options ask for.
    NotSupported,
}

// === impl Operator ===

impl Operator {
    /// The verdict, with what the server said.
    pub(crate) fn blocked(self, said: impl Into<String>) -> Verdict {
        Verdict::blocked(self.reason(), said, self.help())
    }

    /// One word, a metric label.
    pub(crate) fn reason(self) -> &'static str {
        self.texts().0
    }

    /// What an operator should do.
    pub(crate) fn help(self) -> &'static str {
        self.texts().1
    }

    fn texts(self) -> (&'static str, &'static str) {
        match self {
            Self::IndexWriteBlocked => (
                "index_write_blocked",
                "allow writes again with PUT INDEX/_settings {\"index.blocks.write\": null}; lifecycle policies and \
                 shrink set this block on indices that they take for finished",
            ),
            Self::IndexReadOnly => (
                "index_read_only",
                "make the index writable again with PUT INDEX/_settings {\"index.blocks.read_only\": null}",
            ),
            Self::DiskFull => (
                "disk_full",
                "a node's disk is beyond the flood-stage watermark: delete old indices or add disk; Elasticsearch 7.4 \
                 and later and OpenSearch then lift the block by themselves, before that PUT INDEX/_settings \
                 {\"index.blocks.read_only_allow_delete\": null}",
            ),
            Self::ClusterReadOnly => (
                "cluster_read_only",
                "make the cluster writable again with PUT _cluster/settings {\"persistent\": \
                 {\"cluster.blocks.read_only\": null, \"cluster.blocks.read_only_allow_delete\": null}}, and the same \
                 under \"transient\"",
            ),
            Self::CreateIndexBlocked => (
                "create_index_blocked",
                "the cluster creates no indices, because every node's disk is beyond the high watermark or because \
                 cluster.blocks.create_index is set: free disk space, or set that to null",
            ),
            Self::IndexBlocked => (
                "index_blocked",
                "look at GET _cluster/state/blocks and lift the block that it shows for this index",
            ),
            Self::IndexClosed => (
                "index_closed",
                "open the index with POST INDEX/_open, or set `blocked_for` so that events for days that are closed \
                 for good go to the `rejected` port",
            ),
            Self::IndexMissing => (
                "index_missing",
                "the server does not create this index by itself: create it, or let action.auto_create_index allow it",
            ),
            Self::NoWriteIndex => (
                "no_write_index",
                "the alias names several indices, or one that is not for writing: set \"is_write_index\": true on one \
                 of them with POST _aliases",
            ),
            Self::ShardLimit => (
                "shard_limit",
                "the cluster has as many shards as it may: delete or shrink old indices, add a node, or raise \
                 cluster.max_shards_per_node",
            ),
            Self::IndexNotCreatable => (
                "index_not_creatable",
                "the index cannot be created with the settings and mappings that its templates give it: look at \
                 GET _index_template and GET _template for those whose pattern covers it",
            ),
            Self::PipelineMissing => (
                "pipeline_missing",
                "create the ingest pipeline with PUT _ingest/pipeline/NAME, or correct `pipeline` here or \
                 index.default_pipeline in the index's settings",
            ),
            Self::NoIds => (
                "no_ids",
                "this collection, one for time series, takes no ids: write into a collection of type search, or set \
                 id = \"auto\", and then an event whose reply was lost is stored twice",
            ),
            Self::Credentials => (
                "credentials",
                "the server does not know us: check `user` and `password` or `api_key`, and whether the key has \
                 expired",
            ),
            Self::Privileges => (
                "privileges",
                "the user or key lacks a privilege that the server names: it needs `create_doc` (or `write`) and \
                 `auto_configure` (or `create_index`) on the index, `monitor` on the cluster unless `server` names it, \
                 and `manage_index_templates` unless template = \"none\"",
            ),
            Self::Redirected => (
                "redirected",
                "something in front of the server redirects: put the address it names into `hosts`",
            ),
            Self::WrongPath => (
                "wrong_path",
                "nothing takes bulk requests at this address: check host, port and path prefix in `hosts`",
            ),
            Self::NotUnderstood => (
                "not_understood",
                "the server does not understand our request: if it has just been upgraded or replaced this passes at \
                 the next attempt; if `server` names another one, or the log says that it does not say which it is, \
                 name the right one with `server`; otherwise please report it with the text of the reply",
            ),
            Self::RefusedInFront => (
                "refused_in_front",
                "the reply is not Elasticsearch's: a proxy or firewall in front of it refused the request, or `hosts` \
                 says http where the server wants https",
            ),
            Self::NotAServer => (
                "not_a_server",
                "something that is neither Elasticsearch nor OpenSearch answers there: check host, port and path \
                 prefix in `hosts`; if it is one all the same, name it with `server`",
            ),
            Self::TooOld => (
                "too_old",
                "flowstone writes to Elasticsearch 6 and later and to OpenSearch: upgrade the server",
            ),
            Self::PolicyRefused => (
                "policy_refused",
                "allow flowstone to manage life cycles (`manage_ilm` on Elasticsearch, \
                 `cluster:admin/opendistro/ism/policy/*` on OpenSearch), or leave out `retention` and delete old indices \
                 yourself",
            ),
            Self::NotSupported => (
                "not_supported",
                "upgrade the server, or leave the option out; if the log names the wrong server, name it with `server`",
            ),
            Self::PointPerCoordinate => (
                "point_per_coordinate",
                "the server refuses every document with such a field: map the object that holds `lat` and `lon` as \
                 geo_point, not each of them, or remove the template and let flowstone install its own",
            ),
            Self::TemplateRefused => (
                "template_refused",
                "install an index template by hand and set template = \"none\", or remove what the server objects to",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocked_verdict_carries_the_word_and_the_remedy() {
        let verdict = Operator::IndexClosed.blocked("closed");
        let Verdict::Blocked { reason, detail, help } = verdict else { panic!("{verdict:?}") };
        assert_eq!((&*reason, &*detail), ("index_closed", "closed"));
        assert!(help.contains("_open"), "{help}");
    }
}
