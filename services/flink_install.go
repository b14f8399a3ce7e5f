package services

import (
	"archive/tar"
	"compress/gzip"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

//go:embed flink.pom.xml
var flinkPOM []byte

// flinkJars are the beginnings of those that a cluster and its gateway need. The
// planner does not start without flink-cep.
var flinkJars = []string{"flink-dist-", "flink-table-planner-loader-", "flink-table-runtime-", "flink-table-api-java-uber-",
	"flink-connector-files-", "flink-json-", "flink-cep-", "log4j-api-", "log4j-core-", "log4j-slf4j-impl-"}

// installFlink returns a folder of jars. Flink's own are taken from its package
// for Python, since not all of them are Maven artifacts.
func installFlink(ctx context.Context, o Options) (string, error) {
	cache, err := cacheFolder()
	if err != nil {
		return "", err
	}
	return install(ctx, cache, "flink-"+FlinkVersion, o, func(ctx context.Context, folder string) error {
		python, err := tool("python3", "python3-pip")
		if err != nil {
			return err
		}
		if err := fetchJars(ctx, flinkPOM, folder); err != nil {
			return err
		}
		build, err := os.MkdirTemp("", "lake-flink-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(build)
		if _, err := output(ctx, identity{}, build, nil, python, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check",
			"--no-deps", "--dest", build, "apache-flink-libraries=="+FlinkVersion); err != nil {
			return err
		}
		archives, err := filepath.Glob(filepath.Join(build, "*.tar.gz"))
		if err != nil || len(archives) != 1 {
			return errors.Join(fmt.Errorf("the package apache-flink-libraries has %d archives, one was expected", len(archives)), err)
		}
		return unpackFlink(archives[0], folder)
	})
}

// unpackFlink writes the jars of flinkJars into a folder; each has to be there.
func unpackFlink(archive, folder string) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return fmt.Errorf("read %s: %w", archive, err)
	}
	missing := slices.Clone(flinkJars)
	for files := tar.NewReader(z); ; {
		entry, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", archive, err)
		}
		name := path.Base(entry.Name)
		wanted := slices.IndexFunc(missing, func(begin string) bool { return strings.HasPrefix(name, begin) })
		if wanted < 0 || path.Base(path.Dir(entry.Name)) != "lib" || !strings.HasSuffix(name, ".jar") {
			continue
		}
		if err := writeFile(filepath.Join(folder, name), files, entry.Size); err != nil {
			return err
		}
		missing = slices.Delete(missing, wanted, wanted+1)
	}
	if len(missing) > 0 {
		return fmt.Errorf("%s has no %s*.jar", filepath.Base(archive), strings.Join(missing, "*.jar, "))
	}
	return nil
}

// writeFile writes as many bytes as there are said to be.
func writeFile(name string, from io.Reader, size int64) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = io.CopyN(f, from, size)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}
