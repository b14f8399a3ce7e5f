package services

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// SparkVersion is that of the Spark Thrift Server.
const SparkVersion = "3.5.7"

//go:embed spark.pom.xml
var sparkPOM []byte

// sparkMetastore is the setting of the metastore that Spark uses.
const sparkMetastore = "spark.hadoop.hive.metastore.uris"

// SparkThrift is a Spark Thrift Server, which speaks HiveServer2's protocol. It
// takes about 8 s and 650 MB. Its methods may be called at the same time.
type SparkThrift struct {
	server
	java      string
	spark     string     // folder of the pyspark package
	iceberg   string     // folder of Iceberg's jar
	metastore *Metastore // its own; nil where it was given one
	settings  map[string]string
}

// StartSparkThrift starts a Spark Thrift Server and waits until it answers.
// Options.Settings are Spark's (--conf); where spark.hadoop.hive.metastore.uris is
// not among them it gets a metastore of its own. Iceberg tables of the metastore
// are lake.<database>.<table>. The caller closes it.
func StartSparkThrift(ctx context.Context, o Options) (*SparkThrift, error) {
	s, err := startSparkThrift(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("start the Spark Thrift Server: %w", err)
	}
	return s, nil
}

func startSparkThrift(ctx context.Context, o Options) (*SparkThrift, error) {
	java, err := findJava()
	if err != nil {
		return nil, err
	}
	spark, err := installSpark(ctx, o)
	if err != nil {
		return nil, err
	}
	iceberg, err := installJars(ctx, o, "spark-iceberg-1.10.0", sparkPOM, "iceberg-spark-runtime-3.5_2.12-1.10.0.jar")
	if err != nil {
		return nil, err
	}
	dist := ""
	if o.Settings[sparkMetastore] == "" {
		if dist, err = installMetastore(ctx, o); err != nil {
			return nil, err
		}
	}
	return attempts("spark-thrift", o, func(place home) (*SparkThrift, error) {
		s := &SparkThrift{java: java, spark: spark, iceberg: iceberg, settings: o.Settings,
			server: newServer("the Spark Thrift Server", place, syscall.SIGTERM, 30*time.Second)}
		s.run = s.thrift
		if dist != "" {
			s.metastore = newMetastore(home{filepath.Join(place.dir, "metastore"), place.temporary}, java, dist)
		}
		return s, s.first(ctx)
	})
}

