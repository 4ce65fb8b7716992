package flowstone.testkit;

import java.util.List;
import java.util.function.Supplier;
import org.elasticsearch.Build;
import org.elasticsearch.client.internal.node.NodeClient;
import org.elasticsearch.cluster.ClusterState;
import org.elasticsearch.rest.BaseRestHandler;
import org.elasticsearch.rest.RestRequest;
import org.elasticsearch.rest.RestResponse;
import org.elasticsearch.rest.RestStatus;
import org.elasticsearch.xcontent.XContentBuilder;

/**
 * Answers {@code GET /} in the place of the distribution's rest-root module, which Maven Central lacks. Our own code, not
 * Elasticsearch's; every value comes from the running node.
 */
final class RootHandler extends BaseRestHandler {
    private final Supplier<ClusterState> state;
    private final Supplier<String> name;

    RootHandler(Supplier<ClusterState> state, Supplier<String> name) {
        this.state = state;
        this.name = name;
    }

    @Override public String getName() {
        return "flowstone_testkit_root";
    }

    @Override public List<Route> routes() {
        return List.of(new Route(RestRequest.Method.GET, "/"), new Route(RestRequest.Method.HEAD, "/"));
    }

    @Override protected RestChannelConsumer prepareRequest(RestRequest request, NodeClient client) {
        return channel -> {
            Build build = Build.current();
            ClusterState now = state.get();
            XContentBuilder reply = channel.newBuilder().prettyPrint().lfAtEnd();
            reply.startObject();
            reply.field("name", name.get());
            reply.field("cluster_name", now.getClusterName().value());
            reply.field("cluster_uuid", now.metadata().clusterUUID());
            reply.startObject("version");
            reply.field("number", build.qualifiedVersion());
            reply.field("build_flavor", build.flavor());
            reply.field("build_type", build.type().displayName());
            reply.field("build_hash", build.hash());
            reply.field("build_date", build.date());
            reply.field("build_snapshot", build.isSnapshot());
            reply.field("lucene_version", org.elasticsearch.index.IndexVersion.current().luceneVersion().toString());
            reply.field("minimum_wire_compatibility_version", build.minWireCompatVersion());
            reply.field("minimum_index_compatibility_version", build.minIndexCompatVersion());
            reply.endObject();
            reply.field("tagline", "You Know, for Search");
            reply.endObject();
            channel.sendResponse(new RestResponse(RestStatus.OK, reply));
        };
    }
}
