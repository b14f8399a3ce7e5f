package services

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

const (
	mavenPlugin = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:"
	mavenCopy   = mavenPlugin + "copy-dependencies"
)

// smallJVM are the flags of every server that is Java's. The C1 compiler alone
// halves the start of a broker and moves as many records.
var smallJVM = []string{"-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"}

// longJVM are those of one that is measured: it compiles as it does where it runs
// for days.
var longJVM = []string{"-XX:+UseSerialGC"}

// opens are the flags that let old code look into packages of java.base.
func opens(packages ...string) []string {
	flags := make([]string, len(packages))
	for i, p := range packages {
		flags[i] = "--add-opens=java.base/" + p + "=ALL-UNNAMED"
	}
	return flags
}

// installJars returns a folder with the jars of a POM; it has the file named in holds.
func installJars(ctx context.Context, o Options, name string, pom []byte, holds string) (string, error) {
	cache, err := cacheFolder()
	if err != nil {
		return "", err
	}
	return install(ctx, cache, name, o, func(ctx context.Context, folder string) error {
		if err := fetchJars(ctx, pom, folder); err != nil {
			return err
		}
		_, err := os.Stat(filepath.Join(folder, holds))
		return err
	})
}

// fetchJars has Maven fill a folder with what a POM depends on.
func fetchJars(ctx context.Context, pom []byte, folder string) error {
	mvn, err := tool("mvn", "maven")
	if err != nil {
		return err
	}
	build, err := os.MkdirTemp("", "lake-pom-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(build)
	if err := os.WriteFile(filepath.Join(build, "pom.xml"), pom, 0o644); err != nil {
		return err
	}
	// -C: a jar that is not the one of its checksum fails.
	_, err = output(ctx, identity{}, build, nil, mvn, "-q", "-B", "-ntp", "-C", mavenCopy, "-DincludeScope=runtime", "-DoutputDirectory="+folder)
	return err
}

// hadoopXML is a configuration file as Hadoop and Hive read it.
func hadoopXML(settings map[string]string) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("<configuration>\n")
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		b.WriteString("<property><name>")
		if err := xml.EscapeText(&b, []byte(key)); err != nil {
			return nil, fmt.Errorf("write %s: %w", key, err)
		}
		b.WriteString("</name><value>")
		if err := xml.EscapeText(&b, []byte(settings[key])); err != nil {
			return nil, fmt.Errorf("write %s: %w", key, err)
		}
		b.WriteString("</value></property>\n")
	}
	b.WriteString("</configuration>\n")
	return b.Bytes(), nil
}

// writeHadoopXML writes one to a file.
func writeHadoopXML(file string, settings map[string]string) error {
	data, err := hadoopXML(settings)
	if err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o644)
}