// installSpark returns the folder of the pyspark package: that of the virtual
// environment which make test made, else one in the cache.
func installSpark(ctx context.Context, o Options) (string, error) {
	if home := os.Getenv("LAKE_TEST_SPARK"); home != "" {
		found, err := filepath.Glob(filepath.Join(home, "lib", "python*", "site-packages", "pyspark"))
		if err == nil && len(found) == 1 {
			return found[0], nil
		}
	}
	cache, err := cacheFolder()
	if err != nil {
		return "", err
	}
	root, err := install(ctx, cache, "spark-"+SparkVersion, o, func(ctx context.Context, folder string) error {
		python, err := tool("python3", "python3-venv")
		if err != nil {
			return err
		}
		env, err := os.MkdirTemp("", "lake-venv-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(env)
		if _, err := output(ctx, identity{}, folder, nil, python, "-m", "venv", env); err != nil {
			return err
		}
		// Without its Python: only the jars are used.
		if _, err := output(ctx, identity{}, folder, nil, filepath.Join(env, "bin", "pip"), "install", "--quiet", "--disable-pip-version-check",
			"--no-deps", "--target", folder, "pyspark=="+SparkVersion); err != nil {
			return err
		}
		_, err = os.Stat(filepath.Join(folder, "pyspark", "jars"))
		return err
	})
	return filepath.Join(root, "pyspark"), err
}

// first writes the configuration and starts the server, after its metastore.
func (s *SparkThrift) first(ctx context.Context) error {
	uri := s.settings[sparkMetastore]
	if s.metastore != nil {
		if err := os.MkdirAll(s.metastore.home.dir, 0o755); err != nil {
			return err
		}
		if err := s.metastore.first(ctx, nil); err != nil {
			return fmt.Errorf("its metastore: %w", err)
		}
		uri = s.metastore.URI()
	}
	ports, err := freePorts(1)
	if err != nil {
		return err
	}
	s.port = ports[0]
	for _, folder := range []string{"conf", "tmp"} {
		if err := os.MkdirAll(s.file(folder), 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(s.file("conf/log4j2.properties"), []byte(metastoreLog), 0o644); err != nil {
		return err
	}
	all := map[string]string{
		"spark.master":                               "local[2]",
		"spark.ui.enabled":                           "false",
		"spark.driver.bindAddress":                   "127.0.0.1",
		"spark.driver.host":                          "127.0.0.1",
		"spark.local.dir":                            s.file("tmp"),
		"spark.sql.shuffle.partitions":               "2",
		"spark.sql.session.timeZone":                 "UTC",
		"spark.sql.catalogImplementation":            "hive",
		"spark.sql.warehouse.dir":                    "file://" + s.file("warehouse"),
		"spark.sql.extensions":                       "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
		"spark.sql.catalog.lake":                     "org.apache.iceberg.spark.SparkCatalog",
		"spark.sql.catalog.lake.type":                "hive",
		"spark.sql.catalog.lake.uri":                 uri,
		sparkMetastore:                               uri,
		"spark.hadoop.hive.exec.scratchdir":          s.file("scratch"),
		"spark.hadoop.hadoop.tmp.dir":                s.file("tmp"),
		"spark.hadoop.hive.server2.thrift.bind.host": "127.0.0.1",
		"spark.hadoop.hive.server2.thrift.port":      strconv.Itoa(s.port),
	}
	maps.Copy(all, s.settings)
	var conf strings.Builder
	for _, key := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&conf, "%s %s\n", key, all[key])
	}
	if err := os.WriteFile(s.file("conf/spark-defaults.conf"), []byte(conf.String()), 0o644); err != nil {
		return err
	}
	return s.start(ctx)
}

func (s *SparkThrift) file(name string) string { return filepath.Join(s.home.dir, name) }

func (s *SparkThrift) thrift(ctx context.Context) (*process, error) {
	args := append([]string{s.java, "-Xmx768m"}, smallJVM...)
	args = append(args, opens("java.lang", "java.lang.invoke", "java.lang.reflect", "java.io", "java.net", "java.nio", "java.util",
		"java.util.concurrent", "java.util.concurrent.atomic", "jdk.internal.ref", "sun.nio.ch", "sun.nio.cs", "sun.security.action", "sun.util.calendar")...)
	args = append(args, "-Djdk.reflect.useDirectMethodHandle=false", "-Duser.timezone=UTC", "-Dlog4j.configurationFile="+s.file("conf/log4j2.properties"),
		"-Djava.net.preferIPv4Stack=true", "-Djava.io.tmpdir="+s.file("tmp"), "-Dderby.system.home="+s.home.dir,
		"-cp", strings.Join([]string{s.file("conf"), filepath.Join(s.spark, "jars", "*"), filepath.Join(s.iceberg, "*")}, ":"),
		"org.apache.spark.deploy.SparkSubmit", "--properties-file", s.file("conf/spark-defaults.conf"),
		"--class", "org.apache.spark.sql.hive.thriftserver.HiveThriftServer2", "spark-internal")
	p, err := start(command{args: args, without: hadoopUser, env: []string{"SPARK_HOME=" + s.spark, "SPARK_LOCAL_IP=127.0.0.1", "SPARK_CONF_DIR=" + s.file("conf")},
		dir: s.home.dir, log: s.Log(), death: syscall.SIGKILL})
	if err != nil {
		return nil, err
	}
	return p, await(ctx, p, connects(s.Address())) // the port opens once its session is there
}

// Address is the server's, host:port.
func (s *SparkThrift) Address() string { return "127.0.0.1:" + strconv.Itoa(s.port) }

// Close stops the server and its metastore, and removes their data where Options.Dir was "".
func (s *SparkThrift) Close() error {
	s.mu.Lock()
	var err error
	if s.p != nil {
		err = s.end(s.p)
	}
	s.mu.Unlock()
	if s.metastore != nil {
		err = errors.Join(err, s.metastore.Close())
	}
	if err := errors.Join(err, s.home.remove()); err != nil {
		return fmt.Errorf("stop %s: %w", s.name, err)
	}
	return nil
}
