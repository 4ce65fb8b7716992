#!/usr/bin/env bash
# Makes ../locales.tsv anew. Wants a JDK of 17 (the last but one with the names of Java 8: COMPAT) and one of 25, and
# fetches ICU4J from Maven Central for the CLDR of the versions between.
#   JDK17=/usr/lib/jvm/java-17-openjdk-amd64 JDK25=/usr/lib/jvm/temurin-25-jdk-amd64 bash locale-names.sh
set -euo pipefail
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$JDK17/bin/javac" -d "$work" LocaleNames.java
with() { # the JDK and then its options
    local jdk=$1
    shift
    "$jdk/bin/java" -Duser.language=en -Duser.country= -Dfile.encoding=UTF-8 "$@" 2>>"$work/left-out"
}
icu() { # a version of ICU4J
    local jar="$work/icu4j-$1.jar"
    curl -sSfo "$jar" "https://repo1.maven.org/maven2/com/ibm/icu/icu4j/$1/icu4j-$1.jar"
    with "$JDK17" -cp "$jar:$work" LocaleNames icu
}
# What comes first counts where two Javas mean different things by a name: CLDR 39 of Java 17, CLDR 47 of 25, 42 of 21,
# 36 of 14, 33 of 11, 29 of 9, and the names of Java 8.
with "$JDK17" -Djava.locale.providers=CLDR -cp "$work" LocaleNames </dev/null |
    with "$JDK25" -Djava.locale.providers=CLDR -cp "$work" LocaleNames |
    icu 72.1 | icu 66.1 | icu 62.1 | icu 57.2 |
    with "$JDK17" -Djava.locale.providers=COMPAT -cp "$work" LocaleNames >"$work/table"
{ grep '^#' ../locales.tsv; cat "$work/table"; } >"$work/locales.tsv"
mv "$work/locales.tsv" ../locales.tsv
echo "left out because they mean something else already:" >&2
sort -u "$work/left-out" >&2
