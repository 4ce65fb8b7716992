import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.reflect.Constructor;
import java.lang.reflect.Method;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.Collections;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Supplier;
import java.util.stream.Stream;

/**
 * Starts one single-node server inside this JVM, for tests: {@code Launcher FAMILY HOME PORT [setting=value ...]}.
 *
 * <p>FAMILY says how a version wants to be built: {@code six} (6.8, through {@link Six}), {@code seven} (7.x and OpenSearch, a
 * class path and a list of plugins) or {@code modular} (8.x and 9.x, a module path and HOME/modules). Everything of a server is
 * reached by reflection, so that one launcher compiles against all of them.
 *
 * <p>Going round {@code Bootstrap} means: no root check, no security manager, no bootstrap checks. The process ends at once when
 * its standard input closes: a test that dies takes its servers along.
 */
public final class Launcher {
    private Launcher() { }

    public static void main(String[] args) throws Exception {
        String family = args[0];
        Path home = Path.of(args[1]).toAbsolutePath();
        endWithStandardInput(home);
        Files.createDirectories(home.resolve("config"));
        Map<String, String> settings = settings(family, home, args[2]);
        for (String arg : Arrays.asList(args).subList(3, args.length)) {
            String[] pair = arg.split("=", 2);
            if (pair.length != 2) throw new IllegalArgumentException("expected setting=value, got " + arg);
            settings.put(pair[0], pair[1]);
        }
        Object node = switch (family) {
            case "six" -> Class.forName("Six").getMethod("node", Map.class).invoke(null, settings);
            case "seven" -> seven(home, settings);
            case "modular" -> modular(home, settings);
            default -> throw new IllegalArgumentException("unknown family " + family);
        };
        Method start = node.getClass().getMethod("start");
        start.setAccessible(true);
        start.invoke(node);
        System.out.println("READY " + args[2]);
        System.out.flush();
        Thread.currentThread().join();
    }

    /**
     * Halts, without closing the node: its owner is gone, and a server must stand a sudden death anyway. With
     * {@code -Dflowstone.testkit.remove=true} it takes HOME away, which is temporary and has nobody else to do so.
     */
    private static void endWithStandardInput(Path home) {
        Thread watch = new Thread(() -> {
            try {
                while (System.in.read() >= 0) { }
            } catch (IOException closed) {
                // as good as the end
            }
            try {
                if (Boolean.getBoolean("flowstone.testkit.remove")) remove(home);
            } finally {
                Runtime.getRuntime().halt(0);
            }
        }, "end-with-standard-input");
        watch.setDaemon(true);
        watch.start();
    }

    /** As far as it goes, for the node still writes. Does not follow links: modules belong to all nodes. */
    private static void remove(Path home) {
        for (int pass = 0; pass < 3 && Files.exists(home); pass++) {
            try (Stream<Path> paths = Files.walk(home)) {
                for (Path path : paths.sorted(Comparator.reverseOrder()).toList()) Files.deleteIfExists(path);
            } catch (IOException | UncheckedIOException again) {
                // a file came or went meanwhile
            }
        }
    }

    private static Map<String, String> settings(String family, Path home, String port) {
        Map<String, String> s = new LinkedHashMap<>();
        s.put("path.home", home.toString());
        s.put("path.data", home.resolve("data").toString());
        s.put("path.logs", home.resolve("logs").toString());
        s.put("cluster.name", "testkit-" + port);
        s.put("node.name", "testkit");
        s.put("network.host", "127.0.0.1");
        s.put("http.port", port);
        s.put(family.equals("six") ? "transport.tcp.port" : "transport.port", "0");
        s.put("discovery.type", "single-node");
        // A full disk of the developer is not what a test is about; one that is sets it back.
        s.put("cluster.routing.allocation.disk.threshold_enabled", "false");
        return s;
    }

    // === 7.x and OpenSearch ===

    private static final String[] PLUGINS = { "transport.Netty4", "index.reindex.Reindex" };

