import java.util.Collections;
import java.util.Map;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.node.InternalSettingsPreparer;
import org.elasticsearch.node.Node;
import org.elasticsearch.plugins.Plugin;
import org.elasticsearch.transport.Netty4Plugin;

/** A node of Elasticsearch 6.8, where {@code Node} is abstract: reflection alone cannot make one. Compiled for es6 only. */
public final class Six extends Node {
    private Six(Settings settings) {
        super(InternalSettingsPreparer.prepareEnvironment(settings, null),
            Collections.<Class<? extends Plugin>>singletonList(Netty4Plugin.class), true);
    }

    /** Called by the launcher. */
    public static Node node(Map<String, String> settings) {
        Settings.Builder builder = Settings.builder();
        settings.forEach(builder::put);
        return new Six(builder.build());
    }

    @Override protected void registerDerivedNodeNameWithLogger(String name) { }
}
