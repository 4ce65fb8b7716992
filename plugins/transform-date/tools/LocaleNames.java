import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.reflect.Method;
import java.text.DateFormatSymbols;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Calendar;
import java.util.GregorianCalendar;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;

/**
 * Adds the names that this Java knows to the table on its standard input and prints the joined one: `locales.tsv` is
 * what comes out of a row of runs, each with another Java (`locale-names.sh`). With the argument `icu` the names come
 * from the ICU4J on the class path, which stands for the Java that has the same CLDR.
 */
public class LocaleNames {
    /** Eras, months, weekdays from Monday, half-days: each a list of values, each value a list of spellings. */
    private static final int[] SIZES = {2, 12, 7, 2};

    /** What Java 8 has and no later one: the standing-alone short names of its German. Place in the list and name. */
    private static final Map<String, Map<Integer, String>> ONLY_IN_8 = Map.of("de", Map.of(4, "Mrz"));

    public static void main(String[] args) throws Exception {
        boolean icu = args.length > 0 && args[0].equals("icu");
        PrintStream out = new PrintStream(System.out, false, "UTF-8");
        Map<String, List<List<String>>> table = new TreeMap<>();
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, "UTF-8"));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] columns = line.split("\t", -1);
            table.put(columns[0], read(columns));
        }
        TreeSet<String> languages = new TreeSet<>();
        TreeSet<String> tags = new TreeSet<>(table.keySet());
        for (String tag : icu ? Icu.tags() : javaTags()) {
            if (!tag.equals("und") && tag.matches("[a-z]{2,3}(-[A-Z][a-z]{3})?(-[A-Z]{2}|-[0-9]{3})?")) {
                tags.add(today(tag));
                languages.add(today(tag).split("-")[0]);
            }
        }
        Map<String, List<List<String>>> joined = new TreeMap<>();
        for (String tag : tags) {
            List<List<String>> names = copy(inherited(table, tag));
            String language = tag.split("-")[0];
            // A Java that does not know a language gives English names.
            if (languages.contains(language)) {
                List<List<String>> more = icu ? Icu.names(tag) : javaNames(tag);
                ONLY_IN_8.getOrDefault(language, Map.of()).forEach((place, name) -> more.get(place).add(name));
                add(names, tag, more);
            }
            joined.put(tag, names);
        }
        joined.forEach((tag, names) -> {
            int dash = tag.lastIndexOf('-');
            boolean same = dash > 0 && names.equals(inherited(joined, tag.substring(0, dash)));
            if (!same) {
                out.print(tag + "\t" + show(names) + "\n");
            }
        });
        out.flush();
    }

    /** What a tag that has no line reads: the names of the longest tag that begins it. */
    private static List<List<String>> inherited(Map<String, List<List<String>>> table, String tag) {
        for (String at = tag; ; at = at.substring(0, at.lastIndexOf('-'))) {
            if (table.containsKey(at)) {
                return table.get(at);
            }
            if (!at.contains("-")) {
                return List.of();
            }
        }
    }

    private static List<List<String>> copy(List<List<String>> names) {
        List<List<String>> copy = new ArrayList<>();
        names.forEach(spellings -> copy.add(new ArrayList<>(spellings)));
        while (copy.size() < Arrays.stream(SIZES).sum()) {
            copy.add(new ArrayList<>());
        }
        return copy;
    }

    /** Adds spellings. One that means another value already is left out: what an earlier run gave counts. */
    private static void add(List<List<String>> names, String tag, List<List<String>> more) {
        int base = 0;
        for (int size : SIZES) {
            Map<String, Integer> meant = new LinkedHashMap<>();
            for (int value = 0; value < size; value++) {
                for (String spelling : names.get(base + value)) {
                    meant.put(fold(tag, spelling), value);
                }
            }
            // First all first spellings, then all second ones: what is more usual counts.
            int most = 0;
            for (int value = 0; value < size; value++) {
                most = Math.max(most, more.get(base + value).size());
            }
            for (int rank = 0; rank < most; rank++) {
                for (int value = 0; value < size; value++) {
                    List<String> given = more.get(base + value);
                    if (rank >= given.size() || !isName(given.get(rank))) {
                        continue;
                    }
                    String spelling = given.get(rank).strip();
                    Integer known = meant.putIfAbsent(fold(tag, spelling), value);
                    if (known != null && known != value) {
                        System.err.println(tag + ": " + spelling + " is " + known + ", not " + value);
                    } else if (!contains(names.get(base + value), tag, spelling)) {
                        names.get(base + value).add(spelling);
                    }
                }
            }
            base += size;
        }
    }

    /** Whether a spelling is there already but for its case, or but for a dot behind it. */
    private static boolean contains(List<String> spellings, String tag, String spelling) {
        boolean dotted = spelling.endsWith(".");
        return spellings.stream().anyMatch(known ->
            fold(tag, known).equals(fold(tag, spelling)) && (!dotted || known.endsWith(".")));
    }

    private static String fold(String tag, String spelling) {
        String bare = spelling.endsWith(".") ? spelling.substring(0, spelling.length() - 1) : spelling;
        return bare.toUpperCase(Locale.forLanguageTag(tag)).toLowerCase(Locale.forLanguageTag(tag));
    }

    /** Not empty, no sign of the table's own, and not CLDR's `M01` for "nobody has told". */
    private static boolean isName(String spelling) {
        return spelling != null && !spelling.isBlank() && !spelling.matches("M\\d\\d|.*[\t\n|=].*");
    }

    private static List<List<String>> read(String[] columns) {
        List<List<String>> names = new ArrayList<>();
        for (int column = 1; column < columns.length; column++) {
            for (String value : columns[column].split("\\|", -1)) {
                List<String> spellings = new ArrayList<>(List.of(value.split("=")));
                spellings.removeIf(String::isEmpty);
                names.add(spellings);
            }
        }
        return names;
    }

    private static String show(List<List<String>> names) {
        List<String> columns = new ArrayList<>();
        int base = 0;
        for (int size : SIZES) {
            List<String> values = new ArrayList<>();
            names.subList(base, base + size).forEach(spellings -> values.add(String.join("=", spellings)));
            columns.add(String.join("|", values));
            base += size;
        }
        return String.join("\t", columns);
    }

    private static List<String> javaTags() {
        List<String> tags = new ArrayList<>();
        for (Locale locale : Locale.getAvailableLocales()) {
            tags.add(locale.toLanguageTag());
        }
        return tags;
    }

    private static List<List<String>> javaNames(String tag) {
        Locale locale = Locale.forLanguageTag(tag);
        DateFormatSymbols symbols = DateFormatSymbols.getInstance(locale);
        Calendar calendar = new GregorianCalendar();
        List<List<String>> names = gather(symbols.getEras(), symbols.getAmPmStrings(),
            new String[][] {symbols.getShortMonths(), symbols.getMonths()},
            new String[][] {symbols.getShortWeekdays(), symbols.getWeekdays()});
        for (int style : new int[] {Calendar.SHORT_STANDALONE, Calendar.LONG_STANDALONE}) {
            Map<String, Integer> months = calendar.getDisplayNames(Calendar.MONTH, style, locale);
            if (months != null) {
                months.forEach((name, month) -> names.get(2 + month).add(name));
            }
            Map<String, Integer> days = calendar.getDisplayNames(Calendar.DAY_OF_WEEK, style, locale);
            if (days != null) {
                days.forEach((name, day) -> names.get(14 + (day + 5) % 7).add(name));
            }
        }
        return names;
    }

    /** Java counts weekdays from Sunday, which is 1. */
    private static List<List<String>> gather(String[] eras, String[] halfdays, String[][] months, String[][] days) {
        List<List<String>> names = copy(List.of());
        for (int era = 0; era < 2; era++) {
            names.get(era).add(eras[era]);
            names.get(21 + era).add(halfdays[era]);
        }
        for (String[] list : months) {
            for (int month = 0; month < 12; month++) {
                names.get(2 + month).add(list[month]);
            }
        }
        for (String[] list : days) {
            for (int day = 1; day <= 7; day++) {
                names.get(14 + (day + 5) % 7).add(list[day]);
            }
        }
        return names;
    }

    /** The code that a language has today. */
    private static String today(String tag) {
        return tag.replaceAll("^iw\\b", "he").replaceAll("^in\\b", "id").replaceAll("^ji\\b", "yi");
    }

    /** ICU4J by reflection, so that the program runs without it. */
    private static class Icu {
        static List<String> tags() throws Exception {
            Class<?> uLocale = Class.forName("com.ibm.icu.util.ULocale");
            List<String> tags = new ArrayList<>();
            for (Object locale : (Object[]) uLocale.getMethod("getAvailableLocales").invoke(null)) {
                tags.add((String) uLocale.getMethod("toLanguageTag").invoke(locale));
            }
            return tags;
        }

        static List<List<String>> names(String tag) throws Exception {
            Class<?> uLocale = Class.forName("com.ibm.icu.util.ULocale");
            Class<?> type = Class.forName("com.ibm.icu.text.DateFormatSymbols");
            Object locale = uLocale.getMethod("forLanguageTag", String.class).invoke(null, tag);
            Object symbols = type.getConstructor(Class.class, uLocale)
                .newInstance(Class.forName("com.ibm.icu.util.GregorianCalendar"), locale);
            Method months = type.getMethod("getMonths", int.class, int.class);
            Method days = type.getMethod("getWeekdays", int.class, int.class);
            String[][] allMonths = new String[4][];
            String[][] allDays = new String[4][];
            // Contexts are FORMAT 0 and STANDALONE 1, widths ABBREVIATED 0 and WIDE 1.
            for (int at = 0; at < 4; at++) {
                allMonths[at] = (String[]) months.invoke(symbols, at / 2, at % 2);
                allDays[at] = (String[]) days.invoke(symbols, at / 2, at % 2);
            }
            return gather((String[]) type.getMethod("getEras").invoke(symbols),
                (String[]) type.getMethod("getAmPmStrings").invoke(symbols), allMonths, allDays);
        }
    }
}
