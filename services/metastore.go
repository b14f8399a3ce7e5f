package services

import (
	"context"
	_ "embed"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// MetastoreVersion is that of the Hive Metastore. Later ones no longer have the
// call get_table, which Hive 3 and 4.0.0 clients use.
const MetastoreVersion = "4.0.0"

//go:embed metastore.pom.xml
var metastorePOM []byte

// Metastore is a standalone Hive Metastore on an embedded Derby database. It
// takes about 9 s and 300 MB. Its methods may be called at the same time.
type Metastore struct {
	server
	java string
	dist string   // folder of the installed metastore
	jars []string // class path of the server; nil: its own
	kdc  *KDC     // nil: without Kerberos
	keys *Keystore
}

// StartMetastore starts a metastore and waits until it answers.
// Options.Settings go to metastore-site.xml. The caller closes it.
func StartMetastore(ctx context.Context, o Options) (*Metastore, error) {
	m, err := startMetastore(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("start the Hive Metastore: %w", err)
	}
	return m, nil
}

func startMetastore(ctx context.Context, o Options) (*Metastore, error) {
	java, err := findJava()
	if err != nil {
		return nil, err
	}
	dist, err := installMetastore(ctx, o)
	if err != nil {
		return nil, err
	}
	return attempts("metastore", o, func(h home) (*Metastore, error) {
		m := newMetastore(h, java, dist)
		m.kdc, m.keys = o.KDC, o.Keystore
		return m, m.first(ctx, o.Settings)
	})
}

// newMetastore is one that is not started yet.
func newMetastore(h home, java, dist string) *Metastore {
	m := &Metastore{java: java, dist: dist, server: newServer("the Hive Metastore", h, syscall.SIGTERM, 30*time.Second)}
	m.run = m.metastore
	return m
}

// installMetastore returns a folder with the metastore (lib, scripts) and, in
// hadoop, what it expects of Hadoop.
func installMetastore(ctx context.Context, o Options) (string, error) {
	cache, err := cacheFolder()
	if err != nil {
		return "", err
	}
	return install(ctx, cache, "metastore-"+MetastoreVersion, o, func(ctx context.Context, folder string) error {
		if err := fetchJars(ctx, metastorePOM, filepath.Join(folder, "hadoop")); err != nil {
			return err
		}
		mvn, err := tool("mvn", "maven")
		if err != nil {
			return err
		}
		tar, err := tool("tar", "tar")
		if err != nil {
			return err
		}
		// The plain jar has no scripts for the database: the archive has them.
		const archive = "hive-standalone-metastore-server"
		if _, err := output(ctx, identity{}, folder, nil, mvn, "-q", "-B", "-ntp", "-C", mavenPlugin+"copy",
			"-Dartifact=org.apache.hive:"+archive+":"+MetastoreVersion+":tar.gz:bin", "-DoutputDirectory="+folder); err != nil {
			return err
		}
		file := filepath.Join(folder, archive+"-"+MetastoreVersion+"-bin.tar.gz")
		if _, err := output(ctx, identity{}, folder, nil, tar, "-xzf", file, "--strip-components=1"); err != nil {
			return err
		}
		if _, err := os.Stat(filepath.Join(folder, "scripts", "metastore", "upgrade", "derby")); err != nil {
			return err
		}
		return os.Remove(file)
	})
}

// first writes the configuration, makes the database and starts the server.
func (m *Metastore) first(ctx context.Context, settings map[string]string) error {
	ports, err := freePorts(1)
	if err != nil {
		return err
	}
	m.port = ports[0]
	if err := os.MkdirAll(m.file("conf"), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(m.file("conf/log4j2.properties"), []byte(metastoreLog), 0o644); err != nil {
		return err
	}
	all := map[string]string{
		"javax.jdo.option.ConnectionURL":        "jdbc:derby:;databaseName=" + m.file("db") + ";create=true",
		"javax.jdo.option.ConnectionDriverName": "org.apache.derby.jdbc.EmbeddedDriver",
		"metastore.warehouse.dir":               "file://" + m.file("warehouse"),
		"metastore.warehouse.external.dir":      "file://" + m.file("external"),
		"metastore.thrift.uris":                 m.URI(),
		"metastore.thrift.bind.host":            "127.0.0.1",
		"metastore.thrift.port":                 strconv.Itoa(m.port),
		"metastore.task.threads.always":         "org.apache.hadoop.hive.metastore.events.EventCleanerTask",
		"metastore.expression.proxy":            "org.apache.hadoop.hive.metastore.DefaultPartitionExpressionProxy",
		// Alters that race deadlock in Derby: the loser tries again soon, not in 2 s.
		"metastore.hmshandler.retry.interval": "100ms",
	}
	maps.Copy(all, m.kdc.metastore())
	maps.Copy(all, m.keys.metastore())
	maps.Copy(all, settings)
	if err := writeHadoopXML(m.file("conf/metastore-site.xml"), all); err != nil {
		return err
	}
	if err := writeHadoopXML(m.file("conf/core-site.xml"), m.kdc.core()); err != nil {
		return err
	}
	making, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if _, err := output(making, identity{}, m.home.dir, m.env(), m.args(m.ownJars(), "tools.schematool.MetastoreSchemaTool", "-dbType", "derby", "-initSchema")...); err != nil {
		return err
	}
	return m.start(ctx)
}

const metastoreLog = `status=WARN
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d %p %c{2}: %m%n
rootLogger.level=WARN
rootLogger.appenderRef.out.ref=out
`

func (m *Metastore) file(name string) string { return filepath.Join(m.home.dir, name) }

func (m *Metastore) env() []string { return []string{"METASTORE_HOME=" + m.dist} }

// ownJars are the class path of the installed metastore.
func (m *Metastore) ownJars() []string {
	return []string{filepath.Join(m.dist, "lib", "*"), filepath.Join(m.dist, "hadoop", "*")}
}

func (m *Metastore) args(jars []string, class string, more ...string) []string {
	args := append([]string{m.java, "-Xmx384m"}, smallJVM...)
	args = append(args, m.kdc.jvm()...)
	args = append(args, opens("java.lang", "java.util", "java.net", "java.util.concurrent.atomic")...)
	args = append(args, "-Dlog4j.configurationFile="+m.file("conf/log4j2.properties"), "-Djava.net.preferIPv4Stack=true",
		"-Dderby.stream.error.file="+m.file("derby.log"), "-Dderby.locks.deadlockTimeout=1", "-Dderby.locks.waitTimeout=5",
		"-cp", strings.Join(append([]string{m.file("conf")}, jars...), ":"),
		"org.apache.hadoop.hive.metastore."+class)
	return append(args, more...)
}

func (m *Metastore) metastore(ctx context.Context) (*process, error) {
	jars := m.jars
	if jars == nil {
		jars = m.ownJars()
	}
	p, err := start(command{args: m.args(jars, "HiveMetaStore", "-p", strconv.Itoa(m.port)), env: m.env(), dir: m.home.dir, log: m.Log(), death: syscall.SIGKILL})
	if err != nil {
		return nil, err
	}
	return p, await(ctx, p, connects(m.address())) // the port opens when the server serves
}

// connects asks whether somebody listens at an address.
func connects(address string) func(context.Context) error {
	return func(ctx context.Context) error {
		c, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return c.Close()
	}
}

func (m *Metastore) address() string { return "127.0.0.1:" + strconv.Itoa(m.port) }

// URI is what clients connect to, thrift://host:port.
func (m *Metastore) URI() string { return "thrift://" + m.address() }