    private static Object seven(Path home, Map<String, String> settings) throws Exception {
        String root = optional("org.opensearch.node.Node") != null ? "org.opensearch." : "org.elasticsearch.";
        Object env = environment(root, home, settings);
        List<Class<?>> plugins = new ArrayList<>();
        for (String plugin : PLUGINS) {
            for (String suffix : new String[] { "ModulePlugin", "Plugin" }) { // OpenSearch 3 renamed Netty4Plugin
                Class<?> found = optional(root + plugin + suffix);
                if (found != null) {
                    plugins.add(found);
                    break;
                }
            }
        }
        if (plugins.isEmpty() || !plugins.get(0).getName().contains("Netty4"))
            throw new IllegalStateException("no netty plugin on the class path, so there would be no HTTP port");
        for (Constructor<?> c : Class.forName(root + "node.Node").getDeclaredConstructors()) {
            Class<?>[] types = c.getParameterTypes(); // protected Node(Environment, Collection<...>, boolean)
            if (types.length != 3 || types[1] != Collection.class || types[2] != boolean.class) continue;
            c.setAccessible(true);
            boolean wantsInfo = c.getGenericParameterTypes()[1].getTypeName().contains("PluginInfo"); // OpenSearch 3
            return c.newInstance(env, wantsInfo ? pluginInfos(root, plugins) : plugins, true);
        }
        throw new IllegalStateException("no constructor Node(Environment, Collection, boolean)");
    }

    private static Collection<Object> pluginInfos(String root, List<Class<?>> plugins) throws Exception {
        Class<?> version = Class.forName(root + "Version");
        Object current = version.getField("CURRENT").get(null);
        Constructor<?> info = Class.forName(root + "plugins.PluginInfo").getConstructor(String.class, String.class, String.class,
            version, String.class, String.class, List.class, boolean.class);
        String java = Integer.toString(Runtime.version().feature());
        List<Object> infos = new ArrayList<>();
        for (Class<?> p : plugins)
            infos.add(info.newInstance(p.getName(), "class path plugin", "NA", current, java, p.getName(), List.of(), false));
        return infos;
    }

    // === 8.x and 9.x ===

    private static Object modular(Path home, Map<String, String> settings) throws Exception {
        String root = "org.elasticsearch.";
        // First of all: org.elasticsearch.logging has no provider before.
        Class.forName(root + "common.logging.LogConfigurator").getMethod("configureESLogging").invoke(null);
        Object env = environment(root, home, settings);
        Class<?> loader = Class.forName(root + "plugins.PluginsLoader");
        for (Constructor<?> c : Class.forName(root + "node.Node").getConstructors()) {
            Class<?>[] types = c.getParameterTypes();
            if (types.length == 2 && types[1] == loader) return c.newInstance(env, pluginsLoader(loader, home.resolve("modules")));
        }
        throw new IllegalStateException("no constructor Node(Environment, PluginsLoader)");
    }

    private static Object pluginsLoader(Class<?> loader, Path modules) throws Exception {
        Object bundles = null;
        for (Method m : loader.getMethods()) {
            if (!m.getName().equals("loadModulesBundles")) continue;
            bundles = m.getParameterCount() == 2 ? m.invoke(null, modules, false) : m.invoke(null, modules);
        }
        for (Method m : loader.getMethods()) {
            Class<?>[] types = m.getParameterTypes(); // (modules, plugins, ..., withServerExports: the server is on the module path)
            if (m.getName().equals("createPluginsLoader") && types.length == 4 && types[3] == boolean.class)
                return m.invoke(null, bundles, Set.of(), Map.of(), loader.getModule().isNamed());
        }
        throw new IllegalStateException("no PluginsLoader.createPluginsLoader(Set, Set, Map, boolean)");
    }

    // === helpers ===

    private static Object environment(String root, Path home, Map<String, String> map) throws Exception {
        Class<?> settings = Class.forName(root + "common.settings.Settings");
        Object builder = settings.getMethod("builder").invoke(null);
        Method put = builder.getClass().getMethod("put", String.class, String.class);
        for (Map.Entry<String, String> e : map.entrySet()) put.invoke(builder, e.getKey(), e.getValue());
        return Class.forName(root + "node.InternalSettingsPreparer")
            .getMethod("prepareEnvironment", settings, Map.class, Path.class, Supplier.class)
            .invoke(null, builder.getClass().getMethod("build").invoke(builder), Collections.emptyMap(), home.resolve("config"),
                (Supplier<String>) () -> "testkit");
    }

    private static Class<?> optional(String name) {
        try {
            return Class.forName(name);
        } catch (ClassNotFoundException | NoClassDefFoundError absent) {
            return null;
        }
    }
}
